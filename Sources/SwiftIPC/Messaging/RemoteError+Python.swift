// SPDX-License-Identifier: Apache-2.0

extension RemoteError {
  /// A Python exception that was sent as an object.
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

  /// A Python exception that was sent as what Python prints of it.
  init(traceback: String) {
    // The last line that is not indented and not of a note's begins with the class.
    let lines = traceback.split(separator: "\n", omittingEmptySubsequences: false)
    let last = lines.lastIndex { line in
      guard let first = line.first, first.isLetter || first == "_" else { return false }
      let name = line.prefix { $0 != ":" }
      return name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }
    }
    guard let last else {
      self.init(typeName: "", message: traceback, trace: lines.map(String.init))
      return
    }
    let name = lines[last].prefix { $0 != ":" }
    var message = lines[last...].joined(separator: "\n").dropFirst(name.count)
    if message.hasPrefix(": ") { message = message.dropFirst(2) }
    while message.last?.isNewline == true { message.removeLast() }
    self.init(
      typeName: String(name), message: String(message), trace: lines[..<last].map(String.init))
  }
}
