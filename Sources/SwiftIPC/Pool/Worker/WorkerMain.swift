// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Dispatch
internal import IPCLibc
internal import MessageCoding

/// What a worker is given at its start.
struct WorkerSetting: Codable, Sendable {
  /// `CurrentProcess.workerIndex`.
  var index: Int
  var hasInitializer: Bool
  /// Whether standard output is a pipe in a terminal's stead.
  var isRelayed: Bool
}

/// The loop of a worker: takes orders from its pool, goes through chunks, and reports.
///
/// It runs on the main thread, which is the worker's only one, until the first function arrives that can
/// be suspended. From then on it runs on a thread of its own, and the main thread serves the main
/// queue, so that such functions may use the main actor.
final class WorkerMain: @unchecked Sendable {
  private let channel: WorkerChannelEnd
  private let hasInitializer: Bool
  private var state: (any AnyTaskState)?
  private var finalizer: TaskHeader.Work?
  private var functions: [UInt32: WorkerFunction] = [:]
  private var hasLeftMain = false
  private lazy var executor = WorkerExecutor()

  /// The channel stays open until the process has ended: the pool takes a closed channel for a
  /// broken one, and would kill a worker that is in its exit handlers.
  static let openChannel = Guarded<WorkerChannelEnd?>(nil)

  init(_ channel: WorkerChannelEnd, _ setting: WorkerSetting) {
    self.channel = channel
    hasInitializer = setting.hasInitializer
    CurrentProcess.becomeWorker(setting.index)
    // As on the terminal behind the pipe.
    if setting.isRelayed { LineBuffering.begin() }
  }

  /// Returns when the pool has no more work, or is gone.
  func run() throws {
    // A Ctrl-C is for the program as a whole: when the program ends, so do its workers.
    signal(SIGINT, SIG_IGN)
    Self.openChannel.withLock { $0 = channel }
    ThrowTrace.begin()
    if !hasInitializer {
      _ = channel.begin(.ready)
      channel.send()
    }
    switch try loop() {
    case .ended: return
    case .mustLeaveMain(let order):
      hasLeftMain = true
      let thread = LoopThread { [self] in
        do {
          if case .stop = try take(order) { exit(0) }
          if case .ended = try loop() { exit(0) }
        } catch {
          printError(error)
        }
        exit(1)
      }
      try thread.start()
      dispatchMain()
    }
  }

  private enum Outcome {
    case ended
    /// The order at hand needs the main queue.
    case mustLeaveMain(Order)
  }

  /// An order that was copied out of the channel.
  private struct Order {
    var bytes: [UInt8]
    var inbox: DescriptorInbox?
  }

  private enum Step {
    case goOn, stop
    case mustLeaveMain(Order)
  }

  private func loop() throws -> Outcome {
    while true {
      let step = try channel.receive { frame, inbox in try take(&frame, inbox) }
      switch step {
      case .goOn: continue
      case .stop, nil: return .ended
      case .mustLeaveMain(let order): return .mustLeaveMain(order)
      }
    }
  }

  private func take(_ order: Order) throws -> Step {
    try unsafe order.bytes.withUnsafeBytes { bytes in
      var reader = unsafe FrameReader(bytes)
      return try take(&reader, order.inbox)
    }
  }

  private func take(_ reader: inout FrameReader, _ inbox: DescriptorInbox?) throws -> Step {
    var whole = reader
    guard let order = OrderKind(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.malformed()
    }
    func leavingMain() -> Step {
      .mustLeaveMain(Order(bytes: unsafe Array(whole.remaining()), inbox: inbox))
    }
    switch order {
    case .initialize:
      do {
        let initializer = try WorkerInitializer(&reader, inbox)
        if initializer.function.isAsync && !hasLeftMain { return leavingMain() }
        state = try initializer.make { executor }
        finalizer = initializer.finalizer
        if channel.isFork { CurrentProcess.leave(0) }
        cipc_process_flush_all()
        _ = channel.begin(.ready)
        channel.send()
      } catch {
        cipc_process_flush_all()
        channel.begin(.initializerFailed).append(
          counted: "\(String(reflecting: type(of: error))): \(error)")
        channel.send()
        return .stop
      }
    case .define:
      let name = try reader.integer(UInt32.self)
      functions[name] = WorkerFunction(try TaskHeader(&reader).work, state)
    case .run:
      let name = try reader.integer(UInt32.self)
      let count = Int(try reader.integer(UInt32.self))
      let flags = RunFlags(rawValue: try reader.integer(UInt8.self))
      let slot = try ResultSlot(&reader, count: count, in: channel.page)
      guard let function = functions[name] else { throw reader.malformed() }
      if case .async = function, !hasLeftMain { return leavingMain() }
      let chunk = ChunkRun(channel, reader, count: count, flags, slot, inbox)
      switch function {
      case .blocking(let runner, let function):
        if chunk.hasSlot, try function?.runInSlot(chunk) == true { break }
        try runner.run(chunk)
      case .async(let runner): try executor.run { try await runner.run(chunk) }
      case .refused(let reason):
        for _ in 0..<count {
          chunk.beginRefused()
          chunk.fail(.refused, "a worker cannot begin the task: \(reason)")
        }
      }
    case .stop:
      if let finalizer, !finish(finalizer) { return leavingMain() }
      return .stop
    }
    return .goOn
  }

  /// Runs the finalizer.
  ///
  /// - Returns: `false` where that needs the main queue.
  private func finish(_ finalizer: TaskHeader.Work) -> Bool {
    do {
      switch try TaskResolver.resolve(finalizer, state: state) {
      case .blocking(let task): try finish(task)
      case .async(let task):
        if !hasLeftMain { return false }
        try finish(task)
      }
      if channel.isFork { CurrentProcess.leave(0) }
      cipc_process_flush_all()
    } catch {
      if channel.isFork { CurrentProcess.leave(0) }
      channel.begin(.finalizerFailed).append(
        counted: "\(String(reflecting: type(of: error))): \(error)")
      channel.send()
    }
    return true
  }

  private func finish(_ task: some BlockingTask) throws { _ = try task.job(nil)() }

  private func finish(_ task: some AsyncTask) throws {
    let job = try task.job(nil)
    try executor.run { _ = try await job() }
  }

  private func printError(_ error: any Error) {
    var line = "\(CurrentProcess.name) (process \(getpid())): \(error)\n"
    line.withUTF8 { bytes in _ = unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
  }
}

/// A thread with a stack as large as a main thread's.
private final class LoopThread: @unchecked Sendable {
  private let body: () -> Void

  init(_ body: @escaping () -> Void) { self.body = body }

  func start() throws(IPCError) {
    var attributes = pthread_attr_t()
    _ = unsafe pthread_attr_init(&attributes)
    _ = unsafe pthread_attr_setstacksize(&attributes, 8 << 20)
    _ = unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    defer { _ = unsafe pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(self)
    let status = unsafe pthread_create(
      &thread, &attributes,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<LoopThread>.fromOpaque(context).takeRetainedValue().body()
        return nil
      }, context.toOpaque())
    if status != 0 {
      unsafe context.release()
      throw IPCError(status: -status, "a thread for the tasks of a worker")
    }
  }
}
