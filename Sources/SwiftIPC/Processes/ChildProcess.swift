// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc
public import MessageCoding

/// A child process that runs a closure or a `ProcessTask` of this program.
///
/// ```swift
/// let child = try ChildProcess.start("bob") { name in print("hello \(name)") }
/// try await child.join()
/// let square = try ChildProcess.start(12) { $0 * $0 }
/// print(try await square.value)  // 144
/// ```
///
/// Unless its options say otherwise (`StartMethod`), the child executes the program's own file again
/// and does the task in place of `main`. It inherits
/// the arguments, the environment, the directory and the standard streams; of the parent's memory
/// and descriptors it has only what travels with the task: static properties have their initial
/// values, and the top-level variables of a `main.swift` are never initialised, so a closure that
/// reads one finds zero bytes. Put what children use into types.
///
/// The child ends when its task does, as by `exit`: what it has printed is written out. Its exit code
/// is 0, or 1 when the task threw an error. Where the task returns nothing, that error is printed to the
/// child's standard error too, since few ask a child without a value for one.
///
/// A child goes on when its `ChildProcess` is dropped; what it returns is lost then. It is reaped
/// as soon as it has ended; in a process with one thread, which is left with one so that it can
/// still fork, at the next start, or when the first task waits. At this process's `exit`, children
/// are waited for, and daemons ended. It may be used from several threads at once. The
/// corresponding C functions are `cipc_process_spawn` and its kin.
public final class ChildProcess<Output: Sendable>: Sendable {
  let handle: ChildHandle

  init(_ handle: ChildHandle) { self.handle = handle }

  /// The name given in the options, or "ChildProcess-1" and so on.
  public var name: String { handle.name }

  /// The number of the process. After the child has ended it may name another process.
  public var pid: Int32 { handle.pid }

  /// Whether the child has not ended yet. Does not block.
  public var isAlive: Bool { handle.exitStatus == nil }

  /// How the child ended; `nil` while it is running. Does not block.
  public var exitStatus: ExitStatus? { handle.exitStatus }

  /// Asks the child to end, by SIGTERM. Does nothing when it has ended already; does not block.
  ///
  /// - Throws: `notOwner` when the child runs as another user by now.
  public func terminate() throws(IPCError) { try handle.child.signal(SIGTERM) }

  /// Ends the child at once, by SIGKILL. Does nothing when it has ended already; does not block.
  ///
  /// ```swift
  /// try child.kill()
  /// print(try await child.join())  // was killed by signal 9 (SIGKILL)
  /// ```
  ///
  /// - Throws: `notOwner` when the child runs as another user by now.
  public func kill() throws(IPCError) { try handle.child.signal(SIGKILL) }

  /// Asks the child to end as a Ctrl-C on the terminal does, by SIGINT. Does nothing when it has ended
  /// already; does not block.
  ///
  /// - Throws: `notOwner` when the child runs as another user by now.
  public func interrupt() throws(IPCError) { try handle.child.signal(SIGINT) }

  /// Sends a signal to the child, and never to a process that got its number afterwards. Does nothing
  /// when it has ended already; does not block.
  ///
  /// ```swift
  /// try child.signal(SIGUSR1)
  /// ```
  ///
  /// - Throws: `invalidArgument` for a number that is no signal; `notOwner` when the child runs as
  ///   another user by now.
  public func signal(_ signal: Int32) throws(IPCError) { try handle.child.signal(signal) }

  /// Gives up what the child sends: its `value` can no longer be had, and throws `closed`.
  ///
  /// The child goes on, can be joined, and is reaped as ever. Does not block.
  public func close() { handle.close() }

  /// What the child reads from its standard input, where the options say `pipe`.
  public var standardInput: InputWriter? { handle.input }

  /// What the child writes to its standard output, where the options say `pipe`.
  public var standardOutput: OutputReader? { handle.output }

  /// What the child writes to its standard error, where the options say `pipe`.
  public var standardError: OutputReader? { handle.error }

  // MARK: - Join

  /// Waits until the child has ended, and says how. Blocks; a task that threw does not throw here.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func join() throws(IPCError) -> ExitStatus {
    _ = try handle.wait(for: .exit, until: Deadline.after(nil))
    return handle.exitStatus ?? .unknown
  }

  /// Waits until the child has ended, and says how; `nil` when it still runs after the timeout. Blocks.
  ///
  /// ```swift
  /// if try child.join(timeout: .seconds(1)) == nil { try child.terminate() }
  /// ```
  ///
  /// A timeout of zero or less looks once.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func join(timeout: Duration) throws(IPCError) -> ExitStatus? {
    _ = try handle.wait(for: .exit, until: Deadline.after(timeout))
    return handle.exitStatus
  }

  /// Waits until the child has ended, and says how. No thread is blocked; a task that threw does not
  /// throw here.
  ///
  /// - Throws: `cancelled` when the waiting task is cancelled first.
  @discardableResult
  public func join() async throws(IPCError) -> ExitStatus {
    _ = try await handle.wait(for: .exit, until: Deadline.after(nil))
    return handle.exitStatus ?? .unknown
  }

  /// Waits until the child has ended, and says how; `nil` when it still runs after the timeout.
  ///
  /// - Throws: `cancelled` when the waiting task is cancelled first.
  @discardableResult
  public func join(timeout: Duration) async throws(IPCError) -> ExitStatus? {
    _ = try await handle.wait(for: .exit, until: Deadline.after(timeout))
    return handle.exitStatus
  }

  // MARK: - Value

  /// What the task returned, once it has. No thread is blocked.
  ///
  /// ```swift
  /// let square = try ChildProcess.start(12) { $0 * $0 }
  /// print(try await square.value)  // 144
  /// ```
  ///
  /// Shared objects in a value can be had once: a second reading of a value that holds some throws.
  ///
  /// - Throws: a `RemoteError` for the error that the task threw; `IPCError` with
  ///   `childDied` with the signal or the exit code when the child ended without a value (one that
  ///   is to return nothing may end by `exit(0)`); `bootstrapFailed` when it did not begin its task;
  ///   `cancelled` when the waiting task is cancelled first.
  public var value: Output {
    get async throws {
      _ = try await handle.wait(for: .outcome, until: Deadline.after(nil))
      return try handle.output(as: Output.self)
    }
  }

  /// What the task returned, once it has, waiting no longer than the timeout.
  ///
  /// - Throws: `timedOut`, and as `value` does.
  public func value(timeout: Duration) async throws -> Output {
    let hasOutcome = try await handle.wait(for: .outcome, until: Deadline.after(timeout))
    guard hasOutcome else { throw IPCError(.timedOut, context: "the value of \(handle)") }
    return try handle.output(as: Output.self)
  }

  /// What the task returned, once it has, waiting no longer than the timeout; `nil` waits as long as it
  /// takes. Blocks.
  ///
  /// - Throws: `timedOut`, and as the asynchronous `value` does.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func value(timeout: Duration?) throws -> Output {
    guard try handle.wait(for: .outcome, until: Deadline.after(timeout)) else {
      throw IPCError(.timedOut, context: "the value of \(handle)")
    }
    return try handle.output(as: Output.self)
  }
}

extension ChildProcess: CustomStringConvertible {
  /// The name and the number of the process.
  public var description: String { "\(name) (process \(pid))" }
}
