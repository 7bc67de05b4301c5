// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding
internal import Synchronization

/// Wakes a thread that sleeps on a descriptor. Several wake-ups before the thread takes notice are one.
final class Waker: Sendable {
  let descriptor: Int32
  private let writer: Int32
  private let called = Atomic(false)
  private let asleep = Atomic(false)

  init() throws(IPCError) {
    var ends: [Int32] = [-1, -1]
    try IPCError.check(unsafe cipc_process_pipe(&ends), "a pool")
    (descriptor, writer) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
  }

  deinit {
    closeDescriptor(descriptor)
    closeDescriptor(writer)
  }

  /// Wakes the thread, or keeps it from falling asleep. Any thread.
  func wake() {
    called.store(true, ordering: .sequentiallyConsistent)
    if asleep.load(ordering: .sequentiallyConsistent) {
      var byte: UInt8 = 0
      // A pipe that is full wakes as well.
      _ = unsafe write(writer, &byte, 1)
    }
  }

  var wasCalled: Bool { called.load(ordering: .sequentiallyConsistent) }

  /// Forgets the calls so far. By the thread that is woken.
  func reset() { if wasCalled { called.store(false, ordering: .sequentiallyConsistent) } }

  /// Says whether the thread sleeps on the descriptor.
  func setAsleep(_ isAsleep: Bool) {
    asleep.store(isAsleep, ordering: .sequentiallyConsistent)
    if !isAsleep { drain() }
  }

  /// Takes what made the descriptor readable. The byte of a call may come after the call was noticed:
  /// without this the descriptor would stay readable, and no sleep on it would last again.
  func drain() {
    var byte: UInt64 = 0
    while unsafe readDescriptor(descriptor, &byte, 8) > 0 {}
  }
}
