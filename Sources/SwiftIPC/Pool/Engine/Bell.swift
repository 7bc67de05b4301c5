// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Wakes a thread that sleeps on a descriptor. Rung twice before it is heard, it is heard once.
final class Bell: Sendable {
  let descriptor: Int32
  private let writer: Int32
  private let rung = Atomic(false)
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

  /// Any thread.
  func ring() {
    rung.store(true, ordering: .sequentiallyConsistent)
    if asleep.load(ordering: .sequentiallyConsistent) {
      var byte: UInt8 = 0
      // Full, it rings.
      _ = unsafe write(writer, &byte, 1)
    }
  }

  var hasRung: Bool { rung.load(ordering: .sequentiallyConsistent) }

  /// From here on it has not rung. By whoever listens.
  func hear() { if hasRung { rung.store(false, ordering: .sequentiallyConsistent) } }

  /// Says whether whoever listens sleeps on the descriptor.
  func setAsleep(_ isAsleep: Bool) {
    asleep.store(isAsleep, ordering: .sequentiallyConsistent)
    if !isAsleep { drain() }
  }

  /// Takes what made the descriptor readable. A byte may come after its ringing was heard: without this
  /// the descriptor would stay readable, and a sleep on it end at once for ever.
  func drain() {
    var byte: UInt64 = 0
    while unsafe readDescriptor(descriptor, &byte, 8) > 0 {}
  }
}
