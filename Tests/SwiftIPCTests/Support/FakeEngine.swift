// SPDX-License-Identifier: Apache-2.0
import Synchronization

@testable import SwiftIPC

/// Workers that exist in a test alone: it says what they do, one thing after the other.
final class FakeEngine: WorkerEngine, @unchecked Sendable {
  struct Order {
    var kind: WorkerOrder
    var function: UInt32 = 0
    var elements: [Int] = []
  }
  enum Happening {
    case frame(Int, [UInt8])
    case end(Int, ExitStatus, begun: UInt64)
  }

  private(set) var started: [Int] = []
  /// The indices of those that were started.
  private(set) var indices: [Int] = []
  private(set) var killed: [Int] = []
  private(set) var orders: [Int: [Order]] = [:]
  var happenings: [Happening] = []
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

  func memory(for worker: Int, _ size: Int) -> OutgoingParcels.Parcel? { nil }

  func send(_ frame: OutgoingFrame, to worker: Int) {
    var reader = unsafe FrameReader(frame.bytes)
    guard let byte = try? reader.integer(UInt8.self), let kind = WorkerOrder(rawValue: byte) else {
      fatalError("no order")
    }
    var order = Order(kind: kind)
    if kind == .run {
      order.function = (try? reader.integer(UInt32.self)) ?? 0
      let count = (try? reader.integer(UInt32.self)) ?? 0
      _ = try? reader.integer(UInt8.self)
      for _ in 0..<count { order.elements.append((try? reader.integer(Int.self)) ?? -1) }
    }
    orders[worker, default: []].append(order)
  }

  func kill(_ worker: Int) { killed.append(worker) }

  func activity(of worker: Int) -> WorkerActivity { activities[worker] ?? WorkerActivity() }

  func wait(until deadline: Int64, telling receiver: any WorkerReceiver) {
    deadlines.append(deadline)
    let all = happenings
    happenings = []
    for happening in all {
      switch happening {
      case .frame(let worker, let bytes):
        unsafe bytes.withUnsafeBytes { bytes in
          receiver.received(unsafe IncomingFrame(bytes: bytes), from: worker)
        }
      case .end(let worker, let status, let begun):
        receiver.ended(
          worker, WorkerEnd(name: "fake-\(worker)", status: status), WorkerActivity(begun: begun))
      }
    }
  }

  func interrupt() {}

  /// What memory workers use.
  var memories: [Int: Int] = [:]
  func memoryUse(of worker: Int) -> Int? { memories[worker] }

  // MARK: What workers do

  func ready(_ worker: Int) { happenings.append(.frame(worker, [WorkerReport.ready.rawValue])) }

  func fails(_ worker: Int, _ text: String) {
    let frame = FrameBuffer()
    frame.append(WorkerReport.initializerFailed.rawValue)
    frame.append(counted: text)
    happenings.append(.frame(worker, unsafe Array(frame.bytes)))
  }

  /// A worker returns results, of a chunk that has taken so long.
  func results(_ worker: Int, _ values: [Int], nanoseconds: UInt64 = 1000) {
    let frame = FrameBuffer()
    frame.append(WorkerReport.results.rawValue)
    frame.append(nanoseconds)
    frame.append(UInt32(values.count))
    for value in values {
      frame.append(ResultKind.value.rawValue)
      frame.append(UInt64(8))
      frame.append(value)
    }
    happenings.append(.frame(worker, unsafe Array(frame.bytes)))
  }

  func dies(_ worker: Int, _ status: ExitStatus = .signalled(9), begun: UInt64) {
    happenings.append(.end(worker, status, begun: begun))
  }

  /// What a worker was told to run that was not looked at yet.
  func runs(_ worker: Int) -> [[Int]] {
    defer { orders[worker] = [] }
    return (orders[worker] ?? []).filter { $0.kind == .run }.map(\.elements)
  }

  func wasStopped(_ worker: Int) -> Bool { orders[worker]?.contains { $0.kind == .stop } ?? false }
}
