// SPDX-License-Identifier: Apache-2.0
internal import CIPC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Workers that are daemon children of this process.
final class ProcessEngine: WorkerEngine, @unchecked Sendable {
  struct Settings: Sendable {
    var name: String
    var options: ChildProcessOptions
    var initializer: (any PoolInitializing)?
  }

  private struct State {
    var links: [WorkerLink] = []
    /// What to sleep on; made anew when the workers have changed.
    var interests: [cipc_waiter_interest_t] = []
    var isCurrent = false
  }

  private let settings: Settings
  private let state = Guarded(State())
  /// One end wakes whoever sleeps on the other.
  private let bell: Bell
  /// How often was waited: the waiting thread's.
  private var looks = 0

  init(_ settings: Settings) throws(IPCError) {
    self.settings = settings
    bell = try Bell()
  }

  func start(_ worker: Int) throws(IPCError) {
    var options = settings.options
    options.name = "\(settings.name)-\(worker)"
    let link = try WorkerLink(worker, options, settings.initializer)
    state.withLock { state in
      state.links.append(link)
      state.isCurrent = false
    }
    bell.ring()
  }

  private func link(_ worker: Int) -> WorkerLink? {
    state.withLock { state in state.links.first { $0.number == worker } }
  }

  func send(_ frame: OutgoingFrame, to worker: Int) {
    guard let link = link(worker) else { return }
    // What did not go out is for whoever waits to push on.
    if !link.send(frame) { bell.ring() }
  }

  func kill(_ worker: Int) { link(worker)?.kill() }

  func activity(of worker: Int) -> WorkerActivity { link(worker)?.activity ?? WorkerActivity() }

  func interrupt() { bell.ring() }

  func wait(until deadline: Int64, telling receiver: any WorkerReceiver) {
    // Whether somebody has died costs a system call for each: that is asked where there is time, and
    // now and then where there is none.
    looks &+= 1
    if tell(receiver, alsoEnds: looks & 63 == 0) || bell.hasRung() { return }
    while true {
      let interests = prepare()
      let status = unsafe cipc_waiter_poll(interests, interests.count, deadline)
      let hasRung = bell.hasRung()
      let hasTold = tell(receiver, alsoEnds: true)
      if hasRung || hasTold || status == CIPC_ETIMEDOUT.rawValue { return }
      if status < 0 {
        // A worker's descriptor went in between; or there is no memory, where looking again is all
        // that is left.
        state.withLock { $0.isCurrent = false }
      }
      if cipc_clock_now() >= deadline { return }
    }
  }

  /// Tells all that has arrived.
  ///
  /// - Returns: whether that was anything.
  private func tell(_ receiver: any WorkerReceiver, alsoEnds: Bool) -> Bool {
    var hasTold = false
    let links = state.withLock { $0.links }
    for link in links {
      // In this order: what an ended worker had sent can be read by now.
      let hasEnded = alsoEnds && link.child.exitStatus != nil
      if link.flush() { state.withLock { $0.isCurrent = false } }
      if link.receive(receiver) { hasTold = true }
      if link.isBroken { link.kill() }
      guard hasEnded, let status = link.child.exitStatus else { continue }
      state.withLock { state in
        state.links.removeAll { $0 === link }
        state.isCurrent = false
      }
      link.salvage(receiver)
      let end = WorkerEnd(name: link.child.name, status: status)
      ChildRegistry.remove(link.child.child)
      receiver.ended(link.number, end, link.activity)
      hasTold = true
    }
    return hasTold
  }

  private func prepare() -> [cipc_waiter_interest_t] {
    state.withLock { state in
      if state.isCurrent { return state.interests }
      var interests = [
        cipc_waiter_interest_t(fd: bell.descriptor, directions: CIPC_WAITER_READABLE)
      ]
      for link in state.links {
        if !link.isBroken {
          interests.append(
            cipc_waiter_interest_t(
              fd: link.descriptor,
              directions: CIPC_WAITER_READABLE | (link.isBehind ? CIPC_WAITER_WRITABLE : 0)))
        }
        interests.append(
          cipc_waiter_interest_t(
            fd: link.child.child.descriptor, directions: CIPC_WAITER_READABLE))
      }
      state.interests = interests
      // The descriptor that tells of an end changes when the fork server dies, and there may be more
      // to send at any time.
      state.isCurrent = false
      return interests
    }
  }
}

/// Wakes a thread that sleeps on a descriptor. Rung twice it is heard once.
final class Bell: Sendable {
  let descriptor: Int32
  private let writer: Int32

  init() throws(IPCError) {
    var ends: [Int32] = [-1, -1]
    try IPCError.check(unsafe cipc_process_pipe(&ends), "a pool")
    (descriptor, writer) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
  }

  deinit {
    closeDescriptor(descriptor)
    closeDescriptor(writer)
  }

  func ring() {
    var byte: UInt8 = 0
    // Full, it rings.
    _ = unsafe write(writer, &byte, 1)
  }

  func hasRung() -> Bool {
    var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    var hasRung = false
    while unsafe withUnsafeMutableBytes(
      of: &bytes,
      {
        unsafe readDescriptor(descriptor, $0.baseAddress, 32)
      }) > 0
    { hasRung = true }
    return hasRung
  }
}
