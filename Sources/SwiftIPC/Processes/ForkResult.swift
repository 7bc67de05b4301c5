// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// In which of two processes a `ChildProcess.fork()` has returned.
public enum ForkResult: Sendable {
  /// In the child.
  case child
  /// In the process that called, with the child.
  case parent(ChildProcess<Void>)
}

extension ChildProcess where Output == Void {
  /// Makes a copy of this process that goes on from here, as `fork(2)` does: returns in both.
  ///
  /// ```swift
  /// switch try ChildProcess.fork() {
  /// case .child:
  ///   print("I am the child")
  ///   CurrentProcess.leave(0)
  /// case .parent(let child):
  ///   print("I am the parent of \(child.pid)")
  ///   try await child.join()
  /// }
  /// ```
  ///
  /// What was printed before is written out first, once. The child ends best by
  /// `CurrentProcess.leave(_:)`: `exit` and the end of `main` run what its parent registered for
  /// its own end.
  ///
  /// - Parameters:
  ///   - options: all but `method` and `executable` apply.
  ///   - timeout: how long the child may take to set in itself what the options say; it is killed when
  ///     the time is over.
  /// - Throws: `timedOut`; `multipleThreads` while this process has other threads, as it has after any `await` of
  ///   an asynchronous program; `resourceLimit` and `outOfMemory`.
  public static func fork(
    options: ChildProcessOptions = .init(), timeout: Duration? = nil
  ) throws(IPCError) -> ForkResult {
    let name = ChildNames.name(options)
    let deadline = Deadline.after(timeout)
    guard let handle = try ChildHandle(forking: name, options, until: deadline) else {
      return .child
    }
    return .parent(ChildProcess(handle))
  }
}
