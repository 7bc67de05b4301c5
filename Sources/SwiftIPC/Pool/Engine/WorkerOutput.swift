// SPDX-License-Identifier: Apache-2.0

/// What a worker writes to standard streams that are pipes, taken in line by line: so that it never waits
/// for room there. By the thread that waits for workers.
final class WorkerOutput {
  private struct Stream {
    let reader: OutputReader
    var line: [UInt8] = []
    var isAtEnd = false
  }
  private var streams: [Stream]
  /// What is longer is told in pieces.
  private static let longestLine = 1 << 16

  init(_ readers: [OutputReader]) { streams = readers.map { Stream(reader: $0) } }

  /// For waiting.
  var descriptors: [Int32] { streams.filter { !$0.isAtEnd }.map(\.reader.descriptor) }

  /// Tells the lines that are there now. Does not block.
  func read(_ tell: (String) -> Void) {
    for place in streams.indices {
      // Not for ever: others have something to tell too.
      for _ in 0..<16 where !streams[place].isAtEnd {
        guard case .ready = streams[place].reader.readiness(),
          let bytes = try? streams[place].reader.read()
        else { break }
        if bytes.isEmpty { streams[place].isAtEnd = true }
        take(bytes, place, tell)
      }
    }
  }

  /// Tells what is left. The worker has ended; those whom it gave its streams are not waited for.
  func finish(_ tell: (String) -> Void) {
    read(tell)
    for place in streams.indices {
      streams[place].isAtEnd = true
      if !streams[place].line.isEmpty { take([10], place, tell) }
    }
  }

  private func take(_ bytes: [UInt8], _ place: Int, _ tell: (String) -> Void) {
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 10) {
      tell(String(decoding: streams[place].line + rest[..<end], as: UTF8.self))
      streams[place].line = []
      rest = rest[(end + 1)...]
    }
    streams[place].line += rest
    if streams[place].line.count > Self.longestLine {
      tell(String(decoding: streams[place].line, as: UTF8.self))
      streams[place].line = []
    }
  }
}
