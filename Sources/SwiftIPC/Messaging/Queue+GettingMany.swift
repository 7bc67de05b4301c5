// SPDX-License-Identifier: Apache-2.0
internal import CIPC

extension Queue {
  /// Takes as many elements as there are, up to a number. Blocks until there is one.
  ///
  /// ```swift
  /// for number in try queue.getMany(upTo: 1000) { sum += number }
  /// ```
  ///
  /// Where delivery is at most once, they are taken in one step, so that a process which is killed takes
  /// all of them along, or none.
  ///
  /// - Throws: as `get()`. Where one of them is not an element, all are gone.
  @available(*, noasync, message: "use 'try await getMany(upTo:)'")
  public func getMany(upTo most: Int) throws -> [Element] { try getMany(most, before: .max) }

  /// Takes as many elements as there are, up to a number, waiting for one for a time. Blocks until then.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when there was none; otherwise as `getMany(upTo:)`.
  @available(*, noasync, message: "use 'try await getMany(upTo:timeout:)'")
  public func getMany(upTo most: Int, timeout: Duration) throws -> [Element] {
    try getMany(most, before: Deadline.after(timeout))
  }

  /// Takes as many elements as there are, up to a number. The task is suspended until there is one; no
  /// thread is blocked.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public nonisolated(nonsending) func getMany(upTo most: Int) async throws -> [Element] {
    try await getManySuspending(most, .max)
  }

  /// Takes as many elements as there are, up to a number, waiting for one for a time. No thread is
  /// blocked.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when there was none; otherwise as `getMany(upTo:)`.
  public nonisolated(nonsending) func getMany(
    upTo most: Int, timeout: Duration
  ) async throws -> [Element] {
    try await getManySuspending(most, Deadline.after(timeout))
  }

  private func getMany(_ most: Int, before deadline: Int64) throws -> [Element] {
    guard most > 0 else { return [] }
    let records = try withExtendedLifetime(self) { () throws(IPCError) in
      var shown = QueueShown()
      let status = first(&shown, deadline)
      if status < 0 { throw failure(status) }
      return try takeMany(from: shown, upTo: most)
    }
    return try elements(of: records)
  }

  private nonisolated(nonsending) func getManySuspending(
    _ most: Int, _ deadline: Int64
  ) async throws -> [Element] {
    guard most > 0 else { return [] }
    let records = try await takeSuspending(until: deadline) { shown throws(IPCError) in
      try takeMany(from: shown, upTo: most)
    }
    return try elements(of: records)
  }

  private func elements(of taken: [QueueTaken<Element>]) throws -> [Element] {
    do {
      return try taken.map { try coding.element(of: $0.record) }
    } catch {
      abandon(taken)
      throw error
    }
  }

  /// Takes the element that is shown or was leased, and those behind it.
  private func takeMany(
    from first: QueueShown, upTo most: Int
  ) throws(IPCError) -> [QueueTaken<Element>] {
    guard delivery == .atMostOnce else {
      return try takeManyLeased(from: first, upTo: most)
    }
    var taken: [QueueTaken<Element>] = []
    var problem: IPCError?
    var shown = first
    while true {
      do throws(IPCError) {
        taken.append(QueueTaken(record: unsafe try coding.read(shown.bytes), ticket: 0))
      } catch {
        problem = error
      }
      if problem != nil || taken.count == most { break }
      if unsafe cipc_ring_peek_step(ring, &shown.record, 0, nil) != 0 { break }
    }
    let status = unsafe cipc_ring_release(ring)
    if status < 0 { throw failure(status) }
    if let problem { throw problem }
    return taken
  }

  private func takeManyLeased(
    from first: QueueShown, upTo most: Int
  ) throws(IPCError) -> [QueueTaken<Element>] {
    var taken: [QueueTaken<Element>] = []
    var shown = first
    do throws(IPCError) {
      while true {
        taken.append(try take(shown))
        if taken.count == most { break }
        if unsafe cipc_ring_lease_step(ring, &shown.record, 0, nil) != 0 { break }
      }
    } catch {
      abandon(taken)
      throw error
    }
    return taken
  }
}
