// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc

struct Remove: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm",
    abstract: "Removes names of segments whose participants are all proven dead.",
    discussion: "Nothing is removed that a living process still uses, or might.")

  @Argument(help: "Names such as /jobs.")
  var names: [String] = []
  @Flag(help: "All that are stale.")
  var stale = false

  func validate() throws {
    if names.isEmpty != stale { throw ValidationError("give names, or --stale") }
  }

  func run() throws {
    let segments = SegmentScan().segments()
    var refused = false
    for name in stale ? segments.filter(\.isStale).map(\.title) : names {
      guard let segment = segments.first(where: { $0.title == name || $0.title == "/" + name })
      else {
        print("\(name.escaped): no such segment")
        refused = true
        continue
      }
      if let reason = refusal(segment) {
        print("\(segment.title): kept: \(reason)".escaped)
        refused = true
        continue
      }
      do {
        try remove(segment)
        print("\(segment.title): removed".escaped)
      } catch {
        print("\(segment.title): \(error)".escaped)
        refused = true
      }
    }
    if refused { throw ExitCode(1) }
  }

  private struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// A process may open it between the proof and the removal. So it first gets a name that no
  /// process asks for, is looked at again, and gets its own name back if a process has it now.
  private func remove(_ segment: SegmentReport) throws {
    let path = "/dev/shm" + segment.title
    let aside = "/dev/shm/.ipctool-\(getpid())-\(segment.inode)"
    guard rename(path, aside) == 0 else {
      throw Failure(description: String(cString: strerror(errno)))
    }
    // Another by now, where another process was faster.
    let found = SegmentScan().segment(named: String(aside.dropFirst("/dev/shm".count)))
    let reason =
      found.flatMap {
        $0.inode == segment.inode ? refusal($0) : "another process has made a new one"
      }
    // Unlike rename(2) this does not replace an object that has the name by now: then the processes
    // that have this one open need no name, and others that ask for the name find the new one.
    if reason != nil { _ = link(aside, path) }
    if unlink(aside) != 0 { throw Failure(description: String(cString: strerror(errno))) }
    if let reason { throw Failure(description: "kept: \(reason)") }
  }

  private func refusal(_ segment: SegmentReport) -> String? {
    if segment.name == nil { return "it has no name; the kernel frees it with its last user" }
    if segment.kind == ObjectKind.plain {
      return "plain bytes, which do not say which processes use them"
    }
    if let problem = segment.problem { return problem }
    let users = segment.participants.filter { $0.state != .dead }
    if users.isEmpty { return nil }
    return "in use by " + users.map { "\($0.pid) (\($0.state))" }.joined(separator: ", ")
  }
}
