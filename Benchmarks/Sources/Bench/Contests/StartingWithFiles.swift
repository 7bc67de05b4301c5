// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

extension Contest {
  private static let files = 10_000

  /// Starts by a parent with open files against those by one without.
  static let startsWithFiles = [
    startWithFiles(.forkServer, unchanged),
    // The kernel copies the table of open files for each process that it makes.
    startWithFiles(.spawn, nil),
  ]

  private static func startWithFiles(_ method: StartMethod, _ target: Target?) -> Contest {
    Contest(
      name: "\(method), parent with \(files) open files",
      floorName: "\(method), parent without",
      target: target
    ) { cores in
      let full = StartingParent(method, files: files, core: cores.main)
      let empty = StartingParent(method, core: cores.main)
      return Sides(ours: { full.start($0) }, floor: { empty.start($0) })
    }
  }
}
