// SPDX-License-Identifier: Apache-2.0

/// What became of a task, as the child tells its parent: a list that begins with one of these.
enum TaskOutcomeKind: String, Codable {
  /// The value follows.
  case returned
  /// The description of the error follows.
  case threw
  /// The task could not be begun; the reason follows.
  case refused
}

/// An outcome on its way to the parent.
struct OutgoingOutcome: Encodable {
  var kind: TaskOutcomeKind
  var content: any Encodable

  func encode(to encoder: any Encoder) throws {
    var list = encoder.unkeyedContainer()
    try list.encode(kind)
    try list.encode(content)
  }
}

/// An outcome as the parent reads it.
struct IncomingOutcome<Output: Sendable>: Decodable {
  var result: Result<Output, IPCError>

  init(from decoder: any Decoder) throws {
    var list = try decoder.unkeyedContainer()
    switch try list.decode(TaskOutcomeKind.self) {
    case .returned:
      guard let type = Output.self as? any Decodable.Type,
        let output = try Self.decode(type, &list) as? Output
      else {
        throw IPCError(.malformedMessage, context: "outcome: a value where none was expected")
      }
      result = .success(output)
    case .threw:
      result = .failure(IPCError(.childThrew, context: try list.decode(String.self)))
    case .refused:
      result = .failure(IPCError(.bootstrapFailed, context: try list.decode(String.self)))
    }
  }

  private static func decode<T: Decodable>(
    _ type: T.Type, _ list: inout any UnkeyedDecodingContainer
  ) throws -> Any {
    try list.decode(type)
  }
}
