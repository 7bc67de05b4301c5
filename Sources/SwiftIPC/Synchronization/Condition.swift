// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// A condition that processes share: waiting, with a lock let go, until a notification says that
/// something changed.
///
/// ```swift
/// let condition = try Condition()
/// let jobs = try SharedAtomic(0)
/// let worker = try ChildProcess.start(condition, jobs) { condition, jobs in
///   try condition.withLock(when: { jobs.load() > 0 }) { _ = jobs.subtract(1) }
/// }
/// try condition.withLock {
///   jobs.add(1)
///   try condition.notify()
/// }
/// try await worker.join()
/// ```
///
/// What is waited for is guarded by a lock: the condition's own, or one that it is made for, which any
/// number of conditions may share. Waiting, notifying, and looking at what is waited for are done
/// under it. A waiter lets it go, and has it again afterwards.
///
/// There are two ways to wait:
/// - `wait(timeout:)` and its kin inside `withLock { }`, which block the thread;
/// - `withLock(when:)`, which takes the lock, waits as long as the predicate does not hold, and runs
///   the body. It exists blocking and with `await`, where the task is suspended, since no lock can be
///   held across an `await`.
///
/// Those are notified first that have waited longest. The condition survives the death of a waiter
/// or notifies: what a dead waiter was notified of passes on to the next, once, within 250 ms. Where
/// the owner of the lock dies, which may have been about to notify, all waits end with `ownerDied`.
///
/// It holds a fixed number of waiters. Any number of threads and processes may use it; it travels to
/// another process, with its lock, as an argument of a child or in a message on a `Connection`. It is
/// for processes that trust each other, because of that lock, see `Lock`. Keep it as long as the
/// lock is held in which it was waited with: a lock that was received once more beside it is
/// another mapping of the same memory.
///
/// The corresponding C type is `cipc_condition_t`.
@safe
public final class Condition: SegmentObject {
  /// The memory in which the condition lies. For the library.
  public let memory: ObjectMemory

  /// The lock that guards what is waited for.
  public let lock: Lock
  /// In private memory: no bytes of another process lead out of the condition.
  private let slots: UInt32

  /// How many can wait at a time where nothing else is said: a page's worth.
  public static var defaultWaiters: Int { Int(CIPC_CONDITION_WAITERS) }

  /// Makes a condition with a lock of its own, for which nobody waits.
  ///
  /// - Parameter waiters: how many can wait at a time; each costs 32 bytes.
  /// - Throws: `IPCError` with `invalidArgument` for a number that is not positive, `outOfMemory` or
  ///   `resourceLimit`.
  public convenience init(waiters: Int = Condition.defaultWaiters) throws(IPCError) {
    try self.init(Lock(), waiters: waiters)
  }

  /// Makes a condition of something that a lock guards; with a name, one that other programs find by it,
  /// or finds theirs.
  ///
  /// All programs use the same lock with it, which has a name of its own.
  ///
  /// - Parameter waiters: how many can wait at a time where this makes it; each costs 32 bytes.
  /// - Throws: as `init(waiters:)`; with a name, `IPCError` with `nameExists` or `nameNotFound` as the
  ///   mode says, `segmentMismatch` when it is that of something else, `invalidArgument` when it
  ///   cannot be one. See `NamedObject`.
  public convenience init(
    _ lock: Lock, waiters: Int = Condition.defaultWaiters, named name: String? = nil,
    _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(lock, waiters, name: name.map { ObjectName($0, mode) })
  }

  init(_ lock: Lock, _ waiters: Int, name: ObjectName?) throws(IPCError) {
    guard (1...Int(Int32.max)).contains(waiters) else {
      throw IPCError(.invalidArgument, context: "Condition: \(waiters) waiters")
    }
    let slots = UInt32(waiters)
    let segment = try unsafe Segment.make(
      Self.segmentType(slots: UInt64(slots)),
      size: cipc_condition_footprint(slots), name: name, subject: "Condition"
    ) { address in
      unsafe cipc_condition_init(address.assumingMemoryBound(to: cipc_condition_t.self), slots)
    }
    self.slots = try Self.slots(of: segment)
    memory = ObjectMemory(segment)
    self.lock = lock
  }

  /// Receives a condition and its lock from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a Condition; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    _ = try decoder.descriptorInbox(for: Condition.self)
    var container = try decoder.unkeyedContainer()
    let segment = try Segment.decode(
      from: container.superDecoder(), as: Condition.self,
      Self.segmentType(slots: Segment.anyCount))
    slots = try Self.slots(of: segment)
    memory = ObjectMemory(segment)
    lock = try container.decode(Lock.self)
  }

  private static func segmentType(slots: UInt64) -> cipc_segment_type_t {
    cipc_condition_type(slots)
  }

  /// How many slots there are, as the header says, and whether they all are there.
  private static func slots(of segment: Segment) throws(IPCError) -> UInt32 {
    let slots = UInt32(clamping: segment.count)
    guard slots > 0, cipc_condition_footprint(slots) <= segment.size else {
      throw segment.misfit("Condition")
    }
    return slots
  }

  private var pointer: UnsafeMutablePointer<cipc_condition_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_condition_t.self)
  }

  private var mutex: RobustMutex { RobustMutex(lock.segment) }

  /// How many can wait at a time.
  public var waiterCapacity: Int { Int(slots) }

  /// How many wait and have not been notified, the dead included until their place is needed.
  ///
  /// Out of date when it is read, except inside `withLock`. Does not block.
  public var waitingCount: Int {
    withExtendedLifetime(self) { Int(unsafe cipc_condition_waiting(pointer, slots)) }
  }

  /// Takes the lock, runs the body and releases the lock: `lock.withLock`.
  ///
  /// - Returns: what the body returns.
  /// - Throws: as `Lock.withLock(_:)`.
  @inlinable public func withLock<R: ~Copyable>(_ body: () throws -> R) throws -> R {
    try lock.withLock(body)
  }

  /// Takes the lock, repairs if an owner died, runs the body and releases the lock: `lock.withLock`.
  ///
  /// - Returns: what the body returns.
  /// - Throws: as `Lock.withLock(_:recovering:)`.
  @inlinable public func withLock<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    try lock.withLock(body, recovering: repair)
  }

  /// Notifies those that have waited longest. Inside `withLock`.
  ///
  /// They go on once the lock is free. Of those notified some may be dead, which passes on. Does not
  /// block.
  ///
  /// - Parameter count: how many; fewer if there are not as many.
  /// - Returns: how many were notified.
  /// - Throws: `IPCError` with `notOwner` when this thread does not hold the lock, `invalidArgument`
  ///   for a negative count.
  @discardableResult public func notify(_ count: Int = 1) throws(IPCError) -> Int {
    guard count >= 0 else {
      throw IPCError(.invalidArgument, context: "Condition: notify(\(count))")
    }
    return try notify(UInt32(clamping: count))
  }

  /// Notifies all that wait. Inside `withLock`.
  ///
  /// They go on one after the other, once the lock is free. Does not block.
  ///
  /// - Returns: how many were notified.
  /// - Throws: `IPCError` with `notOwner` when this thread does not hold the lock.
  @discardableResult public func notifyAll() throws(IPCError) -> Int {
    try notify(UInt32.max)
  }

  private func notify(_ count: UInt32) throws(IPCError) -> Int {
    let notified = withExtendedLifetime(self) {
      unsafe cipc_condition_notify(pointer, slots, mutex.pointer, count)
    }
    return Int(try IPCError.check(notified, "Condition"))
  }
}

// The four operations of the C core, for the files that wait.
extension Condition {
  /// Blocks until notified, as the owner of the lock. A status of the C core.
  func wait(until deadline: Int64) throws(IPCError) {
    let status = withExtendedLifetime(self) {
      unsafe cipc_condition_wait(pointer, slots, mutex.pointer, deadline)
    }
    if status == CIPC_OWNER_DIED.rawValue { throw mutex.casualty }
    try IPCError.check(status, "Condition")
  }

  /// Enters a waiter and lets the lock go.
  func enter(as owner: cipc_participant_t, _ entry: inout cipc_condition_wait_t) -> Int32 {
    unsafe cipc_condition_enter(pointer, slots, mutex.pointer, owner, &entry)
  }

  func step(_ entry: inout cipc_condition_wait_t, _ look: Bool, _ wait: inout cipc_wait_t) -> Int32
  {
    unsafe cipc_condition_step(pointer, slots, mutex.pointer, &entry, look ? 1 : 0, &wait)
  }

  /// Takes the lock and frees the slot.
  func leave(_ entry: inout cipc_condition_wait_t) -> Int32 {
    unsafe cipc_condition_leave(pointer, slots, mutex.pointer, &entry)
  }
}

extension Condition {
  /// Gives the condition and its lock to another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder.
  public func encode(to encoder: any Encoder) throws {
    _ = try encoder.descriptorOutbox(for: Condition.self)
    var container = encoder.unkeyedContainer()
    try segment.encode(to: container.superEncoder(), as: Condition.self)
    try container.encode(lock)
  }
}
