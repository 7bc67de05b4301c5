// SPDX-License-Identifier: Apache-2.0
public import CIPC

extension Queue {
  // MARK: Blocking

  /// Puts an element. Blocks while there is no room.
  ///
  /// The corresponding C function is `cipc_ring_put`. Complexity: O(n) in the size of the element, without
  /// an allocation where the element is its bytes.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: `IPCError` with `capacityExceeded` at once for an element that is larger than the
  ///   queue; `finished`; `peersGone` when it is full and nobody is left who could take anything
  ///   (`QueueWhenAlone`); `closed`; `notTransferable` for an element with a shared object or a
  ///   connection in it; `alreadyLocked` inside a closure that writes an element of this queue in
  ///   place; `outOfMemory`; `segmentMismatch` where the queue's memory was overwritten; `timedOut` when
  ///   there was no room in time. What encoding the element throws. Nothing was put then.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @inlinable public func put(_ element: Element, timeout: Duration? = nil) throws {
    try put(element, before: Deadline.after(timeout))
  }

  /// Puts an element if there is room right now. Does not block.
  ///
  /// - Returns: whether it was put.
  /// - Throws: as `put(_:timeout:)`, but never `peersGone`.
  public func putIfRoom(_ element: Element) throws -> Bool {
    let record = try coding.record(of: element)
    // A caller that only tries looks for dead processes every 200 ms, too.
    let look: Int32 = watches.isTimeToLook() ? 1 : 0
    let status = unsafe insert(record) { unsafe cipc_ring_put_step(ring, $0, $1, look, nil) }
    if status == CIPC_EAGAIN.rawValue { return false }
    if status < 0 { throw failure(status) }
    return true
  }

  @inlinable func put(_ element: Element, before deadline: Int64) throws {
    guard plainPutSize >= 0 else { return try putRecord(element, before: deadline) }
    let status = withExtendedLifetime(self) {
      unsafe withUnsafePointer(to: element) {
        unsafe cipc_ring_put(ring, $0, plainPutSize, deadline)
      }
    }
    if status != 0 { throw failure(status) }
  }

  @usableFromInline @inline(never)
  func putRecord(_ element: Element, before deadline: Int64) throws {
    let record = try coding.record(of: element)
    let status = unsafe insert(record) { unsafe cipc_ring_put(ring, $0, $1, deadline) }
    if status != 0 { throw failure(status) }
  }

  private func insert(
    _ record: QueueRecord<Element>, _ put: (UnsafeRawPointer?, Int) -> Int32
  ) -> Int32 {
    withExtendedLifetime(self) {
      unsafe coding.withBytes(of: record) { unsafe put($0.baseAddress, $0.count) }
    }
  }

  // MARK: Suspending

  /// Puts an element. The task is suspended while there is no room; no thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: as the blocking form; `IPCError` with `cancelled` when the task was cancelled
  ///   before; `resourceLimit` and `outOfMemory` where there can be no waiting; `timedOut` when
  ///   there was no room.
  public func put(_ element: Element, timeout: Duration? = nil) async throws {
    let record = try coding.record(of: element)
    try await waitForTurn(until: Deadline.after(timeout)) { look, wait in
      unsafe insert(record) { unsafe cipc_ring_put_step(ring, $0, $1, look ? 1 : 0, &wait) }
    }
  }
}
