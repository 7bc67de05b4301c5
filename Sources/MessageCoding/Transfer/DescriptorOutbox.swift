// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc

/// The descriptors that leave this process with one message.
///
/// A shared object that is encoded into a message puts its descriptor in here and an index in the
/// message's bytes. The descriptors stay open until the message was sent, since each entry keeps
/// its owner.
package final class DescriptorOutbox: Sendable {
  private struct State {
    var descriptors: [Int32] = []
    var owners: [any Sendable & AnyObject] = []
    var shared: [ObjectIdentifier: Int] = [:]
    var moved: Set<ObjectIdentifier> = []
    var whenSent: [@Sendable () -> Void] = []
    var offers: [any HandleOffer] = []
  }
  private let state = Guarded(State())

  package init() {}

  /// Adds a descriptor and returns its index. `owner` is kept until the outbox is gone, and with it
  /// the descriptor open.
  package func enclose(_ descriptor: Int32, keeping owner: any Sendable & AnyObject) -> Int {
    state.withLock { state in
      state.descriptors.append(descriptor)
      state.owners.append(owner)
      return state.descriptors.count - 1
    }
  }

  /// Adds a descriptor that several objects in the message come from, once, and returns its index.
  package func enclose(_ descriptor: Int32, sharedBy owner: any Sendable & AnyObject) -> Int {
    state.withLock { state in
      if let index = state.shared[ObjectIdentifier(owner)] { return index }
      state.descriptors.append(descriptor)
      state.owners.append(owner)
      state.shared[ObjectIdentifier(owner)] = state.descriptors.count - 1
      return state.descriptors.count - 1
    }
  }

  /// Has `action` called once the message is sent whole: how a connection that was given away
  /// closes here. Not called when sending fails, so that a failed send moves nothing.
  ///
  /// - Throws: `notTransferable` when the object is in the message already.
  package func move(
    _ object: any Sendable & AnyObject, whenSent action: @escaping @Sendable () -> Void
  ) throws(IPCError) {
    let isFirst = state.withLock { state in
      guard state.moved.insert(ObjectIdentifier(object)).inserted else { return false }
      state.whenSent.append(action)
      return true
    }
    if !isFirst {
      throw IPCError(
        .notTransferable,
        context: "\(type(of: object)): twice in one message, which moves it; send a duplicate()")
    }
  }

  /// Adds the announcement of a handle in the message.
  package func add(_ offer: any HandleOffer) {
    state.withLock { state in
      state.offers.append(offer)
      state.whenSent.append { offer.complete() }
    }
  }

  /// Names the child that the message is for, before it is sent: handles that the child has not opened
  /// when it is killed are not waited for.
  package func address(to child: UInt64) {
    for offer in state.withLock({ $0.offers }) { offer.handOn(to: child) }
  }

  /// Makes the kernel say when a connection's message is lost because its receiver died or never took
  /// it: one end of a pipe travels along, and is closed with the message.
  ///
  /// - Throws: `resourceLimit`, `outOfMemory`, `closed`.
  package func followOffers() throws(IPCError) {
    let offers = state.withLock { $0.offers }
    if offers.isEmpty { return }
    var ends: [Int32] = [-1, -1]
    try IPCError.check(unsafe cipc_process_pipe(&ends), "a pipe beside a message")
    defer { close(ends[0]) }
    _ = enclose(ends[1], keeping: OwnedDescriptor(ends[1]))
    for offer in offers {
      let end = fcntl(ends[0], F_DUPFD_CLOEXEC, 0)
      if end < 0 { throw IPCError(status: -errno, "a pipe beside a message") }
      do throws(IPCError) {
        try offer.end(with: end)
      } catch {
        close(end)
        throw error
      }
    }
  }

  /// The descriptors, in the order of their indices.
  package var descriptors: [Int32] { state.withLock { $0.descriptors } }

  /// Says that the message was sent: runs what `whenSent` collected, once.
  package func sent() {
    let actions = state.withLock { state in
      defer { state.whenSent = [] }
      return state.whenSent
    }
    for action in actions { action() }
  }
}

/// A descriptor that is closed with the last reference.
private final class OwnedDescriptor: Sendable {
  private let descriptor: Int32
  init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }
}

extension CodingUserInfoKey {
  /// Where the message encoder keeps its `DescriptorOutbox`.
  package static let descriptorOutbox = CodingUserInfoKey(rawValue: "SwiftIPC.descriptorOutbox")!
  /// Where the message decoder keeps its `DescriptorInbox`.
  package static let descriptorInbox = CodingUserInfoKey(rawValue: "SwiftIPC.descriptorInbox")!
}

extension Encoder {
  /// The outbox of the message being encoded.
  ///
  /// - Throws: `notTransferable` when this encoder does not write a message between processes.
  package func descriptorOutbox(for type: Any.Type) throws(IPCError) -> DescriptorOutbox {
    guard let outbox = userInfo[.descriptorOutbox] as? DescriptorOutbox else {
      throw IPCError(
        .notTransferable,
        context: "\(type) travels only as an argument of a child or over a Connection")
    }
    return outbox
  }
}
