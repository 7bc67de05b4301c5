// SPDX-License-Identifier: Apache-2.0
internal import CIPC

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
    if text.isEmpty && status.isCrash && Self.hasTopLevelCode {
      text = """
        ; if it reads a top-level variable of main.swift, that is why: such variables are never \
        initialised in a child, so make it a static property of a type
        """
    }
    return text
  }

  /// Whether this program begins with a `main.swift`, as far as its symbols tell: one with an `@main`
  /// type has a function that calls it.
  static let hasTopLevelCode = hasTopLevelCode(at: "/proc/self/exe")

  static func hasTopLevelCode(at path: String) -> Bool {
    unsafe cipc_image_file_has_symbol(path, "5$mainyy") == 0
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
