// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// A child and its end of the stream, whatever its output: what `ChildProcess` is made of.
///
/// The outcome is read while any caller waits, not only one that wants the value: a child whose value is
/// larger than the socket's buffer ends only when somebody reads it.
final class ChildHandle: Sendable {
  let child: RunningChild
  /// This process's ends of the child's standard streams, where they are pipes.
  let input: InputWriter?
  let output: OutputReader?
  let error: OutputReader?
  private let connection: TaskConnection
  /// Whether the child sends more than what a socket's buffer holds: then it must be read.
  private let returnsValue: Bool
  private let outcome = Guarded(Outcome.pending)
  /// What memory the child may allocate, in bytes, and whether it has said that it was refused more.
  private let memoryLimit: Int?
  private let wasRefusedMemory = Guarded(false)

  enum Outcome {
    case pending
    case message(bytes: [UInt8], inbox: DescriptorInbox)
    /// None will come.
    case none(taskWasTaken: Bool, IPCError?)
  }

  var name: String { child.name }
  var pid: Int32 { child.pid }

  /// Starts a child and sends it its task.
  ///
  /// - Parameter forked: what a forked child runs.
  init(
    _ header: TaskHeader, _ arguments: [UInt8], _ outbox: DescriptorOutbox?,
    _ options: ChildProcessOptions, until deadline: Int64, forked: any ForkedTask
  ) throws(IPCError) {
    var header = header
    header.hasMemoryLimit = options.limits.dataBytes != nil
    memoryLimit = options.limits.dataBytes
    returnsValue = header.returnsValue
    let given = try StartOptions(options, until: deadline)
    switch try Self.start(header.name, options, given) {
    case .inChild(let descriptor):
      given.closePipes()
      forkedChildMain(descriptor, header, forked)
    case .inParent(let child, let connection):
      self.child = child
      self.connection = connection
    }
    (input, output, error) = given.takePipes()
    // Before the child can know of them. One that is dead already opens nothing.
    if let outbox, let identity = child.identity { outbox.address(to: identity) }
    do {
      if !header.isInherited {
        try connection.send(header.bytes, [], to: child, until: deadline)
      }
      if header.hasArguments {
        try connection.send(arguments, outbox?.descriptors ?? [], to: child, until: deadline)
      }
    } catch {
      let status = child.end()
      if error.code == .peerClosed { throw Self.notTaken(child, status) }
      throw error
    }
    outbox?.sent()
    ChildRegistry.add(child)
  }

  /// Makes a child that is a copy of this process; `nil` in the child.
  init?(
    forking name: String, _ options: ChildProcessOptions, until deadline: Int64
  ) throws(IPCError) {
    returnsValue = false
    memoryLimit = nil
    var options = options
    options.method = .fork
    let given = try StartOptions(options, until: deadline)
    switch try Self.start(name, options, given) {
    case .inChild(let descriptor):
      closeDescriptor(descriptor)
      given.closePipes()
      CurrentProcess.becomeChild(name)
      return nil
    case .inParent(let child, let connection):
      self.child = child
      self.connection = connection
    }
    (input, output, error) = given.takePipes()
    ChildRegistry.add(child)
  }

  deinit { child.reapWhenEnded() }

  private enum Started {
    case inParent(RunningChild, TaskConnection)
    case inChild(Int32)
  }

  private static func start(
    _ name: String, _ options: ChildProcessOptions, _ given: StartOptions
  ) throws(IPCError) -> Started {
    var process: OpaquePointer?
    var descriptor: Int32 = -1
    let status = unsafe given.withPointer { given in
      switch options.effectiveMethod(.standard) {
      case .spawn: unsafe cipc_process_spawn(&process, &descriptor, nil, given)
      case .forkServer: unsafe cipc_process_fork_server(&process, &descriptor, nil, given)
      case .fork: unsafe cipc_process_fork(&process, &descriptor, given)
      }
    }
    if status == CIPC_PROCESS_IN_CHILD.rawValue { return .inChild(descriptor) }
    guard status >= 0, let process = unsafe process else {
      var context = "starting the child \"\(name)\""
      if status == CIPC_EBOOTSTRAP.rawValue {
        context += ": its fork server did not start, since "
        context += unsafe ImageLocation.otherVersion(of: ImageLocation.library(of: nil))
      }
      throw IPCError(status: status, context)
    }
    let child = unsafe RunningChild(name, isDaemon: options.daemon, adopting: process)
    do {
      return .inParent(child, try TaskConnection(adopting: descriptor))
    } catch {
      _ = child.end()
      throw error
    }
  }

  /// Gives up what the child sends: it may send no more, and nothing that it sent is read.
  func close() {
    outcome.withLock { outcome in
      outcome = .none(taskWasTaken: true, IPCError(.closed, context: "\(child)"))
    }
    connection.shutDown()
    if child.exitStatus != nil { ChildRegistry.remove(child) }
  }

  // MARK: - Waiting

  /// How the child ended; `nil` while it runs. Does not block.
  var exitStatus: ExitStatus? { child.exitStatus }

  /// What a caller waits for.
  enum Goal {
    case exit, outcome
  }

  /// Reads what has arrived and says whether the goal is reached.
  func readiness(for goal: Goal) -> Readiness {
    // In this order: all that an ended child has sent can be read by now.
    let hasEnded = exitStatus != nil
    let isPending = outcome.withLock { outcome in
      if returnsValue || hasEnded { read(&outcome, hasEnded: hasEnded) }
      if case .pending = outcome { return true }
      return false
    }
    if hasEnded { return .ready }
    if goal == .outcome {
      switch outcome.withLock({ $0 }) {
      case .message, .none(_, _?): return .ready
      case .none, .pending: break
      }
    }
    let end = Readiness.Signal.readable(child.descriptor)
    return .pending(isPending && returnsValue ? [end, .readable(connection.descriptor)] : [end])
  }

  private func read(_ outcome: inout Outcome, hasEnded: Bool) {
    guard case .pending = outcome else { return }
    switch connection.receiveIfReady(hasEnded: hasEnded) {
    case .message(TaskFailure.refusedMemory, _):
      // Its last word but for its status.
      wasRefusedMemory.withLock { $0 = true }
      read(&outcome, hasEnded: hasEnded)
    case .message(let bytes, let inbox): outcome = .message(bytes: bytes, inbox: inbox)
    case .end(let hasReadAll, let error):
      outcome = .none(taskWasTaken: hasReadAll, error)
    case .nothing: break
    }
  }

  /// Waits until the goal is reached or the deadline has passed; says which. Blocks.
  func wait(for goal: Goal, until deadline: Int64) throws(IPCError) -> Bool {
    while case .pending(let signals) = readiness(for: goal) {
      if cipc_clock_now() >= deadline { return false }
      _ = try SignalSet(signals).wait(until: deadline)
    }
    return true
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled`, and what the kernel says where it cannot wait.
  func wait(for goal: Goal, until deadline: Int64) async throws(IPCError) -> Bool {
    while case .pending(let signals) = readiness(for: goal) {
      if cipc_clock_now() >= deadline { return false }
      _ = try await SignalSet(signals).wait(until: deadline)
    }
    return true
  }

  // MARK: - The outcome

  /// The child's output, once `wait(for: .outcome)` has reached its goal.
  ///
  /// - Throws: the `RemoteError` of the task, or an `IPCError`.
  func output<Output: Sendable>(as type: Output.Type) throws -> Output {
    switch outcome.withLock({ $0 }) {
    case .message(let bytes, let inbox):
      if let error = TaskFailure.error(bytes, from: name) { throw error }
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
        throw Self.notTaken(child, status)
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
    context += causeOfDeath().text(status)
    var error = IPCError(.childDied, context: context)
    error.exitStatus = status
    return error
  }

  /// What is known of the child's end. Once it has ended.
  func causeOfDeath() -> CauseOfDeath {
    _ = readiness(for: .outcome)
    var cause = CauseOfDeath()
    if wasRefusedMemory.withLock({ $0 }) { cause.memoryLimit = memoryLimit }
    switch exitStatus {
    // Decided in this process; the child knows nothing of it.
    case .signalled(SIGKILL), .signalled(SIGTERM), .signalled(SIGINT), .exited(0), .unknown, nil:
      break
    case .signalled, .exited: cause.line = error?.lastLine
    }
    return cause
  }

  private static func notTaken(_ child: RunningChild, _ status: ExitStatus) -> IPCError {
    var context = "\(child) \(status) before it took its task"
    if status == .exited(CIPC_PROCESS_NO_ENTRY) {
      context += ": its program is another version than this one, or its parent was gone"
    }
    return IPCError(.bootstrapFailed, context: context)
  }
}

extension ChildHandle: CustomStringConvertible {
  var description: String { child.description }
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
