// SPDX-License-Identifier: Apache-2.0

/// The work of a forked child, which has it in its memory already; only the arguments are sent, so
/// that they mean the same as with the other start methods.
protocol ForkedTask: Sendable {
  func job(_ arguments: IncomingArguments?) throws -> Job
}

/// A `ProcessTask` for a forked child.
struct ForkedProcessTask<T: ProcessTask>: ForkedTask {
  func job(_ arguments: IncomingArguments?) throws -> Job {
    guard let arguments else {
      throw IPCError(.malformedMessage, context: "task: its properties did not arrive")
    }
    return .async(TaskJob(task: try arguments.decode(T.self)))
  }
}

extension ActionFunction: ForkedTask where repeat each A: Codable {
  func job(_ arguments: IncomingArguments?) throws -> Job {
    .blocking(ActionJob(self, try Arguments(arguments)))
  }
}

extension AsyncActionFunction: ForkedTask where repeat each A: Codable {
  func job(_ arguments: IncomingArguments?) throws -> Job {
    .async(AsyncActionJob(self, try Arguments(arguments)))
  }
}

extension ValueFunction: ForkedTask where repeat each A: Codable, Output: Codable {
  func job(_ arguments: IncomingArguments?) throws -> Job {
    .blocking(ValueJob(self, try Arguments(arguments)))
  }
}

extension AsyncValueFunction: ForkedTask where repeat each A: Codable, Output: Codable {
  func job(_ arguments: IncomingArguments?) throws -> Job {
    .async(AsyncValueJob(self, try Arguments(arguments)))
  }
}
