// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

/// Numbers that no machine has room for: an error or a bound, and never the end of the process.
@Suite struct AbsurdSizeTests {
  static let sizes = [Int.min, -1, 0, Int(Int32.max), Int(UInt32.max), 1 << 62, Int.max - 1, .max]

  /// Makes something of a size: it is there, or an `IPCError` says why not.
  private func attempt(_ size: Int, _ make: (Int) throws -> Void) {
    do { try make(size) } catch { #expect(error is IPCError, "\(size): \(error)") }
  }

  @Test(arguments: sizes) func whatIsSharedHasASizeOrIsAnError(_ size: Int) throws {
    let lock = try Lock()
    // Beyond all memory and address space, or a mistake; what lies between, a large machine may have.
    if size <= 0 || size > 1 << 60 {
      attempt(size) { _ = try SharedArray(repeating: 0, count: $0) }
      attempt(size) { _ = try SharedArray(repeating: UInt8(0), count: $0, transactional: true) }
      attempt(size) { _ = try SharedArray(shape: $0, $0, repeating: 0) }
      attempt(size) { _ = try SharedMemory(size: $0) }
      attempt(size) { _ = try SharedRegion(size: $0) }
      attempt(size) { _ = try SharedBytes(capacity: $0) }
      attempt(size) { _ = try SharedString(capacity: $0) }
      attempt(size) { _ = try Barrier(parties: $0) }
      attempt(size) { _ = try Condition(lock, waiters: $0) }
    }
    attempt(size) { _ = try SharedSemaphore(value: $0) }
    attempt(size) { _ = try ReadWriteLock(readers: $0) }
    attempt(size) { _ = try Connection.pair(maximumMessageSize: $0) }
  }

  @Test(arguments: sizes) func takenElementsAreThoseThatWereThere(_ size: Int) async throws {
    for delivery in QueueDelivery.allCases {
      let queue = try Queue<Int>(delivery: delivery)
      try await queue.put(1)
      let taken = try await queue.getMany(upTo: size)
      #expect(taken == (size > 0 ? [1] : []))
    }
    var options = ChildProcessOptions()
    options.limits = .init(cpuSeconds: Int.max)
    options.nice = max(size, 0)
    attempt(size) { _ in _ = try ChildProcess.start(options: options) {} }
    options = ChildProcessOptions(limits: .init(dataBytes: size, openFiles: size))
    if size < 0 { attempt(size) { _ in _ = try ChildProcess.start(options: options) {} } }
    options = ChildProcessOptions(processors: [size])
    attempt(size) { _ in _ = try ChildProcess.start(options: options) {} }
  }
}
