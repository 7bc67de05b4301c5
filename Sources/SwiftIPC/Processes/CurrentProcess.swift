// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The process that asks.
///
/// ```swift
/// print(CurrentProcess.name, CurrentProcess.parent?.isAlive ?? false)
/// print(CurrentProcess.activeChildren.count, CurrentProcess.processorCount)
/// ```
public enum CurrentProcess {
  private static let childName = Guarded<String?>(nil)

  /// The name that this process was started with as a child; "main" in other processes.
  public static var name: String { childName.withLock { $0 } ?? "main" }

  /// Which of its pool's workers this process is: 0 for the first of four, 3 for the last; `nil` in
  /// a process that is no worker.
  ///
  /// ```swift
  /// let scratch = try await pool.map(0..<8) { number in
  ///   "/tmp/scratch-\(CurrentProcess.workerIndex ?? 0)"  // no other task has it at the same time
  /// }
  /// ```
  ///
  /// No two workers of a pool have the same index at the same time. One that takes the place of another,
  /// which has ended, takes its index. It is known in initializers, too.
  public static var workerIndex: Int? {
    place.withLock { place in
      // A process that a task forks is no worker.
      if let place, place.process == cipc_participant_self() { return place.index }
      return nil
    }
  }

  /// The number of this process.
  public static var pid: Int32 { getpid() }

  /// The process that started this one with this library; `nil` in others.
  public static var parent: ParentProcess? { ParentProcess(cipc_process_starter()) }

  /// The children that run at the moment, in the order of their start. Those that have ended are reaped.
  ///
  /// Also those whose `ChildProcess` was dropped. Does not block.
  ///
  /// Complexity: O(n) in the number of children, with a system call for each.
  public static var activeChildren: [ActiveChild] { ChildRegistry.active.map(ActiveChild.init) }

  /// How many processors this process may use at the same time, at least 1.
  ///
  /// That is the number that its affinity allows, or what its control group's quota (`cpu.max`)
  /// comes to, rounded up, where that is less. Read anew each time: some file accesses.
  public static var processorCount: Int { Int(cipc_processor_count()) }

  /// Ends this process as the child of a `ChildProcess.fork()` should: waits for its own children,
  /// writes out what was printed, and leaves, without what its parent registered for its own end.
  public static func leave(_ code: Int32) -> Never {
    ChildRegistry.endOfProcess()
    cipc_process_leave(code)
  }

  private static let place = Guarded<(process: cipc_participant_t, index: Int)?>(nil)

  static func becomeWorker(_ index: Int) {
    let process = cipc_participant_self()
    place.withLock { $0 = (process, index) }
  }

  static func becomeChild(_ name: String) { childName.withLock { $0 = name } }
}

/// The process that started this one.
public struct ParentProcess: Hashable, Sendable {
  private let participant: cipc_participant_t

  init?(_ participant: cipc_participant_t) {
    if participant == 0 { return nil }
    self.participant = participant
  }

  /// The number of the process. After it has ended it may name another one.
  public var pid: Int32 { cipc_participant_pid(participant) }

  /// Whether the process has not ended yet: that one, not another that got its number. Does not block.
  public var isAlive: Bool { cipc_participant_check(participant) == 0 }
}
