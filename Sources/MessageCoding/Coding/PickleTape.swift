// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// A message that was read: its values in an order that can be indexed, over its bytes.
///
/// It owns the bytes, so that a decoder which outlives `decode` still reads memory that is there. Its
/// memory serves one message after the other, unless a decoded type keeps its decoder.
final class PickleTape {
  private(set) var bytes: [UInt8] = []
  // No access lasts while anybody else's code runs, so none meets another; checking costs a call each.
  @exclusivity(unchecked) private var reader = PickleReader()
  private(set) var root = PickleNode(PickleOpcode.none, 0)

  /// Where the last key was found: types ask for keys in the order in which they were written.
  var keyContainer = -1
  var nextKey = 0

  /// Values that the message spells once and uses often are made once.
  private var strings: [Int: String] = [:]
  private var byteArrays: [Int: [UInt8]] = [:]
  private var bigIntegers: [Int: BigInteger] = [:]
  private var values: [Int: (value: MessageValue, weight: Int, sets: Int)] = [:]
  private var keyIndexes: [Int: PickleKeyIndex] = [:]
  private var hasMade = false

  /// The work that may still go into hashing keys and into bytes read one by one, in values.
  private var budget = 0
  /// What was spent on when it went below zero.
  private var maximum = 0
  /// The cost of hashing all that `value` has made so far.
  private var weight = 0
  /// How many sets are within each other in the value that `value` has made last: the standard library
  /// hashes a set by recursion into its elements.
  private var sets = 0
  /// More stack than hashing or comparing takes for each set in a set.
  private static let stackPerSet: UInt = 2048
  /// How much text or bytes is as much work as one value.
  static let bytesPerValue = 16

  /// Reads a whole message.
  ///
  /// - Throws: `malformedMessage` with the opcode and the offset.
  func read(_ bytes: [UInt8], _ limits: PickleLimits) throws(IPCError) {
    self.bytes = bytes
    maximum = max(
      limits.values(byteCount: bytes.count), PickleLimits().values(byteCount: bytes.count))
    budget = maximum
    weight = 0
    root = unsafe try reader.read(bytes, limits)
  }

  /// Forgets the message, and keeps what little memory the next one can use.
  func clear() {
    bytes = []
    unsafe reader.clear()
    keyContainer = -1
    if !hasMade { return }
    hasMade = false
    strings = [:]
    byteArrays = [:]
    bigIntegers = [:]
    values = [:]
    keyIndexes = [:]
  }

  // MARK: Costs that the number of values does not show

  /// Counts work that a short message can ask for again and again, by naming a part of itself: a long
  /// text as a key of many dictionaries is hashed in each, and sets in sets in each level.
  ///
  /// - Throws: `malformedMessage` when it is more than is due to a message of this size.
  @inline(__always)
  func charge(_ values: Int) throws(IPCError) {
    budget = budget &- values
    if budget < 0 { throw tooMuchWork() }
  }

  /// Charges for hashing a scalar that the message may name again and again.
  @inline(__always)
  func charge(shared node: PickleNode) throws(IPCError) {
    if node.isShared { try charge(scalarWeight(node)) }
  }

  /// The same where nothing can be thrown: the next container is refused.
  func note(shared node: PickleNode) {
    if node.isShared, budget >= 0 { budget = budget &- scalarWeight(node) }
  }

  /// Charges for hashing a value with everything in it.
  func charge(hashing node: PickleNode) throws(IPCError) {
    var left: [Range<Int>] = []
    func look(_ node: PickleNode) throws(IPCError) {
      try charge(1 + scalarWeight(node))
      if node.isContainer { left.append(children(of: node)) }
    }
    try look(node)
    while var range = left.popLast() {
      guard let place = range.popFirst() else { continue }
      left.append(range)
      try look(element(place))
    }
  }

  private func scalarWeight(_ node: PickleNode) -> Int {
    switch node.tag {
    case PickleOpcode.shortBinUnicode, PickleOpcode.binUnicode, PickleOpcode.binUnicode8,
      PickleOpcode.shortBinBytes, PickleOpcode.binBytes, PickleOpcode.binBytes8,
      PickleOpcode.byteArray8, PickleOpcode.long1, PickleOpcode.long4:
      span(of: node).count / Self.bytesPerValue
    case PickleOpcode.numbers: numbers(node)!.count
    default: 0
    }
  }

  private func tooMuchWork() -> IPCError {
    IPCError(
      .malformedMessage,
      context:
        "keys, sets in sets and bytes that the message names again and again are more work than "
        + "\(maximum) values"
    )
  }

  func tooDeep(_ node: PickleNode, _ path: MessageCodingPath?) -> IPCError {
    IPCError(
      .malformedMessage,
      context:
        "\(MessageCodingPath.describe(path)): nested too deep for the stack of this thread, at the "
        + "value at offset \(offset(of: node))"
    )
  }

  // MARK: Keys of large dictionaries

  /// Where the keys of a dictionary are, from the fourth search on that would go through all of them.
  func keyIndex(of container: Int) -> PickleKeyIndex? {
    hasMade = true
    keyIndexes[container, default: PickleKeyIndex()].prepare(container, self)
    let index = keyIndexes[container]
    return index?.isReady == true ? index : nil
  }

  @inline(__always)
  func element(_ place: Int) -> PickleNode { unsafe reader.element(place) }

  @inline(__always)
  func container(_ index: Int) -> PickleContainer { unsafe reader.container(index) }

  // MARK: Raw access. The reader checked that every operand lies within the bytes.

  @inline(__always)
  private func load<I: FixedWidthInteger>(_ offset: Int, as: I.Type) -> I {
    unsafe bytes.withUnsafeBytes {
      unsafe I(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: I.self))
    }
  }

  @inline(__always)
  func float(_ node: PickleNode) -> Double {
    Double(bitPattern: load(node.payload, as: UInt64.self).byteSwapped)
  }

  /// Where the bytes of a string, of bytes or of a long integer are.
  static func span(of node: PickleNode, in raw: UnsafeRawBufferPointer) -> Range<Int> {
    let offset = node.payload
    switch node.tag {
    case PickleOpcode.shortBinUnicode, PickleOpcode.shortBinBytes, PickleOpcode.long1:
      return unsafe offset + 1..<offset + 1 + Int(raw[offset])
    case PickleOpcode.binUnicode, PickleOpcode.binBytes, PickleOpcode.long4:
      let count = unsafe raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self).littleEndian
      return offset + 4..<offset + 4 + Int(count)
    default:
      let count = unsafe raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
      return offset + 8..<offset + 8 + Int(count)
    }
  }

  @inline(__always)
  func span(of node: PickleNode) -> Range<Int> {
    unsafe bytes.withUnsafeBytes { unsafe PickleTape.span(of: node, in: $0) }
  }

  /// Where in the message the value was made, for errors.
  func offset(of node: PickleNode) -> Int {
    if node.isContainer { return Int(container(node.payload).offset) }
    return node.isElement ? node.payload : node.payload - 1
  }

  /// The numbers of an array as memory, or `nil`.
  @inline(__always)
  func numbers(_ node: PickleNode) -> PickleNumbers? {
    node.tag == PickleOpcode.numbers ? PickleTape.numbers(node, in: bytes) : nil
  }

  /// Copies the numbers, all of them, to memory that is big enough.
  @unsafe func copy(_ numbers: PickleNumbers, to buffer: UnsafeMutableRawBufferPointer) {
    if numbers.count == 0 { return }
    unsafe bytes.withUnsafeBytes { raw in
      let end = numbers.start + numbers.count * numbers.element.stride
      unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[numbers.start..<end]))
    }
  }

  static func numbers(_ node: PickleNode, in bytes: [UInt8]) -> PickleNumbers {
    let count = unsafe bytes.withUnsafeBytes {
      unsafe $0.loadUnaligned(fromByteOffset: node.payload + 1, as: UInt64.self).littleEndian
    }
    return PickleNumbers(
      // The reader let no other letter pass.
      element: PickleElement(rawValue: bytes[node.payload])!,
      start: node.payload + PickleNumbers.headerSize, count: Int(count))
  }

  /// The elements of a container: its keys and values in turn where it is a dictionary.
  @inline(__always)
  func children(of node: PickleNode) -> Range<Int> {
    let container = container(node.payload)
    return Int(container.start)..<Int(container.start) + Int(container.count)
  }

  /// The elements of a list, tuple or set, or `nil`.
  @inline(__always)
  func sequence(_ node: PickleNode) -> Range<Int>? {
    switch node.tag {
    case PickleOpcode.emptyList, PickleOpcode.emptyTuple, PickleOpcode.emptySet,
      PickleOpcode.frozenSet:
      children(of: node)
    default: nil
    }
  }

  // MARK: Scalars

  /// An integer of at most 64 bits.
  @inline(__always)
  func smallInteger(_ node: PickleNode) -> Int64? {
    switch node.tag {
    case PickleOpcode.binInt1: Int64(bytes[node.payload])
    case PickleOpcode.binInt2: Int64(load(node.payload, as: UInt16.self))
    case PickleOpcode.binInt: Int64(load(node.payload, as: Int32.self))
    case PickleOpcode.long1: longInteger(node)
    case PickleOpcode.long4: bigInteger(node)?.asInt64
    default: node.isElement ? elementInteger(node) : nil
    }
  }

  /// The same of an element of an array as memory.
  private func elementInteger(_ node: PickleNode) -> Int64? {
    let offset = node.payload
    return switch node.tag {
    case PickleElement.int8.tag: Int64(load(offset, as: Int8.self))
    case PickleElement.uint8.tag: Int64(load(offset, as: UInt8.self))
    case PickleElement.int16.tag: Int64(load(offset, as: Int16.self))
    case PickleElement.uint16.tag: Int64(load(offset, as: UInt16.self))
    case PickleElement.int32.tag: Int64(load(offset, as: Int32.self))
    case PickleElement.uint32.tag: Int64(load(offset, as: UInt32.self))
    case PickleElement.int64.tag: load(offset, as: Int64.self)
    case PickleElement.uint64.tag: Int64(exactly: load(offset, as: UInt64.self))
    case PickleElement.int128.tag: Int64(exactly: load(offset, as: Int128.self))
    case PickleElement.uint128.tag: Int64(exactly: load(offset, as: UInt128.self))
    default: nil
    }
  }

  /// A floating-point number, as a `Double`, which holds all that there are in messages.
  @inline(__always)
  func floatingPoint(_ node: PickleNode) -> Double? {
    if node.tag == PickleOpcode.binFloat { return float(node) }
    return node.isElement ? elementFloat(node) : nil
  }

  private func elementFloat(_ node: PickleNode) -> Double? {
    let offset = node.payload
    return switch node.tag {
    case PickleElement.double.tag: Double(bitPattern: load(offset, as: UInt64.self))
    case PickleElement.float.tag: Double(Float(bitPattern: load(offset, as: UInt32.self)))
    case PickleElement.half.tag: Double(Float16(bitPattern: load(offset, as: UInt16.self)))
    default: nil
    }
  }

  private func longInteger(_ node: PickleNode) -> Int64? {
    let span = span(of: node)
    if span.count > 8 { return bigInteger(node)?.asInt64 }
    var value: UInt64 = 0
    for offset in span.reversed() { value = value << 8 | UInt64(bytes[offset]) }
    let unused = 64 - 8 * span.count
    return unused == 64 ? 0 : Int64(bitPattern: value << unused) >> unused
  }

  /// An integer of any size; `nil` for what is no integer.
  func bigInteger(_ node: PickleNode) -> BigInteger? {
    switch node.tag {
    case PickleOpcode.binInt1, PickleOpcode.binInt2, PickleOpcode.binInt:
      BigInteger(smallInteger(node)!)
    case PickleOpcode.long1, PickleOpcode.long4: longInteger(span(of: node), node.isShared)
    case PickleElement.uint64.tag: BigInteger(load(node.payload, as: UInt64.self))
    case PickleElement.int128.tag: BigInteger(load(node.payload, as: Int128.self))
    case PickleElement.uint128.tag: BigInteger(load(node.payload, as: UInt128.self))
    default: node.isElement ? elementInteger(node).map { BigInteger($0) } : nil
    }
  }

  /// One that the message spells once and names again has storage once.
  private func longInteger(_ span: Range<Int>, _ isShared: Bool) -> BigInteger {
    guard isShared else { return BigInteger(littleEndian: bytes[span]) }
    if let made = bigIntegers[span.lowerBound] { return made }
    let integer = BigInteger(littleEndian: bytes[span])
    bigIntegers[span.lowerBound] = integer
    hasMade = true
    return integer
  }

  /// A string; `nil` for what is no string.
  func string(_ node: PickleNode) -> String? {
    guard node.isString else { return nil }
    let span = span(of: node)
    // A short string has no storage of its own to share.
    guard node.isShared, span.count > 15 else { return makeString(span) }
    if let made = strings[span.lowerBound] { return made }
    let string = makeString(span)
    strings[span.lowerBound] = string
    hasMade = true
    return string
  }

  @inline(__always)
  private func makeString(_ span: Range<Int>) -> String {
    unsafe bytes.withUnsafeBytes { raw in
      unsafe String(decoding: UnsafeRawBufferPointer(rebasing: raw[span]), as: UTF8.self)
    }
  }

  /// Whether a node is the string of these bytes.
  @inline(__always)
  func isString(_ node: PickleNode, _ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
    guard node.isString else { return false }
    let span = span(of: node)
    guard span.count == utf8.count else { return false }
    return unsafe bytes.withUnsafeBytes { raw in
      unsafe utf8.count == 0
        || memcmp(raw.baseAddress! + span.lowerBound, utf8.baseAddress!, utf8.count) == 0
    }
  }

  /// Bytes or a bytearray; `nil` for anything else.
  func byteArray(_ node: PickleNode) -> [UInt8]? {
    guard isBytes(node) else { return nil }
    guard node.isShared || node.isContainer else { return Array(bytes[span(of: node)]) }
    // Of bytes spelled as text, by their text: a call costs a byte or two.
    let key =
      node.tag == PickleNode.latin1
      ? children(of: node).first.map { offset(of: element($0)) } ?? 0 : offset(of: node)
    if let made = byteArrays[key] { return made }
    let array = makeBytes(node)
    byteArrays[key] = array
    hasMade = true
    return array
  }

  @inline(__always)
  func isBytes(_ node: PickleNode) -> Bool {
    switch node.tag {
    case PickleOpcode.shortBinBytes, PickleOpcode.binBytes, PickleOpcode.binBytes8,
      PickleOpcode.byteArray8, PickleNode.latin1:
      true
    default: false
    }
  }

  private func makeBytes(_ node: PickleNode) -> [UInt8] {
    guard node.tag == PickleNode.latin1 else { return Array(bytes[span(of: node)]) }
    guard let text = children(of: node).first else { return [] }
    let span = span(of: element(text))
    var array: [UInt8] = []
    array.reserveCapacity(span.count)
    var offset = span.lowerBound
    while offset < span.upperBound {
      // The reader has checked that the text is UTF-8 with no character beyond 0xff.
      let byte = bytes[offset]
      if byte < 0x80 {
        array.append(byte)
        offset += 1
      } else {
        array.append(byte << 6 | bytes[offset + 1] & 0x3f)
        offset += 2
      }
    }
    return array
  }

  // MARK: Whole values

  /// The value with everything in it. Recursive: the reader has bounded the depth, and `content` looks
  /// at the stack.
  func value(_ node: PickleNode) throws(IPCError) -> MessageValue {
    weight = weight &+ 1 &+ scalarWeight(node)
    sets = 0
    switch node.tag {
    case PickleOpcode.none: return .null
    case PickleOpcode.newTrue: return .bool(true)
    case PickleOpcode.newFalse: return .bool(false)
    case PickleOpcode.binInt1, PickleOpcode.binInt2, PickleOpcode.binInt:
      return .integer(smallInteger(node)!)
    case PickleOpcode.long1, PickleOpcode.long4:
      if let small = smallInteger(node) { return .integer(small) }
      return .bigInteger(bigInteger(node)!)
    case PickleOpcode.binFloat: return .double(float(node))
    case PickleOpcode.shortBinUnicode, PickleOpcode.binUnicode, PickleOpcode.binUnicode8:
      return .string(string(node)!)
    case PickleOpcode.numbers:
      let numbers = numbers(node)!
      return .array((0..<numbers.count).map { number(numbers.node($0)) })
    default:
      if let bytes = byteArray(node) { return .bytes(bytes) }
    }
    let isShared = container(node.payload).isShared
    if isShared, let made = values[node.payload] {
      weight = weight &+ made.weight
      sets = made.sets
      return made.value
    }
    let before = weight
    let value = try content(node)
    if isShared {
      values[node.payload] = (value, weight &- before, sets)
      hasMade = true
    }
    return value
  }

  /// An element of an array as memory.
  private func number(_ node: PickleNode) -> MessageValue {
    if let value = smallInteger(node) { return .integer(value) }
    if let value = elementFloat(node) { return .double(value) }
    return .bigInteger(bigInteger(node)!)
  }

  private func content(_ node: PickleNode) throws(IPCError) -> MessageValue {
    if CallStack.isLow { throw tooDeep(node, nil) }
    let children = children(of: node)
    // The most of the elements'; `sets` is that of the value made last.
    var deepest = 0
    defer { sets = deepest }
    switch node.tag {
    case PickleOpcode.emptyDictionary:
      var dictionary = MessageDictionary()
      dictionary.reserveCapacity(children.count / 2)
      for key in stride(from: children.lowerBound, to: children.upperBound, by: 2) {
        let made = try hashable(element(key))
        deepest = max(deepest, sets)
        dictionary[made] = try value(element(key + 1))
        deepest = max(deepest, sets)
      }
      return .dictionary(dictionary)
    case PickleOpcode.emptySet, PickleOpcode.frozenSet:
      var set = Set<MessageValue>(minimumCapacity: children.count)
      for child in children {
        set.insert(try hashable(element(child)))
        deepest = max(deepest, sets)
      }
      deepest += 1
      return node.tag == PickleOpcode.emptySet ? .set(set) : .frozenSet(set)
    case PickleNode.complex:
      return .complex(
        real: float(element(children.lowerBound)),
        imaginary: float(element(children.lowerBound + 1)))
    default:
      var array: [MessageValue] = []
      array.reserveCapacity(children.count)
      for child in children {
        array.append(try value(element(child)))
        deepest = max(deepest, sets)
      }
      return node.tag == PickleOpcode.emptyTuple ? .tuple(array) : .array(array)
    }
  }

  /// A key or an element of a set: Python has no lists, dictionaries or sets there.
  private func hashable(_ node: PickleNode) throws(IPCError) -> MessageValue {
    let before = weight
    let value = try value(node)
    try charge(weight &- before)
    if CallStack.isLow(beside: UInt(sets) * Self.stackPerSet) { throw tooDeep(node, nil) }
    guard value.isHashableInPython else {
      throw IPCError(
        .malformedMessage,
        context: "\(describe(node)) as a key or an element of a set: Python has none such")
    }
    return value
  }

  // MARK: Errors

  /// The value in words: "a list at offset 12", "300 at offset 7".
  func describe(_ node: PickleNode) -> String {
    let what: String =
      switch node.tag {
      case PickleOpcode.none: "None"
      case PickleOpcode.newTrue: "True"
      case PickleOpcode.newFalse: "False"
      case PickleOpcode.binInt1, PickleOpcode.binInt2, PickleOpcode.binInt:
        "the integer \(smallInteger(node)!)"
      case PickleOpcode.long1, PickleOpcode.long4:
        span(of: node).count > 64
          ? "an integer of \(span(of: node).count) bytes" : "the integer \(bigInteger(node)!)"
      case PickleOpcode.binFloat: "the float \(float(node))"
      case PickleOpcode.numbers: "an array of numbers"
      case PickleOpcode.emptyList: "a list"
      case PickleOpcode.emptyTuple: "a tuple"
      case PickleOpcode.emptyDictionary: "a dictionary"
      case PickleOpcode.emptySet, PickleOpcode.frozenSet: "a set"
      case PickleNode.complex: "a complex number"
      default:
        if let value = elementFloat(node) {
          "the float \(value)"
        } else if node.isElement {
          "the integer \(bigInteger(node)!)"
        } else {
          node.isString ? "a string" : "bytes"
        }
      }
    return "\(what) at offset \(offset(of: node))"
  }

  func mismatch(
    _ node: PickleNode, expected: String, _ path: MessageCodingPath?, _ key: (any CodingKey)? = nil
  ) -> IPCError {
    IPCError(
      .malformedMessage,
      context:
        "\(MessageCodingPath.describe(path, key)): expected \(expected), found \(describe(node))")
  }

  /// The error for a scalar that a type does not take, and why.
  func mismatch<S: PickleScalar>(
    _ node: PickleNode, _ type: S.Type, orNone: Bool = false,
    _ conversion: MessageDecoder.NumberConversion, _ path: MessageCodingPath?,
    _ key: (any CodingKey)? = nil
  ) -> IPCError {
    var error = mismatch(node, expected: orNone ? "\(type) or None" : "\(type)", path, key)
    if conversion == .strict, S.read(node, self, .lenient) != nil {
      error.context += ", which converts only where numberConversion is .lenient"
    } else if S.self is any PickleNumber.Type, bigInteger(node) != nil {
      error.context += ", which it cannot hold"
    } else if S.self is any PickleInteger.Type, floatingPoint(node) != nil {
      error.context += ", which is not an integer that it can hold"
    } else if S.self is any PickleNumber.Type, floatingPoint(node) != nil {
      error.context += ", which it cannot hold"
    }
    return error
  }
}
