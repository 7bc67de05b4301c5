// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Queue {
  /// Takes an element to work on, which goes back to the queue unless it is acknowledged. Blocks until
  /// there is one: first those that were handed back.
  ///
  /// Room for others is made when it is acknowledged, and those put before it are. The corresponding C
  /// function is `cipc_ring_lease`.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once, `nil` waits for as long as it
  ///   takes.
  /// - Throws: `IPCError` with `unsupported` unless delivery is leased; `finished` when nothing is left,
  ///   also with those who could still hand it back; otherwise as `get(timeout:)`. What is no element counts as
  ///   acknowledged.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func lease(timeout: Duration? = nil) throws -> QueueLease<Element> {
    try checkLeased()
    return try lease(
      takeBlocking(until: Deadline.after(timeout)) { shown throws(IPCError) in try begin(shown) })
  }

  /// The same without a blocked thread: the task is suspended until there is an element.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public func lease(
    timeout: Duration? = nil
  ) async throws -> QueueLease<Element> {
    try checkLeased()
    return try lease(
      await takeSuspending(until: Deadline.after(timeout)) { shown throws(IPCError) in
        try begin(shown)
      })
  }

  /// Takes an element to work on, if there is one right now. Does not block.
  ///
  /// - Returns: the lease, or `nil` when there is no element.
  /// - Throws: as `lease(timeout:)`.
  public func leaseIfAvailable() throws -> QueueLease<Element>? {
    try checkLeased()
    let lease = try takeIfAvailable { shown throws(IPCError) in try begin(shown) }
    return try lease.map { try self.lease($0) }
  }

  private struct Beginning {
    var record: QueueRecord<Element>
    var ticket: UInt64
    var deliveries: UInt32
  }

  private func begin(_ shown: QueueShown) throws(IPCError) -> Beginning {
    do throws(IPCError) {
      return Beginning(
        record: unsafe try coding.read(shown.bytes), ticket: shown.ticket,
        deliveries: shown.deliveries)
    } catch {
      _ = unsafe cipc_ring_acknowledge(ring, shown.ticket, .max)
      throw error
    }
  }

  private func lease(_ lease: Beginning) throws -> QueueLease<Element> {
    do {
      return QueueLease(
        try coding.element(of: lease.record), of: self, lease.ticket, deliveries: lease.deliveries)
    } catch {
      // No other consumer could decode it either.
      _ = unsafe cipc_ring_acknowledge(ring, lease.ticket, .max)
      throw error
    }
  }

  private func checkLeased() throws(IPCError) {
    if delivery == .leased { return }
    throw IPCError(
      .unsupported, context: "\(Self.subject): leases are for queues made with delivery: .leased")
  }

  // MARK: - Tasks

  /// Says that the element taken first, of those that were taken through this handle and are not done, is
  /// done. Where delivery is tracked; waits for whoever is taking at this moment.
  ///
  /// ```swift
  /// let jobs = try Queue<String>(delivery: .tracked)
  /// try ChildProcess.start(jobs) { jobs in
  ///   while let job = try jobs.next() {
  ///     try work(on: job)
  ///     try jobs.taskDone()
  ///   }
  /// }
  /// for job in all { try await jobs.put(job) }
  /// try await jobs.join()
  /// ```
  ///
  /// The corresponding C function is `cipc_ring_acknowledge_first`.
  ///
  /// - Throws: `IPCError` with `notOwner` when it is said more often than elements were taken through
  ///   this handle, or in a forked copy of the process that took them; `unsupported` unless delivery is
  ///   tracked; `closed`.
  public func taskDone() throws(IPCError) {
    guard delivery == .tracked else {
      throw IPCError(
        .unsupported,
        context: "\(Self.subject): taskDone() is for queues made with delivery: .tracked")
    }
    let status = withExtendedLifetime(self) { unsafe cipc_ring_acknowledge_first(ring, .max) }
    if status == CIPC_EPERM.rawValue {
      throw IPCError(
        .notOwner, context: "\(Self.subject): taskDone() more often than elements were taken here")
    }
    if status < 0 { throw failure(status) }
  }

  /// Waits until everything that was put is done: `taskDone()` was said of it, its lease was
  /// acknowledged, or, where delivery is tracked, the process that took it is dead. Blocks.
  ///
  /// The corresponding C function is `cipc_ring_join`.
  ///
  /// - Parameter timeout: how long to wait; zero or less looks once, `nil` waits for as long as it
  ///   takes.
  /// - Throws: `IPCError` with `timedOut`; `peersGone` when something is not done and nobody is left who
  ///   could do it (`QueueWhenAlone`); `unsupported` where delivery is at most once; `closed`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func join(timeout: Duration? = nil) throws(IPCError) {
    let status = withExtendedLifetime(self) {
      unsafe cipc_ring_join(ring, Deadline.after(timeout))
    }
    if status < 0 { throw joinFailure(status) }
  }

  /// The same without a blocked thread: the task is suspended until everything is done.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public func join(timeout: Duration? = nil) async throws(IPCError) {
    if delivery == .atMostOnce { throw joinFailure(CIPC_EOPNOTSUPP.rawValue) }
    try await waitForTurn(until: Deadline.after(timeout)) { look, wait in
      unsafe cipc_ring_join_step(ring, look ? 1 : 0, &wait)
    }
  }

  private func joinFailure(_ status: Int32) -> IPCError {
    guard status == CIPC_EOPNOTSUPP.rawValue else { return failure(status) }
    return IPCError(
      .unsupported,
      context: "\(Self.subject): join() is for queues made with delivery: .tracked or .leased")
  }
}
