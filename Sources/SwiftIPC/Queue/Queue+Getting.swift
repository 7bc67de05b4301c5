// SPDX-License-Identifier: Apache-2.0
public import CIPC
internal import MessageCoding

extension Queue {
  // MARK: Blocking

  /// Takes an element. Blocks until there is one.
  ///
  /// Where delivery is tracked, say `taskDone()` when you are done with it. Where it is leased, the
  /// element is acknowledged by this: use `lease()` to do so later.
  ///
  /// The corresponding C function is `cipc_ring_get`. Complexity: O(n) in the size of the element.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: `IPCError` with `finished` when the stream was finished and nothing is left;
  ///   `peersGone` when nothing is there and nobody is left who could put anything
  ///   (`QueueWhenAlone`); `closed`; `alreadyLocked` inside `withElement` of this queue;
  ///   `malformedMessage` when the bytes are not an element, which is gone then; `segmentMismatch`
  ///   where the queue's memory was overwritten; `timedOut` when there was none in time, and after a
  ///   single try in any case. What decoding the element throws.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @inlinable public func get(timeout: Duration? = nil) throws -> Element {
    try get(before: Deadline.after(timeout))
  }

  /// Takes an element if there is one right now. Does not block.
  ///
  /// - Returns: the element, or `nil` when there is none.
  /// - Throws: as `get(timeout:)`, but never `peersGone`.
  public func getIfAvailable() throws -> Element? {
    try takeIfAvailable { shown throws(IPCError) in try take(shown) }.map { try element(of: $0) }
  }

  @inlinable func get(before deadline: Int64) throws -> Element {
    guard plainSize >= 0 else { return try getRecord(before: deadline) }
    var status: Int32 = 0
    let element: Element? = withExtendedLifetime(self) {
      unsafe withUnsafeTemporaryAllocation(of: Element.self, capacity: 1) { copy in
        var length = 0
        // Of capacity 1, so there is a base address.
        status = unsafe cipc_ring_get(ring, copy.baseAddress!, plainSize, &length, deadline)
        // All bytes of the right number are an element.
        return status == 0 && length == plainSize ? copy.baseAddress!.pointee : nil
      }
    }
    if let element { return element }
    throw strangeElement(status)
  }

  /// Why there is no element: none, or one of another size.
  @usableFromInline @inline(never) func strangeElement(_ status: Int32) -> any Error {
    if status < 0 && status != CIPC_EMSGSIZE.rawValue { return failure(status) }
    if status == CIPC_EMSGSIZE.rawValue {
      // It is still there; or another has taken it, and its error, by now.
      do { _ = try takeIfAvailable { shown throws(IPCError) in try take(shown) } } catch {
        return error
      }
    }
    return unusualLength(nil)
  }

  func unusualLength(_ length: Int?) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "element of a queue: length \(length.map { "\($0)" } ?? "another"), "
        + "and a \(Element.self) has \(MemoryLayout<Element>.size)")
  }

  @usableFromInline @inline(never) func getRecord(before deadline: Int64) throws -> Element {
    try element(of: takeBlocking(until: deadline) { shown throws(IPCError) in try take(shown) })
  }

  // MARK: Suspending

  /// Takes an element. The task is suspended until there is one; no thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: as the blocking form; `IPCError` with `cancelled` when the task was cancelled
  ///   before, which loses nothing; `resourceLimit` and `outOfMemory` where there can be no
  ///   waiting; `timedOut` when there was none.
  public func get(timeout: Duration? = nil) async throws -> Element {
    try element(
      of: await takeSuspending(until: Deadline.after(timeout)) { shown throws(IPCError) in
        try take(shown)
      })
  }

  /// Repeats a step of the ring until it succeeds or fails. The task is suspended in between.
  @safe func waitForTurn(
    until deadline: Int64, step: (_ look: Bool, _ wait: inout cipc_wait_t) -> Int32
  ) async throws(IPCError) {
    try await waitForStep(until: deadline, subject: Self.subject) { look, wait in
      let status = unsafe step(look, &wait)
      // A call that does not wait reports that its time is over, not that it waits in vain.
      let isInVain = deadline <= 0 && status == CIPC_ENOBODY.rawValue
      return isInVain ? CIPC_ETIMEDOUT.rawValue : status
    }
  }

  // MARK: Taking

  /// What was taken, as an element.
  func element(of taken: QueueTaken<Element>) throws -> Element {
    do {
      return try coding.element(of: taken.record)
    } catch {
      abandon([taken])
      throw error
    }
  }

  /// Marks records that could not be decoded as done: their consumer never gets them, and cannot.
  func abandon(_ taken: [QueueTaken<Element>]) {
    guard delivery == .tracked else { return }
    for taken in taken { _ = unsafe cipc_ring_acknowledge(ring, taken.ticket, .max) }
  }

  /// Takes the element that is shown or leased out of the queue.
  func take(_ shown: QueueShown) throws(IPCError) -> QueueTaken<Element> {
    let read: Result<QueueRecord<Element>, IPCError>
    do throws(IPCError) {
      read = .success(unsafe try coding.read(shown.bytes))
    } catch {
      read = .failure(error)
    }
    var status: Int32 = 0
    switch delivery {
    case .atMostOnce: status = unsafe cipc_ring_release(ring)
    case .tracked:
      // The consumer gets no element, and so cannot say that it is done.
      if case .failure = read { status = unsafe cipc_ring_acknowledge(ring, shown.ticket, .max) }
    case .leased: status = unsafe cipc_ring_acknowledge(ring, shown.ticket, .max)
    }
    if status < 0 { throw failure(status) }
    return QueueTaken(record: try read.get(), ticket: shown.ticket)
  }

  /// Calls `body` with the first element, shown or leased. Blocks until there is one.
  func takeBlocking<R>(
    until deadline: Int64, _ body: (QueueShown) throws(IPCError) -> R
  ) throws(IPCError) -> R {
    try withExtendedLifetime(self) { () throws(IPCError) in
      if isReading { throw failure(CIPC_EDEADLK.rawValue) }
      var shown = QueueShown()
      let status =
        delivery == .atMostOnce
        ? unsafe cipc_ring_peek(ring, &shown.record, deadline)
        : unsafe cipc_ring_lease(ring, &shown.record, deadline)
      if status < 0 { throw failure(status) }
      return try body(shown)
    }
  }

  /// Tries for the first element, as a step: shown, or leased.
  private func step(
    _ shown: inout QueueShown, _ look: Bool, _ wait: UnsafeMutablePointer<cipc_wait_t>?
  ) -> Int32 {
    if isReading { return CIPC_EDEADLK.rawValue }
    return delivery == .atMostOnce
      ? unsafe cipc_ring_peek_step(ring, &shown.record, look ? 1 : 0, wait)
      : unsafe cipc_ring_lease_step(ring, &shown.record, look ? 1 : 0, wait)
  }

  /// Calls `body` with the first element, shown or leased, if there is one.
  func takeIfAvailable<R>(
    _ body: (QueueShown) throws(IPCError) -> R
  ) throws(IPCError) -> R? {
    try withExtendedLifetime(self) { () throws(IPCError) in
      repeat {
        var shown = QueueShown()
        // A caller that only tries looks for dead processes every 200 ms, too.
        let look = watches.isTimeToLook()
        let status = unsafe step(&shown, look, nil)
        if status == 0 { return try body(shown) }
        if status != CIPC_EAGAIN.rawValue { throw failure(status) }
      } while try watches.rearm()
      return nil
    }
  }

  /// Calls `body` with the first element, shown or leased, when there is one, on the thread that it is
  /// shown to.
  func takeSuspending<R>(
    until deadline: Int64, _ body: (QueueShown) throws(IPCError) -> R
  ) async throws(IPCError) -> R {
    var taken: Result<R, IPCError>?
    try await waitForTurn(until: deadline) { look, wait in
      var shown = QueueShown()
      let status = unsafe step(&shown, look, &wait)
      if status == 0 {
        do throws(IPCError) {
          taken = .success(try body(shown))
        } catch {
          taken = .failure(error)
        }
      }
      return status
    }
    // The step was successful.
    return try taken!.get()
  }
}
