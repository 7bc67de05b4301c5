// SPDX-License-Identifier: Apache-2.0
import Synchronization

@testable import SwiftIPC

/// An engine whose workers exist in a test alone: the test says what they do, one thing after the other.
final class FakeEngine: WorkerEngine, @unchecked Sendable {
  enum Order {
    case define(UInt32)
    case run([Int])
    case stop
  }

  private(set) var started: [Int] = []
  /// The indices of those that were started.
  private(set) var indices: [Int] = []
  private(set) var killed: [Int] = []
  private(set) var orders: [Int: [Order]] = [:]
  /// What the next wait reports.
  private var reports: [(any WorkerReceiver) -> Void] = []
  var activities: [Int: WorkerActivity] = [:]
  var startError: IPCError?
  /// The deadlines of the waits.
  private(set) var deadlines: [Int64] = []

  func start(_ worker: Int, index: Int) throws(IPCError) {
    if let startError { throw startError }
    started.append(worker)
    indices.append(index)
    orders[worker] = []
  }

  func send(_ order: WorkerOrder, to worker: Int) {
    switch order {
    case .define(let function): orders[worker, default: []].append(.define(function.name))
    case .stop: orders[worker, default: []].append(.stop)
    case .run(let job, let elements):
      let frame = FrameBuffer()
      job.write(elements, to: frame)
      var reader = unsafe FrameReader(frame.bytes)
      orders[worker, default: []].append(
        .run(elements.map { _ in (try? reader.integer(Int.self)) ?? -1 }))
    }
  }

  func kill(_ worker: Int) { killed.append(worker) }

  func activity(of worker: Int) -> WorkerActivity { activities[worker] ?? WorkerActivity() }

  func wait(until deadline: Int64, reportingTo receiver: any WorkerReceiver) {
    deadlines.append(deadline)
    let all = reports
    reports = []
    for report in all { report(receiver) }
  }

  func interrupt() {}

  /// What memory workers use.
  var memories: [Int: Int] = [:]
  func memoryUse(of worker: Int) -> Int? { memories[worker] }

  // MARK: What workers do

  /// A worker reports this.
  func reports(_ report: WorkerReport, _ worker: Int) {
    reports.append { receiver in receiver.received(report, from: worker) }
  }

  func ready(_ worker: Int) { reports(.ready, worker) }

  func fails(_ worker: Int, _ text: String) { reports(.initializerFailed(text), worker) }

  /// A worker returns results, of a run that has taken so long.
  func results(_ worker: Int, _ values: [Int], nanoseconds: UInt64 = 1000) {
    for (place, value) in values.enumerated() {
      // As of a worker that says only at the end how long it took.
      let time = place == values.count - 1 ? nanoseconds : 0
      reports.append { receiver in
        unsafe withUnsafeBytes(of: value) { bytes in
          receiver.received(
            unsafe .result(.value(IncomingElement(bytes: bytes, inbox: nil)), nanoseconds: time),
            from: worker)
        }
      }
    }
  }

  func dies(_ worker: Int, _ status: ExitStatus = .signalled(9), begun: UInt64) {
    reports(
      .ended(
        WorkerEnd(name: "fake-\(worker)", status: status), WorkerActivity(begun: begun)), worker)
  }

  /// What a worker was told to run that was not looked at yet.
  func runs(_ worker: Int) -> [[Int]] {
    defer { orders[worker] = [] }
    return (orders[worker] ?? []).compactMap { order in
      if case .run(let elements) = order { elements } else { nil }
    }
  }

  /// How many functions a worker was told.
  func definitions(_ worker: Int) -> Int {
    orders[worker]?.count { if case .define = $0 { true } else { false } } ?? 0
  }

  func wasStopped(_ worker: Int) -> Bool {
    orders[worker]?.contains { if case .stop = $0 { true } else { false } } ?? false
  }
}
