// SPDX-License-Identifier: Apache-2.0

/// Takes in what a worker writes to standard streams that are pipes, line by line, so that the worker never
/// waits for space in one. For the thread that waits for workers.
final class WorkerOutput {
  private struct Stream {
    let reader: OutputReader
    var line: [UInt8] = []
    var isAtEnd = false
  }
  private var streams: [Stream]
  /// A longer line is reported in pieces.
  private static let longestLine = 1 << 16

  init(_ readers: [OutputReader]) { streams = readers.map { Stream(reader: $0) } }

  /// What to wait for.
  var descriptors: [Int32] { streams.filter { !$0.isAtEnd }.map(\.reader.descriptor) }

  /// Reports the lines that are there now. Does not block.
  func read(_ report: (String) -> Void) {
    for place in streams.indices {
      // Not forever: other workers have something to report too.
      for _ in 0..<16 where !streams[place].isAtEnd {
        guard case .ready = streams[place].reader.readiness(),
          let bytes = try? streams[place].reader.read()
        else { break }
        if bytes.isEmpty { streams[place].isAtEnd = true }
        take(bytes, place, report)
      }
    }
  }

  /// Reports what is left. The worker has ended; processes that inherited its streams are not waited for.
  func finish(_ report: (String) -> Void) {
    read(report)
    for place in streams.indices {
      streams[place].isAtEnd = true
      if !streams[place].line.isEmpty { take([10], place, report) }
    }
  }

  private func take(_ bytes: [UInt8], _ place: Int, _ report: (String) -> Void) {
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 10) {
      report(String(decoding: streams[place].line + rest[..<end], as: UTF8.self))
      streams[place].line = []
      rest = rest[(end + 1)...]
    }
    streams[place].line += rest
    if streams[place].line.count > Self.longestLine {
      report(String(decoding: streams[place].line, as: UTF8.self))
      streams[place].line = []
    }
  }
}
