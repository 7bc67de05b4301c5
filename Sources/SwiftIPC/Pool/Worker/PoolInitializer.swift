// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// What each worker of a pool begins with: a function, and arguments for it that are sent to each.
protocol PoolInitializing: Sendable {
  /// Writes the order: {finalizer's header or nothing, header, arguments}.
  func write(to frame: FrameBuffer) throws
}

struct PoolInitializer<each A: Codable & Sendable>: PoolInitializing {
  private let header: [UInt8]
  private let arguments: OutgoingArguments<repeat each A>
  /// Empty for none.
  private let finalizer: [UInt8]

  /// - Throws: `notTransferable`.
  init(
    _ function: some SendableFunction, state: Any.Type, finalizer: (any SendableFunction)?,
    _ arguments: repeat each A
  ) throws(IPCError) {
    func header(
      _ function: some SendableFunction, _ arguments: [any Any.Type], _ output: Any.Type?
    ) throws(IPCError) -> [UInt8] {
      TaskHeader(
        name: "", returnsValue: output != nil,
        work: try TaskHeader.Work(function, arguments: arguments, output: output)
      ).bytes
    }
    var types: [any Any.Type] = []
    for type in repeat (each A).self { types.append(type) }
    self.header = try header(function, types, state)
    self.arguments = OutgoingArguments(repeat each arguments)
    // The state's type is the initializer's.
    self.finalizer = if let finalizer { try header(finalizer, [], nil) } else { [] }
  }

  func write(to frame: FrameBuffer) throws {
    frame.append(counted: finalizer)
    frame.append(counted: header)
    try frame.append(message: arguments)
  }
}

/// An initializer as it arrived in a worker.
struct WorkerInitializer {
  let function: ResolvedTask
  /// What is to be done with the state in the end.
  let finalizer: TaskHeader.Work?
  private let arguments: IncomingArguments

  /// - Throws: `malformedMessage`, `bootstrapFailed`.
  init(_ reader: inout FrameReader, _ inbox: DescriptorInbox?) throws {
    let finalizer = unsafe Array(try reader.counted())
    self.finalizer = finalizer.isEmpty ? nil : try TaskHeader(finalizer).work
    let header = unsafe Array(try reader.counted())
    function = try TaskResolver.initializer(TaskHeader(header).work)
    arguments = IncomingArguments(unsafe IncomingElement(bytes: try reader.counted(), inbox: inbox))
  }

  /// Makes the state. Blocks.
  func make(executor: () -> WorkerExecutor) throws -> any AnyTaskState {
    func made(_ task: some BlockingTask) throws -> any AnyTaskState {
      TaskState(try task.job(arguments)())
    }
    func made(_ task: some AsyncTask, in executor: WorkerExecutor) throws -> any AnyTaskState {
      let state = Guarded<(any AnyTaskState)?>(nil)
      let job = try task.job(arguments)
      try executor.run {
        let made = TaskState(try await job())
        state.withLock { $0 = made }
      }
      guard let made = state.withLock({ $0 }) else { preconditionFailure("not made") }
      return made
    }
    switch function {
    case .blocking(let task): return try made(task)
    case .async(let task): return try made(task, in: executor())
    }
  }
}
