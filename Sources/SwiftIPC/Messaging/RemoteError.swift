// SPDX-License-Identifier: Apache-2.0

/// What went wrong in a Python manager, as it told: nothing of it was run here.
///
/// ```swift
/// do {
///   try await scores.call("pop", ["nobody"])
/// } catch let error as RemoteError where error.typeName == "builtins.KeyError" {
///   print(error.message)
/// }
/// ```
public struct RemoteError: Error, Hashable, Sendable {
  /// The exception's class with its module, `builtins.KeyError`. From a trace alone it is what that
  /// ends with: `KeyError`, and for classes of other modules with the module.
  public var typeName: String
  /// The exception's text: its only argument when that is text, otherwise all of them.
  public var message: String
  /// Where in Python it happened, in many lines; `nil` for an exception that a method raised, of which
  /// a manager sends no trace.
  public var traceback: String?
  /// The exception's arguments, where they are plain data.
  public var arguments: [MessageValue]

  /// Makes an error, for tests of one's own.
  public init(
    typeName: String, message: String, traceback: String? = nil, arguments: [MessageValue] = []
  ) {
    self.typeName = typeName
    self.message = message
    self.traceback = traceback
    self.arguments = arguments
  }
}

extension RemoteError: CustomStringConvertible {
  /// The class and the text, and the trace where there is one.
  public var description: String {
    let line = message.isEmpty ? typeName : "\(typeName): \(message)"
    return traceback.map { "\(line)\n\($0)" } ?? line
  }
}

extension RemoteError {
  /// An exception that was sent as an object.
  init(exception: InertMessage) {
    guard case .object(let callee, let all, _) = exception else {
      self.init(typeName: exception.typeName ?? "", message: "\(exception)")
      return
    }
    // Some are put together by a function that takes the class and its arguments.
    var (name, arguments) = (callee.typeName ?? "", all)
    if let first = all.first, case .name = first, let named = first.typeName {
      (name, arguments) = (named, Array(all.dropFirst()))
      if arguments.count == 1, let inner = arguments[0].elements { arguments = inner }
    }
    let plain = arguments.compactMap(\.asPlain)
    let message: String
    if arguments.count == 1, case .plain(.string(let text)) = arguments[0] {
      message = text
    } else {
      message = arguments.map(\.description).joined(separator: ", ")
    }
    self.init(
      typeName: name, message: message,
      arguments: plain.count == arguments.count ? plain : [])
  }

  /// An exception that was sent as what Python prints of it.
  init(traceback: String) {
    // The last line that is not indented and not of a note's begins with the class.
    let lines = traceback.split(separator: "\n", omittingEmptySubsequences: false)
    let last = lines.lastIndex { line in
      guard let first = line.first, first.isLetter || first == "_" else { return false }
      let name = line.prefix { $0 != ":" }
      return name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }
    }
    guard let last else {
      self.init(typeName: "", message: traceback, traceback: traceback)
      return
    }
    let name = lines[last].prefix { $0 != ":" }
    var message = lines[last...].joined(separator: "\n").dropFirst(name.count)
    if message.hasPrefix(": ") { message = message.dropFirst(2) }
    while message.last?.isNewline == true { message.removeLast() }
    self.init(typeName: String(name), message: String(message), traceback: traceback)
  }
}
