// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A function that a worker knows by its name, ready to go through chunks.
enum WorkerFunction {
  case blocking(any BlockingRunner, (any SlotFunction)?)
  case async(any AsyncRunner)
  /// It cannot be found here, for this reason.
  case refused(String)

  init(_ work: TaskHeader.Work, _ state: (any AnyTaskState)?) {
    func slotFunction(_ task: some BlockingTask) -> (any SlotFunction)? {
      task.function as? any SlotFunction
    }
    do {
      switch try TaskResolver.resolve(work, state: state) {
      case .blocking(let task): self = .blocking(task.runner, slotFunction(task))
      case .async(let task): self = .async(task.runner)
      }
    } catch {
      self = .refused((error as? IPCError)?.context ?? "\(error)")
    }
  }
}

/// A function that may leave its results in the slot of a run.
protocol SlotFunction: Sendable {
  /// - Returns: `false` where that cannot be: nothing has happened.
  func runInSlot(_ chunk: ChunkRun) throws -> Bool
}

extension UnaryFunction: SlotFunction where A: Codable {
  @_specialize(where A == Int, Output == Int)
  @_specialize(where A == Double, Output == Double)
  @_specialize(where A == Int, Output == Double)
  @_specialize(where A == Float, Output == Float)
  @_specialize(where A == Int32, Output == Int32)
  @_specialize(where A == UInt8, Output == UInt8)
  func runInSlot(_ chunk: ChunkRun) throws -> Bool {
    try chunk.runInSlot(ElementCoder<A>()) { (input: A) throws -> Output in try body(input) }
  }
}

// Runners have the types of a function as their own parameters, and make what they need of these once for
// all chunks: to look such up for each small task would cost as much as the task.

/// Goes through chunks with a function.
protocol BlockingRunner {
  func run(_ chunk: ChunkRun) throws
}

/// Goes through chunks with a function that can be suspended.
protocol AsyncRunner: Sendable {
  @concurrent func run(_ chunk: ChunkRun) async throws
}

private final class BlockingChunks<State, Input: TaskInput, Output>: BlockingRunner {
  private let state: TaskState<State>
  private let call: (inout State, Input) throws -> Output
  private let read = Input.reader
  private let size = Input.fixedSize
  private let coder = ElementCoder<Output>()

  init(_ state: TaskState<State>, _ call: @escaping (inout State, Input) throws -> Output) {
    self.state = state
    self.call = call
  }

  func run(_ chunk: ChunkRun) throws {
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try read(element) }) else { continue }
      let result = Result { try call(&state.value, input) }
      // A fork of the worker that came back here would be a second worker on the same channel.
      if chunk.isFork { CurrentProcess.leave(0) }
      switch result {
      case .success(let value): chunk.succeed(value, coder)
      case .failure(let error): chunk.fail(error)
      }
    }
  }
}

/// Unchecked: a worker is in one chunk at a time.
private final class AsyncChunks<State, Input: TaskInput, Output>: AsyncRunner, @unchecked Sendable {
  private let state: TaskState<State>
  private let call: @concurrent @Sendable (inout State, Input) async throws -> Output
  private let read = Input.reader
  private let size = Input.fixedSize
  private let coder = ElementCoder<Output>()

  init(
    _ state: TaskState<State>,
    _ call: @escaping @concurrent @Sendable (inout State, Input) async throws -> Output
  ) {
    self.state = state
    self.call = call
  }

  @concurrent func run(_ chunk: ChunkRun) async throws {
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try read(element) }) else { continue }
      do {
        let value = try await call(&state.value, input)
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.succeed(value, coder)
      } catch {
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.fail(error)
      }
    }
  }
}

extension BlockingTask {
  fileprivate var runner: any BlockingRunner {
    let function = function
    return BlockingChunks(state) { state, input in try function.call(&state, input) }
  }
}

extension AsyncTask {
  fileprivate var runner: any AsyncRunner {
    let function = function
    return AsyncChunks(state) { state, input in try await function.call(&state, input) }
  }
}

extension ChunkRun {
  /// Decodes an element, or sends why it cannot be.
  fileprivate func decoded<Input>(_ decode: () throws -> Input) -> Input? {
    do {
      return try decode()
    } catch {
      let text = (error as? IPCError)?.context ?? "\(error)"
      fail(.notCoded, "the argument of a task: \(text)")
      return nil
    }
  }
}
