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

/// A task in the child, ready to run.
struct IncomingTask: Decodable {
  /// What a task leaves: a value to send to the parent, or nothing.
  typealias Answer = (any Encodable)?

  enum Job {
    /// Runs on the main thread, from its beginning to its end.
    case blocking(() throws -> Answer)
    case async(@Sendable () async throws -> Answer)
  }

  var header: TaskHeader
  var job: Job

  init(from decoder: any Decoder) throws {
    var list = try decoder.unkeyedContainer()
    header = try list.decode(TaskHeader.self)
    switch header.work {
    case .task(let name):
      guard let type = try name.resolve() as? any ProcessTask.Type else {
        throw IPCError(.bootstrapFailed, context: "the task's type is no ProcessTask here")
      }
      job = try Self.job(type, &list)
    case .closure(let location, let call, let arguments, let output):
      var types: [any (Codable & Sendable).Type] = []
      for name in arguments { types.append(try Self.transferable(name)) }
      let signature = FunctionSignature(
        location: location, call: call, output: try output.map(Self.transferable))
      job = try ArgumentTypes< >.job(signature, types[...], &list)
    }
  }

  private static func transferable(_ name: TypeName) throws -> any (Codable & Sendable).Type {
    let type = try name.resolve()
    // Sendable leaves no trace at run time; the parent's compiler has checked it.
    guard let type = type as? any Codable.Type else {
      throw IPCError(.bootstrapFailed, context: "\(type) is not Codable here")
    }
    return unsafe unsafeBitCast(type, to: (any (Codable & Sendable).Type).self)
  }

  private static func job<T: ProcessTask>(
    _ type: T.Type, _ list: inout any UnkeyedDecodingContainer
  ) throws -> Job {
    let task = try list.decode(type)
    return .async { answer(of: try await task.run()) }
  }
}

/// An output as what is sent: `Void` is not.
private func answer<Output>(of output: Output) -> IncomingTask.Answer {
  output is Void ? nil : output as? any Encodable
}

private struct FunctionSignature {
  var location: ImageLocation
  var call: FunctionCall
  var output: (any (Codable & Sendable).Type)?
}

/// The types of a closure's arguments, collected one by one from types known at run time alone.
private enum ArgumentTypes<each A: Codable & Sendable> {
  static func job(
    _ signature: FunctionSignature, _ types: ArraySlice<any (Codable & Sendable).Type>,
    _ list: inout any UnkeyedDecodingContainer
  ) throws -> IncomingTask.Job {
    if let next = types.first { return try add(next, signature, types.dropFirst(), &list) }
    let arguments = (repeat try list.decode((each A).self))
    switch signature.call {
    case .action:
      let function = try ActionFunction<repeat each A>(at: signature.location)
      return .blocking {
        try function.body(repeat each arguments)
        return nil
      }
    case .asyncAction:
      let function = try AsyncActionFunction<repeat each A>(at: signature.location)
      return .async {
        try await function.body(repeat each arguments)
        return nil
      }
    case .function, .asyncFunction:
      guard let output = signature.output else {
        throw IPCError(.malformedMessage, context: "task: the output's type is missing")
      }
      return try job(signature, arguments, returning: output)
    }
  }

  private static func add<Next: Codable & Sendable>(
    _ next: Next.Type, _ signature: FunctionSignature,
    _ types: ArraySlice<any (Codable & Sendable).Type>,
    _ list: inout any UnkeyedDecodingContainer
  ) throws -> IncomingTask.Job {
    try ArgumentTypes<repeat each A, Next>.job(signature, types, &list)
  }

  private static func job<Output: Codable & Sendable>(
    _ signature: FunctionSignature, _ arguments: (repeat each A), returning: Output.Type
  ) throws -> IncomingTask.Job {
    if signature.call == .function {
      let function = try ValueFunction<repeat each A, Output>(at: signature.location)
      return .blocking { try function.body(repeat each arguments) }
    }
    let function = try AsyncValueFunction<repeat each A, Output>(at: signature.location)
    return .async { try await function.body(repeat each arguments) }
  }
}
