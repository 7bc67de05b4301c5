// SPDX-License-Identifier: Apache-2.0

/// Numbers in ascending order.
struct Sorted {
  let values: [Double]

  init(_ values: [Double]) { self.values = values.sorted() }

  /// The smallest number that at least `fraction` of all do not exceed.
  func quantile(_ fraction: Double) -> Double {
    guard !values.isEmpty else { return .nan }
    let rank = Int((fraction * Double(values.count)).rounded(.up)) - 1
    return values[min(max(rank, 0), values.count - 1)]
  }

  var median: Double { quantile(0.5) }
  var p99: Double { quantile(0.99) }
}
