// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls",
    abstract:
      "Lists segments: kind, size, depth of queues, who has them open, who holds the lock, who waits."
  )

  @Flag(name: .shortAndLong, help: "Also plain files in /dev/shm, which need not be ours.")
  var all = false
  @Flag(help: "Only segments whose participants are all dead.")
  var stale = false
  @Flag(help: "One JSON array, an object for each segment.")
  var json = false

  func run() throws {
    let segments = SegmentScan().segments()
      .filter { (all || $0.kind != ObjectKind.plain) && (!stale || $0.isStale) }
    if json { return try print(JSONOutput.text(segments)) }
    var table = TextTable([
      "NAME", "KIND", "TYPE", "SIZE", "DEPTH", "ALIVE", "DEAD", "HOLDER", "WAITERS", "STATE",
    ])
    for segment in segments {
      let alive = segment.participants.count { $0.state == .alive }
      let dead = segment.participants.count { $0.state == .dead }
      table.add([
        segment.title, segment.kind, segment.type ?? "-", ByteSize.text(segment.size),
        segment.queue.map { "\($0.depth)" } ?? "-", "\(alive)", "\(dead)",
        segment.holders.map(\.text).joined(separator: " "),
        segment.waiters.map { "\($0.count)" } ?? "?", segment.state ?? "",
      ])
    }
    print(table.text)
  }
}
