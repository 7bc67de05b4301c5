// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding
internal import Synchronization

/// A line on a terminal that says how far a pool is with what it has been given since it had nothing to
/// do. Drawn by the thread that runs the loop, ten times a second, once that has been so for half a
/// second.
final class ProgressBar: ProgressDisplay {
  private struct State {
    var next: Int64
    var isDrawn = false
    /// What the pool had done before.
    var before: PoolProgress?
    /// The line as it stands on the terminal.
    var line = ""
    /// Output of workers that is no whole line yet, where it is kept back.
    var partial: [UInt8] = []
    /// Whether the terminal's last line is one of them that has no end.
    var isInLine = false
  }
  let descriptor: Int32
  private let state: Guarded<State>
  private static let interval: Int64 = 100_000_000
  private static let delay: Int64 = 500_000_000

  /// `nil` where the descriptor is no terminal.
  init?(on descriptor: Int32 = STDERR_FILENO) {
    if isatty(descriptor) == 0 { return nil }
    self.descriptor = descriptor
    state = Guarded(State(next: .max))
  }

  var next: Int64 { state.withLock { $0.next } }

  func begin(_ progress: PoolProgress) {
    state.withLock { state in
      let isInLine = state.isInLine
      state = State(next: cipc_clock_now() + Self.delay, before: progress)
      state.isInLine = isInLine
    }
  }

  func show(_ progress: PoolProgress) {
    state.withLock { state in
      state.line = Self.line(progress.since(state.before), width: width)
      write((state.isInLine ? "\n" : "") + "\r" + state.line + "\u{1b}[K")
      (state.isDrawn, state.isInLine) = (true, false)
      state.next = cipc_clock_now() + Self.interval
    }
  }

  /// The line stays as it is at the end.
  func finish(_ progress: PoolProgress) {
    state.withLock { state in
      let isInLine = state.isInLine && !state.isDrawn
      if state.isDrawn {
        if !state.partial.isEmpty { write("\r\u{1b}[K", state.partial, "\n") }
        let line = Self.line(progress.since(state.before), width: width)
        write("\r" + line + "\u{1b}[K\n")
      }
      state = State(next: .max)
      state.isInLine = isInLine
    }
  }

  /// The longest piece of a line that is kept back.
  private static let longestPartial = 4096

  /// Writes what workers wrote: above the line, where that is drawn, and whole lines alone.
  func pass(_ output: ArraySlice<UInt8>) {
    state.withLock { state in
      guard let last = output.last else { return }
      if !state.isDrawn {
        state.isInLine = last != UInt8(ascii: "\n")
        return write("", Array(output), "")
      }
      state.partial += output
      if let end = state.partial.lastIndex(of: UInt8(ascii: "\n")) {
        // Taken away, the output, and the line again: at once, so that nothing comes in between.
        write("\r\u{1b}[K", Array(state.partial[...end]), state.line)
        state.partial.removeSubrange(...end)
      }
      if state.partial.count > Self.longestPartial {
        write("\r\u{1b}[K", state.partial, "\n" + state.line)
        state.partial = []
      }
    }
  }

  private var width: Int {
    var size = winsize()
    guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else {
      return 80
    }
    return Int(size.ws_col)
  }

  private func write(_ text: String) { write(text, [], "") }

  private func write(_ before: String, _ bytes: [UInt8], _ behind: String) {
    var rest = (Array(before.utf8) + bytes + Array(behind.utf8))[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes { bytes in
        #if canImport(Glibc)
          unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #elseif canImport(Musl)
          unsafe Musl.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
      }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno == EAGAIN {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // A terminal that takes nothing for a while gets less.
        if unsafe poll(&entry, 1, 1000) <= 0 { return }
      } else if errno != EINTR {
        return
      }
    }
  }

  /// "[#####-----]  50% 500 of 1000, 2 failed, 250/s, 2 s left", as wide as the terminal allows.
  static func line(_ progress: PoolProgress, width: Int) -> String {
    let finished = progress.done + progress.failed
    let total = max(progress.total, 1)
    var text = " \(Int(Double(finished) / Double(total) * 100))% \(finished) of \(progress.total)"
    if progress.failed > 0 { text += ", \(progress.failed) failed" }
    if progress.cancelled > 0 { text += ", \(progress.cancelled) cancelled" }
    if progress.rate > 0 {
      text += ", \(Int(progress.rate.rounded()))/s"
      let left = Double(progress.running + progress.waiting) / progress.rate
      if left >= 1 { text += ", \(Int(left.rounded())) s left" }
    }
    let space = min(40, width - text.count - 3)
    guard space >= 5 else { return String(text.dropFirst().prefix(max(0, width - 1))) }
    let filled = Int(Double(space) * Double(finished) / Double(total))
    return "[" + String(repeating: "#", count: filled)
      + String(repeating: "-", count: space - filled) + "]" + text
  }
}
