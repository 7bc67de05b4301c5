// SPDX-License-Identifier: Apache-2.0

/// What a parent tells its child to do: a list of a header and the arguments.
struct TaskHeader: Codable, Sendable {
  /// The child's name.
  var name: String
  /// Whether the task returns something other than `Void`.
  var returnsValue: Bool
  var work: Work

  enum Work: Codable, Sendable {
    /// A closure: where it is, how it is called, and the types in its signature.
    case closure(ImageLocation, FunctionCall, arguments: [TypeName], output: TypeName?)
    /// A `ProcessTask` of this type, which is the one argument.
    case task(TypeName)
    /// What the forked child has in its memory.
    case inherited
  }
}

/// A task on its way to a child.
struct OutgoingTask<each A: Encodable>: Encodable {
  var header: TaskHeader
  var arguments: (repeat each A)

  init(_ header: TaskHeader, _ arguments: repeat each A) {
    self.header = header
    self.arguments = (repeat each arguments)
  }

  func encode(to encoder: any Encoder) throws {
    var list = encoder.unkeyedContainer()
    try list.encode(header)
    for argument in repeat each arguments { try list.encode(argument) }
  }
}

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

/// A task in the child, ready to run.
struct IncomingTask: Decodable {
  enum Job {
    case blocking(any BlockingJob)
    case async(any AsyncJob)
  }

  var header: TaskHeader
  var job: Job

  init(from decoder: any Decoder) throws {
    let list = ArgumentList(try decoder.unkeyedContainer())
    header = try list.next(TaskHeader.self)
    switch header.work {
    case .inherited:
      guard let task = decoder.userInfo[.forkedTask] as? any ForkedTask else {
        throw IPCError(.malformedMessage, context: "task: this child was not forked")
      }
      job = try task.job(list)
    case .task(let name):
      guard let type = try name.resolve() as? any ProcessTask.Type else {
        throw IPCError(.bootstrapFailed, context: "the task's type is no ProcessTask here")
      }
      job = try Self.job(type, list)
    case .closure(let location, let call, let arguments, let output):
      var types: [SentType] = []
      for name in arguments { types.append(try Self.transferable(name)) }
      let signature = FunctionSignature(
        location: location, call: call, output: try output.map(Self.transferable))
      job = try ArgumentTypes< >.job(signature, types[...], list)
    }
  }

  private static func transferable(_ name: TypeName) throws -> SentType {
    let type = try name.resolve()
    guard let type = type as? SentType else {
      throw IPCError(.bootstrapFailed, context: "\(type) is not Codable here")
    }
    return type
  }

  private static func job<T: ProcessTask>(
    _ type: T.Type, _ list: ArgumentList
  ) throws -> Job {
    .async(TaskJob(task: try list.next(type)))
  }
}

/// The list that is being decoded: an object, since a pack expansion cannot borrow a container.
final class ArgumentList {
  private var list: any UnkeyedDecodingContainer

  init(_ list: any UnkeyedDecodingContainer) { self.list = list }

  func next<T: Decodable>(_ type: T.Type) throws -> T { try list.decode(type) }
}

private struct FunctionSignature {
  var location: ImageLocation
  var call: FunctionCall
  var output: SentType?
}

/// The types of a closure's arguments, collected one by one from types known at run time alone.
private struct ArgumentTypes<each A: Codable> {
  static func job(
    _ signature: FunctionSignature, _ types: ArraySlice<SentType>, _ list: ArgumentList
  ) throws -> IncomingTask.Job {
    if let next = types.first { return try add(next, signature, types.dropFirst(), list) }
    switch signature.call {
    case .action:
      let function = try ActionFunction<repeat each A>(at: signature.location)
      return .blocking(ActionJob(function, try Arguments(list)))
    case .asyncAction:
      let function = try AsyncActionFunction<repeat each A>(at: signature.location)
      return .async(AsyncActionJob(function, try Arguments(list)))
    case .function, .asyncFunction:
      guard let output = signature.output else {
        throw IPCError(.malformedMessage, context: "task: the output's type is missing")
      }
      return try job(signature, list, returning: output)
    }
  }

  private static func add<Next: Codable>(
    _ next: Next.Type, _ signature: FunctionSignature, _ types: ArraySlice<SentType>,
    _ list: ArgumentList
  ) throws -> IncomingTask.Job {
    try ArgumentTypes<repeat each A, Next>.job(signature, types, list)
  }

  private static func job<Output: Codable>(
    _ signature: FunctionSignature, _ list: ArgumentList, returning: Output.Type
  ) throws -> IncomingTask.Job {
    if signature.call == .function {
      let function = try ValueFunction<repeat each A, Output>(at: signature.location)
      return .blocking(ValueJob(function, try Arguments(list)))
    }
    let function = try AsyncValueFunction<repeat each A, Output>(at: signature.location)
    return .async(AsyncValueJob(function, try Arguments(list)))
  }
}

/// Unchecked: see `SentType`.
struct Arguments<each A: Codable>: @unchecked Sendable {
  let values: (repeat each A)

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
