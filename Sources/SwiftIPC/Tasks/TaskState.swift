// SPDX-License-Identifier: Apache-2.0

/// What functions of tasks are handed: what the initializer made in this worker. Unchecked: a process is in
/// one task at a time.
final class TaskState<Value>: @unchecked Sendable {
  var value: Value
  init(_ value: Value) { self.value = value }
}

/// The state of any type, which completes the type of a function that takes it.
protocol AnyTaskState: Sendable {
  /// - Throws: as `TaskResolver.resolve`.
  func resolve(_ signature: TaskSignature, _ arguments: [SentType]) throws -> ResolvedTask
}

extension TaskState<NoState> {
  /// That of functions that take none.
  static var stateless: TaskState { TaskState(NoState()) }
}
