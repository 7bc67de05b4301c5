// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// A barrier that processes share: a number of parties that go on together once all have arrived.
///
/// ```swift
/// let barrier = try Barrier(parties: 2)
/// let child = try ChildProcess.start(barrier) { barrier in
///   for _ in 0..<3 { try barrier.wait() }
/// }
/// for round in 0..<3 {
///   let index = try await barrier.wait()
///   print("round \(round): number \(index) of \(barrier.parties)")
/// }
/// try await child.join()
/// ```
///
/// Nobody waits for the dead: when a party dies, be it by a kill or by the end of its thread, the
/// barrier is broken, and all that wait or come later get the error `broken`, within 250 ms. It is
/// broken as well by a wait that times out (which gets `timedOut` itself), one that is cancelled
/// (`cancelled`), an action that throws, and `abort()`. It stays so until `reset()`.
///
/// A party is enrolled by arriving for the first time, or by having received the barrier from another
/// process: from then on its end breaks the barrier, until it leaves. With the forms that block, the
/// party is the thread; with `await` it is the process. A process that received the barrier is
/// enrolled while it has it; when the last reference goes, it is so no more. A party that ends while
/// the others go on says `leave()` first. A party that arrives when as many as there are parties
/// are enrolled takes the place of one that has not arrived, so any of many may make up the number.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of a
/// child or in a message on a `Connection`, and is for processes that trust each other, because of the
/// lock in it, see `Lock`.
///
/// The corresponding C type is `cipc_barrier_t`.
@safe
public final class Barrier: SegmentObject {
  /// The memory in which the barrier lies. For the library.
  public let memory: ObjectMemory

  /// How many go on together. In private memory: no bytes of another process lead out of the barrier.
  private let slots: UInt32
  /// Whether this process was enrolled by having received the barrier.
  private let isReceived: Bool

  /// Makes a barrier at which nobody has arrived; with a name, one that other programs find by it, or
  /// finds theirs.
  ///
  /// - Parameter parties: how many go on together; the same in all programs.
  /// - Throws: `IPCError` with `invalidArgument` for a number that is not positive, `outOfMemory` or
  ///   `resourceLimit`; with a name, `nameExists` or `nameNotFound` as the mode says,
  ///   `segmentMismatch` when it is that of something else, or of a barrier for another number of
  ///   parties, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    parties: Int, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(parties, name: name.map { ObjectName($0, mode) })
  }

  init(_ parties: Int, name: ObjectName?) throws(IPCError) {
    guard (1...Int(Int32.max)).contains(parties) else {
      throw IPCError(.invalidArgument, context: "Barrier: \(parties) parties")
    }
    let slots = UInt32(parties)
    let segment = try unsafe Segment.make(
      Self.segmentType(slots: UInt64(slots)), size: cipc_barrier_footprint(slots), name: name,
      subject: "Barrier"
    ) { address in
      unsafe cipc_barrier_init(address.assumingMemoryBound(to: cipc_barrier_t.self), slots)
    }
    self.slots = try Self.slots(of: segment)
    memory = ObjectMemory(segment)
    isReceived = false
  }

  /// Receives a barrier from another process, and enrols this one: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a Barrier; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let segment = try Segment.decode(
      from: decoder, as: Barrier.self, Self.segmentType(slots: Segment.anyCount))
    slots = try Self.slots(of: segment)
    memory = ObjectMemory(segment)
    isReceived = true
    let status = unsafe cipc_barrier_enrol(pointer, slots, cipc_participant_current())
    try IPCError.check(status, "Barrier")
  }

  deinit {
    guard isReceived else { return }
    // The mutex is held for some instructions at a time. If its owner is stopped within them, the
    // process stays enrolled.
    _ = unsafe cipc_barrier_leave(
      pointer, slots, cipc_participant_current(), Deadline.after(.milliseconds(50)))
  }

  private static func segmentType(slots: UInt64) -> cipc_segment_type_t {
    cipc_barrier_type(slots)
  }

  /// How many slots there are, as the header says, and whether they all are there.
  private static func slots(of segment: Segment) throws(IPCError) -> UInt32 {
    let slots = UInt32(clamping: segment.count)
    guard slots > 0, cipc_barrier_footprint(slots) <= segment.size else {
      throw segment.misfit("Barrier")
    }
    return slots
  }

  private var pointer: UnsafeMutablePointer<cipc_barrier_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_barrier_t.self)
  }

  /// How many go on together.
  public var parties: Int { Int(slots) }

  /// How many have arrived and wait for others; 0 while the barrier is broken.
  ///
  /// Out of date when it is read. Does not block.
  public var waitingCount: Int {
    withExtendedLifetime(self) { Int(unsafe cipc_barrier_waiting(pointer, slots)) }
  }

  /// Whether the barrier is broken, and every wait says so until `reset()`.
  ///
  /// Does not block.
  public var isBroken: Bool {
    withExtendedLifetime(self) { unsafe cipc_barrier_is_broken(pointer) != 0 }
  }

  /// Breaks the barrier: all that wait, and all that come later, get the error `broken`.
  ///
  /// Does not wait for others.
  ///
  /// - Throws: `IPCError` with `notRecoverable` when the barrier was written over.
  public func abort() throws(IPCError) {
    let status = withExtendedLifetime(self) { unsafe cipc_barrier_abort(pointer) }
    try IPCError.check(status, "Barrier")
  }

  /// Makes the barrier whole again, and empty: all that wait get the error `broken`.
  ///
  /// The dead are not enrolled any more. Does not wait for others.
  ///
  /// - Throws: as `abort()`.
  public func reset() throws(IPCError) {
    let status = withExtendedLifetime(self) { unsafe cipc_barrier_reset(pointer, slots) }
    try IPCError.check(status, "Barrier")
  }

  /// Says that this thread, and this process where it is not waiting, are parties no more: their end
  /// does not break the barrier.
  ///
  /// The number of parties stays, and a party that left may come again. Does not wait for others.
  ///
  /// - Throws: as `abort()`.
  public func leave() throws(IPCError) {
    try withExtendedLifetime(self) { () throws(IPCError) in
      for party in [cipc_participant_this_thread(), cipc_participant_current()] {
        try IPCError.check(unsafe cipc_barrier_leave(pointer, slots, party, .max), "Barrier")
      }
    }
  }
}

// The operations of the C core, for the file that waits.
extension Barrier {
  /// Arrives and waits, without an action. The index, or a negative status.
  func pass(until deadline: Int64) -> Int32 {
    withExtendedLifetime(self) { unsafe cipc_barrier_wait(pointer, slots, nil, nil, deadline) }
  }

  func step(
    as party: cipc_participant_t, _ arrival: inout cipc_barrier_arrival_t, acts: Bool, look: Bool,
    _ wait: inout cipc_wait_t
  ) -> Int32 {
    unsafe cipc_barrier_step(
      pointer, slots, party, &arrival, acts ? 1 : 0, look ? 1 : 0, &wait)
  }

  func finish(_ arrival: inout cipc_barrier_arrival_t, failed: Bool) -> Int32 {
    unsafe cipc_barrier_finish(pointer, &arrival, failed ? 1 : 0)
  }

  func giveUp(_ arrival: inout cipc_barrier_arrival_t) -> Int32 {
    unsafe cipc_barrier_give_up(pointer, &arrival)
  }
}
