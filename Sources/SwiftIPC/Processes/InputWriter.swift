// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// What a child reads from its standard input, where that is a pipe.
///
/// ```swift
/// let child = try ChildProcess.start(options: .init(standardInput: .pipe)) {
///   while let line = readLine() { print("read \(line)") }
/// }
/// try await child.standardInput!.write("one\ntwo\n")
/// child.standardInput!.close()
/// ```
///
/// The child finds the end of its input once this was closed or dropped, and all was read. It may be
/// used from several threads at once; writes of at most 4,096 bytes do not mix then. The corresponding
/// C type is `cipc_pipe_t`.
@safe public final class InputWriter: Sendable {
  @safe private struct State {
    /// `nil` once closed. The C functions may be called from any thread; closing is the last call.
    nonisolated(unsafe) var pipe: OpaquePointer?
    var isClosed = false
    /// Writes under way: the last one closes.
    var writes = 0
  }
  private let state: Guarded<State>
  /// Held while writing, never while waiting: before Linux 6.4 a write could block where another
  /// thread fills the pipe between the look for room and the write.
  private let turn = Guarded(false)

  init(adopting pipe: OpaquePointer) { state = Guarded(unsafe State(pipe: pipe)) }

  deinit { close() }

  /// Writes all of the bytes; blocks while the pipe (64 KiB) is full, until the child has read.
  ///
  /// - Throws: `peerClosed` when the child has closed its input or has ended, and no SIGPIPE is raised;
  ///   `closed` after `close()`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func write(_ bytes: [UInt8]) throws(IPCError) {
    try enter()
    defer { leave() }
    var written = 0
    while let signal = try step(bytes, &written) { _ = try SignalSet([signal]).wait(until: .max) }
  }

  /// Writes the text in UTF-8; otherwise as `write(_:)` for bytes.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func write(_ text: String) throws(IPCError) { try write(Array(text.utf8)) }

  /// Writes all of the bytes; waits while the pipe (64 KiB) is full, until the child has read. No thread
  /// is blocked.
  ///
  /// - Throws: `peerClosed` when the child has closed its input or has ended, and no SIGPIPE is raised;
  ///   `closed` after `close()`; `cancelled` when the waiting task is cancelled first: then some of the
  ///   bytes may be written.
  public func write(_ bytes: [UInt8]) async throws(IPCError) {
    try enter()
    defer { leave() }
    var written = 0
    while let signal = try step(bytes, &written) {
      _ = try await SignalSet([signal]).wait(until: .max)
    }
  }

  /// Writes the text in UTF-8; otherwise as `write(_:)` for bytes.
  public func write(_ text: String) async throws(IPCError) { try await write(Array(text.utf8)) }

  /// Ends the child's input. Writes that are under way in other threads or tasks are finished first, as
  /// long as the child reads; this does not wait for them. Closing again does nothing.
  public func close() {
    finish { state in state.isClosed = true }
  }

  private static let subject = "a child's input"

  private func enter() throws(IPCError) {
    let isClosed = state.withLock { state in
      if !state.isClosed { state.writes += 1 }
      return state.isClosed
    }
    if isClosed { throw IPCError(.closed, context: Self.subject) }
  }

  private func leave() {
    finish { state in state.writes -= 1 }
  }

  private func finish(_ change: (inout State) -> Void) {
    state.withLock { state in
      change(&state)
      if state.isClosed && state.writes == 0 {
        unsafe cipc_pipe_close(state.pipe)
        unsafe state.pipe = nil
      }
    }
  }

  /// Writes what there is room for; `nil` when all is written, else what to wait for.
  private func step(
    _ bytes: [UInt8], _ written: inout Int
  ) throws(IPCError) -> Readiness.Signal? {
    // Open as long as this write is under way.
    let pipe = unsafe state.withLock { state in unsafe state.pipe }
    while written < bytes.count {
      var count = 0
      let status = unsafe bytes.withUnsafeBufferPointer { bytes in
        guard let first = bytes.baseAddress else { return Int32(0) }
        return turn.withLock { _ in
          unsafe cipc_pipe_write(pipe, first + written, bytes.count - written, &count)
        }
      }
      if status == CIPC_EAGAIN.rawValue { return .writable(unsafe cipc_pipe_descriptor(pipe)) }
      try IPCError.check(status, Self.subject)
      written += count
    }
    return nil
  }
}
