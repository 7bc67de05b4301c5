// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Dispatch
internal import IPCLibc
internal import MessageCoding

/// What a child does instead of the program's `main`: takes its task, runs it, and tells its parent
/// what became of it. Called by the start-up hook, on the main thread; returns the exit code.
@_cdecl("swiftipc_child_main")
func childMain(_ descriptor: Int32) -> Int32 {
  do {
    let parent = try TaskConnection(adopting: descriptor)
    let header = try TaskHeader(try parent.receive().bytes)
    return try runTask(
      header, parent, leave: { exit($0) }, { try TaskResolver.resolve(header.work) })
  } catch {
    // The parent has closed its end, or is gone: there is no reader left.
    return CIPC_PROCESS_NO_ENTRY
  }
}

/// The same for a forked child, which leaves without what its parent has registered for its own end.
func forkedChildMain(_ descriptor: Int32, _ header: TaskHeader, _ task: any ForkedTask) -> Never {
  do {
    let parent = try TaskConnection(adopting: descriptor)
    let code = try runTask(
      header, parent, leave: { CurrentProcess.leave($0) }, { task.task })
    CurrentProcess.leave(code)
  } catch {
    CurrentProcess.leave(CIPC_PROCESS_NO_ENTRY)
  }
}

/// A task with its arguments. It returns the value to send to the parent, `nil` for none.
private enum ChildJob {
  case blocking(() throws -> (any Encodable)?)
  case async(@concurrent @Sendable () async throws -> (any Encodable)?)

  /// - Throws: what decoding the arguments throws.
  init(_ task: ResolvedTask, _ arguments: IncomingArguments?) throws {
    // Void is not Encodable, and stands for no value.
    func job(_ task: some BlockingTask) throws -> ChildJob {
      let job = try task.job(arguments)
      return .blocking { try job() as? any Encodable }
    }
    func job(_ task: some AsyncTask) throws -> ChildJob {
      let job = try task.job(arguments)
      return .async { try await job() as? any Encodable }
    }
    switch task {
    case .blocking(let task): self = try job(task)
    case .async(let task): self = try job(task)
    }
  }
}

/// Takes the arguments, runs the task, and returns the exit code or leaves with it.
///
/// - Throws: where the parent is gone.
private func runTask(
  _ header: TaskHeader, _ parent: TaskConnection,
  leave: @escaping @Sendable (Int32) -> Never, _ resolve: () throws -> ResolvedTask
) throws(IPCError) -> Int32 {
  CurrentProcess.becomeChild(header.name)
  ThrowTrace.begin()
  if header.hasMemoryLimit { parent.watchMemory() }
  var arguments: IncomingArguments?
  if header.hasArguments { arguments = try parent.receive() }
  let job: ChildJob
  do {
    job = try ChildJob(try resolve(), arguments)
  } catch {
    let refusal = error as? IPCError
    // The parent throws one with this code.
    let reason = refusal?.code == .bootstrapFailed ? refusal?.context : nil
    parent.send(
      failure: TaskFailure.refused("the child cannot begin its task: \(reason ?? describe(error))"))
    return CIPC_PROCESS_NO_ENTRY
  }
  switch job {
  case .blocking(let job):
    let pid = getpid()
    let result = Result { try job() }
    // A fork of this process that came back here is not the child that its parent waits for.
    if getpid() != pid { CurrentProcess.leave(0) }
    return finish(header, parent, result)
  case .async(let job):
    Task.detached {
      let code: Int32
      do {
        code = finish(header, parent, .success(try await job()))
      } catch {
        code = finish(header, parent, .failure(error))
      }
      leave(code)
    }
    dispatchMain()
  }
}

/// Sends the outcome to the parent and returns the exit code.
private func finish(
  _ header: TaskHeader, _ parent: TaskConnection, _ result: Result<(any Encodable)?, any Error>
) -> Int32 {
  // A parent that has the outcome may end this process at once.
  cipc_process_flush_all()
  do {
    // The exit code 0 says all that there is to say about a task without a value.
    if let answer = try result.get() { try parent.sendValue(answer) }
    return 0
  } catch {
    parent.send(failure: TaskFailure.threw(error))
    if !header.returnsValue {
      // A caller that starts a child for its effect seldom asks for a value, and would never know.
      printError("\(header.name) (process \(getpid())) threw \(describe(error))\n")
    }
    return 1
  }
}

/// The error's type and what it says of itself.
private func describe(_ error: any Error) -> String {
  if let error = error as? IPCError { return "IPCError: \(error)" }
  return "\(String(reflecting: type(of: error))): \(error)"
}

private func printError(_ line: String) {
  var line = line
  // One write, so that lines of several children do not mix; nothing to be done where it fails.
  line.withUTF8 { bytes in _ = unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
}
