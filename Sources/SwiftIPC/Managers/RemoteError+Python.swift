// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

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
      var text = MessageDescription()
      for (place, argument) in arguments.enumerated() where !text.isFull {
        if place > 0 { text.write(", ") }
        text.write(argument.description)
      }
      message = text.cut()
    }
    self.init(
      typeName: name, message: message,
      arguments: plain.count == arguments.count ? plain : [])
  }

  /// A Python exception that was sent as what Python prints of it.
  init(traceback: String) {
    // By bytes: a single character of hostile text may be of any length, and costs as much to compare.
    let lines = traceback.utf8.split(separator: 0x0a, omittingEmptySubsequences: false)
    // The last line that is not indented and not of a note's begins with the class.
    let last = lines.lastIndex { line in
      guard let first = line.first, !(0x30...0x39 ~= first), first != 0x2e else { return false }
      return line.prefix { $0 != 0x3a }.allSatisfy(Self.isOfName)
    }
    func text(_ lines: some Collection<Substring.UTF8View>) -> [String] {
      lines.map { String(Substring($0)) }
    }
    guard let last else {
      self.init(typeName: "", message: traceback, trace: text(lines))
      return
    }
    let name = lines[last].prefix { $0 != 0x3a }
    // All behind the name, to the end: the message may have lines of its own.
    var message = traceback.utf8[name.endIndex...]
    if message.starts(with: [0x3a, 0x20]) { message = message.dropFirst(2) }
    while let end = message.last, end == 0x0a || end == 0x0d { message = message.dropLast() }
    self.init(
      typeName: String(Substring(name)), message: String(Substring(message)),
      trace: text(lines[..<last]))
  }

  /// Whether a byte can be of the name of a class, with its module: letters beyond ASCII are.
  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f, 0x80...: true
    default: false
    }
  }
}
