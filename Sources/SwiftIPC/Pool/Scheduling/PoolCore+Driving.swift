// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Who drives a pool, and who waits to.
struct DrivingTurns {
  var isDriven = false
  /// Whether it is the pool's thread that does.
  var isDrivenByThread = false
  /// Blocked callers that do not drive.
  var waiting: [ThreadGate] = []
  var hasThread = false
  /// The thread, until somebody has joined it.
  var thread: pthread_t?
  /// Where the pool's thread sleeps when it has nothing to drive.
  var sleeping: ThreadGate?
}

/// Where one thread sleeps until another opens it.
@safe final class ThreadGate: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var isOpen = false

  init() {
    var attributes = pthread_condattr_t()
    _ = unsafe pthread_condattr_init(&attributes)
    _ = unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    _ = unsafe pthread_mutex_init(mutex, nil)
    _ = unsafe pthread_cond_init(condition, &attributes)
    _ = unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    _ = unsafe pthread_mutex_destroy(mutex)
    _ = unsafe pthread_cond_destroy(condition)
    unsafe mutex.deallocate()
    unsafe condition.deallocate()
  }

  /// Opens it for the next `pass`, or the one under way.
  func open() {
    _ = unsafe pthread_mutex_lock(mutex)
    isOpen = true
    _ = unsafe pthread_cond_signal(condition)
    _ = unsafe pthread_mutex_unlock(mutex)
  }

  /// Waits until it is opened, or the deadline; closes it behind.
  func pass(until deadline: Int64) {
    _ = unsafe pthread_mutex_lock(mutex)
    defer { _ = unsafe pthread_mutex_unlock(mutex) }
    while !isOpen {
      if deadline == .max {
        _ = unsafe pthread_cond_wait(condition, mutex)
        continue
      }
      var time = timespec()
      time.tv_sec = Int(deadline / 1_000_000_000)
      time.tv_nsec = Int(deadline % 1_000_000_000)
      if unsafe pthread_cond_timedwait(condition, mutex, &time) == ETIMEDOUT { return }
    }
    isOpen = false
  }
}

extension PoolCore {
  /// Waits until something of a job has come about, and drives meanwhile where nobody else does.
  /// Blocks.
  ///
  /// - Returns: whether it has; `false` when the deadline has passed.
  func wait(for change: PoolChange, until deadline: Int64, _ isDone: () -> Bool) -> Bool {
    if isDone() { return true }
    // What has arrived already is looked at in any case.
    var isFirst = true
    var gate: ThreadGate?
    while true {
      if takeTurn() {
        while !isDone() {
          if !isFirst && cipc_clock_now() >= deadline { break }
          isFirst = false
          step(until: deadline)
          if hasEnded { break }
        }
        let done = isDone()
        leaveTurn()
        if done { return true }
        return isDone()
      }
      let sleeper = gate ?? ThreadGate()
      gate = sleeper
      let mustKick = turns.withLock { turns -> Bool in
        turns.waiting.append(sleeper)
        return turns.isDrivenByThread
      }
      // The thread gives way.
      if mustKick { engine.interrupt() }
      let mayPass = change.listen(unless: isDone) { sleeper.open() }
      // It may have become free before the gate was in the list.
      if mayPass && turns.withLock({ $0.isDriven }) { sleeper.pass(until: deadline) }
      turns.withLock { turns in turns.waiting.removeAll { $0 === sleeper } }
      if isDone() {
        // The turn may have been offered to this one.
        offerTurn()
        return true
      }
      if cipc_clock_now() >= deadline {
        offerTurn()
        return false
      }
    }
  }

  /// Makes the calling thread the one that drives, until it leaves the turn.
  ///
  /// - Returns: whether nobody else was.
  func takeTurn() -> Bool {
    turns.withLock { turns in
      if turns.isDriven { return false }
      turns.isDriven = true
      turns.isDrivenByThread = false
      return true
    }
  }

  private func leaveTurn() {
    turns.withLock { turns in
      turns.isDriven = false
      turns.isDrivenByThread = false
    }
    offerTurn()
  }

  /// Wakes somebody who would drive, if nobody does.
  private func offerTurn() {
    let needsThread = backgroundWork.load(ordering: .sequentiallyConsistent) > 0
    let gate = turns.withLock { turns -> ThreadGate? in
      if turns.isDriven { return nil }
      if let gate = turns.waiting.first { return gate }
      return needsThread ? turns.sleeping : nil
    }
    gate?.open()
  }

  // MARK: - The pool's thread

  /// Says that there is work that nobody is blocked for, and has the pool's thread drive.
  func beginBackgroundWork() {
    backgroundWork.add(1, ordering: .sequentiallyConsistent)
    wakeThread()
  }

  func endBackgroundWork() { backgroundWork.subtract(1, ordering: .sequentiallyConsistent) }

  /// Starts the pool's thread where there is none, and wakes it where it sleeps.
  func wakeThread() {
    let (mustStart, gate) = turns.withLock { turns -> (Bool, ThreadGate?) in
      if turns.hasThread { return (false, turns.isDriven ? nil : turns.sleeping) }
      if backgroundWork.load(ordering: .sequentiallyConsistent) == 0 { return (false, nil) }
      turns.hasThread = true
      turns.sleeping = ThreadGate()
      return (true, nil)
    }
    gate?.open()
    if mustStart { startThread() }
  }

  private func startThread() {
    let context = unsafe Unmanaged.passRetained(self)
    var all = sigset_t()
    var before = sigset_t()
    _ = unsafe sigfillset(&all)
    // The thread takes no signals: the program's handlers are for its own threads.
    _ = unsafe pthread_sigmask(SIG_BLOCK, &all, &before)
    let status = turns.withLock { turns in
      // Under the lock: who joins it finds it.
      var thread = pthread_t()
      let status = unsafe pthread_create(
        &thread, nil,
        { context in
          guard let context = unsafe context else { return nil }
          let core = unsafe Unmanaged<PoolCore>.fromOpaque(context).takeRetainedValue()
          core.driveAsThread()
          return nil
        }, context.toOpaque())
      if status == 0 { turns.thread = thread }
      return status
    }
    _ = unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    if status == 0 { return }
    unsafe context.release()
    turns.withLock { turns in
      turns.hasThread = false
      turns.sleeping = nil
    }
    // Those that wait would do so for ever.
    fail(IPCError(status: -status, "a thread for the pool"))
  }

  /// Waits for the end of the thread of a pool that has ended: it is about to, and nothing of the pool is
  /// left then. By the thread itself, or where nobody does, nothing need be done.
  func joinThread() {
    let thread = turns.withLock { turns in
      defer { turns.thread = nil }
      return turns.thread
    }
    guard let thread else { return }
    if pthread_equal(thread, pthread_self()) != 0 {
      _ = pthread_detach(thread)
    } else {
      _ = pthread_join(thread, nil)
    }
  }

  /// Where nobody joins the thread, it is let go.
  func letThreadGo() {
    let thread = turns.withLock { turns in
      defer { turns.thread = nil }
      return turns.thread
    }
    if let thread { _ = pthread_detach(thread) }
  }

  private func driveAsThread() {
    while true {
      let gate = turns.withLock { turns -> ThreadGate? in
        if !turns.isDriven && turns.waiting.isEmpty && hasBackgroundWork {
          turns.isDriven = true
          turns.isDrivenByThread = true
          return nil
        }
        return turns.sleeping
      }
      if let gate {
        if hasEnded { break }
        gate.pass(until: .max)
        if hasEnded { break }
        continue
      }
      while hasBackgroundWork && !hasEnded {
        step(until: .max)
        if turns.withLock({ !$0.waiting.isEmpty }) { break }
      }
      leaveTurn()
      if hasEnded { break }
    }
    turns.withLock { turns in
      turns.hasThread = false
      turns.sleeping = nil
    }
  }

  private var hasBackgroundWork: Bool {
    backgroundWork.load(ordering: .sequentiallyConsistent) > 0
  }

  /// Wakes everybody: the pool has ended.
  func wakeAll() {
    let gates = turns.withLock { turns in turns.waiting + (turns.sleeping.map { [$0] } ?? []) }
    for gate in gates { gate.open() }
    end.tell()
  }

  // MARK: - Waiting without a blocked thread

  /// Waits until something of a job has come about. The pool's thread drives meanwhile.
  ///
  /// - Returns: 0 when it has, `CIPC_ETIMEDOUT` or `CIPC_ECANCELED`.
  func wait(
    for change: PoolChange, until deadline: Int64, _ isDone: () -> Bool
  ) async -> Int32 {
    if isDone() { return 0 }
    beginBackgroundWork()
    defer { endBackgroundWork() }
    while true {
      if isDone() { return 0 }
      let suspension = Suspension()
      if !change.listen(unless: isDone, { suspension.resume(0) }) { return 0 }
      let status = await suspension.wait(for: .init(deadline: deadline))
      if isDone() { return 0 }
      if status < 0 { return status }
    }
  }
}
