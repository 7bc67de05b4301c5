// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// An element where it lies in a queue: shown to this thread, or leased to this process.
@safe
struct QueueShown {
  /// Its bytes are valid until it is released or acknowledged, and others can write there.
  var record = unsafe cipc_ring_record_t()

  var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: record.data, count: record.length)
  }
  var ticket: UInt64 { unsafe record.ticket }
  var deliveries: UInt32 { unsafe record.deliveries }
}
