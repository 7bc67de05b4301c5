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
/// or run, and what they make the decoder allocate is a multiple of their own number: some 25 bytes for
/// each byte of a list of one-byte values, and at most some 55, where each two bytes are a tuple of one
/// value, which is 24 bytes itself and has 64 of storage. So a message of the longest that a connection
/// takes unless told otherwise, 64 MiB, may take 3.5 GiB. Numbers
/// convert strictly unless the caller says otherwise: an integer that the type cannot hold and a
/// float where an integer is wanted are errors, which name the place in the value, what was
/// expected and what was found:
/// `readings[3].id: expected Int8, found the integer 300 at offset 87, which it cannot hold`.
///
/// Refused is also what the standard library would take more than linear time for: text with more than
/// 256 combining characters in a row, which it compares and hashes in quadratic time, and sets and
/// dictionaries of Swift's with more than 16 keys that do not equal themselves, as NaN.
///
/// It is a value and is safe to use from several threads. It never blocks.
public struct MessageDecoder: Sendable {
  /// Which numbers decode as which types.
  public enum NumberConversion: Hashable, Sendable {
    /// An integer decodes as any type of integer or float that holds it exactly, and a float as any
    /// type of float, rounded; nothing else converts.
    case strict
    /// Also a float without a fraction as an integer, an integer as the nearest float, and a truth
    /// value as 0 or 1 and back.
    case lenient
  }

  /// Which numbers decode as which types: strict unless set.
  public var numberConversion = NumberConversion.strict
  /// How deep lists, dictionaries and the like may be nested: 512 unless set.
  ///
  /// Each level costs stack, in this decoder and in the type that is decoded. A message that is nested
  /// deeper than the stack of the calling thread goes is refused, whatever is set here.
  public var maximumDepth = PickleLimits().depth
  /// How many values a message may be when parts that it names again are written out each time.
  ///
  /// `nil`, the default, is 16,384 or twice the number of bytes, whichever is more. As much is let
  /// pass of the work that values do not show: 16 bytes of a key or an element of a set count as one
  /// value, in each dictionary and set that has it, and so does what is in sets that are in sets, in each
  /// of these. So there is no message whose work is more than a multiple of its size.
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

  /// Decodes an array of numbers into memory of the caller.
  ///
  /// ```swift
  /// var samples = [Double](repeating: 0, count: 1000)
  /// var span = samples.mutableSpan
  /// let count = try decoder.decode(into: &span, from: bytes)
  /// ```
  ///
  /// Where the message holds the numbers as memory of the same type (`MessageEncoder.NumberArrays`),
  /// that is one copy. From lists, and from numbers of another type, they are converted one by one.
  ///
  /// - Returns: how many numbers there were; what is behind them in the buffer is left alone.
  /// - Throws: `IPCError` with `messageTooLong` when there are more numbers than fit, which are
  ///   then not touched; `malformedMessage` for anything but numbers that the type can hold;
  ///   `unsupported` for a type that is no number of the standard library.
  public func decode<Number: MessageNumber>(
    into numbers: inout MutableSpan<Number>, from bytes: [UInt8]
  ) throws -> Int {
    #if _endian(little)
      if let element = PickleElement(Number.self) {
        let found = unsafe numbers.withUnsafeMutableBytes { buffer in
          unsafe Self.copy(bytes, element, buffer)
        }
        if let found { return found }
      }
    #endif
    guard let type = Number.self as? any PickleScalar.Type else {
      throw IPCError(notANumber: Number.self)
    }
    return try unsafe numbers.withUnsafeMutableBytes { buffer in
      try unsafe decode(type, bytes, buffer)
    }
  }

  /// The usual message between two Swift peers, without reading it twice: nothing but one array as
  /// memory, of the type wanted, that fits.
  private static func copy(
    _ bytes: [UInt8], _ element: PickleElement, _ buffer: UnsafeMutableRawBufferPointer
  ) -> Int? {
    unsafe bytes.withUnsafeBytes { raw -> Int? in
      let start = PickleNumbers.startAlone
      guard raw.count > start, unsafe raw[0] == PickleOpcode.proto,
        unsafe raw[1] == PickleOpcode.memoryProtocol, unsafe raw[2] == PickleOpcode.numbers,
        unsafe raw[3] == element.rawValue, unsafe raw[raw.count - 1] == PickleOpcode.stop
      else { return nil }
      let claimed = unsafe raw.loadUnaligned(fromByteOffset: 4, as: UInt64.self).littleEndian
      let size = raw.count - start - 1
      guard size <= buffer.count, size % element.stride == 0,
        claimed == UInt64(size / element.stride)
      else { return nil }
      unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[start..<start + size]))
      return size / element.stride
    }
  }

  private func decode<S: PickleScalar>(
    _ type: S.Type, _ bytes: [UInt8], _ buffer: UnsafeMutableRawBufferPointer
  ) throws -> Int {
    let array = try decode([S].self, from: bytes)
    let capacity = buffer.count / MemoryLayout<S>.stride
    guard array.count <= capacity else {
      throw IPCError(
        .messageTooLong,
        context: "\(array.count) numbers in the message, \(capacity) fit the buffer")
    }
    unsafe array.withUnsafeBytes { unsafe buffer.copyMemory(from: $0) }
    return array.count
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
    return try MessageDecodingContext.with(self, inbox) { context in
      try context.tape.read(bytes, limits)
      do {
        return try context.decode(type, context.tape.root, nil, nil)
      } catch let error as DecodingError {
        throw IPCError(error)
      }
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
