// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

/// The limit of what must end well, however late it begins: while long tests have the few threads of
/// the pool, others are more than a minute late. All tests together take less.
let patience = Duration.seconds(300)

/// Looks, with patience, until something is so.
func lookUntil(_ isSo: () -> Bool) throws {
  let deadline = SuspendingClock.now + patience
  while !isSo() {
    try #require(SuspendingClock.now < deadline, "it has not come about")
    sched_yield()
  }
}

/// The same without keeping the thread from other tasks.
func waitUntil(_ isSo: () -> Bool) async throws {
  let deadline = SuspendingClock.now + patience
  while !isSo() {
    try #require(SuspendingClock.now < deadline, "it has not come about")
    await Task.yield()
  }
}
