// SPDX-License-Identifier: Apache-2.0

/// The first byte of a record in the ring between the process engine and a worker: where a frame is,
/// or results are. The pool above the engine and the functions in the worker know nothing of it.
///
/// Behind it stands, towards a worker, {u32 stride, u32 count, u64 offset}: room in the desk for the
/// results, with a stride of 0 for none.
enum ChannelRecord: UInt8 {
  /// {frame}
  case frame = 0
  /// {}: the next frame on the socket, since descriptors come with it.
  case onSocket = 1
  /// {u32 parcel, u64 length}: a long frame in a parcel that the other side has.
  case inParcel = 2
  /// The same in a parcel that comes with the next frame on the socket.
  case inNewParcel = 3
  /// From a worker: {u64 nanoseconds, u32 count}: results that it has left in the room of the desk.
  case left = 4

  /// Bytes in front of what stands in the record, towards a worker.
  static let headerSize = 17
}
