// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

/// An integer that processes share and change without a lock.
///
/// ```swift
/// let hits = try SharedAtomic(0)
/// hits.add(1)
/// print(hits.load(), hits.add(1).newValue)
/// ```
///
/// Every operation is one atomic instruction, or for the bitwise ones a short loop around one;
/// nothing blocks, nothing fails, and a process killed at any point leaves either the old or the
/// new integer. All are sequentially consistent. Arithmetic wraps around, as `wrappingAdd` of
/// `Synchronization.Atomic` does.
///
/// The bytes are a plain integer, so this type is safe towards processes that write anything there.
/// It travels to another process as an argument of a child or in a message on a `Connection`.
/// The corresponding C functions are `cipc_atomic_load` and those that follow it.
@safe
public final class SharedAtomic<T: FixedWidthInteger & BitwiseCopyable & Sendable>: SegmentObject {
  /// The memory in which the integer lies. For the library.
  public let memory: ObjectMemory

  /// Makes a shared integer; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameter value: what it is at first, where it is made.
  /// - Throws: `IPCError` with `unsupported` for a type that is not 1, 2, 4 or 8
  ///   bytes wide; `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than
  ///   a `SharedAtomic` of this type, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    _ value: T, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(value, name: name.map { ObjectName($0, mode) })
  }

  init(_ value: T, name: ObjectName?) throws(IPCError) {
    memory = ObjectMemory(try Self.makeSegment(value, name: name))
  }

  /// Finds a shared integer by its name.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or otherwise as `init(_:named:_:)`.
  public init(named name: String) throws(IPCError) {
    try Self.checkWidth()
    memory = ObjectMemory(
      try Segment.open(
        ObjectName(name, .open), as: Self.segmentType, subject: "\(SharedAtomic.self)"))
  }

  /// Receives an integer from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `SharedAtomic` of this type; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    try Self.checkWidth()
    // The header's count and stride fit the payload, so the integer does.
    memory = ObjectMemory(
      try Segment.decode(from: decoder, as: SharedAtomic.self, Self.segmentType))
  }

  private static func makeSegment(_ value: T, name: ObjectName?) throws(IPCError) -> Segment {
    try checkWidth()
    return try unsafe Segment.make(
      segmentType, size: MemoryLayout<UInt64>.size, name: name, subject: "\(SharedAtomic.self)"
    ) { address in
      unsafe cipc_atomic_store(address, width, UInt64(truncatingIfNeeded: value))
      return 0
    }
  }

  private static var segmentType: cipc_segment_type_t {
    var element = cipc_element_t(of: T.self)
    return unsafe cipc_atomic_type(&element)
  }

  private static func checkWidth() throws(IPCError) {
    guard [1, 2, 4, 8].contains(width), T.bitWidth == width * 8 else {
      throw IPCError(
        .unsupported, context: "SharedAtomic<\(T.self)>: integers of 1, 2, 4 and 8 bytes alone")
    }
  }

  @inlinable static var width: Int { MemoryLayout<T>.size }

  /// The integer now.
  @inlinable public func load() -> T {
    withExtendedLifetime(segment) {
      unsafe T(truncatingIfNeeded: cipc_atomic_load(segment.address, Self.width))
    }
  }

  /// Replaces the integer.
  @inlinable public func store(_ desired: T) {
    withExtendedLifetime(segment) {
      unsafe cipc_atomic_store(segment.address, Self.width, UInt64(truncatingIfNeeded: desired))
    }
  }

  /// Replaces the integer.
  ///
  /// - Returns: the integer before.
  @inlinable public func exchange(_ desired: T) -> T {
    withExtendedLifetime(segment) {
      unsafe T(
        truncatingIfNeeded: cipc_atomic_exchange(
          segment.address, Self.width, UInt64(truncatingIfNeeded: desired)))
    }
  }

  /// Replaces the integer if it is the one expected.
  ///
  /// - Returns: whether it was replaced, and the integer before. Never fails spuriously.
  @inlinable public func compareExchange(
    expected: T, desired: T
  ) -> (exchanged: Bool, original: T) {
    withExtendedLifetime(segment) {
      var original = UInt64(truncatingIfNeeded: expected)
      let exchanged = unsafe cipc_atomic_compare_exchange(
        segment.address, Self.width, &original, UInt64(truncatingIfNeeded: desired))
      return (exchanged != 0, T(truncatingIfNeeded: original))
    }
  }

  /// Adds, wrapping around.
  ///
  /// - Returns: the integer before and after.
  @discardableResult
  @inlinable public func add(_ operand: T) -> (oldValue: T, newValue: T) {
    withExtendedLifetime(segment) {
      let old = unsafe T(
        truncatingIfNeeded: cipc_atomic_add(
          segment.address, Self.width, UInt64(truncatingIfNeeded: operand)))
      return (old, old &+ operand)
    }
  }

  /// Subtracts, wrapping around.
  ///
  /// - Returns: the integer before and after.
  @discardableResult
  @inlinable public func subtract(_ operand: T) -> (oldValue: T, newValue: T) {
    add(0 &- operand)
  }

  /// Keeps the bits that the operand has too.
  ///
  /// - Returns: the integer before and after.
  @discardableResult
  @inlinable public func bitwiseAnd(_ operand: T) -> (oldValue: T, newValue: T) {
    update { $0 & operand }
  }

  /// Sets the bits that the operand has.
  ///
  /// - Returns: the integer before and after.
  @discardableResult
  @inlinable public func bitwiseOr(_ operand: T) -> (oldValue: T, newValue: T) {
    update { $0 | operand }
  }

  /// Flips the bits that the operand has.
  ///
  /// - Returns: the integer before and after.
  @discardableResult
  @inlinable public func bitwiseXor(_ operand: T) -> (oldValue: T, newValue: T) {
    update { $0 ^ operand }
  }

  @inlinable func update(_ change: (T) -> T) -> (oldValue: T, newValue: T) {
    var old = load()
    while true {
      let new = change(old)
      let (exchanged, original) = compareExchange(expected: old, desired: new)
      if exchanged { return (old, new) }
      old = original
    }
  }
}
