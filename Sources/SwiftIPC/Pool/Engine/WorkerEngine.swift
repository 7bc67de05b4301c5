// SPDX-License-Identifier: Apache-2.0

/// What a pool asks of whatever runs its workers: to start them, a channel of frames to each, and word
/// of their death. Workers have numbers, each used once; what they are is the engine's business.
///
/// All but `interrupt` is called by one thread at a time, `send` also while another one waits. Nothing
/// but `wait` blocks for longer than a start takes.
protocol WorkerEngine: AnyObject, Sendable {
  /// Starts a worker, which takes the index of one that has ended. Word of it comes by `wait`.
  func start(_ worker: Int, index: Int) throws(IPCError)

  /// Memory in which a frame that will be so long is best written; `nil` for any.
  func memory(for worker: Int, _ size: Int) -> OutgoingParcels.Parcel?

  /// Sends a frame, whose bytes are copied. What finds no room is kept until it does; what is for a
  /// worker that has ended is dropped.
  func send(_ frame: OutgoingFrame, to worker: Int)

  /// Ends a worker at once, whatever it does. Its end is told by `wait`, after all that it had sent.
  func kill(_ worker: Int)

  /// How far a worker is, as it says itself, without asking it.
  func activity(of worker: Int) -> WorkerActivity

  /// The number of a worker's process; `nil` where there is none.
  func process(of worker: Int) -> Int32?

  /// What memory of its own a worker uses, in bytes; `nil` where that is not known. Any thread.
  func memoryUse(of worker: Int) -> Int?

  /// Waits until there is something to tell, or the deadline, or `interrupt`; and tells all that
  /// there is.
  func wait(until deadline: Int64, telling receiver: any WorkerReceiver)

  /// Ends a `wait`, or the next one, at once. Any thread.
  func interrupt()
}

extension WorkerEngine {
  func process(of worker: Int) -> Int32? { nil }
  func memoryUse(of worker: Int) -> Int? { nil }
}

/// Where an engine says what it has heard.
protocol WorkerReceiver: AnyObject {
  /// The bytes are there for the time of the call.
  func received(_ frame: IncomingFrame, from worker: Int)
  /// The last that is said of a worker. `activity` is what it had said of itself.
  func ended(_ worker: Int, _ end: WorkerEnd, _ activity: WorkerActivity)
  /// A line that a worker wrote to a standard stream that is a pipe.
  func wrote(_ worker: Int, _ line: String)
}

/// A frame on its way to a worker. Unchecked: the bytes are there for the time of a call.
@safe struct OutgoingFrame: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer
  /// Shared objects in it. An engine that cannot pass them on refuses at submission.
  var attachments: DescriptorOutbox?
  /// Of an order to run: how many results there will be, and how many bytes each will have, 0 where
  /// that is not known. Where it is, an engine can have the worker leave them where they are found
  /// when it has died in the middle.
  var run: (count: Int, stride: Int)?
  /// Where `memory` has given some, and the bytes are there.
  var parcel: OutgoingParcels.Parcel?
  /// Whether it tells the worker to end: what the worker closes from then on is its own business.
  var isLast = false
}

/// A frame from a worker: any bytes.
@safe struct IncomingFrame {
  let bytes: UnsafeRawBufferPointer
  /// Results that are elsewhere, where the sender had been told of room for them.
  var values: UnsafeRawBufferPointer?
  var attachments: DescriptorInbox?
}

/// How far a worker is with what it was sent, in elements counted from its start.
struct WorkerActivity: Equatable {
  var begun: UInt64 = 0
  /// When the last one was begun, where the chunk asks for it; 0 otherwise. On the clock of `Deadline`.
  var begunAt: Int64 = 0
}

/// How a worker ended.
struct WorkerEnd: Equatable {
  var name: String
  var status: ExitStatus
  var cause = CauseOfDeath()

  /// As the end of a sentence about the worker.
  func description(_ place: String = "") -> String { "\(status)\(place)\(cause.text(status))" }
}
