// SPDX-License-Identifier: Apache-2.0

/// A message in which objects of Python's stand, seen as data: which class or function is named, with
/// which arguments. Nothing is looked up or made.
///
/// Messages are data only, and the decoder refuses the opcodes that make objects. A manager's answers
/// have them in two places, the exceptions that its methods raise and the tokens of its objects. So
/// the opcodes are replaced here, one for one, by such as make tuples, which the decoder then reads
/// with all of its checks and limits; a random mark tells these tuples from others.
package indirect enum InertMessage {
  case plain(MessageValue)
  /// The name of a class or function.
  case name(module: String, name: String)
  /// An object: what was called, with what, and the state that it was given.
  case object(InertMessage, arguments: [InertMessage], state: InertMessage?)
  /// A list, tuple, set or dictionary (keys and values in turn) with one of these in it.
  case container([InertMessage])

  /// Reads a message.
  ///
  /// - Throws: `malformedMessage` for bytes that neither are data nor make objects of data.
  package init(_ bytes: [UInt8]) throws {
    var generator = SystemRandomNumberGenerator()
    let mark = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
    let data = try Self.replacingObjects(in: bytes, mark: mark)
    var decoder = MessageDecoder()
    // The limit follows from the size of the message itself, not of its replacement.
    decoder.maximumValues = max(16_384, bytes.count * 8)
    var reading = Reading(mark: .bytes(mark), budget: max(16_384, bytes.count * 8))
    self = try Self.read(decoder.decode(MessageValue.self, from: data), &reading)
  }

  /// What is known while the objects of one message are put together.
  private struct Reading {
    let mark: MessageValue
    /// How much work calls may still be, in values: a short message can name a text again and again,
    /// and have bytes or a set made of it each time.
    var budget: Int

    mutating func charge(_ work: Int) throws(IPCError) {
      budget = budget &- work
      if budget < 0 {
        throw IPCError(
          .malformedMessage, context: "calls that are more work than a message of its size has")
      }
    }

    /// Charges for hashing values with everything in them.
    mutating func charge(hashing values: [MessageValue]) throws(IPCError) {
      var left = values
      while let value = left.popLast() {
        switch value {
        case .string(let text): try charge(1 + text.utf8.count / PickleTape.bytesPerValue)
        case .bytes(let bytes): try charge(1 + bytes.count / PickleTape.bytesPerValue)
        case .bigInteger(let integer):
          try charge(1 + integer.littleEndianBytes.count / PickleTape.bytesPerValue)
        case .array(let values), .tuple(let values):
          try charge(1 + values.count)
          left += values
        case .set(let values), .frozenSet(let values):
          try charge(1 + values.count)
          left += values
        default: try charge(1)
        }
      }
    }
  }

  // MARK: Replacing

  private enum Kind: UInt8 { case name, call, build, callWithKeywords }

  private static func replacingObjects(
    in bytes: [UInt8], mark: [UInt8]
  ) throws(IPCError) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    // [… first, second] becomes [… (first, second, (kind, mark))].
    func wrap(_ kind: Kind) {
      result += [PickleOpcode.binInt1, kind.rawValue, PickleOpcode.shortBinBytes, 16] + mark
      result += [PickleOpcode.tuple2, PickleOpcode.tuple3]
    }
    var position = 0
    while position < bytes.count {
      let opcode = bytes[position]
      let end = try operandEnd(bytes, position)
      switch opcode {
      case PickleOpcode.global:
        // Two lines of text.
        let lines = bytes[(position + 1)..<end].split(
          separator: 0x0a, omittingEmptySubsequences: false)
        for line in lines.prefix(2) {
          guard let count = UInt8(exactly: line.count) else {
            throw malformed(opcode, position, "a name of \(line.count) bytes")
          }
          result += [PickleOpcode.shortBinUnicode, count] + line
        }
        wrap(.name)
      case PickleOpcode.stackGlobal: wrap(.name)
      case PickleOpcode.reduce, newObject: wrap(.call)
      case build: wrap(.build)
      case newObjectWithKeywords:
        // Three on the stack: the last two become one first.
        result.append(PickleOpcode.tuple2)
        wrap(.callWithKeywords)
      case PickleOpcode.frame: break  // Its length is no longer right, and it may be left out.
      default: result += bytes[position..<end]
      }
      position = end
    }
    return result
  }

  private static let newObject: UInt8 = 0x81
  private static let newObjectWithKeywords: UInt8 = 0x92
  private static let build: UInt8 = 0x62

  /// Where the opcode at a position, with what belongs to it, ends. The decoder checks all else.
  private static func operandEnd(_ bytes: [UInt8], _ position: Int) throws(IPCError) -> Int {
    let opcode = bytes[position]
    let start = position + 1
    func need(_ count: Int, after place: Int) throws(IPCError) -> Int {
      guard count >= 0, count <= bytes.count - place else {
        throw malformed(opcode, position, "the message ends in the middle of it")
      }
      return place + count
    }
    func length(_ width: Int) throws(IPCError) -> Int {
      let operand = try need(width, after: start)
      var length: UInt64 = 0
      for byte in bytes[start..<operand].reversed() { length = length << 8 | UInt64(byte) }
      return try need(Int(clamping: length), after: operand)
    }
    switch opcode {
    case PickleOpcode.proto, PickleOpcode.binInt1, PickleOpcode.binGet, PickleOpcode.binPut:
      return try need(1, after: start)
    case PickleOpcode.binInt2: return try need(2, after: start)
    case PickleOpcode.binInt, PickleOpcode.longBinGet, PickleOpcode.longBinPut:
      return try need(4, after: start)
    case PickleOpcode.binFloat, PickleOpcode.frame: return try need(8, after: start)
    case PickleOpcode.shortBinUnicode, PickleOpcode.shortBinBytes, PickleOpcode.long1:
      return try length(1)
    case PickleOpcode.binUnicode, PickleOpcode.binBytes, PickleOpcode.long4: return try length(4)
    case PickleOpcode.binUnicode8, PickleOpcode.binBytes8, PickleOpcode.byteArray8:
      return try length(8)
    case PickleOpcode.global:
      var end = start
      for _ in 0..<2 {
        guard let newline = bytes[end...].firstIndex(of: 0x0a) else {
          throw malformed(opcode, position, "a name without an end")
        }
        end = newline + 1
      }
      return end
    default:
      // Without an operand, or refused by the decoder whatever comes behind it.
      return start
    }
  }

  private static func malformed(_ opcode: UInt8, _ offset: Int, _ problem: String) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "opcode \(PickleOpcode.describe(opcode)) at offset \(offset): \(problem)")
  }

  // MARK: Reading

  /// Recursive: the decoder has bounded the depth, and each level looks at the stack.
  private static func read(
    _ value: MessageValue, _ reading: inout Reading
  ) throws(IPCError) -> InertMessage {
    if CallStack.isLow {
      throw IPCError(.malformedMessage, context: "nested too deep for the stack of this thread")
    }
    switch value {
    case .array(let values): return try container(values, &reading) { .array($0) }
    case .set(let values): return try container(Array(values), &reading) { .set(Set($0)) }
    case .frozenSet(let values):
      return try container(Array(values), &reading) { .frozenSet(Set($0)) }
    case .dictionary(let dictionary):
      return try container(dictionary.flatMap { [$0.key, $0.value] }, &reading) { elements in
        var made = MessageDictionary()
        for index in stride(from: 0, to: elements.count, by: 2) {
          made[elements[index]] = elements[index + 1]
        }
        return .dictionary(made)
      }
    case .tuple(let values):
      guard values.count == 3, case .tuple(let tag) = values[2], tag.count == 2,
        tag[1] == reading.mark, case .integer(let number) = tag[0],
        let kind = Kind(rawValue: UInt8(clamping: number))
      else { return try container(values, &reading) { .tuple($0) } }
      return try object(kind, values[0], values[1], &reading)
    default: return .plain(value)
    }
  }

  private static func read(
    all values: [MessageValue], _ reading: inout Reading
  ) throws(IPCError) -> [InertMessage] {
    var inert: [InertMessage] = []
    inert.reserveCapacity(values.count)
    for value in values { inert.append(try read(value, &reading)) }
    return inert
  }

  /// The elements may have become data only now, so the container is made of them again.
  private static func container(
    _ elements: [MessageValue], _ reading: inout Reading, _ make: ([MessageValue]) -> MessageValue
  ) throws(IPCError) -> InertMessage {
    let inert = try read(all: elements, &reading)
    let plain = inert.compactMap(\.asPlain)
    return plain.count == inert.count ? .plain(make(plain)) : .container(inert)
  }

  private static func object(
    _ kind: Kind, _ first: MessageValue, _ second: MessageValue, _ reading: inout Reading
  ) throws(IPCError) -> InertMessage {
    switch kind {
    case .name:
      if case .string(let module) = first, case .string(let name) = second {
        return .name(module: module, name: name)
      }
      return .container(try read(all: [first, second], &reading))
    case .call, .callWithKeywords:
      let callee = try read(first, &reading)
      // Once: read twice in each level, the innermost would be read more often than can be counted.
      let arguments =
        if case .tuple(let values) = second {
          try read(all: values, &reading)
        } else {
          [try read(second, &reading)]
        }
      if let known = try known(callee, arguments, &reading) { return known }
      return .object(callee, arguments: arguments, state: nil)
    case .build:
      let object = try read(first, &reading)
      let state = try read(second, &reading)
      guard case .object(let callee, let arguments, nil) = object else {
        return .object(object, arguments: [], state: state)
      }
      return .object(callee, arguments: arguments, state: state)
    }
  }

  /// The few objects that are data: those that the decoder takes in any message.
  private static func known(
    _ callee: InertMessage, _ arguments: [InertMessage], _ reading: inout Reading
  ) throws(IPCError) -> InertMessage? {
    guard case .name(let module, let name) = callee else { return nil }
    let plain = arguments.compactMap(\.asPlain)
    guard plain.count == arguments.count else { return nil }
    switch (module, name, plain.count) {
    case ("builtins", "set", 0): return .plain(.set([]))
    case ("builtins", "frozenset", 0): return .plain(.frozenSet([]))
    case ("builtins", "set", 1), ("builtins", "frozenset", 1):
      guard case .array(let elements) = plain[0], elements.allSatisfy(\.isHashableInPython) else {
        return nil
      }
      try reading.charge(hashing: elements)
      return .plain(name == "set" ? .set(Set(elements)) : .frozenSet(Set(elements)))
    case ("builtins", "bytearray", 0): return .plain(.bytes([]))
    case ("builtins", "bytearray", 1):
      if case .bytes = plain[0] { return .plain(plain[0]) }
      return nil
    case ("builtins", "complex", 2):
      guard case .double(let real) = plain[0], case .double(let imaginary) = plain[1] else {
        return nil
      }
      return .plain(.complex(real: real, imaginary: imaginary))
    case ("_codecs", "encode", 2):
      guard case .string(let text) = plain[0], case .string("latin1") = plain[1] else { return nil }
      try reading.charge(text.utf8.count)
      let bytes = text.unicodeScalars.compactMap { UInt8(exactly: $0.value) }
      return bytes.count == text.unicodeScalars.count ? .plain(.bytes(bytes)) : nil
    default: return nil
    }
  }

  // MARK: Looking

  /// The value, where there is no object in it.
  package var asPlain: MessageValue? {
    if case .plain(let value) = self { return value }
    return nil
  }

  /// The elements of a tuple or list, with objects in it or not.
  package var elements: [InertMessage]? {
    switch self {
    case .plain(.tuple(let values)), .plain(.array(let values)): values.map { .plain($0) }
    case .container(let elements): elements
    default: nil
    }
  }

  /// The name of the class or function of an object, as `module.name`.
  package var typeName: String? {
    switch self {
    case .name(let module, let name): "\(module).\(name)"
    case .object(let callee, _, _): callee.typeName
    default: nil
    }
  }
}

extension InertMessage: CustomStringConvertible {
  /// Roughly as Python writes it: `decimal.Decimal("1.5")`. Cut where it is long.
  package var description: String { description(limit: MessageDescription.usual) }

  package func description(limit: Int) -> String {
    var text = MessageDescription(limit: limit)
    Self.write(self, to: &text)
    return text.cut()
  }

  private static func write(_ message: InertMessage, to text: inout MessageDescription) {
    if text.isFull { return }
    if CallStack.isLow { return text.write("…") }
    switch message {
    case .plain(let value): text.write(value)
    case .name: text.write(message.typeName ?? "")
    case .object(let callee, let arguments, _):
      write(callee, to: &text)
      write(arguments, "(", ")", to: &text)
    case .container(let elements): write(elements, "[", "]", to: &text)
    }
  }

  private static func write(
    _ messages: [InertMessage], _ opening: String, _ closing: String,
    to text: inout MessageDescription
  ) {
    text.write(opening)
    for (place, message) in messages.enumerated() {
      if text.isFull { return }
      if place > 0 { text.write(", ") }
      write(message, to: &text)
    }
    text.write(closing)
  }
}
