// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// What a pool asks of the engine that runs its workers: to start and to end them, to pass orders to
/// each, and to report what comes back. Workers have numbers, each used once. What a worker is, a process
/// or a thread, here or elsewhere, is the engine's business.
///
/// One thread at a time calls each of these but `interrupt`; `send` may be called while another thread
/// waits. Nothing but `wait` blocks for longer than a start takes.
protocol WorkerEngine: AnyObject, Sendable {
  /// Starts a worker, which takes the index of one that has ended. Its first report is `ready`, or
  /// `initializerFailed`.
  func start(_ worker: Int, index: Int) throws(IPCError)

  /// Passes an order to a worker, which carries out one after the other. An order that finds no space
  /// is kept until there is some; one for a worker that has ended is dropped.
  func send(_ order: WorkerOrder, to worker: Int)

  /// Ends a worker at once, whatever it does. `wait` reports its end, after all that it had sent.
  func kill(_ worker: Int)

  /// How far a worker is, as it says itself, without asking it.
  func activity(of worker: Int) -> WorkerActivity

  /// How many bytes of memory of its own a worker uses; `nil` where that is not known. Any thread.
  func memoryUse(of worker: Int) -> Int?

  /// Adds to a worker's progress what the engine alone knows. Any thread.
  func complete(_ progress: inout PoolProgress.Worker)

  /// Waits until there is something to report, or until the deadline, or until `interrupt`; and reports
  /// all that there is.
  func wait(until deadline: Int64, reportingTo receiver: any WorkerReceiver)

  /// Ends a `wait`, or the next one, at once. Any thread.
  func interrupt()
}

extension WorkerEngine {
  func memoryUse(of worker: Int) -> Int? { nil }
  func complete(_ progress: inout PoolProgress.Worker) {}
}

/// Takes the reports of an engine, in the order in which each worker sent them.
protocol WorkerReceiver: AnyObject {
  /// Bytes in the report exist for the time of the call.
  func received(_ report: WorkerReport, from worker: Int)
}

/// How far a worker is with its orders, in elements counted from its start.
struct WorkerActivity: Equatable {
  var begun: UInt64 = 0
  /// When the last element was begun, where its job has a time limit; 0 otherwise. On the clock of
  /// `Deadline`.
  var begunAt: Int64 = 0
}
