// SPDX-License-Identifier: Apache-2.0
internal import CIPC

extension Listener {
  /// Accepts one client.
  ///
  /// Blocks until there is one that is admitted and, with a key, has authenticated itself.
  ///
  /// ```swift
  /// let connection = try listener.accept(timeout: .seconds(5))
  /// ```
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `timedOut`; `closed`; `resourceLimit` or `outOfMemory` where this process
  ///   or the machine has no descriptor or memory for one more connection: the client keeps waiting, so
  ///   close something before trying again, or wait a little.
  @available(
    *, noasync,
    message:
      "use 'try await accept()'; at top level: func run() async throws { … }; try await run()"
  )
  public func accept(timeout: Duration? = nil) throws(IPCError) -> Connection {
    let deadline = Deadline.after(timeout)
    var isOver = deadline == 0
    while true {
      switch try look() {
      case .client(let client): return client
      case .nobody(let signals, let until):
        if isOver { throw timedOut }
        let wake = try SignalSet(signals).wait(until: min(deadline, until))
        // One look more: who came in time is accepted.
        if case .timedOut = wake { isOver = deadline <= cipc_clock_now() }
      }
    }
  }

  /// Accepts one client; suspends until there is one.
  ///
  /// As the blocking form; also throws `cancelled`, which loses no client.
  public func accept(timeout: Duration? = nil) async throws(IPCError) -> Connection {
    let deadline = Deadline.after(timeout)
    var isOver = deadline == 0
    while true {
      if Task.isCancelled {
        throw IPCError(.cancelled, context: "accepting at \(address)")
      }
      switch try look() {
      case .client(let client): return client
      case .nobody(let signals, let until):
        if isOver { throw timedOut }
        let wake = try await SignalSet(signals).wait(until: min(deadline, until))
        if case .timedOut = wake { isOver = deadline <= cipc_clock_now() }
      }
    }
  }

  private var timedOut: IPCError { IPCError(.timedOut, context: "accepting at \(address)") }

  /// The clients that connect, until the listener is closed.
  ///
  /// ```swift
  /// try await withThrowingDiscardingTaskGroup { group in
  ///   for try await connection in listener.connections {
  ///     group.addTask { try await serve(connection) }
  ///   }
  /// }
  /// ```
  ///
  /// The loop throws what `accept()` throws, but for `closed`, which ends it. Two loops share the
  /// clients.
  public var connections: Connections { Connections(listener: self) }

  /// The clients of a listener as an asynchronous sequence.
  public struct Connections: AsyncSequence, Sendable {
    fileprivate let listener: Listener

    /// Makes an iterator; all iterators take from the same listener.
    public func makeAsyncIterator() -> Iterator { Iterator(listener: listener) }

    /// Accepts one client after the other.
    public struct Iterator: AsyncIteratorProtocol {
      fileprivate let listener: Listener

      /// The next client; `nil` once the listener is closed.
      public func next() async throws -> Connection? {
        do throws(IPCError) {
          return try await listener.accept()
        } catch  where error.code == .closed {
          return nil
        }
      }
    }
  }
}
