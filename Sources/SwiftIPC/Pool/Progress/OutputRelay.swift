// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// What workers write to the terminal on which a progress bar is: they write into a pipe, and a
/// thread of this process passes it on, so that it does not run into the line.
///
/// Unchecked: what changes is guarded.
@safe final class OutputRelay: @unchecked Sendable {
  private let bar: ProgressBar
  private let reader: Int32
  /// Where workers write.
  private let writer: Int32
  private let end: OneTimeSignal
  /// Whether there is no more. One at a time reads, so that output keeps its order.
  private let isOver = Guarded(false)

  /// As much as a pipe holds.
  private static let pipeCapacity = 1 << 16

  /// Has the options send to the relay what would go to the bar's terminal. `nil` where nothing
  /// would, or where there are no descriptors for it.
  init?(_ bar: ProgressBar, _ options: inout ChildProcessOptions) {
    let hasOutput =
      options.standardOutput == .inherit && Self.isSame(STDOUT_FILENO, bar.descriptor)
    let hasErrors = options.standardError == .inherit && Self.isSame(STDERR_FILENO, bar.descriptor)
    var ends: [Int32] = [-1, -1]
    guard hasOutput || hasErrors, let end = try? OneTimeSignal("a progress bar"),
      unsafe cipc_process_pipe(&ends) >= 0
    else { return nil }
    self.bar = bar
    self.end = end
    (reader, writer) = (ends[0], ends[1])
    _ = fcntl(reader, F_SETFL, O_NONBLOCK)
    if !startThread() { return nil }
    if hasOutput { options.standardOutput = .descriptor(writer) }
    if hasErrors { options.standardError = .descriptor(writer) }
  }

  deinit {
    closeDescriptor(reader)
    closeDescriptor(writer)
  }

  /// Whether two descriptors are the same terminal.
  private static func isSame(_ one: Int32, _ other: Int32) -> Bool {
    var first = stat()
    var second = stat()
    return unsafe isatty(one) == 1 && fstat(one, &first) == 0 && fstat(other, &second) == 0
      && first.st_rdev == second.st_rdev
  }

  /// Passes on what is in the pipe at this moment.
  func drain() { isOver.withLock { isOver in if !isOver { pass(Self.pipeCapacity) } } }

  /// Passes on what is left, and ends the thread. Stopping again does nothing.
  func stop() {
    isOver.withLock { isOver in
      if isOver { return }
      // Workers are dead. A process that one of them left behind may write for ever.
      pass(Self.pipeCapacity)
      isOver = true
    }
    end.give()
  }

  /// Passes on up to so many bytes.
  private func pass(_ most: Int) {
    var buffer = [UInt8](repeating: 0, count: Self.pipeCapacity)
    var passed = 0
    while passed < most {
      let count = unsafe read(reader, &buffer, buffer.count)
      if count <= 0 { return }
      bar.pass(buffer[..<count])
      passed += count
    }
  }

  private func run() {
    while !isOver.withLock({ $0 }) {
      let interests = [reader, end.descriptor].map { descriptor in
        cipc_poller_interest_t(fd: descriptor, directions: CIPC_POLLER_READABLE)
      }
      _ = unsafe cipc_poller_poll(interests, interests.count, .max)
      drain()
    }
  }

  private func startThread() -> Bool {
    let context = unsafe Unmanaged.passRetained(self)
    var all = sigset_t()
    var before = sigset_t()
    var thread = pthread_t()
    _ = unsafe sigfillset(&all)
    // The thread takes no signals: the program's handlers are for its own threads.
    _ = unsafe pthread_sigmask(SIG_BLOCK, &all, &before)
    let status = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<OutputRelay>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    _ = unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    if status != 0 {
      unsafe context.release()
      return false
    }
    _ = pthread_detach(thread)
    return true
  }
}
