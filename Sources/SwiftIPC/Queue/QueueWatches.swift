// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding
internal import Synchronization

/// The descriptors of a queue that become readable when there is something to take. They are made when
/// first asked for.
@safe
final class QueueWatches: Sendable {
  private struct State {
    /// What `firstReady` waits for.
    var forReadiness: QueueWatch?
    /// What other event loops wait for.
    var forLoops: QueueWatch?
  }
  private let state = Guarded(State())
  private let hasLoops = Atomic(false)
  private let nextLook = Atomic<Int64>(0)

  /// Whether a caller that only tries is to look for dead processes: once in 200 ms.
  func isTimeToLook() -> Bool {
    let now = cipc_clock_now()
    guard now >= nextLook.load(ordering: .relaxed) else { return false }
    nextLook.store(now + Int64(CIPC_WAIT_SLICE), ordering: .relaxed)
    return true
  }

  /// Ends the watches: before the ring does.
  func close() { state.withLock { $0 = State() } }

  func readiness(of ring: OpaquePointer) throws(IPCError) -> Readiness {
    try state.withLock { state throws(IPCError) -> Readiness in
      if let watch = state.forReadiness { return try watch.readiness() }
      let watch = try unsafe QueueWatch(ring)
      state.forReadiness = watch
      return try watch.readiness()
    }
  }

  /// A descriptor for another loop; the caller's.
  func loopDescriptor(of ring: OpaquePointer) throws(IPCError) -> Int32 {
    let descriptor = try state.withLock { state throws(IPCError) -> Int32 in
      if let watch = state.forLoops { return watch.descriptor }
      let watch = try unsafe QueueWatch(ring)
      // It becomes readable once, so that the loop looks; a look in vain arms it for the next element.
      watch.tell()
      state.forLoops = watch
      hasLoops.store(true, ordering: .releasing)
      return watch.descriptor
    }
    return try SignalSet([.readable(descriptor)]).descriptor()
  }

  /// Arms a loop's descriptor for the next element, after a look that was in vain.
  ///
  /// - Returns: whether there is one by now.
  func rearm() throws(IPCError) -> Bool {
    guard hasLoops.load(ordering: .acquiring) else { return false }
    return try state.withLock { state throws(IPCError) -> Bool in
      guard let watch = state.forLoops, try watch.look() else { return false }
      // The look has reset the descriptor, and the loop may take one element at a time.
      watch.tell()
      return true
    }
  }
}

/// A descriptor that becomes readable when there is something to take.
@safe
private final class QueueWatch: @unchecked Sendable {
  // Not changed after `init`; the C core's functions may be called from any thread.
  private let handle: OpaquePointer

  init(_ ring: OpaquePointer) throws(IPCError) {
    var handle: OpaquePointer?
    let status = unsafe cipc_ring_readiness_open(&handle, ring, 0, 0)
    guard status >= 0, let handle = unsafe handle else { throw IPCError(status: status, "queue") }
    unsafe self.handle = unsafe handle
  }

  deinit { unsafe cipc_readiness_close(handle) }

  var descriptor: Int32 { unsafe cipc_readiness_descriptor(handle) }

  /// Whether there is something. If not, the descriptor becomes readable when there is.
  func look() throws(IPCError) -> Bool {
    try IPCError.check(unsafe cipc_readiness_look(handle), "queue") > 0
  }

  func readiness() throws(IPCError) -> Readiness {
    try look() ? .ready : .pending([.readable(descriptor)])
  }

  /// Makes the descriptor readable until the next look.
  func tell() {
    // Of an eventfd that was read just now, or is new: it does not fail.
    var one: UInt64 = 1
    _ = unsafe write(descriptor, &one, 8)
  }
}
