// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

// The objects of a region.
//
// All take a name of 1 to 63 bytes and a mode, and throw the same: `nameExists` or `nameNotFound` as
// the mode says; `segmentMismatch`, whose context names the field, when the name is that of another
// type; `capacityExceeded` when there is no room; `invalidArgument` for no name; and what the
// initialiser of the object throws. They block while another process makes an object.
extension SharedRegion {
  private func object(_ name: String, _ mode: NameMode) -> ObjectName {
    ObjectName(name, mode, in: segment)
  }

  /// A value: the one of that name, or a new one.
  ///
  /// - Parameter value: what it is at first, where it is made.
  /// - Throws: `IPCError` with `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` for
  ///   another type of that name, `capacityExceeded` without room, `invalidArgument` for no name.
  public func value<T: BitwiseCopyable & Sendable>(
    _ name: String, _ value: T, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> Value<T> {
    try Value(value, name: object(name, mode))
  }

  /// A lock-free integer: the one of that name, or a new one.
  ///
  /// - Parameter value: what it is at first, where it is made.
  /// - Throws: as `value(_:_:_:)`; `IPCError` with `unsupported` for a type that is not 1, 2, 4 or 8
  ///   bytes wide.
  public func atomic<T: FixedWidthInteger & BitwiseCopyable & Sendable>(
    _ name: String, _ value: T, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> SharedAtomic<T> {
    try SharedAtomic(value, name: object(name, mode))
  }

  /// An array: the one of that name, or a new one of the elements of a sequence.
  ///
  /// - Parameters:
  ///   - elements: what it holds at first, where it is made; what is found has as many.
  ///   - transactional: whether it has `update`; as in what is found.
  /// - Throws: as `value(_:_:_:)`.
  public func array<T: BitwiseCopyable & Sendable>(
    _ name: String, _ elements: some Sequence<T>, _ mode: NameMode = .openOrCreate,
    transactional: Bool = false
  ) throws(IPCError) -> SharedArray<T> {
    try SharedArray(copying: elements, shape: nil, transactional, name: object(name, mode))
  }

  /// An array: the one of that name, or a new one of equal elements.
  ///
  /// - Throws: as `value(_:_:_:)`; `IPCError` with `invalidArgument` for a negative count.
  public func array<T: BitwiseCopyable & Sendable>(
    _ name: String, repeating element: T, count: Int, _ mode: NameMode = .openOrCreate,
    transactional: Bool = false
  ) throws(IPCError) -> SharedArray<T> {
    try array(name, shape: [count], repeating: element, mode, transactional: transactional)
  }

  /// An array with a row-major shape: the one of that name, or a new one of equal elements.
  ///
  /// - Throws: as `value(_:_:_:)`; `IPCError` with `invalidArgument` for a shape that is none.
  public func array<T: BitwiseCopyable & Sendable>(
    _ name: String, shape: [Int], repeating element: T, _ mode: NameMode = .openOrCreate,
    transactional: Bool = false
  ) throws(IPCError) -> SharedArray<T> {
    try SharedArray(
      shape: shape, repeating: element, transactional, name: object(name, mode))
  }

  /// The array of that name and element type, whatever its shape.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or `segmentMismatch` for another type of that name.
  public func array<T: BitwiseCopyable & Sendable>(
    _ name: String, of type: T.Type
  ) throws(IPCError) -> SharedArray<T> {
    try SharedArray(finding: object(name, .open))
  }

  /// A text: the one of that name, or a new one.
  ///
  /// - Parameters:
  ///   - text: what it says at first, where it is made.
  ///   - capacity: the longest text that will fit, in bytes of UTF-8; what is found has the same.
  /// - Throws: as `value(_:_:_:)`; `IPCError` with `capacityExceeded` also when `text` does not fit.
  public func string(
    _ name: String, _ text: String = "", capacity: Int, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> SharedString {
    try SharedString(text, capacity: capacity, name: object(name, mode))
  }

  /// The text of that name, whatever its capacity.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or `segmentMismatch` for another type of that name.
  public func string(_ name: String) throws(IPCError) -> SharedString {
    try SharedString(finding: object(name, .open))
  }

  /// Bytes: those of that name, or new ones.
  ///
  /// - Parameters:
  ///   - bytes: what they are at first, where they are made.
  ///   - capacity: the most bytes that will fit; what is found has the same.
  /// - Throws: as `value(_:_:_:)`; `IPCError` with `capacityExceeded` also when `bytes` do not fit.
  public func bytes(
    _ name: String, _ bytes: some Sequence<UInt8> = [], capacity: Int,
    _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> SharedBytes {
    try SharedBytes(bytes, capacity: capacity, name: object(name, mode))
  }

  /// The bytes of that name, whatever their capacity.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or `segmentMismatch` for another type of that name.
  public func bytes(_ name: String) throws(IPCError) -> SharedBytes {
    try SharedBytes(finding: object(name, .open))
  }

  /// A lock: the one of that name, or a new one.
  ///
  /// - Throws: as `value(_:_:_:)`.
  public func lock(
    _ name: String, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> Lock {
    try Lock(name: object(name, mode))
  }

  /// A recursive lock: the one of that name, or a new one.
  ///
  /// - Throws: as `value(_:_:_:)`.
  public func recursiveLock(
    _ name: String, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> RecursiveLock {
    try RecursiveLock(name: object(name, mode))
  }

  /// A reader-writer lock: the one of that name, or a new one.
  ///
  /// - Parameter readers: how many can read at a time; what is found has room for as many.
  /// - Throws: as `value(_:_:_:)`.
  public func readWriteLock(
    _ name: String, readers: Int = 128, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> ReadWriteLock {
    try ReadWriteLock(readers, name: object(name, mode))
  }

  /// A semaphore: the one of that name, or a new one whose permits are all free.
  ///
  /// - Parameter value: how many permits there are; what is found has as many.
  /// - Throws: as `value(_:_:_:)`.
  public func semaphore(
    _ name: String, value: Int, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> SharedSemaphore {
    try SharedSemaphore(value: value, name: object(name, mode))
  }

  /// A semaphore for signals: the one of that name, or a new one.
  ///
  /// - Parameters:
  ///   - value: how many permits there are at first, where it is made.
  ///   - bound: the most that there can be, where it is made.
  /// - Throws: as `value(_:_:_:)`.
  public func unownedSemaphore(
    _ name: String, value: Int, bound: Int = Int(Int32.max), _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> SharedSemaphore.Unowned {
    try SharedSemaphore.Unowned(value: value, bound: bound, name: object(name, mode))
  }

  /// An event: the one of that name, or a new one.
  ///
  /// - Parameter isSet: whether it is set at first, where it is made.
  /// - Throws: as `value(_:_:_:)`.
  public func event(
    _ name: String, isSet: Bool = false, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> Event {
    try Event(isSet: isSet, name: object(name, mode))
  }

  /// A condition of something that a lock guards: the one of that name, or a new one.
  ///
  /// - Parameters:
  ///   - lock: the same wherever the condition is used.
  ///   - waiters: how many can wait at a time; what is found has room for as many.
  /// - Throws: as `value(_:_:_:)`.
  public func condition(
    _ name: String, _ lock: Lock, waiters: Int = Condition.defaultWaiters,
    _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> Condition {
    try Condition(lock, waiters, name: object(name, mode))
  }

  /// A barrier: the one of that name, or a new one at which nobody has arrived.
  ///
  /// - Parameter parties: how many go on together; what is found has as many.
  /// - Throws: as `value(_:_:_:)`.
  public func barrier(
    _ name: String, parties: Int, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) -> Barrier {
    try Barrier(parties, name: object(name, mode))
  }
}
