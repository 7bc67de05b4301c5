// SPDX-License-Identifier: Apache-2.0

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

/// What runs on the main thread of a child, from its beginning to its end.
protocol BlockingJob {
  /// Returns the value to send to the parent, `nil` for none.
  func run() throws -> (any Encodable)?
}

/// What runs while the main thread of a child serves the main queue.
protocol AsyncJob: Sendable {
  /// Returns the value to send to the parent, `nil` for none.
  func run() async throws -> (any Encodable)?
}

/// The arguments of a task in the child: what arrived after the header.
struct IncomingArguments {
  var bytes: [UInt8]
  var inbox: DescriptorInbox

  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    try MessageDecoder().decode(type, from: bytes, inbox: inbox)
  }
}

/// A task in the child, ready to run.
enum Job {
  case blocking(any BlockingJob)
  case async(any AsyncJob)

  /// - Throws: `bootstrapFailed` where this process does not know the task, and what decoding the
  ///   arguments throws.
  init(_ header: TaskHeader, _ arguments: IncomingArguments?) throws {
    switch header.work {
    case .inherited:
      throw IPCError(.bootstrapFailed, context: "the task is in its parent's memory alone")
    case .task(let name):
      guard let arguments, let type = try name.resolve() as? any ProcessTask.Type else {
        throw IPCError(.bootstrapFailed, context: "the task's type is no ProcessTask here")
      }
      self = try Self.task(type, arguments)
    case .closure(let location, let call, let names, let output):
      var types: [SentType] = []
      for name in names { types.append(try Self.sentType(name)) }
      let signature = FunctionSignature(
        location: location, call: call, output: try output.map(Self.sentType))
      self = try NoArguments.job(signature, types[...], arguments)
    }
  }

  private static func sentType(_ name: TypeName) throws -> SentType {
    let type = try name.resolve()
    guard let type = type as? SentType else {
      throw IPCError(.bootstrapFailed, context: "\(type) is not Codable here")
    }
    return type
  }

  private static func task<T: ProcessTask>(
    _ type: T.Type, _ arguments: IncomingArguments
  ) throws -> Job {
    .async(TaskJob(task: try arguments.decode(type)))
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

private struct FunctionSignature {
  var location: FunctionLocation
  var call: FunctionCall
  var output: SentType?
}

private typealias NoArguments = ArgumentTypes<>

/// The types of a closure's arguments, collected one by one from types known at run time alone.
private struct ArgumentTypes<each A: Codable> {
  static func job(
    _ signature: FunctionSignature, _ types: ArraySlice<SentType>, _ arguments: IncomingArguments?
  ) throws -> Job {
    if let next = types.first { return try add(next, signature, types.dropFirst(), arguments) }
    switch signature.call {
    case .action:
      let function = try ActionFunction<repeat each A>(at: signature.location)
      return .blocking(ActionJob(function, try Arguments(arguments)))
    case .asyncAction:
      let function = try AsyncActionFunction<repeat each A>(at: signature.location)
      return .async(AsyncActionJob(function, try Arguments(arguments)))
    case .function, .asyncFunction:
      guard let output = signature.output else {
        throw IPCError(.malformedMessage, context: "task: the output's type is missing")
      }
      return try job(signature, arguments, returning: output)
    case .unary, .asyncUnary:
      throw IPCError(.malformedMessage, context: "task: a function of a pool")
    }
  }

  private static func add<Next: Codable>(
    _ next: Next.Type, _ signature: FunctionSignature, _ types: ArraySlice<SentType>,
    _ arguments: IncomingArguments?
  ) throws -> Job {
    try ArgumentTypes<repeat each A, Next>.job(signature, types, arguments)
  }

  private static func job<Output: Codable>(
    _ signature: FunctionSignature, _ arguments: IncomingArguments?, returning: Output.Type
  ) throws -> Job {
    if signature.call == .function {
      let function = try ValueFunction<repeat each A, Output>(at: signature.location)
      return .blocking(ValueJob(function, try Arguments(arguments)))
    }
    let function = try AsyncValueFunction<repeat each A, Output>(at: signature.location)
    return .async(AsyncValueJob(function, try Arguments(arguments)))
  }
}

/// Unchecked: see `SentType`.
struct Arguments<each A: Codable>: @unchecked Sendable, Decodable {
  let values: (repeat each A)

  init(_ arguments: IncomingArguments?) throws {
    if let arguments {
      self = try arguments.decode(Self.self)
    } else {
      try self.init(ArgumentList(nil))
    }
  }

  init(from decoder: any Decoder) throws {
    try self.init(ArgumentList(try decoder.unkeyedContainer()))
  }

  init(_ list: ArgumentList) throws {
    values = (repeat try list.next((each A).self))
  }
}

// Jobs are types rather than closures: the compiler (6.3) fails on closures that capture packs.

struct ActionJob<each A: Codable>: BlockingJob {
  let function: ActionFunction<repeat each A>
  let arguments: Arguments<repeat each A>

  init(_ function: ActionFunction<repeat each A>, _ arguments: Arguments<repeat each A>) {
    self.function = function
    self.arguments = arguments
  }

  func run() throws -> (any Encodable)? {
    try function.body(repeat each arguments.values)
    return nil
  }
}

struct ValueJob<each A: Codable, Output: Codable>: BlockingJob {
  let function: ValueFunction<repeat each A, Output>
  let arguments: Arguments<repeat each A>

  init(_ function: ValueFunction<repeat each A, Output>, _ arguments: Arguments<repeat each A>) {
    self.function = function
    self.arguments = arguments
  }

  func run() throws -> (any Encodable)? { try function.body(repeat each arguments.values) }
}

struct AsyncActionJob<each A: Codable>: AsyncJob {
  let function: AsyncActionFunction<repeat each A>
  let arguments: Arguments<repeat each A>

  init(_ function: AsyncActionFunction<repeat each A>, _ arguments: Arguments<repeat each A>) {
    self.function = function
    self.arguments = arguments
  }

  func run() async throws -> (any Encodable)? {
    try await function.body(repeat each arguments.values)
    return nil
  }
}

struct AsyncValueJob<each A: Codable, Output: Codable>: AsyncJob {
  let function: AsyncValueFunction<repeat each A, Output>
  let arguments: Arguments<repeat each A>

  init(
    _ function: AsyncValueFunction<repeat each A, Output>, _ arguments: Arguments<repeat each A>
  ) {
    self.function = function
    self.arguments = arguments
  }

  func run() async throws -> (any Encodable)? {
    try await function.body(repeat each arguments.values)
  }
}

struct TaskJob<T: ProcessTask>: AsyncJob {
  let task: T

  func run() async throws -> (any Encodable)? {
    let output = try await task.run()
    return output as? any Encodable  // nil for Void, the one type that is not
  }
}
