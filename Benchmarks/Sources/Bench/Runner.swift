// SPDX-License-Identifier: Apache-2.0
import CFloors

/// Measures the two sides of a contest in turns.
///
/// Neither swift-benchmark nor ordo-one/benchmark can do this: both run one benchmark to its end
/// before the next one starts (`BenchmarkRunner.run(suite:)` there), so that whatever the machine
/// does in the meantime lands in the ratio. Hence a runner of our own, kept small.
struct Runner {
  /// nil for as many as a contest wants.
  var rounds: Int?

  /// Nanoseconds per operation, or a number per second.
  struct Summary {
    var median: Double
    var p99: Double

    init(median: Double, p99: Double) {
      (self.median, self.p99) = (median, p99)
    }

    init(_ samples: [Double]) {
      let sorted = Sorted(samples)
      self.init(median: sorted.median, p99: sorted.p99)
    }
  }

  struct Measured {
    var ours: Summary
    /// Our median in the worst round.
    var worst: Double?
    var floor: Summary?
    /// Which floor that is, where there are several.
    var floorName: String?
    /// Per round, ours by the floor: throughputs if that is the unit, otherwise times.
    var ratios: Sorted?
  }

  private struct Side {
    let job: Contest.Job
    var operations = 1
    var batches = 1
    /// Nanoseconds per operation, one for each batch of all rounds.
    var samples: [Double] = []
    /// The median of each round.
    var rounds: [Double] = []

    init(_ job: Contest.Job, _ timing: Contest.Timing) throws {
      self.job = job
      let perOperation = try calibrate(timing.batch)
      operations = max(1, Int(timing.batch / perOperation))
      batches = min(max(3, Int(timing.turn / (perOperation * Double(operations)))), 1000)
    }

    /// Nanoseconds per operation in one batch.
    private func time() throws -> Double {
      try job.before?()
      let start = floor_now()
      try job.run(operations)
      return Double(floor_now() - start) / Double(operations)
    }

    /// Warms up and returns the time of one operation in nanoseconds.
    private mutating func calibrate(_ batch: Double) throws -> Double {
      var perOperation = try time()
      while Double(operations) * perOperation < batch {
        operations *= 2
        perOperation = try time()
      }
      let end = floor_now() + 20_000_000
      while floor_now() < end { perOperation = min(perOperation, try time()) }
      return perOperation
    }

    mutating func turn() throws {
      var turn: [Double] = []
      for _ in 0..<batches { turn.append(try time()) }
      samples += turn
      rounds.append(Sorted(turn).median)
    }
  }

  func run(_ contest: Contest, _ cores: Cores) throws -> Measured {
    let sides = try contest.prepare(cores)
    if let counts = sides.counts { return Measured(ours: Summary(try counts())) }
    var all = try ([sides.ours] + sides.floors).map { try Side($0, contest.timing) }
    var order = Array(all.indices)
    for _ in 0..<(rounds ?? contest.timing.rounds) {
      for index in order { try all[index].turn() }
      // The order changes, so that a drift in one direction favours neither.
      order.append(order.removeFirst())
    }
    return summary(of: all[0], all.dropFirst(), contest.unit)
  }

  private func summary(
    of ours: Side, _ floors: ArraySlice<Side>, _ unit: Contest.Unit
  ) -> Measured {
    var result = Measured(ours: Summary(ours.samples), worst: ours.rounds.max())
    let summaries = floors.map { Summary($0.samples) }
    guard
      let (floor, summary) = zip(floors, summaries).min(by: { $0.1.median < $1.1.median })
    else { return result }
    result.floor = summary
    result.ratios = Sorted(
      zip(ours.rounds, floor.rounds).map { unit.isThroughput ? $1 / $0 : $0 / $1 })
    if floors.count > 1 {
      let others = zip(floors, summaries).filter { $0.0.job.name != floor.job.name }
        .map { "\($0.0.job.name) \(Table.time($0.1.median))" }
      result.floorName = "\(floor.job.name) (\(others.joined(separator: ", ")))"
    }
    return result
  }
}
