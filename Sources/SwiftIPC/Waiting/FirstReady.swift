// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Waits until at least one of the things given is ready, and says which are, by their places. No thread
/// is blocked.
///
/// A child is ready once it has ended, its output when there is something to read, and a connection when there is something to receive: a message,
/// the beginning of one, or its end, also where it was closed here. A queue is when there is something to
/// take, or its end.
///
/// ```swift
/// let child = try ChildProcess.start(theirs) { connection in try connection.send("hello") }
/// for place in try await firstReady(child, ours, timeout: .seconds(5)) {
///   switch place {
///   case 0: print("ended: \(try await child.join())")
///   default: print(try await ours.receive(String.self))
///   }
/// }
/// ```
///
/// All that are ready at that moment are in the answer, so none is passed over in favour of an earlier
/// one. Being ready is not reserved: another thread or process may have taken the message by the time
/// that it is received, so receive with `timeout: .zero` where there is one.
///
/// - Parameters:
///   - things: any mix, in any number; the same one twice is in the answer twice. Given none, the
///     answer is empty at once.
///   - timeout: how long to wait; zero or less looks once, `nil` waits for as long as it takes.
/// - Returns: the places of those that are ready, ascending; empty when the time is over.
/// - Throws: `IPCError` with `cancelled` when the waiting task is, `notReadable` for a connection that
///   only sends, `resourceLimit` without descriptors left or where 500 tasks wait for the same thing
///   already, and what a `Waitable` of your own throws.
public func firstReady(
  _ things: any Waitable..., timeout: Duration? = nil
) async throws(IPCError) -> [Int] {
  try await firstReady(things, timeout: timeout)
}

/// Waits until at least one of the things in an array is ready, and says which are, by their places.
///
/// ```swift
/// var children = try (0..<8).map { try ChildProcess.start($0) { work($0) } }
/// while !children.isEmpty {
///   for place in try await firstReady(children).reversed() {
///     print(try await children.remove(at: place).join())
///   }
/// }
/// ```
///
/// All else as with `firstReady(_:timeout:)` for single things.
public func firstReady(
  _ things: [any Waitable], timeout: Duration? = nil
) async throws(IPCError) -> [Int] {
  var search = ReadySearch(things, timeout)
  while true {
    if Task.isCancelled { throw IPCError(.cancelled, context: "waiting for the first to be ready") }
    if let ready = try search.look() { return ready }
    try search.note(await search.signals.wait(until: search.deadline))
  }
}

/// Waits until at least one of the things given is ready, and says which are, by their places. Blocks.
///
/// All else as in the asynchronous form.
@available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
public func firstReady(
  _ things: any Waitable..., timeout: Duration? = nil
) throws(IPCError) -> [Int] {
  try firstReady(things, timeout: timeout)
}

/// Waits until at least one of the things in an array is ready, and says which are, by their places.
/// Blocks.
///
/// All else as in the asynchronous form.
@available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
public func firstReady(
  _ things: [any Waitable], timeout: Duration? = nil
) throws(IPCError) -> [Int] {
  var search = ReadySearch(things, timeout)
  while true {
    if let ready = try search.look() { return ready }
    try search.note(search.signals.wait(until: search.deadline))
  }
}

/// What the blocking form and the other one have in common.
private struct ReadySearch {
  let things: [any Waitable]
  let deadline: Int64
  /// What the last look says to wait for.
  private(set) var signals = SignalSet()
  private var isOver: Bool
  private var foundClosed = false

  init(_ things: [any Waitable], _ timeout: Duration?) {
    self.things = things
    deadline = Deadline.after(timeout)
    isOver = things.isEmpty || deadline == 0
  }

  /// The answer, or `nil`: then wait for the signals.
  mutating func look() throws(IPCError) -> [Int]? {
    signals = SignalSet()
    var ready: [Int] = []
    for (place, thing) in things.enumerated() {
      switch try thing.readiness() {
      case .ready: ready.append(place)
      case .pending(let signals): if ready.isEmpty { self.signals.add(signals) }
      }
    }
    return ready.isEmpty && !isOver ? nil : ready
  }

  mutating func note(_ wake: SignalSet.Wake) throws(IPCError) {
    switch wake {
    case .signalled: foundClosed = false
    // One look more: what became ready in time is ready.
    case .timedOut: isOver = true
    case .descriptorClosed(var error):
      // What a thread closed between the look and the wait is ready by now.
      if foundClosed {
        error.context += ": a Waitable that is not ready named a descriptor that is not open"
        throw error
      }
      foundClosed = true
    }
  }
}
