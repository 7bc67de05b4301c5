// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

/// A number of permits that processes share, each of which comes back when its holder is killed.
///
/// ```swift
/// let semaphore = try SharedSemaphore(value: 2)
/// try await semaphore.withPermit { print("at most two at a time") }
/// let permit = try await semaphore.acquire()
/// print(semaphore.value)  // 1
/// try permit.release()
/// ```
/// A permit belongs to its holder, which took it. Inside the blocking form of `withPermit` that is
/// the thread, otherwise the process, and no other can give it back: there are never more permits
/// than at first. When the holder is killed, or the thread ends, the permit comes back by itself: a
/// process that waits gets it within 250 ms, and so does one that only tries, and tries again. No
/// process is told of such a death: a semaphore says how many may do something, and guards no data
/// (use `Lock` for that). For signals, which one process gives and another one takes, there is
/// `SharedSemaphore.Unowned`.
///
/// The name is not `Semaphore`, since Glibc has a type of that name, and Foundation shows it to all
/// who import it.
///
/// Permits are not promised to be given out in the order of asking. A semaphore of a thousand
/// permits takes a thousand times as long as one of one to find out that none is free.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of
/// a child or in a message on a `Connection`, and is for processes that trust each other to keep to
/// what they took. The corresponding C type is `cipc_semaphore_t`.
@safe
public final class SharedSemaphore: SegmentObject {
  /// The memory in which the semaphore lies. For the library.
  public let memory: ObjectMemory

  /// How many permits there are, free or taken.
  public let capacity: Int

  /// Makes a semaphore whose permits are all free; with a name, one that other programs find by it, or
  /// finds theirs.
  ///
  /// - Parameter value: how many permits there are, 1 to 65,536: the same in all programs.
  /// - Throws: `IPCError` with `invalidArgument` for any other number, `outOfMemory` or
  ///   `resourceLimit`; with a name, `nameExists` or `nameNotFound` as the mode says,
  ///   `segmentMismatch` when it is that of something else, or of a semaphore of another number of
  ///   permits, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    value: Int, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(value: value, name: name.map { ObjectName($0, mode) })
  }

  init(value: Int, name: ObjectName?) throws(IPCError) {
    guard let permits = UInt32(exactly: value), cipc_semaphore_footprint(permits) != 0 else {
      throw IPCError(
        .invalidArgument, context: "SharedSemaphore of \(value) permits: 1 to 65,536 are possible")
    }
    let segment = try unsafe Segment.make(
      Self.segmentType(count: UInt64(permits)), size: cipc_semaphore_footprint(permits),
      name: name, subject: "SharedSemaphore"
    ) { address in
      unsafe cipc_semaphore_init(
        address.assumingMemoryBound(to: cipc_semaphore_t.self), permits)
    }
    capacity = try Self.capacity(of: segment)
    memory = ObjectMemory(segment)
  }

  /// Receives a semaphore from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a semaphore; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let segment = try Segment.decode(
      from: decoder, as: SharedSemaphore.self, Self.segmentType(count: Segment.anyCount))
    capacity = try Self.capacity(of: segment)
    memory = ObjectMemory(segment)
  }

  /// How many permits there are, as the header says, and whether they all are there.
  private static func capacity(of segment: Segment) throws(IPCError) -> Int {
    let footprint = UInt32(exactly: segment.count).map { cipc_semaphore_footprint($0) } ?? 0
    guard footprint != 0, footprint <= segment.size else {
      throw segment.misfit("SharedSemaphore")
    }
    return segment.count
  }

  private static func segmentType(count: UInt64) -> cipc_segment_type_t {
    cipc_semaphore_type(count)
  }

  /// How many permits are free: a hint, which may be out of date by the time that it is looked at.
  ///
  /// Those of dead holders count as taken until a process has waited for a permit.
  public var value: Int {
    withExtendedLifetime(segment) { unsafe Int(cipc_semaphore_value(pointer, width)) }
  }

  @inlinable var pointer: UnsafeMutablePointer<cipc_semaphore_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_semaphore_t.self)
  }

  @inlinable var width: UInt32 { UInt32(truncatingIfNeeded: capacity) }

  /// Waits for a permit of the process.
  func take(until deadline: Int64) throws(IPCError) -> Permit {
    let owner = cipc_participant_current()
    let permit = unsafe cipc_semaphore_acquire_for(pointer, width, owner, deadline)
    if permit < 0 { throw Self.failure(permit) }
    return Permit(of: self, number: UInt32(permit), owner: owner)
  }

  /// Waits for a permit of the process without blocking a thread.
  func takeSuspending(until deadline: Int64) async throws(IPCError) -> Permit {
    let owner = cipc_participant_current()
    let permit = try await waitForStep(until: deadline, subject: "semaphore") { look, wait in
      unsafe cipc_semaphore_step(pointer, width, owner, look ? 1 : 0, &wait)
    }
    return Permit(of: self, number: UInt32(permit), owner: owner)
  }

  @usableFromInline @inline(never) static func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, "semaphore")
  }

}
