// SPDX-License-Identifier: Apache-2.0

/// The channel between a pool and a worker process, as the worker gets it: a ring in each direction, a page
/// for what is no message, and a socket for descriptors and for waking. Its ends are `PoolChannelEnd` and
/// `WorkerChannelEnd`.
struct WorkerChannel: Codable, Sendable {
  var socket: Connection
  var down: WorkerRing
  var up: WorkerRing
  var page: SharedMemory
}
