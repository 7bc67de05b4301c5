// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// Message bytes that are being written: one buffer that grows, and the opcodes that go into it.
///
/// A buffer of its own rather than an array: an array in a class is checked for uniqueness and
/// exclusive access at each byte.
@safe package final class PickleWriter {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var count = 0
  /// Whether arrays of numbers are written as memory.
  var packsNumbers = false
  /// Whether there is one so far, which makes it a message that Python cannot read.
  private var hasNumbers = false

  init(capacity: Int = 256) {
    self.capacity = capacity
    unsafe base = .allocate(byteCount: capacity, alignment: 8)
  }

  deinit { unsafe base.deallocate() }

  /// Whether it has so much memory that it is not worth keeping.
  var isLarge: Bool { capacity > 1 << 14 }

  /// What was written so far.
  func bytes() -> [UInt8] {
    unsafe Array(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// Runs the body with what was written so far.
  @unsafe package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    unsafe body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// Takes back what was written after `count` bytes.
  func truncate(to count: Int) { self.count = min(self.count, count) }

  @inline(__always)
  private func reserve(_ wanted: Int) {
    if capacity - count < wanted { grow(wanted) }
  }

  @inline(never)
  private func grow(_ wanted: Int) {
    let larger = max(capacity * 2, count + wanted)
    let new = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 8)
    unsafe new.copyMemory(from: base, byteCount: count)
    unsafe base.deallocate()
    unsafe base = new
    capacity = larger
  }

  // The bytes stored below were reserved by the caller.
  @inline(__always)
  private func put<I: FixedWidthInteger>(_ value: I) {
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: I.self)
    count += MemoryLayout<I>.size
  }

  private func put(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    reserve(bytes.count)
    unsafe (base + count).copyMemory(from: start, byteCount: bytes.count)
    count += bytes.count
  }

  // MARK: Opcodes

  @inline(__always)
  func opcode(_ opcode: UInt8) {
    reserve(1)
    put(opcode)
  }

  func begin(packsNumbers: Bool) {
    count = 0
    hasNumbers = false
    self.packsNumbers = packsNumbers
    reserve(2)
    put(PickleOpcode.proto)
    put(UInt8(4))
  }

  /// Ends the message, and says at its beginning what it holds.
  func end() {
    opcode(PickleOpcode.stop)
    if hasNumbers {
      unsafe base.storeBytes(of: PickleOpcode.memoryProtocol, toByteOffset: 1, as: UInt8.self)
    }
  }

  /// Notes whether a part that will be inserted here holds arrays as memory.
  func takeNote(of part: PickleWriter) { hasNumbers = hasNumbers || part.hasNumbers }

  @inline(__always)
  func bool(_ value: Bool) { opcode(value ? PickleOpcode.newTrue : PickleOpcode.newFalse) }

  @inline(__always)
  func float(_ value: Double) {
    reserve(9)
    put(PickleOpcode.binFloat)
    put(value.bitPattern.byteSwapped)
  }

  @inline(__always)
  func integer(_ value: Int64) {
    reserve(11)
    if let value = UInt8(exactly: value) {
      put(PickleOpcode.binInt1)
      put(value)
    } else if let value = UInt16(exactly: value) {
      put(PickleOpcode.binInt2)
      put(value)
    } else if let value = Int32(exactly: value) {
      put(PickleOpcode.binInt)
      put(value)
    } else {
      // As few bytes as hold the value and its sign, as Python writes it.
      let used = 64 - (value < 0 ? ~value : value).leadingZeroBitCount
      put(PickleOpcode.long1)
      put(UInt8(used / 8 + 1))
      unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: Int64.self)
      count += used / 8 + 1
    }
  }

  @inline(__always)
  func integer<I: FixedWidthInteger>(_ value: I) {
    if let small = Int64(exactly: value) { integer(small) } else { integer(BigInteger(value)) }
  }

  func integer(_ value: BigInteger) {
    if let small = value.asInt64 { return integer(small) }
    let bytes = value.littleEndianBytes
    reserve(5)
    if let count = UInt8(exactly: bytes.count) {
      put(PickleOpcode.long1)
      put(count)
    } else {
      put(PickleOpcode.long4)
      put(Int32(clamping: bytes.count))
    }
    unsafe bytes.withUnsafeBytes { unsafe put($0) }
  }

  @inline(__always)
  func string(_ value: String) {
    var value = value
    value.withUTF8 { utf8 in
      let count = utf8.count
      if count < 256 {
        reserve(2 + count)
        put(PickleOpcode.shortBinUnicode)
        put(UInt8(count))
        if let start = utf8.baseAddress {
          unsafe (base + self.count).copyMemory(from: start, byteCount: count)
          self.count += count
        }
      } else {
        length(count, PickleOpcode.binUnicode, PickleOpcode.binUnicode8)
        unsafe put(UnsafeRawBufferPointer(utf8))
      }
    }
  }

  func bytes(_ value: [UInt8]) {
    if let count = UInt8(exactly: value.count) {
      reserve(2)
      put(PickleOpcode.shortBinBytes)
      put(count)
    } else {
      length(value.count, PickleOpcode.binBytes, PickleOpcode.binBytes8)
    }
    unsafe value.withUnsafeBytes { unsafe put($0) }
  }

  private func length(_ count: Int, _ opcode: UInt8, _ longOpcode: UInt8) {
    reserve(9)
    if let count = UInt32(exactly: count) {
      put(opcode)
      put(count)
    } else {
      put(longOpcode)
      put(UInt64(count))
    }
  }

  // MARK: Lists in one go

  @inline(__always)
  private func list(_ isEmpty: Bool, _ body: () -> Void) {
    opcode(PickleOpcode.emptyList)
    if isEmpty { return }
    opcode(PickleOpcode.mark)
    body()
    opcode(PickleOpcode.appends)
  }

  func list(_ values: [Double]) {
    if packsNumbers {
      unsafe values.withUnsafeBytes { unsafe numbers(.double, $0, count: values.count) }
      return
    }
    list(values.isEmpty) {
      reserve(9 * values.count)
      for value in values {
        put(PickleOpcode.binFloat)
        put(value.bitPattern.byteSwapped)
      }
    }
  }

  @inline(__always)
  func list<S: PickleScalar>(_ values: [S]) {
    if packsNumbers, let element = PickleElement(S.self) {
      unsafe values.withUnsafeBytes { unsafe numbers(element, $0, count: values.count) }
      return
    }
    list(values.isEmpty) { for value in values { value.write(to: self) } }
  }

  /// An array of numbers as memory.
  @unsafe func numbers(_ element: PickleElement, _ bytes: UnsafeRawBufferPointer, count: Int) {
    if count == 0 { return opcode(PickleOpcode.emptyList) }
    reserve(1 + PickleNumbers.headerSize + bytes.count)
    put(PickleOpcode.numbers)
    put(element.rawValue)
    put(UInt64(count))
    unsafe put(bytes)
    hasNumbers = true
  }

  /// Appends a range of what was written to bytes.
  func append(_ range: Range<Int>, to bytes: inout [UInt8]) {
    let own = unsafe UnsafeRawBufferPointer(start: base, count: count)
    unsafe bytes.append(contentsOf: own[range])
  }

  // MARK: Whole values

  /// Before each level of lists, dictionaries and the like, and of types that encode themselves.
  static func checkDepth(_ depth: Int) throws(IPCError) {
    guard depth < PickleLimits().depth else {
      throw IPCError(.invalidArgument, context: "nested more than \(PickleLimits().depth) deep")
    }
    if CallStack.isLow {
      throw IPCError(
        .invalidArgument, context: "nested too deep for the stack of this thread, at \(depth) deep")
    }
  }

  /// Writes a value with everything in it. Recursive, so the depth is bounded here, and by the stack.
  func value(_ value: MessageValue, depth: Int = 0) throws(IPCError) {
    func each(_ values: some Sequence<MessageValue>) throws(IPCError) {
      for value in values { try self.value(value, depth: depth + 1) }
    }
    func hashable(_ value: MessageValue) throws(IPCError) {
      guard value.isHashableInPython else {
        throw IPCError(
          .invalidArgument,
          context:
            "\(MessageDescription.text(of: value, limit: 256)) as a key or an element of a set: "
            + "Python has none such"
        )
      }
      try self.value(value, depth: depth + 1)
    }
    switch value {
    case .array, .tuple, .dictionary, .set, .frozenSet, .complex:
      try Self.checkDepth(depth)
    default: break
    }
    switch value {
    case .null: opcode(PickleOpcode.none)
    case .bool(let value): bool(value)
    case .integer(let value): integer(value)
    case .bigInteger(let value):
      guard value.littleEndianBytes.count <= Int(Int32.max) else {
        throw IPCError(.invalidArgument, context: "an integer of more than 2^31 bytes")
      }
      integer(value)
    case .double(let value): float(value)
    case .string(let value): string(value)
    case .bytes(let value): bytes(value)
    case .array(let values):
      opcode(PickleOpcode.emptyList)
      if values.isEmpty { return }
      opcode(PickleOpcode.mark)
      try each(values)
      opcode(PickleOpcode.appends)
    case .tuple(let values):
      if values.isEmpty { return opcode(PickleOpcode.emptyTuple) }
      opcode(PickleOpcode.mark)
      try each(values)
      opcode(PickleOpcode.tuple)
    case .dictionary(let dictionary):
      opcode(PickleOpcode.emptyDictionary)
      if dictionary.isEmpty { return }
      opcode(PickleOpcode.mark)
      for (key, value) in dictionary {
        try hashable(key)
        try self.value(value, depth: depth + 1)
      }
      opcode(PickleOpcode.setItems)
    case .set(let values):
      opcode(PickleOpcode.emptySet)
      if values.isEmpty { return }
      opcode(PickleOpcode.mark)
      for value in values { try hashable(value) }
      opcode(PickleOpcode.addItems)
    case .frozenSet(let values):
      opcode(PickleOpcode.mark)
      for value in values { try hashable(value) }
      opcode(PickleOpcode.frozenSet)
    case .complex(let real, let imaginary):
      string("builtins")
      string("complex")
      opcode(PickleOpcode.stackGlobal)
      float(real)
      float(imaginary)
      opcode(PickleOpcode.tuple2)
      opcode(PickleOpcode.reduce)
    }
  }
}
