// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A child and its end of the stream, whatever its output: what `ChildProcess` is made of.
///
/// The outcome is read while anybody waits, not only by who wants the value: a child whose value is
/// larger than the socket's buffer ends only when somebody reads it.
@safe final class ChildHandle: Sendable {
  let name: String
  let pid: Int32
  /// Owned; the C functions take care of concurrent calls.
  private nonisolated(unsafe) let process: OpaquePointer
  private let connection: TaskConnection
  /// Whether the child sends more than what a socket's buffer holds: then it must be read.
  private let returnsValue: Bool
  private let outcome = Mutex(Outcome.pending)

  enum Outcome {
    case pending
    case message(bytes: [UInt8], inbox: DescriptorInbox)
    /// None will come.
    case none(taskWasTaken: Bool, IPCError?)
  }

  /// Starts a child and sends it its task.
  init(
    _ header: TaskHeader, _ arguments: [UInt8], _ outbox: DescriptorOutbox?,
    _ options: ChildProcessOptions
  ) throws(IPCError) {
    name = header.name
    returnsValue = header.returnsValue
    let (process, connection) = try unsafe Self.spawn(header.name, options)
    unsafe self.process = process
    self.connection = connection
    pid = unsafe cipc_process_pid(process)
    do {
      try unsafe connection.send(header.bytes, [], to: process)
      if header.hasArguments {
        try unsafe connection.send(arguments, outbox?.descriptors ?? [], to: process)
      }
    } catch {
      let status = unsafe Self.end(process)
      if error.code == .peerClosed {
        throw Self.notTaken(header.name, pid, status)
      }
      throw error
    }
    outbox?.sent()
  }

  deinit { unsafe cipc_process_release(process) }

  private static func spawn(
    _ name: String, _ options: ChildProcessOptions
  ) throws(IPCError) -> (OpaquePointer, TaskConnection) {
    let environment = try CStringList(changing: options.environment)
    var process: OpaquePointer?
    var descriptor: Int32 = -1
    // The kernel's name of a child that was given none is the program's.
    let kernelName = options.name ?? ""
    let status = unsafe kernelName.withCString { kernelName in
      unsafe (options.executable ?? "").withCString { executable in
        var given = unsafe cipc_process_options_t()
        unsafe given.name = kernelName
        if options.executable != nil { unsafe given.executable = executable }
        unsafe given.environment = UnsafePointer(environment?.pointer)
        return unsafe cipc_process_spawn(&process, &descriptor, nil, &given)
      }
    }
    guard status >= 0, let process = unsafe process else {
      throw IPCError(status: status, "starting the child \"\(name)\"")
    }
    do {
      return try unsafe (process, TaskConnection(adopting: descriptor))
    } catch {
      _ = unsafe end(process)
      unsafe cipc_process_release(process)
      throw error
    }
  }

  /// Kills a child that cannot be used, and says how it ended: by itself, perhaps.
  private static func end(_ process: OpaquePointer) -> ExitStatus {
    _ = unsafe cipc_process_signal(process, SIGKILL)
    var status = cipc_process_status_t()
    _ = unsafe cipc_process_wait(process, .max, &status)
    return ExitStatus(status) ?? .unknown
  }

  func signal(_ signal: Int32) throws(IPCError) {
    let status = unsafe cipc_process_signal(process, signal)
    // Nothing to be done about a child that has ended: so it was meant.
    if status != CIPC_ESRCH.rawValue { try IPCError.check(status, "\(self)") }
  }

  // MARK: - Waiting

  /// How the child ended; `nil` while it runs. Does not block.
  var exitStatus: ExitStatus? {
    var status = cipc_process_status_t()
    _ = unsafe cipc_process_wait(process, 0, &status)
    return ExitStatus(status)
  }

  /// What somebody waits for.
  enum Goal {
    case exit, outcome
  }

  /// Where a wait stands.
  enum Progress {
    case reached
    /// Look again when one of these descriptors is readable.
    case wait([Int32])
  }

  /// Reads what has arrived and says whether the goal is reached.
  func advance(towards goal: Goal) -> Progress {
    // In this order: all that an ended child has sent can be read by now.
    let hasEnded = exitStatus != nil
    let isPending = outcome.withLock { outcome in
      if returnsValue || hasEnded { read(&outcome, hasEnded: hasEnded) }
      if case .pending = outcome { return true }
      return false
    }
    if hasEnded { return .reached }
    if goal == .outcome, case .message = outcome.withLock({ $0 }) { return .reached }
    let end = unsafe cipc_process_descriptor(process)
    return .wait(isPending && returnsValue ? [end, connection.descriptor] : [end])
  }

  private func read(_ outcome: inout Outcome, hasEnded: Bool) {
    guard case .pending = outcome else { return }
    switch connection.receiveIfReady(hasEnded: hasEnded) {
    case .message(let bytes, let inbox): outcome = .message(bytes: bytes, inbox: inbox)
    case .end(let hasReadAll, let error):
      outcome = .none(taskWasTaken: hasReadAll, error)
    case .nothing: break
    }
  }

  /// Waits until the goal is reached or the deadline has passed; says which.
  func wait(for goal: Goal, until deadline: Int64) -> Bool {
    while case .wait(let descriptors) = advance(towards: goal) {
      let now = cipc_clock_now()
      if now >= deadline { return false }
      var ready = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      // Rounded up, so that the loop does not spin through the last millisecond.
      let milliseconds = (deadline - now - 1) / 1_000_000 + 1
      let timeout = deadline == .max ? -1 : Int32(clamping: milliseconds)
      _ = unsafe poll(&ready, nfds_t(ready.count), timeout)
    }
    return true
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled`, and what the kernel says where it cannot wait.
  func wait(for goal: Goal, until deadline: Int64) async throws(IPCError) -> Bool {
    while case .wait(let descriptors) = advance(towards: goal) {
      if cipc_clock_now() >= deadline { return false }
      var descriptor = descriptors[0]
      if descriptors.count > 1 {
        descriptor = try IPCError.check(
          unsafe cipc_process_watch(process, connection.descriptor), "\(self)")
      }
      defer { if descriptors.count > 1 { close(descriptor) } }
      let status = await Suspension().wait(
        for: .init(
          descriptor: descriptor, isOwned: false, direction: CIPC_WAITER_READABLE,
          deadline: deadline))
      if status != CIPC_ETIMEDOUT.rawValue { try IPCError.check(status, "\(self)") }
    }
    return true
  }

  // MARK: - The outcome

  /// The child's output, once `wait(for: .outcome)` has reached its goal.
  func output<Output: Sendable>(as type: Output.Type) throws(IPCError) -> Output {
    switch outcome.withLock({ $0 }) {
    case .message(let bytes, let inbox):
      if let error = TaskFailure.error(bytes) { throw error }
      guard let type = Output.self as? any Decodable.Type else {
        throw IPCError(.malformedMessage, context: "the value of \(self): none was expected")
      }
      do {
        let value = try MessageDecoder().decode(type, from: bytes, inbox: inbox)
        guard let value = value as? Output else { preconditionFailure("decoded as another type") }
        return value
      } catch {
        throw error as? IPCError
          ?? IPCError(.malformedMessage, context: "the value of \(self): \(error)")
      }
    case .none(let taskWasTaken, let error):
      if let error { throw error }
      let status = exitStatus ?? .unknown
      guard taskWasTaken, status != .exited(CIPC_PROCESS_NO_ENTRY) else {
        throw Self.notTaken(name, pid, status)
      }
      if let nothing = () as? Output, status.isSuccess { return nothing }
      throw died(status)
    case .pending:
      preconditionFailure("the outcome was asked for before it was there")
    }
  }

  private func died(_ status: ExitStatus) -> IPCError {
    var context = "\(self) \(status)"
    if case .exited = status { context += " and left no value" }
    if status.isCrash {
      context += """
        ; if it reads a top-level variable of main.swift, that is why: such variables are never \
        initialised in a child, so make it a static property of a type
        """
    }
    return IPCError(.childDied, context: context)
  }

  private static func notTaken(_ name: String, _ pid: Int32, _ status: ExitStatus) -> IPCError {
    var context = "the child \"\(name)\" (process \(pid)) \(status) before it took its task"
    if status == .exited(CIPC_PROCESS_NO_ENTRY) {
      context += ": its program is another version than this one, or its parent was gone"
    }
    return IPCError(.bootstrapFailed, context: context)
  }
}

extension ChildHandle: CustomStringConvertible {
  var description: String { "the child \"\(name)\" (process \(pid))" }
}

extension ExitStatus {
  /// `nil` for a process that is still running.
  init?(_ status: cipc_process_status_t) {
    switch status.end {
    case CIPC_PROCESS_RUNNING: return nil
    case CIPC_PROCESS_EXITED: self = .exited(status.value)
    case CIPC_PROCESS_SIGNALLED: self = .signalled(status.value)
    default: self = .unknown
    }
  }
}
