// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

/// Something that has happened or has not, told to all processes that wait for it.
///
/// ```swift
/// let ready = try Event()
/// let child = try ChildProcess.start(ready) { ready in
///   try ready.wait()
///   print("off we go")
/// }
/// ready.set()
/// ```
///
/// `set()` releases every waiter of that moment, also when `clear()` follows at once. While
/// the event is set, nobody waits. Nobody owns an event, so nothing is lost with a process that is
/// killed; when it is killed in the middle of `set()`, the others are released within 250 ms, or
/// were not to be.
///
/// What was written before `set()` is seen by every waiter that it released. Any number of threads and
/// processes may use it, processes that write anything into it among them: all bytes are an event.
/// It travels to another process as an argument of a child or in a message on a `Connection`.
/// The corresponding C type is `cipc_event_t`.
@safe
public final class Event: SegmentObject {
  /// The memory in which the event lies. For the library.
  public let memory: ObjectMemory

  /// What `firstReady` waits for, once it has.
  let watch = Guarded<EventWatch?>(nil)

  /// Makes an event; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameter isSet: whether one that is made is set; means nothing where one is found.
  /// - Throws: `IPCError` with `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than an
  ///   Event, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    isSet: Bool = false, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(isSet: isSet, name: name.map { ObjectName($0, mode) })
  }

  init(isSet: Bool, name: ObjectName?) throws(IPCError) {
    let segment = try unsafe Segment.make(
      Self.segmentType, size: MemoryLayout<cipc_event_t>.size, name: name, subject: "Event"
    ) { address in
      unsafe cipc_event_init(
        address.assumingMemoryBound(to: cipc_event_t.self), isSet ? 1 : 0)
      return 0
    }
    memory = ObjectMemory(segment)
  }

  /// Receives an event from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not an event; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    // One element of the structure's size: it fits the payload.
    memory = ObjectMemory(
      try Segment.decode(from: decoder, as: Event.self, Self.segmentType))
  }

  private static var segmentType: cipc_segment_type_t { cipc_event_type() }

  @inlinable var pointer: UnsafeMutablePointer<cipc_event_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_event_t.self)
  }

  /// Whether the event is set. One load.
  @inlinable public var isSet: Bool {
    withExtendedLifetime(segment) { unsafe cipc_event_is_set(pointer) != 0 }
  }

  /// Sets the event and wakes all waiters; returns when they are woken. Does not block.
  ///
  /// Nothing changes where it is set already.
  public func set() {
    withExtendedLifetime(segment) { unsafe cipc_event_set(pointer) }
  }

  /// Clears the event: a wait that begins from here on ends with the next `set()`.
  public func clear() {
    withExtendedLifetime(segment) { unsafe cipc_event_clear(pointer) }
  }

  // MARK: Blocking

  /// Waits until the event is set; at once when it is. Blocks.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less looks once.
  /// - Throws: `IPCError` with `timedOut` when it was not set.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @inlinable public func wait(timeout: Duration? = nil) throws(IPCError) {
    try block(until: Deadline.after(timeout))
  }

  @inlinable func block(until deadline: Int64) throws(IPCError) {
    let status = withExtendedLifetime(segment) { unsafe cipc_event_wait(pointer, deadline) }
    if status < 0 { throw Self.failure(status) }
  }

  @usableFromInline @inline(never) static func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, "event")
  }

  // MARK: Suspending

  /// Waits until the event is set; at once when it is. No thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less looks once.
  /// - Throws: `IPCError` with `cancelled` when the task was cancelled before; `resourceLimit` and
  ///   `outOfMemory` where there can be no waiting; `timedOut` when it was not set.
  public func wait(timeout: Duration? = nil) async throws(IPCError) {
    try await suspend(until: Deadline.after(timeout))
  }

  private func suspend(until deadline: Int64) async throws(IPCError) {
    let begin = unsafe cipc_event_begin(pointer)
    try await waitForStep(until: deadline, subject: "event") { _, wait in
      unsafe cipc_event_step(pointer, begin, &wait)
    }
  }
}
