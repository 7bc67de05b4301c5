// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func accept(timeout: Duration? = nil) throws(IPCError) -> Connection {
    let deadline = Deadline.after(timeout)
    var isOver = deadline == 0
    while true {
      switch try look() {
      case .client(let client): return client
      case .nobody(let signals, let until):
        if isOver { throw timedOut }
        let wake = try SignalSet(signals).wait(until: min(deadline, until))
        // One more look: a client that came in time is accepted.
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
  /// The loop throws what `accept()` throws, but for `closed`, which ends it, and for `resourceLimit` and
  /// `outOfMemory`: while this process or the machine has no descriptor or memory for one more, clients
  /// wait, and the loop looks again up to ten times a second. Two loops share the clients. The loop survives
  /// that, but Dispatch, on whose threads Swift's tasks run, may not: once a second it opens a file to see
  /// how busy its threads are, and ends the process where it cannot. Limit your clients before that.
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
        try await listener.nextClient()
      }
    }
  }

  /// The next client, however long there are no descriptors for one; `nil` once the listener is closed.
  fileprivate func nextClient() async throws(IPCError) -> Connection? {
    var pause: Int64 = 1_000_000
    while true {
      let failure: IPCError
      do throws(IPCError) {
        return try await accept()
      } catch {
        failure = error
      }
      switch failure.code {
      case .closed: return nil
      case .resourceLimit, .outOfMemory:
        // No event says when there are some again.
        guard await Self.hasPassed(pause) else { throw failure }
        pause = min(pause * 2, 100_000_000)
      default: throw failure
      }
    }
  }

  /// Suspends for nanoseconds, or until the task is cancelled; `false` where it cannot. Takes no
  /// descriptor.
  private static func hasPassed(_ nanoseconds: Int64) async -> Bool {
    let wait = unsafe cipc_wait_t(word: UnsafePointer(word), expected: 0)
    let status = await Suspension().wait(
      for: unsafe .init(wait, deadline: cipc_clock_deadline(nanoseconds)))
    return status >= 0 || status == CIPC_ETIMEDOUT.rawValue
      || status == CIPC_ECANCELED.rawValue
  }

  /// Never changes.
  private nonisolated(unsafe) static let word: UnsafeMutablePointer<UInt32> = {
    let word = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
    unsafe word.initialize(to: 0)
    return unsafe word
  }()
}
