// SPDX-License-Identifier: Apache-2.0

extension Contest {
  /// The lines of the table, in its order.
  static let all: [Contest] =
    [control, lock, valueRead, valueUpdate, atomicAdd]
    + semaphores + events
    + readWriteLocks
    + barriers + conditions
    + negations + [spanNegation, copyOut, stencil]
    + roundTrips + [typedRoundTrip] + mebibytes
    + coding
    + ringStreams + ringPingPongs + ringCopies + ringsAlone + [ringWaiters]
    + queueStreams + queuePingPongs + queueWaiters
    + [spawn] + forkServer + [fork] + startsWithMemory + startsWithFiles
    + pools
    // Last: they leave threads behind, and a process with threads cannot be forked.
    + recoveries
}
