// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

// How an error travels from the process that threw it: {type, description, trace}, each counted.

extension FrameBuffer {
  /// Appends an error that was caught just now.
  func append(thrown error: any Error) {
    append(counted: String(reflecting: type(of: error)))
    append(counted: "\(error)")
    append(counted: ThrowTrace.take(error).joined(separator: "\n"))
  }
}

extension RemoteError {
  /// - Throws: `malformedMessage`.
  init(_ bytes: UnsafeRawBufferPointer, worker: String) throws(IPCError) {
    var reader = unsafe FrameReader(bytes)
    let typeName = try reader.text()
    let message = try reader.text()
    let trace = try reader.text()
    self.init(
      typeName: typeName, message: message,
      trace: trace.utf8.split(separator: 0x0a).map { String(Substring($0)) }, worker: worker)
  }
}
