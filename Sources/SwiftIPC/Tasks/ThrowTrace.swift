// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// Where errors are thrown in a worker.
///
/// The Swift runtime calls a function of ours, if there is one, when an error is thrown: the same that
/// tools for testing use. Where the runtime has no such place, there are no traces.
@safe enum ThrowTrace {
  private static let depth = 24
  /// Of the last errors, by the address of the error's box.
  @safe private struct Entry {
    var error: UInt = 0
    var frames: [UInt] = []
  }
  private static let last = Guarded<[Entry]>([])
  private static let kept = 8

  /// Has traces recorded from now on.
  static func begin() {
    guard let place = unsafe dlsym(nil, "_swift_willThrow") else { return }
    let record: @convention(c) (UnsafeRawPointer?) -> Void = { error in
      ThrowTrace.record(UInt(bitPattern: error))
    }
    let function = unsafe unsafeBitCast(record, to: UInt.self)
    unsafe cipc_atomic_store(place, 8, UInt64(function))
  }

  private static func record(_ error: UInt) {
    let frames = unsafe [UInt](unsafeUninitializedCapacity: depth) { buffer, count in
      count = unsafe buffer.withMemoryRebound(to: UnsafeRawPointer?.self) { addresses in
        // Without this function, the one that called it, and the runtime's.
        unsafe cipc_trace_frames(addresses.baseAddress, depth, 3)
      }
    }
    last.withLock { last in
      last.removeAll { $0.error == error }
      if last.count >= kept { last.removeFirst() }
      last.append(Entry(error: error, frames: frames))
    }
  }

  /// The trace of an error that was caught just now, a line for each call; empty where none was
  /// recorded.
  static func take(_ error: any Error) -> [String] {
    // An error of any type is one pointer, to its box.
    let address = unsafe unsafeBitCast(error as any Error, to: UInt.self)
    let frames = last.withLock { last in last.last { $0.error == address }?.frames }
    return (frames ?? []).map(describe)
  }

  private static func describe(_ address: UInt) -> String {
    var place = unsafe cipc_trace_place_t()
    // The return address is behind the call, and may be the next function's.
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: address &- 1),
      unsafe cipc_trace_find(pointer, &place) == 0, let file = unsafe place.file
    else { return "0x\(String(address, radix: 16))" }
    let path = unsafe String(cString: file)
    let image = path.split(separator: "/").last.map(String.init) ?? path
    let offset = unsafe place.offset + 1
    if let function = unsafe place.function {
      return unsafe "\(demangle(function)) + \(offset) in \(image)"
    }
    return "0x\(String(offset, radix: 16)) in \(image)"
  }

  private typealias Demangle =
    @convention(c) (
      UnsafePointer<CChar>?, Int, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>?, UInt32
    ) -> UnsafeMutablePointer<CChar>?

  private static func demangle(_ symbol: UnsafePointer<CChar>) -> String {
    if let place = unsafe dlsym(nil, "swift_demangle") {
      let function = unsafe unsafeBitCast(place, to: Demangle.self)
      if let name = unsafe function(symbol, strlen(symbol), nil, nil, 0) {
        defer { unsafe free(name) }
        return unsafe String(cString: name)
      }
    }
    return unsafe String(cString: symbol)
  }
}
