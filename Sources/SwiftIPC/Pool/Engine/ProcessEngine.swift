// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Synchronization

/// Workers that are daemon children of this process.
///
/// Frames go through two rings for each worker. Whoever waits looks at all of the rings, for up to
/// 50 µs where that has been worth it; then it sleeps on the workers' sockets and pidfds, having said so
/// in their desks, and the worker that puts a record next wakes it by a frame without bytes.
final class ProcessEngine: WorkerEngine, @unchecked Sendable {
  struct Settings: Sendable {
    var name: String
    var options: ChildProcessOptions
    /// Of each worker, by its index; empty for those of the options.
    var processors: [Set<Int>] = []
    /// Whether standard output is a pipe in a terminal's stead.
    var isRelayed = false
    var initializer: (any PoolInitializing)?
  }

  private let settings: Settings
  private let links = Guarded<[WorkerLink]>([])
  /// Wakes whoever sleeps, when a thread of this process wants it to.
  private let bell: Bell

  // The waiting thread's.
  private var looks = 0
  private var patience = Patience()

  init(_ settings: Settings) throws(IPCError) {
    self.settings = settings
    bell = try Bell()
  }

  func start(_ worker: Int, index: Int) throws(IPCError) {
    var options = settings.options
    options.name = "\(settings.name)-\(worker)"
    if !settings.processors.isEmpty {
      options.processors = settings.processors[index % settings.processors.count]
    }
    let setting = WorkerSetting(
      index: index, hasInitializer: settings.initializer != nil, isRelayed: settings.isRelayed)
    let link = try WorkerLink(worker, setting, options, settings.initializer)
    links.withLock { $0.append(link) }
    bell.ring()
  }

  /// The numbers of the processes; for tests.
  var processes: [Int32] { links.withLock { links in links.map(\.child.pid) } }

  private func link(_ worker: Int) -> WorkerLink? {
    links.withLock { links in links.first { $0.number == worker } }
  }

  func memory(for worker: Int, _ size: Int) -> OutgoingParcels.Parcel? {
    size > WorkerRing.longest ? link(worker)?.parcel(size) : nil
  }

  func send(_ frame: OutgoingFrame, to worker: Int) {
    // What did not go out is for whoever waits to push on.
    if let link = link(worker), !link.send(frame) { bell.ring() }
  }

  func kill(_ worker: Int) { link(worker)?.kill() }

  func activity(of worker: Int) -> WorkerActivity { link(worker)?.activity ?? WorkerActivity() }

  func process(of worker: Int) -> Int32? { link(worker)?.child.pid }

  func memoryUse(of worker: Int) -> Int? {
    guard let link = link(worker), let size = ProcessMemory.own(of: link.child.pid),
      // Else the number may be another process's by now.
      link.child.exitStatus == nil
    else { return nil }
    return size
  }

  func interrupt() { bell.ring() }

  // MARK: - Waiting

  func wait(until deadline: Int64, telling receiver: any WorkerReceiver) {
    let links = links.withLock { $0 }
    looks &+= 1
    for link in links { link.flush() }
    // Whether somebody has died costs a system call for each: that is asked before sleeping, and now
    // and then where there is no sleep.
    if looks & 255 == 0 && tellAll(links, receiver) { return }
    if tell(links, receiver) || bell.hasRung { return bell.hear() }
    if cipc_clock_now() >= deadline {
      _ = tellAll(links, receiver)
      return
    }
    if patience.spin(until: deadline, { tell(links, receiver) || bell.hasRung }) {
      return bell.hear()
    }
    sleep(links, until: deadline, receiver)
  }

  private func sleep(
    _ links: [WorkerLink], until deadline: Int64, _ receiver: any WorkerReceiver
  ) {
    for link in links { link.setAsleep(true) }
    bell.setAsleep(true)
    defer {
      bell.setAsleep(false)
      for link in links { link.setAsleep(false) }
    }
    // Behind the flags: what comes from here on wakes.
    if tellAll(links, receiver) || bell.hasRung { return bell.hear() }
    while true {
      var interests = [
        cipc_waiter_interest_t(fd: bell.descriptor, directions: CIPC_WAITER_READABLE)
      ]
      for link in links {
        if !link.isBroken {
          interests.append(
            cipc_waiter_interest_t(
              fd: link.descriptor,
              directions: CIPC_WAITER_READABLE | (link.isBehind ? CIPC_WAITER_WRITABLE : 0)))
        }
        for descriptor in link.printed.descriptors {
          interests.append(
            cipc_waiter_interest_t(fd: descriptor, directions: CIPC_WAITER_READABLE))
        }
        // Asked for anew each time: it changes when the fork server dies.
        interests.append(
          cipc_waiter_interest_t(
            fd: link.child.child.descriptor, directions: CIPC_WAITER_READABLE))
      }
      let status = unsafe cipc_waiter_poll(interests, interests.count, deadline)
      // Drained before the look at `hasRung`: a ring sets that first and writes its byte behind it.
      bell.drain()
      for link in links { link.receiveOnSocket() }
      let hasTold = tellAll(links, receiver)
      if bell.hasRung || hasTold || status == CIPC_ETIMEDOUT.rawValue { return bell.hear() }
      // A bell that came late, or a descriptor that went in between: the next wait looks again.
      if status < 0 || cipc_clock_now() >= deadline { return }
      for link in links { link.setAsleep(true) }
      if tell(links, receiver) { return bell.hear() }
    }
  }

  /// Tells all that has arrived through the rings.
  ///
  /// - Returns: whether that was anything.
  private func tell(_ links: [WorkerLink], _ receiver: any WorkerReceiver) -> Bool {
    var hasTold = false
    for link in links where link.receive(receiver) { hasTold = true }
    return hasTold
  }

  /// Tells also who has ended.
  private func tellAll(_ links: [WorkerLink], _ receiver: any WorkerReceiver) -> Bool {
    var hasTold = false
    for link in links {
      // In this order: what an ended worker had sent can be read by now.
      let status = link.child.exitStatus
      link.flush()
      if link.receive(receiver) { hasTold = true }
      link.printed.read { line in receiver.wrote(link.number, line) }
      if link.mustEnd && status == nil { link.kill() }
      guard let status else { continue }
      // All that is left, and no more than the ring can hold.
      for _ in 0..<WorkerRing.mostLooks where link.receive(receiver) {}
      self.links.withLock { links in links.removeAll { $0 === link } }
      link.salvage(receiver)
      link.printed.finish { line in receiver.wrote(link.number, line) }
      let end = WorkerEnd(
        name: link.child.name, status: status, cause: link.child.causeOfDeath())
      ChildRegistry.remove(link.child.child)
      receiver.ended(link.number, end, link.activity)
      hasTold = true
    }
    return hasTold
  }
}

/// How long it is worth looking before sleeping.
///
/// As in a ring: where looking was in vain it is left out, for twice as many waits each time.
struct Patience {
  private var skip = 0
  private var penalty = 0
  private static let time: Int64 = 50_000
  private let isAlone = CurrentProcess.processorCount < 2

  /// - Returns: whether it came about.
  mutating func spin(until deadline: Int64, _ hasCome: () -> Bool) -> Bool {
    if isAlone { return false }
    if skip > 0 {
      skip -= 1
      return false
    }
    let start = cipc_clock_now()
    let end = min(deadline, start + Self.time)
    repeat {
      for _ in 0..<16 {
        if hasCome() {
          penalty = 0
          return true
        }
        cipc_processor_pause()
      }
    } while cipc_clock_now() < end
    penalty = min(penalty * 2 + 1, 255)
    skip = penalty
    return false
  }
}
