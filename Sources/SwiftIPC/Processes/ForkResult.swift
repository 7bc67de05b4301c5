// SPDX-License-Identifier: Apache-2.0
internal import CIPC

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
  /// - Parameter options: all but `method` and `executable` apply.
  /// - Throws: `multipleThreads` while this process has other threads, as it has after any `await` of
  ///   an asynchronous program; `resourceLimit` and `outOfMemory`.
  public static func fork(options: ChildProcessOptions = .init()) throws(IPCError) -> ForkResult {
    let name = ChildNames.name(options)
    guard let handle = try ChildHandle(forking: name, options) else { return .child }
    return .parent(ChildProcess(handle))
  }
}
