// SPDX-License-Identifier: Apache-2.0

/// The first byte of what goes over the channel between the process engine and a worker: a frame, or
/// where one is. The pool above the engine and the functions in the worker know nothing of it.
enum ChannelRecord: UInt8 {
  /// {frame}
  case frame = 0
  /// To a worker: {u64 offset, u32 stride, u32 count, frame}: its results may be left in the room of
  /// the desk.
  case frameWithRoom = 1
  /// From a worker: {u64 nanoseconds, u32 count}: it has left all that it had room for.
  case left = 2
}
