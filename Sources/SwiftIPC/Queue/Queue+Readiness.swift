// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension Queue: Waitable {
  /// Ready when there is something to take, or a `get(timeout:)` that waits would end with an error: at the end
  /// of the stream, when the queue was closed here, and when nobody is left who could put anything
  /// (`QueueWhenAlone`). What `firstReady` asks; does not block.
  ///
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`.
  public func readiness() throws(IPCError) -> Readiness { try unsafe watches.readiness(of: ring) }

  /// Makes a descriptor for another event loop: readable when there may be something to take.
  ///
  /// ```swift
  /// let descriptor = try queue.readinessDescriptor()
  /// let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
  /// source.setEventHandler {
  ///   while let element = try? queue.getIfAvailable() { show(element) }
  /// }
  /// source.setCancelHandler { close(descriptor) }
  /// source.activate()
  /// ```
  ///
  /// Whenever it is readable, call `getIfAvailable()`, `leaseIfAvailable()` or
  /// `withElementBytesIfAvailable(_:)`, at the latest until there is nothing: a call that finds nothing
  /// makes it tell of the next element. It is readable at first; and at most five times a second for
  /// nothing, as it is when the queue is finished or nobody is left who could put anything. It is only to be waited for:
  /// do not read it, and do not give it to another process.
  ///
  /// - Returns: an epoll descriptor, close-on-exec, the caller's to close.
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`.
  public func readinessDescriptor() throws(IPCError) -> Int32 {
    try unsafe watches.loopDescriptor(of: ring)
  }
}
