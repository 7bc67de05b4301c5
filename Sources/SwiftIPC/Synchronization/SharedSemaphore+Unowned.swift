// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

extension SharedSemaphore {
  /// A semaphore whose permits are signals: one process gives them, and another one takes them.
  ///
  /// ```swift
  /// let work = try SharedSemaphore.Unowned(value: 0, bound: 100)
  /// let child = try ChildProcess.start(work) { work in
  ///   try work.acquire()
  ///   print("there is something to do")
  /// }
  /// try work.release()
  /// ```
  /// Every process may release, and no process owns what was acquired: a permit that was taken by a
  /// process which is then killed is gone. Where the process that takes a permit also gives it
  /// back, use `SharedSemaphore`, which survives that.
  ///
  /// Permits are not promised to be given out in the order of asking. Any number of threads and
  /// processes may use it. It travels to another process as an argument of a child or in a message
  /// on a `Connection`. The corresponding C functions are `cipc_semaphore_take` and
  /// `cipc_semaphore_post`.
  @safe
  public final class Unowned: SegmentObject {
    /// The memory in which the semaphore lies. For the library.
    public let memory: ObjectMemory

    /// Makes a semaphore; with a name, one that other programs find by it, or finds theirs.
    ///
    /// - Parameters:
    ///   - value: how many permits there are at first in one that is made; means nothing where one is
    ///     found.
    ///   - bound: the most that there can be, at least 1: the same in all programs.
    /// - Throws: `IPCError` with `invalidArgument` for numbers that cannot be, `capacityExceeded`
    ///   for a value beyond the bound, `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
    ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else, or of a
    ///   semaphore of another bound, `invalidArgument` when it cannot be one. See `NamedObject`.
    public convenience init(
      value: Int, bound: Int = Int(Int32.max), named name: String? = nil,
      _ mode: NameMode = .openOrCreate
    ) throws(IPCError) {
      try self.init(value: value, bound: bound, name: name.map { ObjectName($0, mode) })
    }

    init(value: Int, bound: Int, name: ObjectName?) throws(IPCError) {
      guard let first = UInt32(exactly: value), let most = UInt32(exactly: bound) else {
        throw IPCError(
          .invalidArgument, context: "SharedSemaphore.Unowned of \(value) permits, at most \(bound)"
        )
      }
      let segment = try unsafe Segment.make(
        Self.segmentType, size: MemoryLayout<cipc_semaphore_t>.size, name: name,
        subject: "SharedSemaphore.Unowned"
      ) { address in
        unsafe cipc_semaphore_init_unowned(
          address.assumingMemoryBound(to: cipc_semaphore_t.self), first, most)
      }
      memory = ObjectMemory(segment)
      let found = unsafe cipc_semaphore_bound(pointer)
      guard found == most else {
        throw IPCError(
          .segmentMismatch,
          context: "SharedSemaphore.Unowned: segment bound: \(found) instead of \(bound)")
      }
    }

    /// Receives a semaphore from another process: works inside a message alone.
    ///
    /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
    ///   came is not an unowned semaphore; the context names the field that differs.
    public init(from decoder: any Decoder) throws {
      // One element of the structure's size: it fits the payload.
      memory = ObjectMemory(
        try Segment.decode(from: decoder, as: Unowned.self, Self.segmentType))
    }

    private static var segmentType: cipc_segment_type_t { cipc_semaphore_type_unowned() }

    /// How many permits there are: a hint, which may be out of date by the time that it is looked
    /// at.
    public var value: Int {
      withExtendedLifetime(segment) { unsafe Int(cipc_semaphore_count(pointer)) }
    }

    /// The most permits that there can be.
    public var bound: Int {
      withExtendedLifetime(segment) { unsafe Int(cipc_semaphore_bound(pointer)) }
    }

    /// Adds permits, and wakes as many waiters. Does not block.
    ///
    /// - Parameter count: how many; none does nothing.
    /// - Throws: `IPCError` with `capacityExceeded` when there would be more than the bound, and
    ///   `invalidArgument` for a negative number; nothing was added.
    public func release(_ count: Int = 1) throws(IPCError) {
      guard count >= 0 else {
        throw IPCError(.invalidArgument, context: "semaphore: release of \(count)")
      }
      let status = withExtendedLifetime(segment) {
        unsafe cipc_semaphore_post(pointer, UInt32(clamping: count))
      }
      if status < 0 { throw SharedSemaphore.failure(status) }
    }

    @inlinable var pointer: UnsafeMutablePointer<cipc_semaphore_t> {
      unsafe segment.address.assumingMemoryBound(to: cipc_semaphore_t.self)
    }

    // MARK: Blocking

    /// Takes a permit. Blocks until there is one.
    ///
    /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
    /// - Throws: `IPCError` with `timedOut` when there was none.
    @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
    @inlinable public func acquire(timeout: Duration? = nil) throws(IPCError) {
      try take(until: Deadline.after(timeout))
    }

    /// Takes a permit if there is one right now. Does not block.
    ///
    /// - Returns: whether it did.
    @inlinable public func acquireIfAvailable() -> Bool {
      withExtendedLifetime(segment) { unsafe cipc_semaphore_try_take(pointer) == 0 }
    }

    @inlinable func take(until deadline: Int64) throws(IPCError) {
      let status = withExtendedLifetime(segment) { unsafe cipc_semaphore_take(pointer, deadline) }
      if status < 0 { throw SharedSemaphore.failure(status) }
    }

    // MARK: Suspending

    /// Takes a permit. The task is suspended until there is one; no thread is blocked.
    ///
    /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
    /// - Throws: `IPCError` with `cancelled` when the task was cancelled before; `resourceLimit`
    ///   and `outOfMemory` where there can be no waiting; `timedOut` when there was none.
    public func acquire(timeout: Duration? = nil) async throws(IPCError) {
      try await takeSuspending(until: Deadline.after(timeout))
    }

    private func takeSuspending(
      until deadline: Int64
    ) async throws(IPCError) {
      try await waitForStep(until: deadline, subject: "semaphore") { _, wait in
        unsafe cipc_semaphore_take_step(pointer, &wait)
      }
    }
  }
}
