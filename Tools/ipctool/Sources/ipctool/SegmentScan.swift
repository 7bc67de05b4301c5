// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc

/// Finds the segments that this user can see, each once.
struct SegmentScan {
  /// A file of memory, however it was found.
  private struct File: Hashable {
    var device: dev_t
    var inode: ino_t
  }
  /// A descriptor of ours for each.
  private final class Found {
    let descriptor: Int32
    let status: stat
    var name: String?
    var label: String?
    var openers: Set<Int32> = []

    init(_ descriptor: Int32, _ status: stat) {
      (self.descriptor, self.status) = (descriptor, status)
    }
    deinit { close(descriptor) }
  }
  private var found: [File: Found] = [:]
  private var waiters: [File: [SegmentReport.Waiter]] = [:]
  /// Whether every process that has one of them open let us see its threads.
  private var canSeeWaiters = true

  init() {
    for name in Directory.names("/dev/shm") {
      add("/dev/shm/" + name, O_NOFOLLOW)?.name = "/" + name
    }
    for pid in ProcessTable.pids where pid != getpid() {
      for path in ProcessTable.memoryDescriptors(of: pid) {
        guard let file = add(path, 0) else { continue }
        file.openers.insert(pid)
        if file.name == nil, let target = TextFile.link(path), target.hasPrefix("/memfd:") {
          file.label = String(target.dropFirst(7).dropLast(" (deleted)".count))
        }
      }
      addWaiters(of: pid)
    }
  }

  private mutating func add(_ path: String, _ flags: Int32) -> Found? {
    // Without blocking: a name may be that of a FIFO.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags)
    var status = stat()
    guard descriptor >= 0 else { return nil }
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      return nil
    }
    let file = File(device: status.st_dev, inode: status.st_ino)
    let new = Found(descriptor, status)
    if let known = found[file] { return known }
    found[file] = new
    return new
  }

  private mutating func addWaiters(of pid: Int32) {
    let mappings = ProcessTable.sharedMappings(of: pid)
      .filter { found[File(device: $0.device, inode: $0.inode)] != nil }
    guard !mappings.isEmpty else { return }
    guard let sleepers = ProcessTable.sleepers(of: pid) else {
      canSeeWaiters = false
      return
    }
    for sleeper in sleepers {
      for mapping in mappings
      where mapping.start <= sleeper.address && sleeper.address < mapping.end {
        let offset = sleeper.address - mapping.start + mapping.offset
        waiters[File(device: mapping.device, inode: mapping.inode), default: []]
          .append(.init(pid: pid, tid: sleeper.tid, offset: offset))
      }
    }
  }

  // MARK: - Reports

  /// Named ones first, then by inode.
  func segments() -> [SegmentReport] {
    var watch = LockWatch()
    var reports = found.map { report($0.key, $0.value, &watch) }
    watch.lookAgain(&reports)
    return reports.sorted {
      switch ($0.name, $1.name) {
      case (let first?, let second?): first < second
      case (nil, nil): $0.inode < $1.inode
      case (let first, _): first != nil
      }
    }
  }

  func segment(named name: String) -> SegmentReport? {
    segments().first { $0.title == name || $0.title == "/" + name }
  }

  private func report(_ file: File, _ found: Found, _ watch: inout LockWatch) -> SegmentReport {
    var info = cipc_segment_info_t()
    let status = cipc_segment_inspect(found.descriptor, &info)
    // Too short for a header, or another one: not ours, or made to share bytes with others.
    let isPlain = status == CIPC_ESEGMENTSIZE.rawValue || status == CIPC_ESEGMENTMAGIC.rawValue
    var report = SegmentReport(
      name: found.name, label: found.label, inode: UInt64(file.inode),
      kind: isPlain ? ObjectKind.plain : ObjectKind.name(info.type.kind),
      size: UInt64(clamping: status < 0 ? Int(found.status.st_size) : info.size),
      memory: UInt64(clamping: found.status.st_blocks) * 512, owner: found.status.st_uid)
    report.participants = participants(found, status == 0 ? info : nil, &report)
    if isPlain { return report }
    if status < 0 {
      report.problem = String(cString: cipc_status_message(status))
      return report
    }
    report.count = info.type.count
    report.fingerprint = String(info.type.fingerprint, radix: 16)
    report.type = ElementType.name(info.type)
    if info.is_ready == 0 {
      report.problem = "its creator did not finish it"
    } else if report.problem == nil {
      let payload = Payload(found.descriptor, info)
      let object = ObjectState(payload)
      report.state = object.text
      if Int(info.type.kind) == CIPC_KIND_RING {
        report.queue = QueueReport(found.descriptor)
        report.state = report.queue?.state ?? "its words make no sense"
      }
      report.holders = object.holders
      report.objects = object.objects
      watch.note(report.inode, payload)
    }
    // Within the payload, which is what users know; what sleeps elsewhere does so for the library.
    if canSeeWaiters {
      report.waiters = (waiters[file] ?? []).compactMap { waiter in
        let header = UInt64(CIPC_SEGMENT_HEADER_SIZE)
        guard waiter.offset >= header, waiter.offset - header < UInt64(info.size) else {
          return nil
        }
        return .init(pid: waiter.pid, tid: waiter.tid, offset: waiter.offset - header)
      }
    }
    return report
  }

  /// Those that the segment knows of, then those that only have it open.
  private func participants(
    _ found: Found, _ info: cipc_segment_info_t?, _ report: inout SegmentReport
  ) -> [SegmentReport.Participant] {
    var list: [SegmentReport.Participant] = []
    if info != nil {
      var entries = [cipc_segment_participant_t](repeating: .init(), count: 1024)
      let count = cipc_segment_participants(found.descriptor, &entries, entries.count)
      if count < 0 { report.problem = String(cString: cipc_status_message(count)) }
      list = entries.prefix(max(0, Int(count))).map { entry in
        let pid = cipc_participant_pid(entry.identity)
        let state: SegmentReport.Participant.State =
          switch entry.presence {
          case CIPC_SEGMENT_ATTACHED: .alive
          case CIPC_SEGMENT_DEAD: .dead
          case CIPC_SEGMENT_PENDING: .pending
          default: .unknown
          }
        return .init(pid: pid, name: state == .dead ? nil : ProcessTable.name(pid), state: state)
      }
    }
    for pid in found.openers.sorted()
    where !list.contains(where: { $0.pid == pid && $0.state != .dead }) {
      list.append(.init(pid: pid, name: ProcessTable.name(pid), state: .open))
    }
    return list
  }
}
