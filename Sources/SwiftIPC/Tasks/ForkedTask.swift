// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// The work of a forked child, which has it in its memory already; only the arguments are sent, so
/// that they mean the same as with the other start methods.
protocol ForkedTask: Sendable {
  var task: ResolvedTask { get }
}

/// A `ProcessTask` for a forked child.
struct ForkedProcessTask<T: ProcessTask>: ForkedTask {
  var task: ResolvedTask { TaskResolver.run(T.self) }
}

extension ForkedTask where Self: BlockingFunction, State == NoState {
  var task: ResolvedTask { .blocking(BlockingCall(function: self, state: .stateless)) }
}

extension ForkedTask where Self: AsyncFunction, State == NoState {
  var task: ResolvedTask { .async(AsyncCall(function: self, state: .stateless)) }
}

extension ActionFunction: ForkedTask where repeat each A: Codable {}
extension AsyncActionFunction: ForkedTask where repeat each A: Codable {}
extension ValueFunction: ForkedTask where repeat each A: Codable {}
extension AsyncValueFunction: ForkedTask where repeat each A: Codable {}
