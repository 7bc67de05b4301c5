// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A line on a terminal that says how far a pool is. Drawn by whoever drives, at most ten times a
/// second, once the pool has been busy for half a second.
final class ProgressBar: Sendable {
  private struct State {
    var next: Int64
    var isDrawn = false
  }
  private let descriptor: Int32
  private let state: Guarded<State>
  private static let interval: Int64 = 100_000_000
  private static let patience: Int64 = 500_000_000

  /// `nil` where the descriptor is no terminal.
  init?(on descriptor: Int32 = STDERR_FILENO) {
    if isatty(descriptor) == 0 { return nil }
    self.descriptor = descriptor
    state = Guarded(State(next: .max))
  }

  var nextDrawing: Int64 { state.withLock { $0.next } }

  /// The pool has something to do.
  func begin() {
    state.withLock { state in
      if state.next == .max { state.next = cipc_clock_now() + Self.patience }
    }
  }

  func draw(_ progress: PoolProgress) {
    write("\r" + Self.line(progress, width: width) + "\u{1b}[K")
    state.withLock { state in
      state.isDrawn = true
      state.next = cipc_clock_now() + Self.interval
    }
  }

  /// The pool has nothing to do: the line stays as it is at the end.
  func finish(_ progress: PoolProgress) {
    let isDrawn = state.withLock { state in
      defer { state = State(next: .max) }
      return state.isDrawn
    }
    if isDrawn { write("\r" + Self.line(progress, width: width) + "\u{1b}[K\n") }
  }

  private var width: Int {
    var size = winsize()
    guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else {
      return 80
    }
    return Int(size.ws_col)
  }

  private func write(_ text: String) {
    var text = text
    text.withUTF8 { bytes in
      #if canImport(Glibc)
        _ = unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
      #elseif canImport(Musl)
        _ = unsafe Musl.write(descriptor, bytes.baseAddress, bytes.count)
      #endif
    }
  }

  /// "[#####-----]  50% 500 of 1000, 2 failed, 250/s, 2 s left", as wide as the terminal allows.
  static func line(_ progress: PoolProgress, width: Int) -> String {
    let finished = progress.done + progress.failed
    let total = max(progress.total, 1)
    var text = " \(finished * 100 / total)% \(finished) of \(progress.total)"
    if progress.failed > 0 { text += ", \(progress.failed) failed" }
    if progress.rate > 0 {
      text += ", \(Int(progress.rate.rounded()))/s"
      let left = Double(progress.total - finished) / progress.rate
      if left >= 1 { text += ", \(Int(left.rounded())) s left" }
    }
    let room = min(40, width - text.count - 3)
    guard room >= 5 else { return String(text.dropFirst().prefix(max(0, width - 1))) }
    let filled = room * finished / total
    return "[" + String(repeating: "#", count: filled)
      + String(repeating: "-", count: room - filled) + "]" + text
  }
}
