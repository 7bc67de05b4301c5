// SPDX-License-Identifier: Apache-2.0

/// One line of the table: the same job done by this library and by its floor.
struct Contest: Sendable {
  var name: String
  /// What the floor is, in a few words.
  var floorName = ""
  /// How far from the floor we may be; nil where no target was set.
  var target: Target?
  /// A bound on the median of our own time, in nanoseconds, where there is no floor.
  var medianTarget: Double?
  /// Whether we are to be faster than Python's job, where there is no floor.
  var isAgainstPython = false
  /// A bound on the p99 of our own time, in nanoseconds, where there is no floor.
  var p99Target: Double?
  var unit = Unit.time
  var placement = Placement.oneCore
  /// The job in python/jobs.py that does the same.
  var pythonJob: String?
  /// Further jobs in python/jobs.py, printed under the table.
  var otherPythonJobs: [String] = []
  /// Makes what the two sides need. Called once, just before the contest, in a process that runs
  /// where `placement` says; what the closures keep is let go just after it.
  var prepare: @Sendable (Cores) throws -> Sides

  /// Each does its job as often as it is told.
  struct Sides {
    /// What has to be there before each time that our job is done, once; not timed.
    var before: (() throws -> Void)?
    var ours: (Int) throws -> Void
    /// nil where there is no C program to compare with.
    var floor: ((Int) throws -> Void)?
  }

  /// A bound on our figure divided by the floor's.
  enum Target {
    case atMost(Double)
    case atLeast(Double)

    func isMet(by ratio: Double) -> Bool {
      switch self {
      case .atMost(let bound): ratio <= bound
      case .atLeast(let bound): ratio >= bound
      }
    }
  }

  enum Unit {
    case time
    /// Bytes moved by one operation; the ratio is then that of the throughputs.
    case throughput(bytes: Int)

    var isThroughput: Bool {
      if case .throughput = self { true } else { false }
    }
  }

  /// Where the benchmark runs, and its peer if it has one.
  enum Placement {
    /// All on one core.
    case oneCore
    /// The peer on another core.
    case twoCores
    /// Wherever the scheduler likes.
    case anywhere
  }

  var canRun: Bool { placement != .twoCores || Cores.count > 1 }
}
