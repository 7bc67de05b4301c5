// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Where the figures come from, for the lines above and below the table.
enum Machine {
  static func describe() -> String {
    let model =
      lines(of: "/proc/cpuinfo").first { $0.hasPrefix("model name") }?
      .split(separator: ":", maxSplits: 1).last.map(trimmed) ?? "unknown processor"
    let kernel = lines(of: "/proc/sys/kernel/osrelease").first ?? "?"
    return "\(model), \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) cores; Linux \(kernel); "
      + libc()
  }

  private static func libc() -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
      confstr(Int32(_CS_GNU_LIBC_VERSION), text.baseAddress, text.count) > 0
        ? String(cString: text.baseAddress!) : "unknown libc"
    }
  }

  /// The load average of the last minute: above 1, or so, others were working too.
  static func load() -> String {
    lines(of: "/proc/loadavg").first?.split(separator: " ").first.map(String.init) ?? "?"
  }

  private static func lines(of path: String) -> [String] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    return lines(of: file)
  }

  static func lines(of file: UnsafeMutablePointer<FILE>) -> [String] {
    var result: [String] = []
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { free(line) }
    while getline(&line, &room, file) >= 0, let line {
      result.append(trimmed(String(cString: line)))
    }
    return result
  }

  static func trimmed(_ text: some StringProtocol) -> String {
    let start = text.drop { $0.isWhitespace }
    return String(start.reversed().drop { $0.isWhitespace }.reversed())
  }
}
