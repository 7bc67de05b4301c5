// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// A child as a process: all that this process knows of it but its task.
@safe final class RunningChild: Sendable {
  let name: String
  let pid: Int32
  let isDaemon: Bool
  /// Owned; the C functions take care of concurrent calls.
  private nonisolated(unsafe) let process: OpaquePointer

  init(_ name: String, isDaemon: Bool, adopting process: OpaquePointer) {
    self.name = name
    self.isDaemon = isDaemon
    unsafe self.process = process
    pid = unsafe cipc_process_pid(process)
  }

  deinit { unsafe cipc_process_release(process) }

  /// How the child ended; `nil` while it runs. Does not block, and reaps it.
  var exitStatus: ExitStatus? { wait(until: 0) }

  /// Its identity among the participants of shared objects; `nil` where that is unknown.
  var identity: UInt64? {
    var identity: UInt64 = 0
    return unsafe cipc_participant_of(pid, &identity) == 0 ? identity : nil
  }

  /// Readable once the child has ended; to be asked for again when it is and the child has not.
  var descriptor: Int32 { unsafe cipc_process_descriptor(process) }

  /// Waits until the child has ended or the deadline has passed. Blocks.
  func wait(until deadline: Int64) -> ExitStatus? {
    var status = cipc_process_status_t()
    _ = unsafe cipc_process_wait(process, deadline, &status)
    return ExitStatus(status)
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled`, and what the kernel says where it cannot wait.
  func wait(until deadline: Int64) async throws(IPCError) -> ExitStatus? {
    while true {
      if let status = exitStatus { return status }
      if cipc_clock_now() >= deadline { return nil }
      _ = try await SignalSet([.readable(descriptor)]).wait(until: deadline)
    }
  }

  /// Sends a signal; does nothing when the child has ended: so it was meant.
  func signal(_ signal: Int32) throws(IPCError) {
    // What prints a crashing child's backtrace would not notice its end.
    if [SIGKILL, SIGTERM].contains(signal) && exitStatus == nil { cipc_death_end_backtrace(pid) }
    let status = unsafe cipc_process_signal(process, signal)
    if status != CIPC_ESRCH.rawValue { try IPCError.check(status, "\(self)") }
  }

  /// Kills a child that cannot be used, and says how it ended: by itself, perhaps. Where that is not
  /// known within a second, since the fork server is stopped, it is `unknown`.
  func end() -> ExitStatus {
    try? signal(SIGKILL)
    return wait(until: cipc_clock_deadline(1_000_000_000)) ?? .unknown
  }

  /// Has the child reaped, and taken off the registry, as soon as it has ended: no other caller
  /// will ask.
  func reapWhenEnded() {
    let reference = unsafe Unmanaged.passRetained(self)
    let status = unsafe cipc_process_watch(
      process,
      { context in
        guard let context = unsafe context else { return }
        ChildRegistry.remove(unsafe Unmanaged<RunningChild>.fromOpaque(context).takeRetainedValue())
      }, reference.toOpaque())
    if status < 0 { unsafe reference.release() }
  }

  /// Reaps those of them that have ended, also where no thread does it: in a process with one thread.
  static func reapDropped() { cipc_process_release(nil) }

  /// The child's pidfd, a duplicate; the caller's.
  func pidDescriptor() throws(IPCError) -> Int32 {
    try IPCError.check(unsafe cipc_process_pidfd(process), "\(self)")
  }
}

extension RunningChild: CustomStringConvertible {
  var description: String { "the child \"\(name)\" (process \(pid))" }
}
