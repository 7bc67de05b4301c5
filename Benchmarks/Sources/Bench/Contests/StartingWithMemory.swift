// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

extension Contest {
  private static let touched = 512

  /// What is to stay as it was may be slower by this much: that is noise.
  static let unchanged = Target.atMost(1.1)

  /// Starts by a parent that has touched memory against those by one that has not.
  static let startsWithMemory = [
    startWithMemory(.spawn, unchanged),
    startWithMemory(.forkServer, unchanged),
    // Copies the page tables, as fork does everywhere.
    startWithMemory(.fork, nil),
  ]

  private static func startWithMemory(_ method: StartMethod, _ target: Target?) -> Contest {
    Contest(
      name: "\(method), parent with \(touched) MiB",
      floorName: "\(method), parent without",
      target: target
    ) { cores in
      let large = StartingParent(method, mebibytes: touched, core: cores.main)
      let small = StartingParent(method, core: cores.main)
      return Sides(ours: { large.start($0) }, floor: { small.start($0) })
    }
  }
}
