// SPDX-License-Identifier: Apache-2.0
import CFloors

/// Two processes that do a job in C together: this one, and a child of it.
final class Pair {
  let handle: OpaquePointer

  /// Takes over what C made.
  init(_ handle: OpaquePointer) { self.handle = handle }

  deinit { floor_pair_end(handle) }

  func run(_ count: Int) { floor_pair_run(handle, count) }

  /// The job, with the peer awake when it begins.
  func job(_ name: String = "") -> Contest.Job {
    Contest.Job(name: name, before: { floor_pair_wake(self.handle) }, run: run)
  }
}
