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
/// the case's name. A dictionary with other keys is a list of keys and values in turn, as Codable
/// writes it. The bytes are pickle, protocol 4, and hold data only; see `NumberArrays` for the one
/// exception.
///
/// It is a value and is safe to use from several threads. It never blocks.
public struct MessageEncoder: Sendable {
  /// How arrays of numbers are written.
  public enum NumberArrays: Hashable, Sendable {
    /// As a list of numbers, which any peer can read.
    case lists
    /// As a copy of their memory: faster by far, and read by `MessageDecoder` alone.
    ///
    /// That is for `[Double]`, `[Int32]` and the like, wherever they are in the value. A message with
    /// one in it is not pickle any more: Python refuses it ("unsupported pickle protocol: 196"). One
    /// without is the same as ever.
    case memory
  }

  /// How arrays of numbers are written: as lists unless set.
  ///
  /// A `Connection` asks for memory itself where its peer is known to be Swift, see
  /// `Connection.isPeerSwift`.
  public var numberArrays = NumberArrays.lists
  /// What the types that encode themselves can look up in their encoder.
  public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

  /// Makes an encoder.
  public init() {}

  /// One for a process that is Swift, or may be another.
  package init(isPeerSwift: Bool) { if isPeerSwift { numberArrays = .memory } }

  /// Memory is sent as it is on machines whose numbers begin with the least significant byte.
  var packsNumbers: Bool {
    #if _endian(little)
      numberArrays == .memory
    #else
      false
    #endif
  }

  /// The bytes of a value.
  ///
  /// - Throws: `IPCError` with the code `invalidArgument` for a value that no message can hold
  ///   (nested more than 512 deep, a list as a key), `notTransferable` for a shared object, which
  ///   travels over a `Connection` or as an argument only, and whatever the value's own
  ///   `encode(to:)` throws.
  ///
  /// Complexity: O(n) in the size of the message.
  public func encode<T: Encodable>(_ value: T) throws -> [UInt8] {
    try encode(value, makesOutbox: false, nil) { $0.finish() }
  }

  /// The bytes of an array of numbers, straight from where they are.
  ///
  /// ```swift
  /// var encoder = MessageEncoder()
  /// encoder.numberArrays = .memory
  /// let bytes = try encoder.encode(samples.span)
  /// ```
  ///
  /// They are those of the same numbers in an array. See `MessageDecoder.decode(into:from:)`.
  ///
  /// - Throws: `IPCError` with `unsupported` for a type that is no number of the standard library.
  public func encode<Number: MessageNumber>(_ numbers: Span<Number>) throws(IPCError) -> [UInt8] {
    guard let element = PickleElement(Number.self) else { throw IPCError(notANumber: Number.self) }
    return unsafe numbers.withUnsafeBytes { bytes in
      if packsNumbers, let message = unsafe PickleNumbers.message(element, bytes) {
        return message
      }
      let writer = PickleWriter(capacity: 9 * numbers.count + 64)
      writer.begin(packsNumbers: false)
      unsafe Self.list(Number.self, bytes, writer)
      writer.end()
      return writer.bytes()
    }
  }

  private static func list<Number>(
    _ type: Number.Type, _ bytes: UnsafeRawBufferPointer, _ writer: PickleWriter
  ) {
    func write<S: PickleScalar>(_ type: S.Type) {
      // They are of this type, and aligned for it.
      let numbers = unsafe Array(bytes.assumingMemoryBound(to: S.self))
      if let bytes = numbers as? [UInt8] { writer.bytes(bytes) } else { writer.list(numbers) }
    }
    if let type = type as? any PickleScalar.Type { write(type) }
  }

  /// The bytes of a value for a message between processes, and the descriptors that go with them;
  /// `nil` when nothing in the value has one.
  package func encodeWithDescriptors<T: Encodable>(
    _ value: T
  ) throws -> (bytes: [UInt8], outbox: DescriptorOutbox?) {
    try encode(value, makesOutbox: true, nil) { ($0.finish(), $0.context.outbox) }
  }

  /// The bytes of a value; the descriptors in it go to the outbox given.
  package func encode<T: Encodable>(_ value: T, outbox: DescriptorOutbox) throws -> [UInt8] {
    try encode(value, makesOutbox: true, outbox) { $0.finish() }
  }

  /// Has a value encoded, and the body take out what became of it.
  @inline(__always)
  package func encode<T: Encodable, Result>(
    _ value: T, makesOutbox: Bool, _ outbox: DescriptorOutbox?,
    _ body: (MessageEncoding) throws -> Result
  ) throws -> Result {
    try MessageEncoding.with { encoding in
      encoding.context.begin(self, makesOutbox: makesOutbox, outbox)
      encoding.writer.begin(packsNumbers: packsNumbers)
      do {
        try encoding.encode(value, nil, nil)
        if let failure = encoding.context.failure { throw failure }
      } catch let error as EncodingError {
        throw IPCError(error)
      }
      return try body(encoding)
    }
  }
}

/// The state that all parts of one message being encoded share.
package final class MessageEncodingContext {
  private var given: [CodingUserInfoKey: any Sendable] = [:]
  private var makesOutbox = false
  var packsNumbers = false
  package var outbox: DescriptorOutbox?
  /// An error that could not be thrown where it happened. It is thrown at the end of the message.
  var failure: IPCError?

  func begin(_ encoder: MessageEncoder, makesOutbox: Bool, _ outbox: DescriptorOutbox?) {
    given = encoder.userInfo
    packsNumbers = encoder.packsNumbers
    self.makesOutbox = makesOutbox
    self.outbox = outbox
    failure = nil
  }

  func clear() {
    if !given.isEmpty { given = [:] }
    outbox = nil
  }

  /// The outbox is made when first asked for: most messages carry no descriptors.
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
  /// A type that says that it is a number, and is none that messages know.
  init(notANumber type: Any.Type) {
    self.init(.unsupported, context: "\(type) is not a number of the standard library")
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
