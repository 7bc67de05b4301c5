// SPDX-License-Identifier: Apache-2.0

/// Encodes values as messages: the bytes that `Connection.send` puts in a frame and that Python's
/// `multiprocessing.connection` reads.
///
/// ```swift
/// struct Reading: Codable { var sensor: String; var values: [Double] }
/// let bytes = try MessageEncoder().encode(Reading(sensor: "a", values: [1, 2.5]))
/// let back = try MessageDecoder().decode(Reading.self, from: bytes)
/// ```
///
/// What Python sees: a type with keys is a `dict` with its properties' names, an array a `list`,
/// `nil` is `None`, `[UInt8]` is `bytes`, a dictionary with integers, text or numbers as keys a
/// `dict` with these keys, a set of such a `set`; an enum is what Codable makes of it, a `dict` of
/// the case's name. The bytes are pickle, protocol 4, and hold data only.
///
/// It is a value and is safe to use from several threads. It never blocks.
public struct MessageEncoder: Sendable {
  /// What the types that encode themselves can look up in their encoder.
  public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

  /// Makes an encoder.
  public init() {}

  /// The bytes of a value.
  ///
  /// - Throws: `IPCError` with the code `invalidArgument` for a value that no message can hold
  ///   (nested more than 512 deep, a list as a key), `notTransferable` for a shared object, which
  ///   travels over a `Connection` or as an argument only, and whatever the value's own
  ///   `encode(to:)` throws.
  ///
  /// Complexity: O(n) in the size of the message.
  public func encode<T: Encodable>(_ value: T) throws -> [UInt8] {
    try encode(value, MessageEncodingContext(userInfo, makesOutbox: false))
  }

  /// The bytes of a value for a message between processes, and the descriptors that go with them;
  /// `nil` when nothing in the value has one.
  package func encodeWithDescriptors<T: Encodable>(
    _ value: T
  ) throws -> (bytes: [UInt8], outbox: DescriptorOutbox?) {
    let context = MessageEncodingContext(userInfo, makesOutbox: true)
    let bytes = try encode(value, context)
    return (bytes, context.outbox)
  }

  /// The bytes of a value; the descriptors in it go to the outbox given.
  package func encode<T: Encodable>(_ value: T, outbox: DescriptorOutbox) throws -> [UInt8] {
    let context = MessageEncodingContext(userInfo, makesOutbox: true)
    context.outbox = outbox
    return try encode(value, context)
  }

  private func encode<T: Encodable>(_ value: T, _ context: MessageEncodingContext) throws -> [UInt8]
  {
    let encoding = MessageEncoding(context, path: nil)
    encoding.writer.begin()
    do {
      try encoding.encode(value, nil, nil)
    } catch let error as EncodingError {
      throw IPCError(error)
    }
    encoding.writer.opcode(PickleOpcode.stop)
    return encoding.finish()
  }
}

/// What all parts of one message being encoded have in common.
final class MessageEncodingContext {
  private let given: [CodingUserInfoKey: any Sendable]
  private let makesOutbox: Bool
  var outbox: DescriptorOutbox?

  init(_ userInfo: [CodingUserInfoKey: any Sendable], makesOutbox: Bool) {
    given = userInfo
    self.makesOutbox = makesOutbox
  }

  /// The outbox is made when somebody looks: most messages carry no descriptors.
  var userInfo: [CodingUserInfoKey: Any] {
    var userInfo: [CodingUserInfoKey: Any] = given
    if makesOutbox {
      let outbox = outbox ?? DescriptorOutbox()
      self.outbox = outbox
      userInfo[.descriptorOutbox] = outbox
    }
    return userInfo
  }
}

extension IPCError {
  /// A type's own complaint, as an error of this library.
  init(_ error: EncodingError) {
    guard case .invalidValue(_, let context) = error else {
      self.init(.invalidArgument, context: "\(error)")
      return
    }
    self.init(
      .invalidArgument,
      context: "\(MessageCodingPath.describe(context.codingPath)): \(context.debugDescription)")
  }
}
