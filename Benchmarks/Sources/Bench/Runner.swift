// SPDX-License-Identifier: Apache-2.0
import CFloors

/// Measures the two sides of a contest in turns.
///
/// Neither swift-benchmark nor ordo-one/benchmark can do this: both run one benchmark to its end
/// before the next one starts (`BenchmarkRunner.run(suite:)` there), so that whatever the machine
/// does in the meantime lands in the ratio. Hence a runner of our own, kept small.
struct Runner {
  var rounds: Int
  /// How long a side's turn lasts, if one operation is not longer.
  var turn = 4e6
  /// Operations are timed in batches of this length, so that reading the clock (some 40 ns) does not
  /// show; an operation that lasts longer is a batch of its own.
  let batch = 20e3

  /// Nanoseconds per operation, or a ratio.
  struct Summary {
    var median: Double
    var p99: Double
  }

  struct Measured {
    var ours: Summary
    var floor: Summary?
    /// Per round, ours by the floor: throughputs if that is the unit, otherwise times.
    var ratios: Sorted?
  }

  private struct Side {
    /// Not timed; with it an operation is a batch of its own.
    var before: (() throws -> Void)?
    let run: (Int) throws -> Void
    var operations = 1
    var batches = 1
    /// Nanoseconds per operation, one for each batch of all rounds.
    var samples: [Double] = []

    /// Nanoseconds per operation in one batch.
    func time() throws -> Double {
      try before?()
      let start = floor_now()
      try run(operations)
      return Double(floor_now() - start) / Double(operations)
    }

    /// Warms up and returns the time of one operation in nanoseconds.
    mutating func calibrate(_ batch: Double) throws -> Double {
      var perOperation = try time()
      while before == nil && Double(operations) * perOperation < batch {
        operations *= 2
        perOperation = try time()
      }
      let end = floor_now() + 20_000_000
      while floor_now() < end { perOperation = min(perOperation, try time()) }
      return perOperation
    }

    /// Runs one turn and returns its median.
    mutating func turn() throws -> Double {
      var turn: [Double] = []
      for _ in 0..<batches { turn.append(try time()) }
      samples += turn
      return Sorted(turn).median
    }

    var summary: Summary {
      let sorted = Sorted(samples)
      return Summary(median: sorted.median, p99: sorted.p99)
    }
  }

  func run(_ contest: Contest, _ cores: Cores) throws -> Measured {
    let sides = try contest.prepare(cores)
    var ours = Side(before: sides.before, run: sides.ours)
    guard let raw = sides.floor else {
      try size(&ours)
      for _ in 0..<rounds { _ = try ours.turn() }
      return Measured(ours: ours.summary)
    }
    var floor = Side(run: raw)
    try size(&ours)
    try size(&floor)
    var ratios: [Double] = []
    for round in 0..<rounds {
      // Who goes first changes, so that what drifts in one direction favours neither.
      let first = round.isMultiple(of: 2)
      let before = first ? try ours.turn() : try floor.turn()
      let after = first ? try floor.turn() : try ours.turn()
      let ratio = first ? before / after : after / before
      ratios.append(contest.unit.isThroughput ? 1 / ratio : ratio)
    }
    return Measured(ours: ours.summary, floor: floor.summary, ratios: Sorted(ratios))
  }

  private func size(_ side: inout Side) throws {
    let perOperation = try side.calibrate(batch)
    side.operations = side.before == nil ? max(1, Int(batch / perOperation)) : 1
    side.batches = min(max(3, Int(turn / (perOperation * Double(side.operations)))), 1000)
  }
}
