// SPDX-License-Identifier: Apache-2.0

/// Decodes messages: what `MessageEncoder` and Python's `multiprocessing.connection` wrote.
///
/// ```swift
/// let value = try MessageDecoder().decode(MessageValue.self, from: bytes)
/// var decoder = MessageDecoder()
/// decoder.numberConversion = .lenient          // 3.0 decodes as an Int
/// let counts = try decoder.decode([String: Int].self, from: bytes)
/// ```
///
/// The bytes may come from anybody. They are data or they are refused: nothing in them is looked up
/// or run, and what they make the decoder allocate is a small multiple of their own number. Numbers
/// convert strictly unless the caller says otherwise: an integer that the type cannot hold and a
/// float where an integer is wanted are errors, which name the place in the value, what was
/// expected and what was found.
///
/// It is a value and is safe to use from several threads. It never blocks.
public struct MessageDecoder: Sendable {
  /// Which numbers decode as which types.
  public enum NumberConversion: Hashable, Sendable {
    /// An integer decodes as any integer type that holds it, and as a float; nothing else converts.
    case strict
    /// Also a float without a fraction as an integer, and a truth value as 0 or 1 and back.
    case lenient
  }

  /// Which numbers decode as which types: strict unless set.
  public var numberConversion = NumberConversion.strict
  /// How deep lists, dictionaries and the like may be nested: 512 unless set.
  ///
  /// Each level costs stack, in this decoder and in the type that is decoded.
  public var maximumDepth = PickleLimits().depth
  /// How many values a message may be when parts that it names again are written out each time.
  ///
  /// `nil`, the default, is 16,384 or eight times the number of bytes, whichever is more.
  public var maximumValues: Int?
  /// What the types that decode themselves can look up in their decoder.
  public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

  /// Makes a decoder.
  public init() {}

  /// The value of a message.
  ///
  /// - Throws: `IPCError` with the code `malformedMessage` for bytes that are not data, with the
  ///   opcode and the offset, and for data of another type, with the path to it; `notTransferable`
  ///   for a shared object, which arrives over a `Connection` or as an argument only; and whatever
  ///   the type's own `init(from:)` throws.
  ///
  /// Complexity: O(n) in the size of the message.
  public func decode<T: Decodable>(_ type: T.Type, from bytes: [UInt8]) throws -> T {
    try decode(type, bytes, inbox: nil)
  }

  /// The value of a message that came with descriptors.
  package func decode<T: Decodable>(
    _ type: T.Type, from bytes: [UInt8], inbox: DescriptorInbox
  ) throws -> T {
    try decode(type, bytes, inbox: inbox)
  }

  private func decode<T: Decodable>(
    _ type: T.Type, _ bytes: [UInt8], inbox: DescriptorInbox?
  ) throws -> T {
    let limits = PickleLimits(depth: min(max(1, maximumDepth), 10_000), values: maximumValues)
    let tape = try PickleReader.read(bytes, limits: limits)
    let context = MessageDecodingContext(tape, numberConversion, userInfo, inbox)
    do {
      return try context.decode(type, tape.root, nil, nil)
    } catch let error as DecodingError {
      throw IPCError(error)
    }
  }
}

extension IPCError {
  /// A type's own complaint, as an error of this library.
  init(_ error: DecodingError) {
    let found: (path: [any CodingKey], problem: String)
    switch error {
    case .typeMismatch(_, let context), .dataCorrupted(let context), .valueNotFound(_, let context):
      found = (context.codingPath, context.debugDescription)
    case .keyNotFound(let key, let context): found = (context.codingPath + [key], "no such key")
    @unknown default: found = ([], "\(error)")
    }
    self.init(
      .malformedMessage,
      context: "\(MessageCodingPath.describe(found.path)): \(found.problem.excerpt(256))")
  }
}
