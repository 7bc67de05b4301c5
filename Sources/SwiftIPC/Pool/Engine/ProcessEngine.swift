// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
internal import Synchronization

/// Workers that are daemon children of this process.
///
/// Frames go through two rings for each worker. The waiting thread looks at all of the rings, for up to
/// 50 µs where that has been worth it; then it sleeps on the workers' sockets and pidfds, having said so
/// in their status pages, and the worker that puts a record next wakes it by a frame without bytes.
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
  private let channels = Guarded<[PoolChannelEnd]>([])
  /// Wakes the waiting thread, when another thread of this process has something for it.
  private let waker: Waker

  // The sending thread's.
  private let frame = FrameBuffer()

  // The waiting thread's.
  private var looks = 0
  private var backoff = Backoff()

  init(_ settings: Settings) throws(IPCError) {
    self.settings = settings
    waker = try Waker()
  }

  func start(_ worker: Int, index: Int) throws(IPCError) {
    var options = settings.options
    options.name = "\(settings.name)-\(worker)"
    if !settings.processors.isEmpty {
      options.processors = settings.processors[index % settings.processors.count]
    }
    let setting = WorkerSetting(
      index: index, hasInitializer: settings.initializer != nil, isRelayed: settings.isRelayed)
    let channel = try PoolChannelEnd(worker, setting, options, settings.initializer)
    channels.withLock { $0.append(channel) }
    waker.wake()
  }

  /// The numbers of the processes; for tests.
  var processes: [Int32] { channels.withLock { channels in channels.map(\.child.pid) } }

  private func channel(_ worker: Int) -> PoolChannelEnd? {
    channels.withLock { channels in channels.first { $0.number == worker } }
  }

  func send(_ order: WorkerOrder, to worker: Int) {
    guard let channel = channel(worker) else { return }
    let isOut: Bool
    switch order {
    case .define(let function):
      frame.begin(.define)
      frame.append(function.name)
      frame.append(function.definition)
      isOut = channel.send(frame)
    case .run(let job, let elements):
      frame.beginRun(job, count: elements.count)
      let size = job.sizeHint(elements)
      if size > WorkerRing.longest, let buffer = channel.takeBuffer(size + frame.count) {
        unsafe frame.move(into: buffer.bytes, owner: buffer)
      }
      job.write(elements, to: frame)
      // A single result is as well sent by itself.
      let stride = elements.count > 1 ? job.resultSize ?? 0 : 0
      isOut = channel.send(frame, run: (elements.count, stride))
      frame.attachments?.sent()
    case .stop:
      frame.begin(.stop)
      isOut = channel.send(frame, isLast: true)
    }
    // Memory that is shared, or large, is not kept.
    frame.clear()
    // The waiting thread pushes on what did not go out.
    if !isOut { waker.wake() }
  }

  func kill(_ worker: Int) { channel(worker)?.kill() }

  func activity(of worker: Int) -> WorkerActivity {
    channel(worker)?.activity ?? WorkerActivity()
  }

  func complete(_ progress: inout PoolProgress.Worker) {
    progress.pid = channel(progress.number)?.child.pid
  }

  func memoryUse(of worker: Int) -> Int? {
    guard let channel = channel(worker), let size = ProcessMemory.own(of: channel.child.pid),
      // Else the number may be another process's by now.
      channel.child.exitStatus == nil
    else { return nil }
    return size
  }

  func interrupt() { waker.wake() }

  // MARK: - Waiting

  func wait(until deadline: Int64, reportingTo receiver: any WorkerReceiver) {
    let channels = channels.withLock { $0 }
    looks &+= 1
    for channel in channels { channel.flush() }
    // Whether a worker has died costs a system call for each: that is asked before sleeping, and now
    // and then where there is no sleep.
    if looks & 255 == 0 && reportAll(channels, receiver) { return }
    if report(channels, receiver) || waker.wasCalled { return waker.reset() }
    if cipc_clock_now() >= deadline {
      _ = reportAll(channels, receiver)
      return
    }
    if backoff.spin(until: deadline, { report(channels, receiver) || waker.wasCalled }) {
      return waker.reset()
    }
    sleep(channels, until: deadline, receiver)
  }

  private func sleep(
    _ channels: [PoolChannelEnd], until deadline: Int64, _ receiver: any WorkerReceiver
  ) {
    for channel in channels { channel.setAsleep(true) }
    waker.setAsleep(true)
    defer {
      waker.setAsleep(false)
      for channel in channels { channel.setAsleep(false) }
    }
    // Behind the flags: what comes from here on wakes.
    if reportAll(channels, receiver) || waker.wasCalled { return waker.reset() }
    while true {
      var interests = [
        cipc_poller_interest_t(fd: waker.descriptor, directions: CIPC_POLLER_READABLE)
      ]
      for channel in channels {
        if !channel.isBroken {
          interests.append(
            cipc_poller_interest_t(
              fd: channel.descriptor,
              directions: CIPC_POLLER_READABLE | (channel.isBehind ? CIPC_POLLER_WRITABLE : 0)))
        }
        for descriptor in channel.printed.descriptors {
          interests.append(
            cipc_poller_interest_t(fd: descriptor, directions: CIPC_POLLER_READABLE))
        }
        // Asked for anew each time: it changes when the fork server dies.
        interests.append(
          cipc_poller_interest_t(
            fd: channel.child.child.descriptor, directions: CIPC_POLLER_READABLE))
      }
      let status = unsafe cipc_poller_poll(interests, interests.count, deadline)
      // Drained before the look at `wasCalled`: a call sets that first and writes its byte behind it.
      waker.drain()
      for channel in channels { channel.receiveOnSocket() }
      let hasReported = reportAll(channels, receiver)
      if waker.wasCalled || hasReported || status == CIPC_ETIMEDOUT.rawValue {
        return waker.reset()
      }
      // A byte that came late, or a descriptor that was closed in between: the next wait looks again.
      if status < 0 || cipc_clock_now() >= deadline { return }
      for channel in channels { channel.setAsleep(true) }
      if report(channels, receiver) { return waker.reset() }
    }
  }

  /// Reports all that has arrived through the rings.
  ///
  /// - Returns: whether that was anything.
  private func report(_ channels: [PoolChannelEnd], _ receiver: any WorkerReceiver) -> Bool {
    var hasReported = false
    for channel in channels where channel.receive(receiver) { hasReported = true }
    return hasReported
  }

  /// Reports also which workers have ended.
  private func reportAll(_ channels: [PoolChannelEnd], _ receiver: any WorkerReceiver) -> Bool {
    var hasReported = false
    for channel in channels {
      // In this order: what an ended worker had sent can be read by now.
      let status = channel.child.exitStatus
      channel.flush()
      if channel.receive(receiver) { hasReported = true }
      channel.printed.read { line in receiver.received(.wrote(line), from: channel.number) }
      if channel.mustEnd && status == nil { channel.kill() }
      guard let status else { continue }
      // All that is left, and no more than the ring can hold.
      for _ in 0..<WorkerRing.mostLooks where channel.receive(receiver) {}
      self.channels.withLock { channels in channels.removeAll { $0 === channel } }
      channel.reportUnannounced(to: receiver)
      channel.printed.finish { line in receiver.received(.wrote(line), from: channel.number) }
      let end = channel.end(status)
      ChildRegistry.remove(channel.child.child)
      receiver.received(.ended(end, channel.activity), from: channel.number)
      hasReported = true
    }
    return hasReported
  }
}

/// Decides how long a thread spins before it sleeps.
///
/// As in a ring: after spinning in vain, the next waits do without it, twice as many each time.
struct Backoff {
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
