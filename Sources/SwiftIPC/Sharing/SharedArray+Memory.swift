// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
public import MessageCoding

extension SharedArray {
  /// Makes a descriptor of the memory that the elements are in, for programs in other languages, which
  /// map it themselves: numpy by `mmap.mmap(descriptor, 0)`.
  ///
  /// ```swift
  /// let descriptor = try image.memoryDescriptor()
  /// try await python.send([.integer(image.memoryOffset), 480, 640] as MessageValue)
  /// try await python.sendHandles([descriptor], dialect: .plain)
  /// ```
  ///
  /// The elements begin `memoryOffset` bytes into it, in row-major order and the machine's own
  /// representation. What lies before and behind them, the lock among it, is this library's. Who writes
  /// the elements like this takes no turns with callers of `withLock`, unless something else is
  /// agreed on. An array with a name is also the file of that name in `/dev/shm`.
  ///
  /// Between Swift programs send the array itself.
  ///
  /// - Returns: a duplicate, close-on-exec, the caller's to close; it keeps the memory.
  /// - Throws: `IPCError` with `resourceLimit`.
  public func memoryDescriptor() throws(IPCError) -> Int32 {
    let copy = fcntl(storage.segment.descriptor, F_DUPFD_CLOEXEC, 0)
    if copy < 0 { throw IPCError(status: -errno, "SharedArray") }
    return copy
  }

  /// How many bytes into the memory of `memoryDescriptor()`, or of the file that has the array's name,
  /// the elements begin.
  public var memoryOffset: Int {
    let segment = storage.segment
    let payload = unsafe (segment.region ?? segment).address
    return unsafe Int(CIPC_SEGMENT_HEADER_SIZE) + (storage.elements - payload)
  }
}
