// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding
internal import Synchronization

/// Elements on their way from any number of processes to any number of others, in shared memory.
///
/// ```swift
/// let queue = try Queue<String>()
/// try ChildProcess.start(queue) { queue in
///   for letter in ["A", "B", "C", "D"] { try queue.put(letter) }
///   queue.finish()
/// }
/// for try await letter in queue { print(letter) }
/// ```
///
/// Each element goes to one consumer. Those of one producer come in the order in which it put them,
/// all of them in the order in which they came into the queue. Any process may be killed at any
/// moment: an element is in the queue whole or was never put, and the others go on. What is in the
/// queue stays there when its producer ends, so a child that puts a million elements can be joined
/// before anyone reads; it is gone with the last process that has the queue.
///
/// **Capacity.** By default a queue takes what it is given up to 1 GiB; whoever puts more waits for
/// room. See `QueueCapacity`.
///
/// **Elements.** Numbers, structures of numbers, arrays of these, `[UInt8]` and `String` go through as
/// their bytes; all else that is `Codable` as `MessageEncoder` writes it. A structure of numbers comes
/// out as it was put in, without its `init(from:)`; padding is copied too. Shared objects and
/// connections cannot be elements, nor be inside one: memory carries no descriptors. Send them over a
/// `Connection`.
///
/// **Delivery.** Who takes an element has it, and takes it along when killed; with other kinds of
/// `QueueDelivery` elements are accounted for (`taskDone()`, `join()`) or go back to the queue
/// (`lease()`).
///
/// **The end.** `finish()` ends the stream: consumers get what is there, and then `finished`; loops end.
/// `close()` drops this handle and says nothing to the others. A call that waits although nobody can
/// ever answer it ends with `peersGone`, within 250 ms: that of a worker which only takes from the
/// queue, after its parent was killed. A process that made the queue goes on waiting, since it can start
/// another worker, and so does every process while the queue has a name. `QueueWhenAlone` says when
/// exactly, and how to choose otherwise. Calls that do not wait never end so.
///
/// It travels to another process as an argument of a child or in a message on a `Connection`; each
/// process then has it. Any number of threads and tasks may use it.
///
/// For processes that trust each other, because of its two locks: a process that writes over their
/// bytes can crash the others and make them write to memory of theirs, see `Lock`. Whatever else it
/// writes there, they get wrong elements or errors: bytes that are not an element are
/// `malformedMessage`. The corresponding C type is `cipc_ring_t`.
@safe
public final class Queue<Element: Codable & Sendable>: Sendable {
  /// Owned; the C functions serve any number of threads.
  @usableFromInline nonisolated(unsafe) let ring: OpaquePointer
  /// How many bytes each element is, where that is all it is and taking it is one step; otherwise -1.
  @usableFromInline let plainSize: Int
  /// The same, for putting.
  @usableFromInline let plainPutSize: Int
  let coding: any QueueCoding<Element>
  /// What becomes of an element whose consumer is killed.
  public let delivery: QueueDelivery
  /// How the queue is known by name. For the library.
  public let naming: ObjectNaming
  let watches = QueueWatches()
  /// The threads that read and write an element in place.
  let reader = Atomic<UInt64>(0)
  let writer = Atomic<UInt64>(0)

  /// Makes a queue.
  ///
  /// - Parameters:
  ///   - capacity: how much it takes before producers have to wait.
  ///   - delivery: what becomes of an element whose consumer is killed.
  ///   - whenAlone: what calls that wait do once all others are gone; also of those who get the queue.
  /// - Throws: `IPCError` with `invalidArgument` for a capacity that cannot be, `outOfMemory` or
  ///   `resourceLimit`.
  public convenience init(
    capacity: QueueCapacity = .standard, delivery: QueueDelivery = .atMostOnce,
    whenAlone: QueueWhenAlone = .standard
  ) throws(IPCError) {
    let coding = QueueFormat.coding(of: Element.self)
    let options = try unsafe Self.options(capacity, delivery, coding)
    var ring: OpaquePointer?
    let status = unsafe "swift-ipc".withCString { label in
      var options = unsafe options
      unsafe options.label = unsafe label
      return unsafe cipc_ring_create(&ring, &options)
    }
    guard status >= 0, let ring = unsafe ring else { throw IPCError(status: status, Self.subject) }
    unsafe self.init(ring: ring, coding, delivery, wasCreated: true)
    self.whenAlone = whenAlone
  }

  /// Makes a queue that other programs find by its name, or finds it.
  ///
  /// - Parameters:
  ///   - capacity: how much one that is made takes; nothing to one that is found.
  ///   - delivery: the same in all programs.
  ///   - whenAlone: what calls through this handle that wait do once all others are gone. By default
  ///     they wait: the next program finds the name.
  /// - Throws: `IPCError` with `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` when
  ///   the name is that of something else than a queue of this type and delivery, `invalidArgument`
  ///   when it cannot be a name; otherwise as `init(capacity:delivery:)`. See `NamedObject`.
  public convenience init(
    named name: String, _ mode: NameMode = .openOrCreate, capacity: QueueCapacity = .standard,
    delivery: QueueDelivery = .atMostOnce, whenAlone: QueueWhenAlone = .standard
  ) throws(IPCError) {
    let name = ObjectName(name, mode)
    try name.check(Self.subject)
    let coding = QueueFormat.coding(of: Element.self)
    var options = try unsafe Self.options(capacity, delivery, coding)
    // Opening it would make this process one that was there and went.
    if mode == .create && name.exists { throw name.failure(CIPC_EEXIST.rawValue, Self.subject) }
    var ring: OpaquePointer?
    let status =
      mode == .open
      ? unsafe cipc_ring_open_named(&ring, name.path, &options)
      : unsafe cipc_ring_open_or_create(&ring, name.path, &options)
    guard status >= 0, let ring = unsafe ring else { throw name.failure(status, Self.subject) }
    let wasCreated = status == CIPC_SEGMENT_CREATED.rawValue
    if mode == .create && !wasCreated {
      unsafe cipc_ring_close(ring)
      throw name.failure(CIPC_EEXIST.rawValue, Self.subject)
    }
    unsafe self.init(ring: ring, coding, delivery, name: name.text, wasCreated: wasCreated)
    self.whenAlone = whenAlone
  }

  /// Receives a queue from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a queue of this element type; the context names the field that differs.
  public convenience init(from decoder: any Decoder) throws {
    let inbox = try decoder.descriptorInbox(for: Queue.self)
    let ticket = try QueueTicket(from: decoder)
    let coding = QueueFormat.coding(of: Element.self)
    let descriptor = try inbox.take(ticket.descriptor)
    guard let delivery = QueueDelivery(rawValue: ticket.delivery) else {
      cipc_descriptor_drop(descriptor)
      throw IPCError(.malformedMessage, context: "\(Self.subject): delivery \(ticket.delivery)")
    }
    guard let whenAlone = QueueWhenAlone(rawValue: ticket.whenAlone) else {
      closeDescriptor(descriptor)
      throw IPCError(.malformedMessage, context: "\(Self.subject): whenAlone \(ticket.whenAlone)")
    }
    var options = try unsafe Self.options(.standard, delivery, coding)
    var ring: OpaquePointer?
    let status = unsafe cipc_ring_open(&ring, descriptor, &options)
    guard status >= 0, let ring = unsafe ring else {
      cipc_descriptor_drop(descriptor)
      throw IPCError(status: status, Self.subject)
    }
    // It counts as itself by now, and no longer as one that is to come.
    _ = unsafe cipc_segment_settle(cipc_ring_segment(ring), ticket.offer)
    unsafe self.init(ring: ring, coding, delivery, wasCreated: false)
    self.whenAlone = whenAlone
  }

  /// Takes the ring over.
  private init(
    ring: OpaquePointer, _ coding: any QueueCoding<Element>, _ delivery: QueueDelivery,
    name: String? = nil, wasCreated: Bool
  ) {
    unsafe self.ring = unsafe ring
    self.coding = coding
    self.delivery = delivery
    let isPlain = coding is PlainQueueCoding<Element>
    plainPutSize = isPlain ? MemoryLayout<Element>.size : -1
    plainSize = isPlain && delivery != .tracked ? MemoryLayout<Element>.size : -1
    naming = unsafe ObjectNaming(
      name: name, wasCreated: wasCreated, claim: cipc_segment_claim(cipc_ring_segment(ring)))
  }

  deinit {
    // They look at the ring.
    watches.close()
    unsafe cipc_ring_close(ring)
  }

  private static func options(
    _ capacity: QueueCapacity, _ delivery: QueueDelivery, _ coding: any QueueCoding<Element>
  ) throws(IPCError) -> cipc_ring_options_t {
    var options = unsafe cipc_ring_options_t()
    unsafe options.flags = delivery.flags
    unsafe options.fingerprint = coding.fingerprint
    let isPossible: Bool
    switch capacity {
    case .standard: isPossible = true
    case .bytes(let bytes):
      isPossible = (64...Int(bitPattern: UInt(1) << 34)).contains(bytes)
      unsafe options.capacity = UInt64(clamping: bytes)
    case .elements(let elements):
      isPossible = (1..<1 << 28).contains(elements)
      unsafe options.records = UInt64(clamping: elements)
    }
    guard isPossible else {
      throw IPCError(
        .invalidArgument,
        context: "\(subject): a capacity of \(capacity): 64 bytes to 16 GiB, or 1 to 268,435,455 "
          + "elements are possible")
    }
    return unsafe options
  }

  static var subject: String { "Queue<\(Element.self)>" }

  @usableFromInline @inline(never) func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, Self.subject)
  }

  // MARK: - Looking

  /// How many elements can be taken: a hint, which may be out of date by the time that it is looked at.
  public var count: Int { Int(clamping: fill.records) }

  /// Whether there is nothing to take: a hint. Of a queue that is finished too, nothing will come.
  public var isEmpty: Bool { count == 0 }

  /// Whether not even an element of no bytes could be put: a hint. There may be too little room for a
  /// larger one all the same.
  public var isFull: Bool {
    let fill = fill
    return withExtendedLifetime(self) {
      let records = unsafe cipc_ring_records(ring)
      if records != 0 && fill.unfinished >= records { return true }
      let header =
        delivery == .atMostOnce ? UInt64(CIPC_RING_HEADER) : UInt64(CIPC_RING_LEASED_HEADER)
      // Of words that any process with the queue can write: no sum of them may trap.
      let (bytes, overflow) = fill.bytes.addingReportingOverflow(header)
      return unsafe overflow || bytes > cipc_ring_capacity(ring)
    }
  }

  /// How many elements take room: those that can be taken, and where delivery is tracked or leased
  /// also those that are being worked on, and what is behind the first of these. A hint.
  public var unfinishedCount: Int { Int(clamping: fill.unfinished) }

  /// How much the queue takes: what it was made with.
  public var capacity: QueueCapacity {
    withExtendedLifetime(self) {
      let records = unsafe cipc_ring_records(ring)
      if records != 0 { return .elements(Int(clamping: records)) }
      return .bytes(Int(clamping: unsafe cipc_ring_capacity(ring)))
    }
  }

  /// The bytes of the largest element that can ever be put.
  public var maximumElementSize: Int {
    withExtendedLifetime(self) { unsafe cipc_ring_record_maximum(ring) }
  }

  private var fill: cipc_ring_fill_t {
    withExtendedLifetime(self) { unsafe cipc_ring_fill(ring) }
  }

  // MARK: - Being alone

  /// What calls through this handle that wait do once all other processes that had the queue are gone.
  ///
  /// It can be changed at any time: calls that wait already go by it within 250 ms. A handle that is
  /// sent to another process takes it along. The corresponding C function is
  /// `cipc_ring_set_when_alone`.
  public var whenAlone: QueueWhenAlone {
    get { withExtendedLifetime(self) { unsafe .init(policy: cipc_ring_when_alone(ring)) } }
    set { withExtendedLifetime(self) { unsafe cipc_ring_set_when_alone(ring, newValue.policy) } }
  }

  /// Whether there was another process that had the queue, every other one has closed it or is dead,
  /// and no handle is on its way to anyone. A hint, which may be out of date by the time that it is
  /// looked at.
  ///
  /// Asks the kernel about each of the others: O(n) in their number. The corresponding C function is
  /// `cipc_ring_is_alone`.
  public var isAlone: Bool { withExtendedLifetime(self) { unsafe cipc_ring_is_alone(ring) == 1 } }

  // MARK: - The end

  /// Ends the stream, for all processes: nothing can be put any more, and consumers get what is there
  /// and then the end. Again, it does nothing; nor does it on a queue that was closed here.
  ///
  /// Waits for a producer that is putting at this moment. Must not be called while this thread writes an element
  /// in place. The corresponding C function is `cipc_ring_finish`.
  public func finish() {
    let status = withExtendedLifetime(self) { unsafe cipc_ring_finish(ring, .max) }
    precondition(
      status != CIPC_EDEADLK.rawValue, "finish() of a queue in which this thread writes an element")
  }

  /// Whether the stream was ended. There may be elements left.
  public var isFinished: Bool {
    withExtendedLifetime(self) { unsafe cipc_ring_is_finished(ring) != 0 }
  }

  /// Drops this handle. Callers that wait on it here get `closed`, as does every later call; other processes
  /// keep theirs. Leases go back to the queue, and what was taken and is not done counts as done.
  ///
  /// Closing twice does nothing. The last reference going away closes too. The corresponding C function is
  /// `cipc_ring_shut`.
  public func close() {
    withExtendedLifetime(self) { unsafe cipc_ring_shut(ring) }
  }
}

extension Queue: NamedObject {}

/// A queue in a message.
struct QueueTicket: Codable {
  /// Index in the message's descriptors.
  var descriptor: Int
  var delivery: UInt8
  var whenAlone: UInt8
  /// The entry in the queue's table of participants that stands for the receiver until it has opened it.
  var offer: UInt32
}

extension Queue: Codable {
  /// Gives the queue to another process, which then has it too: works inside a message alone.
  ///
  /// The receiver counts as somebody who has the queue from here on, so that nobody is told that all
  /// others are gone while it is on its way.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder, `closed`.
  public func encode(to encoder: any Encoder) throws {
    let outbox = try encoder.descriptorOutbox(for: Queue.self)
    let offer = try QueueOffer(of: self)
    let descriptor = unsafe cipc_segment_descriptor(cipc_ring_segment(ring))
    let ticket = QueueTicket(
      descriptor: outbox.enclose(descriptor, keeping: self), delivery: delivery.rawValue,
      whenAlone: whenAlone.rawValue, offer: offer.ticket)
    outbox.add(offer)
    try ticket.encode(to: encoder)
  }
}
