// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A function that a worker knows by its name, ready to go through chunks.
enum WorkerFunction {
  case blocking(any BlockingTask, (any SlotFunction)?)
  case async(any AsyncTask)
  /// It cannot be found here, for this reason.
  case refused(String)

  init(_ work: TaskHeader.Work, _ state: (any AnyTaskState)?) {
    func slotFunction(_ task: some BlockingTask) -> (any SlotFunction)? {
      task.function as? any SlotFunction
    }
    do {
      switch try TaskResolver.resolve(work, state: state) {
      case .blocking(let task): self = .blocking(task, slotFunction(task))
      case .async(let task): self = .async(task)
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

extension BlockingTask {
  func run(_ chunk: ChunkRun) throws {
    let coder = ElementCoder<Function.Output>()
    let size = Function.Input.fixedSize
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try Function.Input(element: element) }) else { continue }
      let result = Result { try function.call(&state.value, input) }
      // A fork of the worker that came back here would be a second worker on the same channel.
      if chunk.isFork { CurrentProcess.leave(0) }
      switch result {
      case .success(let value): chunk.succeed(value, coder)
      case .failure(let error): chunk.fail(error)
      }
    }
  }
}

extension AsyncTask {
  @concurrent func run(_ chunk: ChunkRun) async throws {
    let coder = ElementCoder<Function.Output>()
    let size = Function.Input.fixedSize
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try Function.Input(element: element) }) else { continue }
      do {
        let value = try await function.call(&state.value, input)
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.succeed(value, coder)
      } catch {
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.fail(error)
      }
    }
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
