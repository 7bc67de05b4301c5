// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// The arguments of a closure on their way to a child: a list.
struct OutgoingArguments<each A: Encodable>: Encodable {
  private let arguments: (repeat each A)

  init(_ arguments: repeat each A) { self.arguments = (repeat each arguments) }

  func encode(to encoder: any Encoder) throws {
    var list = encoder.unkeyedContainer()
    for argument in repeat each arguments { try list.encode(argument) }
  }
}

extension OutgoingArguments: Sendable where repeat each A: Sendable {}

/// A type that arguments and values can have. They are Sendable too, which leaves no trace at run
/// time; the parent's compiler has checked it.
typealias SentType = any Codable.Type

/// The arguments of a task as one message: what arrived after the header.
struct IncomingArguments {
  var bytes: [UInt8]
  var inbox: DescriptorInbox

  init(bytes: [UInt8], inbox: DescriptorInbox) {
    self.bytes = bytes
    self.inbox = inbox
  }

  init(_ element: IncomingElement) {
    bytes = unsafe Array(element.bytes)
    inbox = element.inbox ?? DescriptorInbox([])
  }

  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    try MessageDecoder().decode(type, from: bytes, inbox: inbox)
  }
}

/// The bytes of an element of a chunk, which a worker of a pool is to decode.
@safe struct IncomingElement {
  let bytes: UnsafeRawBufferPointer
  let inbox: DescriptorInbox?
}

/// The list that is being decoded: an object, since a pack expansion cannot borrow a container.
final class ArgumentList {
  private var list: (any UnkeyedDecodingContainer)?
  private var element: IncomingElement?

  init(_ list: (any UnkeyedDecodingContainer)?) { self.list = list }
  /// The one argument of a task of a pool.
  init(_ element: IncomingElement) { self.element = element }

  func next<T: Decodable>(_ type: T.Type) throws -> T {
    if let element {
      self.element = nil
      return try unsafe ElementCoder<T>().value(element.bytes, element.inbox)
    }
    guard let next = try list?.decode(type) else {
      throw IPCError(.malformedMessage, context: "task: its arguments did not arrive")
    }
    return next
  }
}

/// What a function of tasks is applied to, as it arrives.
protocol TaskInput: Sendable {
  /// Bytes of each as an element of a pool's chunk, where all have as many.
  static var fixedSize: Int? { get }
  /// An element of a pool's chunk.
  init(element: IncomingElement) throws
  /// What a child was sent, `nil` for nothing.
  init(message: IncomingArguments?) throws
  /// The same as `init(element:)`, for many elements.
  static var reader: (IncomingElement) throws -> Self { get }
}

extension TaskInput {
  static var reader: (IncomingElement) throws -> Self { { try Self(element: $0) } }
}

/// Any number of arguments. In a chunk, one stands as an element and several as a list of them.
///
/// Unchecked: see `SentType`.
struct Arguments<each A: Codable>: TaskInput, @unchecked Sendable, Decodable {
  let values: (repeat each A)

  static var isOne: Bool {
    var count = 0
    for _ in repeat (each A).self { count += 1 }
    return count == 1
  }

  static var fixedSize: Int? {
    guard isOne else { return nil }
    for size in repeat ElementCoder<each A>().fixedSize { return size }
    return nil
  }

  init(element: IncomingElement) throws {
    if Self.isOne {
      try self.init(ArgumentList(element))
    } else {
      try self.init(message: IncomingArguments(element))
    }
  }

  init(message: IncomingArguments?) throws {
    if let message {
      self = try message.decode(Self.self)
    } else {
      try self.init(ArgumentList(nil))
    }
  }

  init(from decoder: any Decoder) throws {
    try self.init(ArgumentList(try decoder.unkeyedContainer()))
  }

  private init(_ list: ArgumentList) throws {
    values = (repeat try list.next((each A).self))
  }
}

/// One argument that is not in a pack, which is passed differently; or a `ProcessTask`.
///
/// Unchecked: see `SentType`.
struct SingleArgument<A: Codable>: TaskInput, @unchecked Sendable {
  let value: A

  private init(value: A) { self.value = value }

  static var fixedSize: Int? { ElementCoder<A>().fixedSize }

  init(element: IncomingElement) throws { self = try Self.reader(element) }

  static var reader: (IncomingElement) throws -> Self {
    let coder = ElementCoder<A>()
    return { element in
      SingleArgument(value: try unsafe coder.value(element.bytes, element.inbox))
    }
  }

  init(message: IncomingArguments?) throws {
    guard let message else {
      throw IPCError(.malformedMessage, context: "task: its properties did not arrive")
    }
    value = try message.decode(A.self)
  }
}
