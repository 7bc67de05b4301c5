// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// One measured contest.
struct Line {
  var contest: Contest
  var measured: Runner.Measured
  var python: Runner.Summary?

  /// Every target, and whether it is met.
  var verdict: String {
    var all: [String] = []
    if let bound = contest.bound {
      let met = Self.word(bound.isMet(by: measured.ours))
      switch bound {
      case .median(let most): all.append("≤ \(Table.time(most)) \(met)")
      case .p99(let most): all.append("p99 ≤ \(Table.time(most)) \(met)")
      case .rate(let least):
        let worst = measured.worst.map { ", worst round \(Table.rate($0))" } ?? ""
        all.append("≥ \(Table.rate(1e9 / least)) \(met)\(worst)")
      case .count(let most): all.append("≤ \(Table.perSecond(most)) \(met)")
      }
    }
    if let target = contest.target, let ratio = measured.ratios?.median {
      let met = Self.word(target.isMet(by: ratio))
      switch target {
      case .atMost(let bound): all.append("≤ \(decimal(bound, 2)) \(met)")
      case .atLeast(let bound): all.append("≥ \(decimal(bound, 2)) \(met)")
      }
    }
    if let times = contest.pythonTarget, let python {
      let met = Self.word(python.median / measured.ours.median >= times)
      all.append("≥ \(decimal(times, 0)) × Python \(met)")
    }
    return all.joined(separator: "; ")
  }

  private static func word(_ isMet: Bool) -> String { isMet ? "met" : "MISSED" }
}

extension Line {
  /// How we stand against a further job of Python's.
  func note(on python: Runner.Summary, _ job: String) -> String {
    let times = python.median / measured.ours.median
    let place = times > 1 ? "ahead" : "BEHIND"
    return "\(contest.name): \(Table.time(measured.ours.median)), "
      + "Python's \(job) \(Table.show(python)): \(place), \(decimal(times, 1)) times"
  }

  /// An object on one line; times in nanoseconds per operation, and numbers per second where that is
  /// the unit.
  var json: String {
    func fields(_ name: String, _ summary: Runner.Summary?) -> [String] {
      guard let summary else { return [] }
      return ["\"\(name)_median\":\(summary.median)", "\"\(name)_p99\":\(summary.p99)"]
    }
    // Names are ours and hold no quotes but those of literals.
    func quoted(_ name: String) -> String {
      let escaped = name.split(separator: "\"", omittingEmptySubsequences: false)
        .joined(separator: "\\\"")
      return "\"\(escaped)\""
    }
    var all = ["\"name\":\(quoted(contest.name))"]
    all += fields("ours", measured.ours) + fields("floor", measured.floor)
    let floorName = measured.floorName ?? contest.floorName
    if !floorName.isEmpty { all.append("\"floor_name\":\(quoted(floorName))") }
    if let worst = measured.worst { all.append("\"ours_worst_round\":\(worst)") }
    if let bound = contest.bound {
      all.append("\"bound_met\":\(bound.isMet(by: measured.ours))")
    }
    if let ratios = measured.ratios {
      all.append("\"ratio_median\":\(ratios.median)")
      all.append("\"ratio_quartiles\":[\(ratios.quantile(0.25)),\(ratios.quantile(0.75))]")
      if let target = contest.target {
        all.append("\"target_met\":\(target.isMet(by: ratios.median))")
      }
    }
    all += fields("python", python)
    if let times = contest.pythonTarget, let python {
      all.append("\"python_target_met\":\(python.median / measured.ours.median >= times)")
    }
    return "{\(all.joined(separator: ","))}"
  }
}

/// The table.
struct Table {
  private static let header = [
    ["", "SwiftIPC", "", "floor", "", "ours ÷ floor", "", "", "target", "Python", "", ""],
    [
      "", "median", "p99", "median", "p99", "median", "quartiles", "worst", "", "median", "p99",
      "floor",
    ],
  ]
  private var rows: [[String]] = header

  mutating func add(_ line: Line) {
    let unit = line.contest.unit
    var row = [line.contest.name]
    row += Self.cells(line.measured.ours, unit) + Self.cells(line.measured.floor, unit)
    if let ratios = line.measured.ratios {
      // The worst round is the one that is furthest on the wrong side.
      let worst = ratios.quantile(unit.isThroughput ? 0 : 1)
      row += [
        decimal(ratios.median, 3),
        "\(decimal(ratios.quantile(0.25), 3))–\(decimal(ratios.quantile(0.75), 3))",
        decimal(worst, 2),
      ]
    } else {
      row += ["", "", ""]
    }
    row += [line.verdict]
    row += Self.cells(line.python, unit) + [line.measured.floorName ?? line.contest.floorName]
    rows.append(row)
  }

  func print() {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for (index, row) in rows.enumerated() {
      let cells = row.indices.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        // Words to the left, numbers to the right.
        let isText = column == 0 || column == row.count - 1 || column == 8
        return isText ? row[column] + padding : padding + row[column]
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      Swift.print(line)
      if index == Self.header.count - 1 {
        Swift.print(String(repeating: "-", count: widths.reduce(0) { $0 + $1 + 2 }))
      }
    }
  }

  private static func cells(_ summary: Runner.Summary?, _ unit: Contest.Unit) -> [String] {
    guard let summary else { return ["", ""] }
    return switch unit {
    case .time: [time(summary.median), time(summary.p99)]
    // The slow end: what all but 1 in 100 batches reach.
    case .throughput(let bytes): [rate(summary.median, bytes), rate(summary.p99, bytes)]
    case .rate: [rate(summary.median), rate(summary.p99)]
    case .perSecond: [perSecond(summary.median), perSecond(summary.p99)]
    }
  }

  private static func rate(_ nanoseconds: Double, _ bytes: Int) -> String {
    "\(decimal(Double(bytes) / nanoseconds, 2)) GB/s"
  }

  /// How many there are of what takes so long.
  static func rate(_ nanoseconds: Double) -> String {
    let millions = 1e3 / nanoseconds
    return "\(decimal(millions, millions < 1 ? 3 : 1)) M/s"
  }

  static func perSecond(_ number: Double) -> String { "\(decimal(number, 1)) /s" }

  static func time(_ nanoseconds: Double) -> String {
    switch nanoseconds {
    case ..<1e3: "\(decimal(nanoseconds, nanoseconds < 10 ? 2 : 1)) ns"
    case ..<1e6: "\(decimal(nanoseconds / 1e3, 2)) µs"
    default: "\(decimal(nanoseconds / 1e6, 2)) ms"
    }
  }

  /// A time as the table shows it, for the lines below the table.
  static func show(_ summary: Runner.Summary) -> String {
    "\(time(summary.median)) (p99 \(time(summary.p99)))"
  }
}

/// A number with so many digits behind the point.
func decimal(_ number: Double, _ digits: Int) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
    let length = withVaList([Int32(digits), number]) {
      vsnprintf(text.baseAddress, text.count, "%.*f", $0)
    }
    return String(decoding: text.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
