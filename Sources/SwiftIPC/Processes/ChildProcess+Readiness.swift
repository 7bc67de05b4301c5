// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension ChildProcess: Waitable {
  /// Ready once the child has ended: `join` returns at once then, and `value` does. What `firstReady`
  /// asks; does not block.
  ///
  /// Like every wait for a child this takes in the value that it sends, so a child whose value is larger
  /// than a socket's buffer can end.
  public func readiness() -> Readiness { handle.readiness(for: .exit) }

  /// Makes a descriptor for another event loop: readable once the child has ended.
  ///
  /// ```swift
  /// let descriptor = try child.readinessDescriptor()
  /// let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
  /// source.setEventHandler {
  ///   if let status = try? child.join() { show(status) }
  ///   source.cancel()
  /// }
  /// source.setCancelHandler { close(descriptor) }
  /// source.activate()
  /// ```
  ///
  /// `join` does not wait then, or, for a child of the fork server, only for its status to come, which
  /// takes well under a millisecond. A child that returns more than a socket's buffer holds (200 KiB)
  /// ends only when this library waits for it too, say by `value`.
  ///
  /// - Returns: a pidfd, close-on-exec, the caller's to close. It stays readable.
  /// - Throws: `IPCError` with `resourceLimit`.
  public func readinessDescriptor() throws(IPCError) -> Int32 { try handle.child.pidDescriptor() }
}
