// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc

/// The core that the benchmark runs on, and another one for peers that are to be elsewhere.
struct Cores {
  static let count = sysconf(Int32(_SC_NPROCESSORS_ONLN))

  let main: Int32
  let other: Int32

  init(main: Int) {
    self.main = Int32(main)
    other = Int32((main + 1) % Self.count)
  }

  /// Binds this process as a contest wants it.
  func place(for placement: Contest.Placement) {
    floor_pin(placement == .anywhere ? -1 : main)
  }

  /// Where the peer of a contest runs; -1 for anywhere.
  func peer(for placement: Contest.Placement) -> Int32 {
    switch placement {
    case .oneCore: main
    case .twoCores: other
    case .anywhere: -1
    }
  }
}
