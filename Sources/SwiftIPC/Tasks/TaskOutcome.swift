// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// What became of a task, as the child tells its parent: the message of the value, or one of these
/// bytes and what belongs to it. No message begins with them.
enum TaskFailure: UInt8 {
  /// The task threw: {type, description, trace}.
  case threw = 1
  /// The task could not be begun: a text that says why.
  case refused = 2
  /// {}: the process is about to die, since it got no more memory.
  case outOfMemory = 3

  static let refusedMemory: [UInt8] = [outOfMemory.rawValue]

  /// The message of an error that was caught just now.
  static func threw(_ error: any Error) -> [UInt8] {
    let frame = FrameBuffer()
    frame.append(threw.rawValue)
    frame.append(thrown: error)
    return unsafe Array(frame.bytes)
  }

  static func refused(_ text: String) -> [UInt8] { [refused.rawValue] + text.utf8 }

  /// The error that a message of the child with this name stands for; `nil` for that of a value.
  static func error(_ message: [UInt8], from child: String) -> (any Error)? {
    guard let first = message.first, let failure = TaskFailure(rawValue: first) else { return nil }
    switch failure {
    case .threw:
      return unsafe message.withUnsafeBytes { bytes -> any Error in
        do throws(IPCError) {
          return try unsafe RemoteError(
            UnsafeRawBufferPointer(rebasing: bytes.dropFirst()), worker: child)
        } catch {
          return error
        }
      }
    case .refused:
      let text = String(decoding: message.dropFirst(), as: UTF8.self)
      return IPCError(.bootstrapFailed, context: text)
    case .outOfMemory: return IPCError(.malformedMessage, context: "a child's last word")
    }
  }
}
