// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The children of this process that are not known to have ended, whether or not the program keeps their
/// `ChildProcess`.
enum ChildRegistry {
  private struct State {
    /// Whose children these are: a forked child inherits the list, not the children.
    var owner: Int32 = 0
    var children: [ObjectIdentifier: (order: Int, child: RunningChild)] = [:]
    var started = 0
    /// Starts to go until those that ended, and that no caller asked, are looked for.
    var untilSweep = 0
    var isWaitedFor = false
  }
  private static let state = Guarded(State())

  /// How long daemons have between SIGTERM and SIGKILL at the end of their parent.
  private static let patience: Int64 = 1_000_000_000

  static func add(_ child: RunningChild) {
    let ended = withState { state -> [RunningChild] in
      if !state.isWaitedFor {
        state.isWaitedFor = true
        atexit { ChildRegistry.endOfProcess() }
      }
      state.started += 1
      state.children[ObjectIdentifier(child)] = (state.started, child)
      state.untilSweep -= 1
      if state.untilSweep > 0 { return [] }
      let ended = sweep(&state)
      // So that a start costs the same however many children there are.
      state.untilSweep = state.children.count / 2 + 1
      return ended
    }
    _ = ended  // released out of the lock
  }

  static func remove(_ child: RunningChild) {
    _ = withState { state in state.children.removeValue(forKey: ObjectIdentifier(child)) }
  }

  /// Those that run, in the order of their start. Reaps the others.
  static var active: [RunningChild] {
    RunningChild.reapDropped()
    let (active, ended) = withState { state in
      let ended = sweep(&state)
      return (state.children.values.sorted { $0.order < $1.order }.map(\.child), ended)
    }
    _ = ended
    return active
  }

  private static func sweep(_ state: inout State) -> [RunningChild] {
    let ended = state.children.values.filter { $0.child.exitStatus != nil }.map(\.child)
    for child in ended { state.children[ObjectIdentifier(child)] = nil }
    return ended
  }

  /// What `body` takes out of the state must be returned: releasing a child may reap others, which
  /// comes back here.
  private static func withState<R>(_ body: (inout State) -> R) -> R {
    let pid = getpid()
    let (result, inherited) = state.withLock { state in
      var inherited: State?
      if state.owner != pid {
        inherited = state
        state = State()
        state.owner = pid
        // The registration for the end is inherited.
        state.isWaitedFor = inherited?.isWaitedFor ?? false
      }
      return (body(&state), inherited)
    }
    _ = inherited
    return result
  }

  /// At the end of this process: daemons are ended, the others waited for.
  static func endOfProcess() {
    let children = active
    for child in children where child.isDaemon { try? child.signal(SIGTERM) }
    for child in children where !child.isDaemon { _ = child.wait(until: .max) }
    let deadline = cipc_clock_now() + patience
    for child in children where child.isDaemon && child.wait(until: deadline) == nil {
      _ = child.end()
    }
  }
}
