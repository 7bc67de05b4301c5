// SPDX-License-Identifier: Apache-2.0

/// What can be told about one segment.
struct SegmentReport: Encodable, CustomStringConvertible {
  /// "/jobs" of a named one; `nil` for an anonymous one.
  var name: String?
  /// What its creator called the memory of an anonymous one.
  var label: String?
  var inode: UInt64
  var kind: String
  /// The element type, where it can be told.
  var type: String?
  /// A hash of the element type's name.
  var fingerprint: String?
  var count: UInt64?
  /// Bytes of payload, and bytes of memory that the kernel has given for the whole file.
  var size: UInt64
  var memory: UInt64
  var owner: UInt32
  /// Why its contents are not looked at, where they are not.
  var problem: String?
  var participants: [Participant] = []
  var holders: [Holder] = []
  /// Threads that sleep in it; `nil` where the kernel does not let this user know.
  var waiters: [Waiter]?
  /// Of a queue.
  var queue: QueueReport?
  /// In a few words, such as "2 of 5 free".
  var state: String?
  /// What a region holds.
  var objects: [Object] = []

  struct Object: Encodable {
    var name: String
    var kind: String
    var type: String?
    var offset: UInt64
    var size: UInt64
    var state: String?
  }

  struct Participant: Encodable {
    enum State: String, Encodable {
      case alive, dead
      /// Has sent it to a process that has not opened it yet.
      case pending
      /// Whether it is alive cannot be told.
      case unknown
      /// Has a descriptor of it, and is not entered as a user: one that passes it on, or that uses
      /// plain bytes.
      case open
    }
    var pid: Int32
    var name: String?
    var state: State
  }

  struct Holder: Encodable {
    /// "lock", "write lock", "permit 3".
    var what: String
    var pid: Int32
    var name: String?
    var isAlive: Bool
    /// For how long it was seen to hold it, in seconds: it may have held it before.
    var heldForAtLeast: Double?

    var text: String { "\(pid)\(isAlive ? "" : " (dead)")" }
  }

  struct Waiter: Encodable {
    var pid: Int32
    var tid: Int32
    /// Bytes from the beginning of the payload to the word that it sleeps on.
    var offset: UInt64
  }

  /// What the command line calls it.
  var title: String { name ?? "memfd:\(inode)" }

  /// Whether all that ever used it are proven dead.
  var isStale: Bool {
    name != nil && problem == nil && kind != ObjectKind.plain
      && !participants.contains { $0.state != .dead }
  }

  var description: String {
    var lines = ["\(title): \(kind)\(type.map { " of \($0)" } ?? "")".escaped]
    func add(_ key: String, _ value: String?) {
      if let value { lines.append("  \(key): \(value)".escaped) }
    }
    add("label", label)
    add("problem", problem)
    add("state", state)
    add("elements", queue.map { "\($0.depth)" })
    add("size", "\(ByteSize.text(size)) (\(ByteSize.text(memory)) of memory)")
    add("count", count.map { "\($0)" })
    add("fingerprint", fingerprint)
    add("owner", "uid \(owner)")
    add("participants", participants.isEmpty ? "none" : nil)
    for participant in participants {
      add("participant", Self.who(participant.pid, participant.name, participant.state.rawValue))
    }
    for holder in holders {
      let since = holder.heldForAtLeast.map { ", for at least \(Int($0 * 1000)) ms" } ?? ""
      add(holder.what, Self.who(holder.pid, holder.name, holder.isAlive ? "alive" : "dead") + since)
    }
    for object in objects {
      add(
        object.name,
        "\(object.kind)\(object.type.map { " of \($0)" } ?? "") at offset \(object.offset), "
          + ByteSize.text(object.size) + (object.state.map { ", " + $0 } ?? ""))
    }
    if let waiters {
      for waiter in waiters {
        add("waits", "\(waiter.pid), thread \(waiter.tid), at offset \(waiter.offset)")
      }
    } else {
      add("waiters", "not known: this user may not look into other processes")
    }
    return lines.joined(separator: "\n")
  }

  private static func who(_ pid: Int32, _ name: String?, _ state: String) -> String {
    "\(pid)\(name.map { " " + $0 } ?? ""), \(state)"
  }
}
