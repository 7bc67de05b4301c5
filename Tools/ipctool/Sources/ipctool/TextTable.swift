// SPDX-License-Identifier: Apache-2.0

/// Columns as wide as their widest cell.
struct TextTable {
  private var rows: [[String]]

  init(_ header: [String]) { rows = [header] }

  mutating func add(_ row: [String]) { rows.append(row.map(\.escaped)) }

  var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      var line = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
        .joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}

enum ByteSize {
  /// Such as "96", "4.0K" and "1.5G".
  static func text(_ bytes: UInt64) -> String {
    if bytes < 1024 { return "\(bytes)" }
    var size = Double(bytes) / 1024
    for unit in ["K", "M", "G", "T"] {
      if size < 1024 { return "\((size * 10).rounded() / 10)\(unit)" }
      size /= 1024
    }
    return "\((size * 10).rounded() / 10)P"
  }
}
