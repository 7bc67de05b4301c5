// SPDX-License-Identifier: Apache-2.0
internal import CIPC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What a child writes to its standard output or error, where that is a pipe.
///
/// ```swift
/// let child = try ChildProcess.start(options: .init(standardOutput: .pipe)) { print("hello") }
/// let text = String(decoding: try await child.standardOutput!.readToEnd(), as: UTF8.self)
/// ```
///
/// A child that has filled the pipe (64 KiB) waits until somebody reads. Two readers at once each
/// get parts of it.
@safe public final class OutputReader: Sendable {
  /// The pipe's descriptor, for waiting on. It stays this object's.
  public let descriptor: Int32

  private let tail = OutputTail()

  init(adopting descriptor: Int32) { self.descriptor = descriptor }

  /// The line that says why the child ended, as far as one does.
  var lastLine: String? { tail.line(unreadIn: descriptor) }

  deinit { closeDescriptor(descriptor) }

  /// The next bytes, as soon as there are some; empty at the end. Blocks.
  ///
  /// The end comes when the child, and all to whom it handed the stream, have closed it.
  @available(*, noasync, message: "use 'await read(upTo:)'")
  public func read(upTo count: Int = 65536) throws(IPCError) -> [UInt8] {
    try readNow(count)
  }

  /// The next bytes, as soon as there are some; empty at the end. No thread is blocked.
  ///
  /// - Throws: `cancelled` when the waiting task is cancelled first.
  public func read(upTo count: Int = 65536) async throws(IPCError) -> [UInt8] {
    _ = try await SignalSet([.readable(descriptor)]).wait(until: .max)
    return try readNow(count)
  }

  /// All that comes until the end. Blocks.
  @available(*, noasync, message: "use 'await readToEnd()'")
  public func readToEnd() throws(IPCError) -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let more = try readNow(65536)
      if more.isEmpty { return all }
      all += more
    }
  }

  /// All that comes until the end. No thread is blocked.
  ///
  /// - Throws: `cancelled` when the waiting task is cancelled first; what was read is lost.
  public func readToEnd() async throws(IPCError) -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let more = try await read()
      if more.isEmpty { return all }
      all += more
    }
  }

  private func readNow(_ count: Int) throws(IPCError) -> [UInt8] {
    var failure: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: max(1, count)) { buffer, used in
      var result: Int
      repeat {
        result = unsafe readDescriptor(descriptor, buffer.baseAddress, buffer.count)
      } while result < 0 && errno == EINTR
      used = max(0, result)
      if result < 0 { failure = -errno }
    }
    try IPCError.check(failure, "a child's output")
    tail.note(bytes)
    return bytes
  }
}

extension OutputReader: Waitable {
  /// Ready when there is something to read, or the end. What `firstReady` asks; does not block.
  public func readiness() -> Readiness {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 0) > 0 ? .ready : .pending([.readable(descriptor)])
  }
}
