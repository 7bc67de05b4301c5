// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc
public import MessageCoding

/// A running child of this process, whatever its task returns: one of `CurrentProcess.activeChildren`.
///
/// ```swift
/// for child in CurrentProcess.activeChildren { try child.terminate() }
/// ```
///
/// It may be used from several threads at once.
public struct ActiveChild: Sendable {
  private let child: RunningChild

  init(_ child: RunningChild) { self.child = child }

  /// The name given in the options, or "ChildProcess-1" and so on.
  public var name: String { child.name }
  /// The number of the process. After the child has ended it may name another process.
  public var pid: Int32 { child.pid }
  /// Whether the child is ended when this process ends.
  public var isDaemon: Bool { child.isDaemon }
  /// Whether the child has not ended yet. Does not block.
  public var isAlive: Bool { child.exitStatus == nil }
  /// How the child ended; `nil` while it is running. Does not block.
  public var exitStatus: ExitStatus? { child.exitStatus }

  /// Asks the child to end, by SIGTERM. Does nothing when it has ended already; does not block.
  public func terminate() throws(IPCError) { try child.signal(SIGTERM) }
  /// Asks the child to end as a Ctrl-C does, by SIGINT. Does nothing when it has ended already.
  public func interrupt() throws(IPCError) { try child.signal(SIGINT) }
  /// Ends the child at once, by SIGKILL. Does nothing when it has ended already; does not block.
  public func kill() throws(IPCError) { try child.signal(SIGKILL) }
  /// Sends a signal to the child. Does nothing when it has ended already; does not block.
  public func signal(_ signal: Int32) throws(IPCError) { try child.signal(signal) }

  /// Waits until the child has ended, and says how; `nil` when it still runs after the timeout, where
  /// one is given. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func join(timeout: Duration? = nil) throws(IPCError) -> ExitStatus? {
    child.wait(until: Deadline.after(timeout))
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled` when the waiting task is cancelled first.
  @discardableResult
  public func join(timeout: Duration? = nil) async throws(IPCError) -> ExitStatus? {
    try await child.wait(until: Deadline.after(timeout))
  }
}

extension ActiveChild: Waitable {
  /// Ready once the child has ended. What `firstReady` asks; does not block.
  ///
  /// Unlike waiting for the `ChildProcess`, this does not take in the value that the child sends: one
  /// that sends more than a socket's buffer holds ends only when it is waited for there too.
  public func readiness() -> Readiness {
    child.exitStatus != nil ? .ready : .pending([.readable(child.descriptor)])
  }

  /// Makes a descriptor for another event loop: readable once the child has ended.
  ///
  /// - Returns: a pidfd, close-on-exec, the caller's to close. It stays readable.
  /// - Throws: `IPCError` with `resourceLimit`.
  public func readinessDescriptor() throws(IPCError) -> Int32 { try child.pidDescriptor() }
}

extension ActiveChild: CustomStringConvertible {
  /// The name and the number of the process.
  public var description: String { "\(name) (process \(pid))" }
}
