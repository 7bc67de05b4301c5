// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding
internal import Synchronization

/// A permit of a `SharedSemaphore`, held by this process until it is given back or handed on.
///
/// ```swift
/// let semaphore = try SharedSemaphore(value: 4)
/// let permit = try await semaphore.acquire()
/// let child = try ChildProcess.start(permit) { permit in
///   print("goes on under the parent's permit")
///   try permit.release()
/// }
/// ```
///
/// It comes back with `release()`, with the last reference to this object, and by itself when the
/// process is killed. The process holds it, not the thread that took it: any thread may give it back.
///
/// As an argument of a child or in a message on a `Connection` it is handed on: once the message was
/// sent this object holds nothing, and the receiver holds the permit from when it decodes the
/// message. In between the permit still is this process's, so keep the process until the receiver
/// has it: when it ends earlier, the permit may come back to the semaphore, and the receiver gets
/// the error `ownerDied`. A permit in a message that is never decoded comes back when the process
/// that sent it ends.
///
/// A forked copy of this process does not hold it.
@safe
public final class Permit: Sendable {
  /// The semaphore that the permit is of.
  public let semaphore: SharedSemaphore
  private let number: UInt32
  private let owner: cipc_participant_t

  private enum State: UInt8, AtomicRepresentable {
    case held
    /// In a message that is not sent yet.
    case departing
    case gone
  }
  private let state: Atomic<State>

  init(of semaphore: SharedSemaphore, number: UInt32, owner: cipc_participant_t) {
    self.semaphore = semaphore
    self.number = number
    self.owner = owner
    state = Atomic(.held)
  }

  deinit {
    // There is no other reference, and no caller to get an error.
    if isHeld { try? release() }
  }

  /// Whether this process holds the permit by this object: it was not given back or handed on.
  public var isHeld: Bool {
    state.load(ordering: .acquiring) == .held && cipc_participant_current() == owner
  }

  /// Gives the permit back, and wakes one waiter. Does not block.
  ///
  /// - Throws: `IPCError` with `notOwner` when it was given back or handed on already, or is a
  ///   forked copy's.
  public func release() throws(IPCError) {
    guard cipc_participant_current() == owner, leave(for: .gone) else {
      throw IPCError(
        .notOwner, context: "permit: was given back or handed on, or is another process's")
    }
    let status = unsafe cipc_semaphore_release_for(
      semaphore.pointer, semaphore.width, number, owner)
    if status < 0 { throw IPCError(status: status, "permit") }
  }

  private func leave(for next: State) -> Bool {
    state.compareExchange(expected: .held, desired: next, ordering: .acquiringAndReleasing)
      .exchanged
  }

  /// Keeps a permit that is being handed on until its message was sent, and takes it back when the
  /// message is given up.
  private final class Departure: Sendable {
    let permit: Permit
    init(_ permit: Permit) { self.permit = permit }
    func complete() { permit.state.store(.gone, ordering: .releasing) }
    deinit {
      _ = permit.state.compareExchange(
        expected: .departing, desired: .held, ordering: .acquiringAndReleasing)
    }
  }

  /// What a message says about a permit.
  private struct Ticket: Codable {
    var semaphore: SharedSemaphore
    var number: UInt32
    var sender: UInt64
  }
}

extension Permit: Codable {
  /// Hands the permit on to another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder, and when the permit is in a
  ///   message already; `notOwner` when it was given back or handed on.
  public func encode(to encoder: any Encoder) throws {
    let outbox = try encoder.descriptorOutbox(for: Permit.self)
    guard cipc_participant_current() == owner, leave(for: .departing) else {
      throw state.load(ordering: .acquiring) == .departing
        ? IPCError(.notTransferable, context: "permit: in a message already, which hands it on")
        : IPCError(
          .notOwner, context: "permit: was given back or handed on, or is another process's")
    }
    let departure = Departure(self)
    try Ticket(semaphore: semaphore, number: number, sender: owner).encode(to: encoder)
    try outbox.move(self) { departure.complete() }
  }

  /// Takes over a permit from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `ownerDied` when the sender
  ///   has died and its permit has come back to the semaphore, `malformedMessage` or
  ///   `segmentMismatch` when what came is not a permit.
  public convenience init(from decoder: any Decoder) throws {
    _ = try decoder.descriptorInbox(for: Permit.self)
    let ticket = try Ticket(from: decoder)
    let semaphore = ticket.semaphore
    let owner = cipc_participant_current()
    let status = unsafe cipc_semaphore_hand(
      semaphore.pointer, semaphore.width, ticket.number, ticket.sender, owner)
    switch cipc_status_t(status) {
    case CIPC_OK: self.init(of: semaphore, number: ticket.number, owner: owner)
    case CIPC_EPERM:
      throw IPCError(
        .ownerDied,
        context: "permit: its sender, process \(cipc_participant_pid(ticket.sender)), does not "
          + "hold it any more: it died, and the permit came back to the semaphore")
    default:
      throw IPCError(.malformedMessage, context: "permit \(ticket.number): there is none such")
    }
  }
}
