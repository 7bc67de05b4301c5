// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// The results of tasks that were submitted, in the order in which they come, each with its place.
///
/// ```swift
/// let results = try urls.map { try pool.submit($0) { try fetch($0) } }
/// for try await (index, page) in asCompleted(results) {
///   print(urls[index], (try? page.get()) ?? "failed")
/// }
/// ```
///
/// They may be of several pools. Each is given once; those that are there already come first, in the order
/// given. Leaving the loop leaves the tasks alone.
///
/// - Parameters:
///   - results: handles that `ProcessPool.submit` returned.
///   - timeout: how long all may take together, from the beginning of the loop; those that are not there
///     by then are given with the error `timedOut`. `nil` for as long as it takes.
public func asCompleted<Output: Sendable>(
  _ results: some Sequence<PoolResult<Output>>, timeout: Duration? = nil
) -> PoolCompletions<Output> {
  PoolCompletions(handles: Array(results), timeout: timeout)
}

/// The results of several submitted tasks as they come: what `asCompleted` returns. An asynchronous
/// sequence; `results` is the one for synchronous code.
public struct PoolCompletions<Output: Sendable>: AsyncSequence, Sendable {
  /// The place of a result among those given, and what became of its task.
  public typealias Element = (index: Int, result: Result<Output, any Error>)

  let handles: [PoolResult<Output>]
  let timeout: Duration?

  /// Begins with the first that is there.
  public func makeAsyncIterator() -> Iterator { Iterator(run: CompletionsRun(handles, timeout)) }

  /// The same for synchronous code. Taking them blocks.
  public var results: Blocking { Blocking(completions: self) }

  /// Takes the results without blocking a thread.
  public struct Iterator: AsyncIteratorProtocol {
    let run: CompletionsRun<Output>

    /// The next result; `nil` behind the last.
    ///
    /// - Throws: `cancelled` when the waiting task is, which leaves the pool's tasks alone.
    public mutating func next() async throws(IPCError) -> Element? {
      try await next(isolation: #isolation)
    }

    /// The next result; `nil` behind the last.
    ///
    /// - Throws: as `next()`.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(IPCError) -> Element? {
      while true {
        if let step = run.look() { return step.element }
        let status = await run.wait()
        if status == CIPC_ECANCELED.rawValue {
          throw IPCError(.cancelled, context: "waiting for results of a pool")
        }
      }
    }
  }

  /// The results as a sequence for synchronous code.
  public struct Blocking: Sequence, Sendable {
    let completions: PoolCompletions

    /// Begins with the first that is there.
    public func makeIterator() -> Iterator {
      Iterator(run: CompletionsRun(completions.handles, completions.timeout))
    }

    /// Takes the results; blocks.
    public struct Iterator: IteratorProtocol {
      let run: CompletionsRun<Output>

      /// The next result; `nil` behind the last. Blocks until one is there.
      public mutating func next() -> PoolCompletions.Element? {
        while true {
          if let step = run.look() { return step.element }
          run.waitBlocked()
        }
      }
    }
  }
}

/// One way through results as they come.
final class CompletionsRun<Output: Sendable>: Sendable {
  private struct State {
    /// Places of results that are there, in the order in which they came.
    var arrived = PoolDeque<Int>()
    var isGiven: [Bool]
    /// Those before it were given.
    var first = 0
  }
  private let handles: [PoolResult<Output>]
  private let deadline: Int64
  private let state: Guarded<State>
  private let change = PoolChange()

  init(_ handles: [PoolResult<Output>], _ timeout: Duration?) {
    self.handles = handles
    deadline = Deadline.after(timeout)
    state = Guarded(State(isGiven: Array(repeating: false, count: handles.count)))
    for (place, handle) in handles.enumerated() { listen(place, handle.job) }
  }

  private func listen(_ place: Int, _ job: PoolJob) {
    let arrive: @Sendable () -> Void = { [self] in
      state.withLock { state in
        if !state.isGiven[place] { state.arrived.append(place) }
      }
      change.notify()
    }
    if !job.isOver, job.change.listen(unless: { job.isOver }, arrive) { return }
    arrive()
  }

  /// A result, or the end.
  struct Step { var element: PoolCompletions<Output>.Element? }

  /// `nil` where there is nothing yet.
  func look() -> Step? {
    let isLate = cipc_clock_now() >= deadline
    let next = state.withLock { state -> (place: Int, isLate: Bool)? in
      while !state.arrived.isEmpty {
        let place = state.arrived.removeFirst()
        if state.isGiven[place] { continue }
        state.isGiven[place] = true
        return (place, false)
      }
      while state.first < state.isGiven.count, state.isGiven[state.first] { state.first += 1 }
      if state.first == state.isGiven.count { return (-1, false) }
      if !isLate { return nil }
      state.isGiven[state.first] = true
      return (state.first, true)
    }
    guard let next else { return nil }
    if next.place < 0 { return Step(element: nil) }
    if next.isLate && !handles[next.place].isReady {
      return Step(
        element: (
          next.place,
          .failure(IPCError(.timedOut, context: "the result of a task of a pool"))
        ))
    }
    return Step(element: (next.place, handles[next.place].outcome))
  }

  private var hasNews: Bool { state.withLock { !$0.arrived.isEmpty } }

  func wait() async -> Int32 {
    let suspension = Suspension()
    if !change.listen(unless: { hasNews }, { suspension.resume(0) }) { return 0 }
    return await suspension.wait(for: .init(deadline: deadline))
  }

  func waitBlocked() {
    let gate = ThreadGate()
    if change.listen(unless: { hasNews }, { gate.open() }) { gate.pass(until: deadline) }
  }
}
