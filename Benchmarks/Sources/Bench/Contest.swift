// SPDX-License-Identifier: Apache-2.0

/// One line of the table: the same job done by this library and by its floor.
struct Contest: Sendable {
  var name: String
  /// What the floor is, in a few words.
  var floorName = ""
  /// How far from the floor we may be; nil where no target was set.
  var target: Target?
  /// How many times as fast as Python's job we have to be.
  var pythonTarget: Double?
  /// A bound on our own figures, whatever the floor's.
  var bound: Bound?
  var unit = Unit.time
  var placement = Placement.oneCore
  var timing = Timing()
  /// The job in python/jobs.py that does the same.
  var pythonJob: String?
  /// Further jobs in python/jobs.py, printed under the table.
  var otherPythonJobs: [String] = []
  /// Makes what the two sides need. Called once, just before the contest, in a process that runs
  /// where `placement` says; what the closures keep is let go just after it.
  var prepare: @Sendable (Cores) throws -> Sides

  struct Sides {
    var ours: Job
    /// C programs to compare with: that which is fastest in the run.
    var floors: [Job] = []
    /// Where nothing is timed: what is counted, per second, of each that is looked at.
    var counts: (() throws -> [Double])?

    init(ours: Job, floors: [Job] = []) {
      (self.ours, self.floors) = (ours, floors)
    }

    init(
      before: (() throws -> Void)? = nil, ours: @escaping (Int) throws -> Void,
      floor: ((Int) throws -> Void)? = nil
    ) {
      self.init(ours: Job(before: before, run: ours), floors: floor.map { [Job(run: $0)] } ?? [])
    }

    init(counting counts: @escaping () throws -> [Double]) {
      self.init(ours: Job { _ in })
      self.counts = counts
    }
  }

  struct Job {
    /// Of a floor that is one of several.
    var name = ""
    /// What has to be there before each batch; not timed.
    var before: (() throws -> Void)?
    /// Does it as often as told.
    let run: (Int) throws -> Void
  }

  /// How long things are timed, in nanoseconds.
  struct Timing {
    var rounds = 61
    /// How long a side's turn lasts, if three batches are not longer.
    var turn = 4e6
    /// Operations are timed in batches of this length, so that reading the clock (some 40 ns) does
    /// not show; an operation that lasts longer is a batch of its own.
    var batch = 20e3

    /// Each operation on its own.
    static let single = Timing(batch: 0)
    /// Of streams, which take a while to be under way and to be drained.
    static let stream = Timing(rounds: 9, turn: 10e6, batch: 1e6)
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

  enum Bound {
    /// Nanoseconds at most, of the median.
    case median(Double)
    /// Nanoseconds at most, of all but 1 in 100.
    case p99(Double)
    /// Operations per second at least.
    case rate(Double)
    /// Of what is counted at most.
    case count(Double)

    func isMet(by ours: Runner.Summary) -> Bool {
      switch self {
      case .median(let most): ours.median <= most
      case .p99(let most): ours.p99 <= most
      case .rate(let least): 1e9 / ours.median >= least
      case .count(let most): ours.p99 <= most
      }
    }
  }

  enum Unit {
    case time
    /// Operations per second; the ratio is then that of these.
    case rate
    /// Bytes moved by one operation; the ratio is then that of the throughputs.
    case throughput(bytes: Int)
    /// Nothing timed.
    case perSecond

    /// Whether more is better.
    var isThroughput: Bool {
      switch self {
      case .rate, .throughput: true
      case .time, .perSecond: false
      }
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
