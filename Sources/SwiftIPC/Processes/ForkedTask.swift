// SPDX-License-Identifier: Apache-2.0

/// The work of a forked child, which has it in its memory already; only the arguments are sent, so
/// that they mean the same as with the other start methods.
protocol ForkedTask: Sendable {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job
}

extension CodingUserInfoKey {
  /// Where the decoder of a forked child's task finds the `ForkedTask`.
  static let forkedTask = CodingUserInfoKey(rawValue: "SwiftIPC.forkedTask")!
}

/// A `ProcessTask` for a forked child.
struct ForkedProcessTask<T: ProcessTask>: ForkedTask {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job {
    .async(TaskJob(task: try arguments.next(T.self)))
  }
}

extension ActionFunction: ForkedTask where repeat each A: Codable {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job {
    .blocking(ActionJob(self, try Arguments(arguments)))
  }
}

extension AsyncActionFunction: ForkedTask where repeat each A: Codable {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job {
    .async(AsyncActionJob(self, try Arguments(arguments)))
  }
}

extension ValueFunction: ForkedTask where repeat each A: Codable, Output: Codable {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job {
    .blocking(ValueJob(self, try Arguments(arguments)))
  }
}

extension AsyncValueFunction: ForkedTask where repeat each A: Codable, Output: Codable {
  func job(_ arguments: ArgumentList) throws -> IncomingTask.Job {
    .async(AsyncValueJob(self, try Arguments(arguments)))
  }
}
