// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding
internal import Synchronization

/// Which thread runs a pool's loop, and which threads could.
struct LoopState {
  var isRun = false
  /// Whether the pool's own thread runs it.
  var isRunByThread = false
  /// Blocked callers that do not run it.
  var waiting: [ThreadGate] = []
  var hasThread = false
  /// The pool's thread, until it is joined.
  var thread: pthread_t?
  /// Where the pool's thread sleeps while it does not run the loop.
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
  /// Waits until the condition holds, which may be so after each change, and runs the loop
  /// meanwhile where no other thread does. Blocks.
  ///
  /// - Returns: whether it holds; `false` when the deadline has passed.
  func wait(for change: PoolChange, until deadline: Int64, _ isDone: () -> Bool) -> Bool {
    if isDone() { return true }
    // What has arrived already is taken in, also after the deadline.
    var isFirst = true
    var gate: ThreadGate?
    while true {
      if takeLoop() {
        while !isDone() {
          if !isFirst && cipc_clock_now() >= deadline { break }
          isFirst = false
          step(until: deadline)
          if hasEnded { break }
        }
        let done = isDone()
        leaveLoop()
        if done { return true }
        return isDone()
      }
      let sleeper = gate ?? ThreadGate()
      gate = sleeper
      let mustKick = loop.withLock { loop -> Bool in
        loop.waiting.append(sleeper)
        return loop.isRunByThread
      }
      // The pool's thread gives way.
      if mustKick { engine.interrupt() }
      let mayPass = change.listen(unless: isDone) { sleeper.open() }
      // The loop may have become free before the gate was in the list.
      if mayPass && loop.withLock({ $0.isRun }) { sleeper.pass(until: deadline) }
      loop.withLock { loop in loop.waiting.removeAll { $0 === sleeper } }
      if isDone() {
        // The loop may have been offered to this thread.
        offerLoop()
        return true
      }
      if cipc_clock_now() >= deadline {
        offerLoop()
        return false
      }
    }
  }

  /// Makes the calling thread the one that runs the loop, until it leaves it.
  ///
  /// - Returns: whether no other thread was.
  func takeLoop() -> Bool {
    loop.withLock { loop in
      if loop.isRun { return false }
      loop.isRun = true
      loop.isRunByThread = false
      return true
    }
  }

  private func leaveLoop() {
    loop.withLock { loop in
      loop.isRun = false
      loop.isRunByThread = false
    }
    offerLoop()
  }

  /// Wakes a thread that would run the loop, if none does.
  private func offerLoop() {
    let needsThread = backgroundWork.load(ordering: .sequentiallyConsistent) > 0
    let gate = loop.withLock { loop -> ThreadGate? in
      if loop.isRun { return nil }
      if let gate = loop.waiting.first { return gate }
      return needsThread ? loop.sleeping : nil
    }
    gate?.open()
  }

  // MARK: - The pool's thread

  /// Notes work for which no caller is blocked, and has the pool's thread run the loop.
  func beginBackgroundWork() {
    backgroundWork.add(1, ordering: .sequentiallyConsistent)
    wakeThread()
  }

  func endBackgroundWork() { backgroundWork.subtract(1, ordering: .sequentiallyConsistent) }

  /// Starts the pool's thread where there is none, and wakes it where it sleeps.
  func wakeThread() {
    let (mustStart, gate) = loop.withLock { loop -> (Bool, ThreadGate?) in
      if loop.hasThread { return (false, loop.isRun ? nil : loop.sleeping) }
      if backgroundWork.load(ordering: .sequentiallyConsistent) == 0 { return (false, nil) }
      loop.hasThread = true
      loop.sleeping = ThreadGate()
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
    let status = loop.withLock { loop in
      // Under the lock, so that a join finds it.
      var thread = pthread_t()
      let status = unsafe pthread_create(
        &thread, nil,
        { context in
          guard let context = unsafe context else { return nil }
          let core = unsafe Unmanaged<PoolCore>.fromOpaque(context).takeRetainedValue()
          core.runLoopAsThread()
          return nil
        }, context.toOpaque())
      if status == 0 { loop.thread = thread }
      return status
    }
    _ = unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    if status == 0 { return }
    unsafe context.release()
    loop.withLock { loop in
      loop.hasThread = false
      loop.sleeping = nil
    }
    // The waiting tasks would wait forever.
    fail(IPCError(status: -status, "a thread for the pool"))
  }

  /// Waits for the pool's thread, which ends when the pool has; then nothing of the pool is left.
  /// Called by that thread itself, it does not wait.
  func joinThread() {
    let thread = loop.withLock { loop in
      defer { loop.thread = nil }
      return loop.thread
    }
    guard let thread else { return }
    if pthread_equal(thread, pthread_self()) != 0 {
      _ = pthread_detach(thread)
    } else {
      _ = pthread_join(thread, nil)
    }
  }

  /// Detaches the pool's thread, which is not joined.
  func letThreadGo() {
    let thread = loop.withLock { loop in
      defer { loop.thread = nil }
      return loop.thread
    }
    if let thread { _ = pthread_detach(thread) }
  }

  private func runLoopAsThread() {
    while true {
      let gate = loop.withLock { loop -> ThreadGate? in
        if !loop.isRun && loop.waiting.isEmpty && hasBackgroundWork {
          loop.isRun = true
          loop.isRunByThread = true
          return nil
        }
        return loop.sleeping
      }
      if let gate {
        if hasEnded { break }
        gate.pass(until: .max)
        if hasEnded { break }
        continue
      }
      while hasBackgroundWork && !hasEnded {
        step(until: .max)
        if loop.withLock({ !$0.waiting.isEmpty }) { break }
      }
      leaveLoop()
      if hasEnded { break }
    }
    loop.withLock { loop in
      loop.hasThread = false
      loop.sleeping = nil
    }
  }

  private var hasBackgroundWork: Bool {
    backgroundWork.load(ordering: .sequentiallyConsistent) > 0
  }

  /// Wakes all waiters: the pool has ended.
  func wakeAll() {
    let gates = loop.withLock { loop in loop.waiting + (loop.sleeping.map { [$0] } ?? []) }
    for gate in gates { gate.open() }
    end.notify()
  }

  // MARK: - Waiting without a blocked thread

  /// Waits until the condition holds, which may be so after each change. The pool's thread runs the loop
  /// meanwhile.
  ///
  /// - Returns: 0 when it holds, `CIPC_ETIMEDOUT` or `CIPC_ECANCELED`.
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
