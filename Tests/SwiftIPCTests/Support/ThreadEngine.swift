// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import SwiftIPC

/// An engine whose workers are threads of this process, without rings, descriptors or shared memory: the
/// second implementation of what a pool asks of one. Tasks run for real.
final class ThreadEngine: WorkerEngine, @unchecked Sendable {
  /// A task that throws this ends its worker as a crash would.
  struct Crash: Error {}

  /// A report that owns its bytes until a wait delivers it.
  private enum Report: @unchecked Sendable {
    case plain(WorkerReport)
    case value([UInt8], nanoseconds: UInt64)
    case values([UInt8], count: Int, nanoseconds: UInt64)
  }

  private final class Worker: Sendable {
    enum Order {
      case define(PoolFunction)
      case run(PoolJob, [UInt8], count: Int)
      case stop
    }
    struct State {
      var orders: [Order] = []
      var activity = WorkerActivity()
      var hasEnded = false
      /// Results of the run at hand that were not reported yet, and their bytes.
      var left = 0
      var leftBytes: [UInt8] = []
      var runBegan: Int64 = 0

      var nanoseconds: UInt64 { UInt64(max(0, PoolClock().now() - runBegan)) }
    }
    let number: Int
    let index: Int
    let state = Guarded(State())
    let gate = ThreadGate()
    let executor = WorkerExecutor()

    init(_ number: Int, index: Int) {
      self.number = number
      self.index = index
    }
  }

  private struct Shared {
    var workers: [Worker] = []
    var reports: [(worker: Int, report: Report)] = []
    var isInterrupted = false
  }
  private let shared = Guarded(Shared())
  private let gate = ThreadGate()
  private let makeState: (@Sendable () throws -> any AnyTaskState)?

  /// - Parameter makeState: the initializer.
  init(makeState: (@Sendable () throws -> any AnyTaskState)? = nil) {
    self.makeState = makeState
  }

  private func worker(_ number: Int) -> Worker? {
    shared.withLock { shared in shared.workers.first { $0.number == number } }
  }

  // MARK: - What a pool asks

  func start(_ number: Int, index: Int) throws(IPCError) {
    let worker = Worker(number, index: index)
    shared.withLock { $0.workers.append(worker) }
    _ = InThread { [self] in run(worker) }
  }

  func send(_ order: WorkerOrder, to number: Int) {
    guard let worker = worker(number) else { return }
    let own: Worker.Order
    switch order {
    case .define(let function): own = .define(function)
    case .run(let job, let elements):
      let frame = FrameBuffer()
      job.write(elements, to: frame)
      own = .run(job, unsafe Array(frame.bytes), count: elements.count)
    case .stop: own = .stop
    }
    worker.state.withLock { $0.orders.append(own) }
    worker.gate.open()
  }

  /// A thread cannot be ended: what it does from here on counts for nothing.
  func kill(_ number: Int) {
    if let worker = worker(number) { end(worker, .signalled(SIGKILL)) }
  }

  func activity(of number: Int) -> WorkerActivity {
    worker(number)?.state.withLock { $0.activity } ?? WorkerActivity()
  }

  func wait(until deadline: Int64, reportingTo receiver: any WorkerReceiver) {
    while true {
      let (reports, isInterrupted) = shared.withLock { shared in
        defer { (shared.reports, shared.isInterrupted) = ([], false) }
        return (shared.reports, shared.isInterrupted)
      }
      for (worker, report) in reports { deliver(report, from: worker, to: receiver) }
      if !reports.isEmpty || isInterrupted || PoolClock().now() >= deadline { return }
      gate.pass(until: deadline)
    }
  }

  func interrupt() {
    shared.withLock { $0.isInterrupted = true }
    gate.open()
  }

  private func deliver(_ report: Report, from worker: Int, to receiver: any WorkerReceiver) {
    switch report {
    case .plain(let report): receiver.received(report, from: worker)
    case .value(let bytes, let nanoseconds):
      unsafe bytes.withUnsafeBytes { bytes in
        let element = unsafe IncomingElement(bytes: bytes, inbox: nil)
        receiver.received(.result(.value(element), nanoseconds: nanoseconds), from: worker)
      }
    case .values(let bytes, let count, let nanoseconds):
      unsafe bytes.withUnsafeBytes { bytes in
        receiver.received(
          unsafe .values(bytes, count: count, nanoseconds: nanoseconds), from: worker)
      }
    }
  }

  // MARK: - What a worker does

  /// Has something reported of a worker that has not ended.
  private func report(_ worker: Worker, _ make: (inout Worker.State) -> [Report]) {
    worker.state.withLock { state in
      if state.hasEnded { return }
      let reports = make(&state)
      shared.withLock { shared in
        for report in reports { shared.reports.append((worker.number, report)) }
      }
    }
    gate.open()
  }

  /// What was left and not reported: also of a worker that is about to end.
  private func takeLeft(_ state: inout Worker.State) -> [Report] {
    defer { (state.left, state.leftBytes) = (0, []) }
    if state.left == 0 { return [] }
    return [.values(state.leftBytes, count: state.left, nanoseconds: state.nanoseconds)]
  }

  private func end(_ worker: Worker, _ status: ExitStatus) {
    report(worker) { state in
      let end = WorkerEnd(name: "thread-\(worker.number)", status: status)
      let reports = takeLeft(&state) + [.plain(.ended(end, state.activity))]
      state.hasEnded = true
      return reports
    }
    shared.withLock { shared in shared.workers.removeAll { $0 === worker } }
    worker.gate.open()
  }

  private func run(_ worker: Worker) {
    var state: (any AnyTaskState)?
    do {
      state = try makeState?()
      report(worker) { _ in [.plain(.ready)] }
    } catch {
      report(worker) { _ in [.plain(.initializerFailed("\(error)"))] }
      return end(worker, .exited(0))
    }
    var functions: [UInt32: Result<ResolvedTask, any Error>] = [:]
    while let order = next(worker) {
      switch order {
      case .define(let function):
        functions[function.name] = Result {
          try TaskResolver.resolve(TaskHeader(function.definition).work, state: state)
        }
      case .run(let job, let bytes, let count):
        worker.state.withLock { $0.runBegan = PoolClock().now() }
        do {
          switch functions[job.function.name] {
          case .success(.blocking(let task)): try run(task, worker, job, bytes, count)
          case .success(.async(let task)): try run(task, worker, job, bytes, count)
          case .failure(let error):
            for _ in 0..<count {
              begin(worker, job)
              fail(worker, IPCError(.bootstrapFailed, context: "\(error)"))
            }
          case nil: return end(worker, .exited(1))
          }
        } catch {
          return end(worker, .signalled(SIGSEGV))
        }
        report(worker, takeLeft)
      case .stop: return end(worker, .exited(0))
      }
    }
  }

  /// The next order; `nil` for a worker that has ended.
  private func next(_ worker: Worker) -> Worker.Order? {
    while true {
      let (order, hasEnded) = worker.state.withLock { state -> (Worker.Order?, Bool) in
        (state.orders.isEmpty ? nil : state.orders.removeFirst(), state.hasEnded)
      }
      if hasEnded { return nil }
      if let order { return order }
      worker.gate.pass(until: .max)
    }
  }

  private func run<Call: BlockingTask>(
    _ task: Call, _ worker: Worker, _ job: PoolJob, _ bytes: [UInt8], _ count: Int
  ) throws {
    try forEachElement(of: bytes, count, Call.Function.Input.fixedSize) { element in
      begin(worker, job)
      let result = Result {
        try task.function.call(&task.state.value, try Call.Function.Input(element: element))
      }
      try finish(worker, job, result, isOne: count == 1)
    }
  }

  private func run<Call: AsyncTask>(
    _ task: Call, _ worker: Worker, _ job: PoolJob, _ bytes: [UInt8], _ count: Int
  ) throws {
    try forEachElement(of: bytes, count, Call.Function.Input.fixedSize) { element in
      begin(worker, job)
      let outcome = Guarded<Result<Call.Function.Output, any Error>?>(nil)
      let input = try Call.Function.Input(element: element)
      try worker.executor.run {
        let result: Result<Call.Function.Output, any Error>
        do {
          result = .success(
            try await task.function.call(&task.state.value, input))
        } catch {
          result = .failure(error)
        }
        let box = UncheckedBox(result)
        outcome.withLock { $0 = box.value }
      }
      let result = outcome.withLock { outcome in UncheckedBox(outcome) }
      if let result = result.value { try finish(worker, job, result, isOne: count == 1) }
    }
  }

  private func forEachElement(
    of bytes: [UInt8], _ count: Int, _ size: Int?, _ body: (IncomingElement) throws -> Void
  ) throws {
    try unsafe bytes.withUnsafeBytes { bytes in
      var reader = unsafe FrameReader(bytes)
      for _ in 0..<count {
        let element =
          if let size { try unsafe reader.raw(size) } else { try unsafe reader.counted() }
        try body(unsafe IncomingElement(bytes: element, inbox: nil))
      }
    }
  }

  private func begin(_ worker: Worker, _ job: PoolJob) {
    worker.state.withLock { state in
      state.activity.begun += 1
      if job.timeout != nil { state.activity.begunAt = PoolClock().now() }
    }
  }

  private func finish<Output>(
    _ worker: Worker, _ job: PoolJob, _ result: Result<Output, any Error>, isOne: Bool
  ) throws {
    do {
      let coder = ElementCoder<Output>()
      let frame = FrameBuffer()
      try coder.append(result.get(), to: frame)
      let bytes = unsafe Array(frame.bytes.dropFirst(coder.fixedSize == nil ? 8 : 0))
      report(worker) { state in
        if !isOne && job.resultSize != nil {
          state.left += 1
          state.leftBytes += bytes
          return []
        }
        return [.value(bytes, nanoseconds: state.nanoseconds)]
      }
    } catch is Crash {
      throw Crash()
    } catch {
      fail(worker, error)
    }
  }

  private func fail(_ worker: Worker, _ error: any Error) {
    let remote =
      error as? IPCError
      ?? RemoteError(
        typeName: String(reflecting: type(of: error)), message: "\(error)", trace: [],
        worker: "thread-\(worker.number)") as any Error
    report(worker) { state in
      takeLeft(&state) + [.plain(.result(.failed(remote), nanoseconds: state.nanoseconds))]
    }
  }
}

/// What goes from one thread to the next, one having it at a time.
private struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
