// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// What can be said of a child's death beyond its signal.
struct CauseOfDeath: Hashable, Sendable {
  /// The child's last line on standard error that says why it ended, where this process has it.
  var line: String?
  /// The limit of its memory, where the child said that it was refused some.
  var memoryLimit: Int?

  /// What follows the exit status in the description of an error; empty where nothing is known.
  func text(_ status: ExitStatus) -> String {
    var text = ""
    if let memoryLimit {
      text += "; it was refused memory, of which it may allocate \(memoryLimit) bytes"
    }
    if let line {
      text += "; it wrote: \(line)"
    }
    if text.isEmpty && status.isCrash && Self.hasTopLevelVariables {
      text = """
        ; if it reads a top-level variable of main.swift, that is why: such variables are never \
        initialised in a child, so make it a static property of a type
        """
    }
    return text
  }

  /// Whether this program certainly has variables at the top level of a `main.swift`, as far as its
  /// symbols tell.
  static let hasTopLevelVariables = hasTopLevelVariables(at: "/proc/self/exe")

  static func hasTopLevelVariables(at path: String) -> Bool {
    let most = 1 << 20
    var status: Int32 = 0
    let names = unsafe [UInt8](unsafeUninitializedCapacity: most) { buffer, count in
      unsafe buffer.withMemoryRebound(to: CChar.self) { names in
        status = unsafe cipc_image_file_list_zeroed(path, "$s", names.baseAddress, most, &count)
      }
    }
    if status != 0 { return false }
    return hasTopLevelVariables(
      zeroed: names.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
  }

  /// Whether one of these variables, which hold zeros in the program's file, is initialised by the
  /// code of a `main.swift`.
  ///
  /// Every other global variable has a token beside it, by which its first use initialises it, or
  /// lies in the file as it is. Zeros are then its value; so only types count that have no value of
  /// zeros: strings, arrays, dictionaries, sets and classes.
  static func hasTopLevelVariables(zeroed names: [String]) -> Bool {
    // Without what tells them to be tokens.
    let tokens = names.filter { $0.hasSuffix("_Wz") }.map { $0.dropLast(3) }
    return names.contains { name in
      // Of other modules than the standard library, in which names of modules are not numbers.
      guard name.hasPrefix("$s"), let variable = Identifiers(name.dropFirst(2)),
        variable.typeIsNeverZero
      else { return false }
      return !tokens.contains { token in
        if name.hasPrefix(token) { return true }
        // One token for several variables, which may be abbreviated in it.
        guard token.hasPrefix("$s" + variable.module) else { return false }
        return Identifiers(token.dropFirst(2))?.type.hasPrefix("_") ?? true
      }
    }
  }

  /// The parts of the mangled name of a global variable.
  private struct Identifiers {
    /// With its length before it.
    var module: Substring
    var type: Substring

    init?(_ name: Substring) {
      guard let module = Self.identifier(name),
        let variable = Self.identifier(name[module.endIndex...])
      else { return nil }
      self.module = module
      type = name[variable.endIndex...]
      // A private one's file.
      if type.first?.isNumber == true, let file = Self.identifier(type),
        name[file.endIndex...].hasPrefix("LL")
      {
        type = name[file.endIndex...].dropFirst(2)
      }
    }

    /// The identifier at the beginning. One that is abbreviated or not ASCII is not read.
    private static func identifier(_ text: Substring) -> Substring? {
      let digits = text.prefix { $0.isASCII && $0.isNumber }
      guard digits.first != "0", let length = Int(digits), length <= text.count else { return nil }
      let identifier = text.prefix(digits.count + length)
      return identifier.count == digits.count + length ? identifier : nil
    }

    var typeIsNeverZero: Bool {
      type == "SSvp" || type.hasSuffix("Cvp")
        || type.hasSuffix("Gvp") && ["Say", "SD", "Sh"].contains { type.hasPrefix($0) }
    }
  }
}

/// The end of what a child wrote, for errors about its death.
final class OutputTail: Sendable {
  private let bytes = Guarded<[UInt8]>([])
  /// The line of a trap stands in front of some 80 of a backtrace.
  private static let most = 1 << 14
  private static let longestLine = 400

  /// Takes what the child wrote, as it is read.
  func note(_ more: some Collection<UInt8>) {
    if more.isEmpty { return }
    bytes.withLock { bytes in
      bytes.append(contentsOf: more.suffix(Self.most))
      if bytes.count > Self.most { bytes.removeFirst(bytes.count - Self.most) }
    }
  }

  /// The line that says why the child ended, of what was read and of what stands in the pipe.
  func line(unreadIn pipe: Int32) -> String? {
    var unread = 0
    let rest = unsafe [UInt8](unsafeUninitializedCapacity: Self.most) { buffer, count in
      _ = unsafe cipc_death_unread(pipe, buffer.baseAddress, Self.most, &unread)
      count = unread
    }
    return Self.line(bytes.withLock { $0 } + rest)
  }

  /// The last line that is a trap's own, or the last line; `nil` where there is none.
  static func line(_ bytes: [UInt8]) -> String? {
    let lines = bytes.split { $0 == 10 || $0 == 13 }.map { String(decoding: $0, as: UTF8.self) }
    let line =
      lines.last { $0.contains("Fatal error") || $0.contains("fatal error") }
      ?? lines.last { line in line.contains { !$0.isWhitespace } }
    guard let line else { return nil }
    let text = line.escaped
    return text.count > longestLine ? text.prefix(longestLine) + "\u{2026}" : text
  }
}
