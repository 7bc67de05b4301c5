// SPDX-License-Identifier: Apache-2.0

/// The state that all parts of one message being decoded share.
final class MessageDecodingContext {
  let tape = PickleTape()
  private(set) var conversion = MessageDecoder.NumberConversion.strict
  private var given: [CodingUserInfoKey: any Sendable] = [:]
  private var inbox: DescriptorInbox?

  private static let spare = Spare<MessageDecodingContext>()

  /// Runs the body with a context for one message.
  @inline(__always)
  static func with<Result>(
    _ decoder: MessageDecoder, _ inbox: DescriptorInbox?,
    _ body: (MessageDecodingContext) throws -> Result
  ) throws -> Result {
    // Moved, not copied: there is one reference unless a type that was decoded has kept another.
    var context = spare.take() ?? Optional(MessageDecodingContext())
    defer { putAway(&context) }
    context!.begin(decoder, inbox)
    return try body(context!)
  }

  private func begin(_ decoder: MessageDecoder, _ inbox: DescriptorInbox?) {
    conversion = decoder.numberConversion
    given = decoder.userInfo
    self.inbox = inbox
  }

  private static func putAway(_ context: inout MessageDecodingContext?) {
    // A type that was decoded may have kept its decoder.
    guard isKnownUniquelyReferenced(&context), let mine = context.take() else { return }
    mine.tape.clear()
    if !mine.given.isEmpty { mine.given = [:] }
    mine.inbox = nil
    spare.keep(mine)
  }

  var userInfo: [CodingUserInfoKey: Any] {
    var userInfo: [CodingUserInfoKey: Any] = given
    if let inbox { userInfo[.descriptorInbox] = inbox }
    return userInfo
  }

  @inline(__always)
  func scalar<S: PickleScalar>(
    _ type: S.Type, _ node: PickleNode, _ path: MessageCodingPath?,
    _ key: @autoclosure () -> (any CodingKey)?
  ) throws(IPCError) -> S {
    guard let value = S.read(node, tape, conversion) else {
      throw tape.mismatch(node, type, conversion, path, key())
    }
    return value
  }

  /// A list, tuple or set of scalars.
  func array<S: PickleScalar>(
    _ type: S.Type, _ node: PickleNode, _ path: MessageCodingPath?,
    _ key: @autoclosure () -> (any CodingKey)?
  ) throws(IPCError) -> [S] {
    guard let children = tape.sequence(node) else {
      if let numbers = tape.numbers(node) { return try array(type, numbers, path, key()) }
      throw tape.mismatch(node, expected: "a list", path, key())
    }
    var array: [S] = []
    array.reserveCapacity(children.count)
    for child in children {
      if S.self == Double.self, tape.element(child).tag == PickleOpcode.binFloat {
        // Without a call for each of the usual list of floats.
        array.append(cast(tape.float(tape.element(child)), type))
        continue
      }
      guard let value = S.read(tape.element(child), tape, conversion) else {
        let outer = key().map { MessageCodingPath(path, $0) } ?? path
        throw tape.mismatch(
          tape.element(child), type, conversion, outer,
          MessageIndexKey(child - children.lowerBound))
      }
      array.append(value)
    }
    return array
  }

  /// An array of numbers as memory: as it is when the type is the one that was sent, otherwise
  /// number by number, as a list of them would be.
  private func array<S: PickleScalar>(
    _ type: S.Type, _ numbers: PickleNumbers, _ path: MessageCodingPath?,
    _ key: @autoclosure () -> (any CodingKey)?
  ) throws(IPCError) -> [S] {
    #if _endian(little)
      if PickleElement(type) == numbers.element {
        return unsafe [S](unsafeUninitializedCapacity: numbers.count) { buffer, count in
          unsafe tape.copy(numbers, to: UnsafeMutableRawBufferPointer(buffer))
          count = numbers.count
        }
      }
    #endif
    var array: [S] = []
    array.reserveCapacity(numbers.count)
    for index in 0..<numbers.count {
      let node = numbers.node(index)
      guard let value = S.read(node, tape, conversion) else {
        let outer = key().map { MessageCodingPath(path, $0) } ?? path
        throw tape.mismatch(node, type, conversion, outer, MessageIndexKey(index))
      }
      array.append(value)
    }
    return array
  }

  /// Bytes, or a list of integers that fit.
  private func bytes(
    _ node: PickleNode, _ path: MessageCodingPath?, _ key: @autoclosure () -> (any CodingKey)?
  ) throws(IPCError) -> [UInt8] {
    if let bytes = tape.byteArray(node) { return bytes }
    return try array(UInt8.self, node, path, key())
  }

  /// Decodes a value of any type.
  ///
  /// One long function, since one that says whether it did would return an optional of a type that is
  /// looked up at each call.
  func decode<T: Decodable>(
    _ type: T.Type, _ node: PickleNode, _ path: MessageCodingPath?,
    _ key: @autoclosure () -> (any CodingKey)?
  ) throws -> T {
    // Arrays, dictionaries and sets are one word, so most structs are done with this test.
    if MemoryLayout<T>.size == MemoryLayout<Int>.size {
      if T.self == Int.self { return cast(try scalar(Int.self, node, path, key()), type) }
      if T.self == Double.self { return cast(try scalar(Double.self, node, path, key()), type) }
      if T.self == [Double].self { return cast(try array(Double.self, node, path, key()), type) }
      if T.self == [UInt8].self { return cast(try bytes(node, path, key()), type) }
      if T.self == [String].self { return cast(try array(String.self, node, path, key()), type) }
      if T.self == [Int].self { return cast(try array(Int.self, node, path, key()), type) }
      if T.self == [Float].self { return cast(try array(Float.self, node, path, key()), type) }
      if T.self == [Bool].self { return cast(try array(Bool.self, node, path, key()), type) }
      if T.self == [Int8].self { return cast(try array(Int8.self, node, path, key()), type) }
      if T.self == [Int16].self { return cast(try array(Int16.self, node, path, key()), type) }
      if T.self == [Int32].self { return cast(try array(Int32.self, node, path, key()), type) }
      if T.self == [Int64].self { return cast(try array(Int64.self, node, path, key()), type) }
      if T.self == [UInt].self { return cast(try array(UInt.self, node, path, key()), type) }
      if T.self == [UInt16].self { return cast(try array(UInt16.self, node, path, key()), type) }
      if T.self == [UInt32].self { return cast(try array(UInt32.self, node, path, key()), type) }
      if T.self == [UInt64].self { return cast(try array(UInt64.self, node, path, key()), type) }
      if T.self == [Float16].self { return cast(try array(Float16.self, node, path, key()), type) }
      if T.self == [Int128].self { return cast(try array(Int128.self, node, path, key()), type) }
      if T.self == [UInt128].self { return cast(try array(UInt128.self, node, path, key()), type) }
      if let collection = type as? any PickleReadable.Type {
        let inner = key().map { MessageCodingPath(path, $0) } ?? path
        return try read(collection, node, inner, as: type)
      }
      if let collection = type as? any PickleHashed.Type {
        let inner = key().map { MessageCodingPath(path, $0) } ?? path
        return try read(checking: collection, node, inner, as: type)
      }
    } else if T.self == String.self {
      return cast(try scalar(String.self, node, path, key()), type)
    } else if T.self == MessageValue.self {
      return cast(try tape.value(node), type)
    }
    let inner = key().map { MessageCodingPath(path, $0) } ?? path
    try checkStack(node, inner)
    return try T(from: MessageDecoding(context: self, node: node, path: inner))
  }

  /// Before anything that may recurse.
  @inline(__always)
  func checkStack(_ node: PickleNode, _ path: MessageCodingPath?) throws(IPCError) {
    if CallStack.isLow { throw tape.tooDeep(node, path) }
  }

  private func read<Collection: PickleHashed, T>(
    checking collection: Collection.Type, _ node: PickleNode, _ path: MessageCodingPath?,
    as type: T.Type
  ) throws -> T {
    try checkStack(node, path)
    return cast(
      try collection.read(
        checking: node, MessageDecoding(context: self, node: node, path: path)), type)
  }

  private func read<Collection: PickleReadable, T>(
    _ collection: Collection.Type, _ node: PickleNode, _ path: MessageCodingPath?, as type: T.Type
  ) throws -> T {
    try checkStack(node, path)
    return cast(
      try collection.read(node, MessageDecoding(context: self, node: node, path: path)), type)
  }

  /// The value as the type that the caller has found it to have.
  @inline(__always)
  private func cast<T, U>(_ value: U, _ type: T.Type) -> T {
    // The types were compared, and they are one and the same.
    unsafe unsafeBitCast(value, to: T.self)
  }
}
