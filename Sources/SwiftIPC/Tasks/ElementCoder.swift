// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// How the elements of a type stand in frames. Both ends are one program and find the same.
enum ElementCoding: Equatable {
  /// `Void`: no bytes.
  case nothing
  /// A number: its bytes, as many for each, without a length in front.
  case number(size: Int)
  /// An array of numbers: their bytes.
  case numbers
  /// A message, as a `Connection` has it.
  case message

  init(of type: Any.Type) {
    if type == Void.self {
      self = .nothing
    } else if let number = type as? any RawNumber.Type {
      self = .number(size: number.rawSize)
    } else if type is any RawNumberArray.Type {
      self = .numbers
    } else {
      self = .message
    }
  }
}

/// Numbers: any bytes are a valid one, so that nothing need be checked.
protocol RawNumber: BitwiseCopyable {}
extension RawNumber {
  static var rawSize: Int { MemoryLayout<Self>.size }
}
extension Int: RawNumber {}
extension Int8: RawNumber {}
extension Int16: RawNumber {}
extension Int32: RawNumber {}
extension Int64: RawNumber {}
extension UInt: RawNumber {}
extension UInt8: RawNumber {}
extension UInt16: RawNumber {}
extension UInt32: RawNumber {}
extension UInt64: RawNumber {}
extension Double: RawNumber {}
extension Float: RawNumber {}

/// An array of numbers, whatever numbers.
protocol RawNumberArray {
  /// Its bytes.
  var rawSize: Int { get }
  func append(to frame: FrameBuffer)
  /// `nil` where the bytes are no whole number of numbers.
  init?(rawBytes: UnsafeRawBufferPointer)
}

extension Array: RawNumberArray where Element: RawNumber {
  var rawSize: Int { count * MemoryLayout<Element>.size }

  func append(to frame: FrameBuffer) {
    unsafe withUnsafeBytes { unsafe frame.append($0) }
  }

  init?(rawBytes: UnsafeRawBufferPointer) {
    let size = MemoryLayout<Element>.size
    guard rawBytes.count % size == 0 else { return nil }
    let length = rawBytes.count / size
    unsafe self.init(unsafeUninitializedCapacity: length) { buffer, count in
      if let source = rawBytes.baseAddress, let target = UnsafeMutableRawPointer(buffer.baseAddress)
      {
        unsafe target.copyMemory(from: source, byteCount: length * size)
      }
      count = length
    }
  }
}

/// Writes and reads elements of one type.
struct ElementCoder<T>: Sendable {
  let coding = ElementCoding(of: T.self)

  /// Bytes of each, where all have as many.
  var fixedSize: Int? {
    if case .number(let size) = coding { size } else { nil }
  }

  /// Appends one; in front of it its length, unless all have as many bytes.
  func append(_ value: T, to frame: FrameBuffer) throws {
    switch coding {
    case .nothing: frame.append(UInt64(0))
    case .number:
      unsafe withUnsafeBytes(of: value) { unsafe frame.append($0) }
    case .numbers:
      guard let numbers = value as? any RawNumberArray else { return }
      let place = frame.count
      frame.append(UInt64(0))
      numbers.append(to: frame)
      frame.set(UInt64(frame.count - place - 8), at: place)
    case .message:
      guard let value = value as? any Encodable else {
        throw IPCError(.notTransferable, context: "\(T.self) is not Encodable")
      }
      try frame.append(message: value)
    }
  }

  /// Appends several at once; only where `fixedSize` says so.
  func append(contentsOf values: ArraySlice<T>, to frame: FrameBuffer) {
    unsafe values.withUnsafeBytes { unsafe frame.append($0) }
  }

  /// The bytes of the next element.
  @inline(__always)
  func next(_ reader: inout FrameReader) throws(IPCError) -> UnsafeRawBufferPointer {
    if case .number(let size) = coding { return try unsafe reader.raw(size) }
    return try unsafe reader.counted()
  }

  /// The value of bytes that `next` found.
  func value(_ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?) throws -> T {
    switch coding {
    case .nothing:
      if let nothing = () as? T { return nothing }
    case .number:
      // Of that many bytes, and any bytes are a number.
      return unsafe bytes.loadUnaligned(as: T.self, trusting: coding)
    case .numbers:
      if let type = T.self as? any RawNumberArray.Type,
        let value = unsafe type.init(rawBytes: bytes) as? T
      {
        return value
      }
    case .message:
      guard let type = T.self as? any Decodable.Type else {
        throw IPCError(.notTransferable, context: "\(T.self) is not Decodable")
      }
      let decoded = try MessageDecoder().decode(
        type, from: unsafe Array(bytes), inbox: inbox ?? DescriptorInbox([]))
      if let value = decoded as? T { return value }
    }
    throw IPCError(.malformedMessage, context: "\(bytes.count) bytes are no \(T.self)")
  }
}

extension UnsafeRawBufferPointer {
  /// A value whose type `ElementCoding` has found to be a number.
  @inline(__always)
  fileprivate func loadUnaligned<T>(as type: T.Type, trusting coding: ElementCoding) -> T {
    unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { place in
      unsafe UnsafeMutableRawBufferPointer(place).copyMemory(from: self)
      return unsafe place[0]
    }
  }
}

extension FrameBuffer {
  /// Appends a message with its length, and what it carries to the frame's attachments.
  func append<T: Encodable>(message value: T) throws {
    let bytes: [UInt8]
    if let attachments {
      bytes = try MessageEncoder().encode(value, outbox: attachments)
    } else {
      (bytes, attachments) = try MessageEncoder().encodeWithDescriptors(value)
    }
    append(counted: bytes)
  }
}
