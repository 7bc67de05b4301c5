// SPDX-License-Identifier: Apache-2.0

/// What became of a task, as the child tells its parent: the message of the value, or one of these
/// bytes and a text. No message begins with them.
enum TaskFailure: UInt8 {
  /// The task threw; the text describes the error.
  case threw = 1
  /// The task could not be begun; the text says why.
  case refused = 2

  static func message(_ failure: TaskFailure, _ text: String) -> [UInt8] {
    [failure.rawValue] + text.utf8
  }

  /// The error that a message stands for; `nil` for that of a value.
  static func error(_ message: [UInt8]) -> IPCError? {
    guard let first = message.first, let failure = TaskFailure(rawValue: first) else { return nil }
    let text = String(decoding: message.dropFirst(), as: UTF8.self)
    switch failure {
    case .threw: return IPCError(.childThrew, context: text)
    case .refused: return IPCError(.bootstrapFailed, context: text)
    }
  }
}
