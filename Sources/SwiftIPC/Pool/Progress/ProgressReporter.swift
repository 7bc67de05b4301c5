// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// Something that shows how far a pool is. Called by one thread at a time.
protocol ProgressDisplay: Sendable {
  /// When it wants to show something next; `.max` for never.
  var next: Int64 { get }
  /// The pool had nothing to do, and now it has.
  func begin(_ progress: PoolProgress)
  func show(_ progress: PoolProgress)
  /// The pool has nothing to do any more.
  func finish(_ progress: PoolProgress)
}

/// Says how far a pool is while there are jobs that are not over, and once more behind the last.
///
/// Unchecked: the mutex guards all that changes. It is recursive, since a hook may cancel a job, which
/// is over then.
@safe final class ProgressReporter: @unchecked Sendable {
  private let displays: [any ProgressDisplay]
  private let relay: OutputRelay?
  /// Whether anybody wants to know how much memory workers use.
  private let measures: Bool
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var jobs = 0
  /// Whether a display is in a call.
  private var isShowing = false
  private var mustFinish = false

  /// `nil` where there is no display.
  init?(
    bar: ProgressBar?, relay: OutputRelay? = nil, _ hook: (@Sendable (PoolProgress) -> Void)?,
    interval: Duration
  ) {
    var displays: [any ProgressDisplay] = []
    if let bar { displays.append(bar) }
    if let hook { displays.append(ProgressHook(hook, interval: interval)) }
    if displays.isEmpty { return nil }
    self.displays = displays
    self.relay = relay
    // Behind the return: there is no `deinit` for one that was not made.
    unsafe mutex = .allocate(capacity: 1)
    measures = hook != nil
    var attributes = pthread_mutexattr_t()
    _ = unsafe pthread_mutexattr_init(&attributes)
    _ = unsafe pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_RECURSIVE))
    _ = unsafe pthread_mutex_init(mutex, &attributes)
    _ = unsafe pthread_mutexattr_destroy(&attributes)
  }

  deinit {
    _ = unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
  }

  private func locked<R>(_ body: () -> R) -> R {
    _ = unsafe pthread_mutex_lock(mutex)
    defer { _ = unsafe pthread_mutex_unlock(mutex) }
    return body()
  }

  /// When `report` is to be called at the latest.
  var next: Int64 { locked { displays.reduce(.max) { min($0, $1.next) } } }

  /// A job begins.
  func begin(_ core: PoolCore) {
    locked {
      jobs += 1
      if jobs > 1 { return }
      // Not over after all, where a hook adds a job.
      mustFinish = false
      let progress = core.progress()
      for display in displays { display.begin(progress) }
    }
  }

  /// A job is over.
  func end(_ core: PoolCore) {
    locked {
      jobs -= 1
      if jobs > 0 { return }
      mustFinish = true
      if !isShowing { finish(core) }
    }
  }

  /// Shows what is due.
  func report(_ core: PoolCore, _ now: Int64) {
    locked {
      if isShowing || !displays.contains(where: { $0.next <= now }) { return }
      let progress = core.progress(measured: measures)
      isShowing = true
      for display in displays where display.next <= now { display.show(progress) }
      isShowing = false
      finish(core)
    }
  }

  private func finish(_ core: PoolCore) {
    if !mustFinish { return }
    isShowing = true
    // What tasks that have returned wrote is above the line.
    relay?.drain()
    // Once is enough, unless the hook itself adds jobs and ends them.
    while mustFinish {
      mustFinish = false
      let progress = core.progress(measured: measures)
      for display in displays { display.finish(progress) }
    }
    isShowing = false
  }
}

extension ProgressReporter {
  /// The pool has ended, or is gone: nothing more will be written by workers.
  func stop() { relay?.stop() }
}

/// The hook of the pool's user.
private final class ProgressHook: ProgressDisplay {
  private let hook: @Sendable (PoolProgress) -> Void
  private let interval: Int64
  private let due = Guarded(Int64.max)

  init(_ hook: @escaping @Sendable (PoolProgress) -> Void, interval: Duration) {
    self.hook = hook
    // Not for ever in a row.
    self.interval = max(1_000_000, Deadline.nanoseconds(interval))
  }

  var next: Int64 { due.withLock { $0 } }

  private func wait() {
    let next = cipc_clock_deadline(interval)
    due.withLock { $0 = next }
  }

  func begin(_ progress: PoolProgress) { wait() }

  func show(_ progress: PoolProgress) {
    wait()
    hook(progress)
  }

  func finish(_ progress: PoolProgress) {
    due.withLock { $0 = .max }
    hook(progress)
  }
}
