// SPDX-License-Identifier: Apache-2.0
internal import CIPC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

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

  /// Ends this process as the child of a `ChildProcess.fork()` should: waits for its own children, writes
  /// out what was printed, and leaves, without what its parent registered for its own end.
  public static func leave(_ code: Int32) -> Never {
    ChildRegistry.endOfProcess()
    cipc_process_leave(code)
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
