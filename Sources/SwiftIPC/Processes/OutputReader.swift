// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
public import MessageCoding

/// What a child writes to its standard output or error, where that is a pipe.
///
/// ```swift
/// let child = try ChildProcess.start(options: .init(standardOutput: .pipe)) { print("hello") }
/// let text = String(decoding: try await child.standardOutput!.readToEnd(), as: UTF8.self)
/// ```
///
/// A child that has filled the pipe (64 KiB) waits until it is read. Any number of threads and
/// tasks may read at once: each gets parts of the output, and each byte goes to one of them.
@safe public final class OutputReader: Sendable {
  /// The pipe's descriptor, for waiting on. It stays this object's.
  public let descriptor: Int32
  /// Held while reading, never while waiting: old kernels need the turns (`cipc_pipe_read`).
  private let turn = Guarded(false)

  private let tail = OutputTail()

  init(adopting descriptor: Int32) { self.descriptor = descriptor }

  /// The line that says why the child ended, as far as one does.
  var lastLine: String? { tail.line(unreadIn: descriptor) }

  deinit { closeDescriptor(descriptor) }

  /// The next bytes, as soon as there are some; empty at the end. Blocks.
  ///
  /// The end comes when the child, and all to whom it handed the stream, have closed it.
  ///
  /// - Parameter count: the most bytes to return. Memory is taken for what is there, not for this
  ///   number. Less than 1 returns nothing at once.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func read(upTo count: Int = 65536) throws(IPCError) -> [UInt8] {
    while true {
      if let bytes = try readNow(count) { return bytes }
      _ = try SignalSet([.readable(descriptor)]).wait(until: .max)
    }
  }

  /// The next bytes, as soon as there are some; empty at the end. No thread is blocked, however many
  /// tasks read.
  ///
  /// - Parameter count: the most bytes to return. Memory is taken for what is there, not for this
  ///   number. Less than 1 returns nothing at once.
  /// - Throws: `cancelled` when the waiting task is cancelled first.
  public func read(upTo count: Int = 65536) async throws(IPCError) -> [UInt8] {
    while true {
      if Task.isCancelled { throw IPCError(.cancelled, context: Self.subject) }
      if let bytes = try readNow(count) { return bytes }
      _ = try await SignalSet([.readable(descriptor)]).wait(until: .max)
    }
  }

  /// All that comes until the end. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func readToEnd() throws(IPCError) -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let more = try read()
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

  private static let subject = "a child's output"
  /// What a pipe holds unless it was enlarged.
  private static let usualCapacity = 65536

  /// What is there now, empty at the end; `nil` where nothing is.
  private func readNow(_ count: Int) throws(IPCError) -> [UInt8]? {
    if count < 1 { return [] }
    var room = count
    if room > Self.usualCapacity {
      var available = 0
      try IPCError.check(unsafe cipc_pipe_available(descriptor, &available), Self.subject)
      room = min(room, max(available, Self.usualCapacity))
    }
    var status: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, used in
      status = turn.withLock { _ in
        unsafe cipc_pipe_read(descriptor, buffer.baseAddress, buffer.count, &used)
      }
    }
    if status == CIPC_EAGAIN.rawValue { return nil }
    try IPCError.check(status, Self.subject)
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
