// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A place in the program or in one of its libraries, as another process of the same program
/// understands it: the image, known by its build id, and the distance from its beginning.
struct ImageLocation: Hashable, Sendable {
  var offset: UInt64
  var isProgram: Bool
  var id: [UInt8]

  init(offset: UInt64, isProgram: Bool, id: [UInt8]) {
    self.offset = offset
    self.isProgram = isProgram
    self.id = id
  }

  /// - Throws: `notTransferable` when no image holds the address.
  init(of address: UnsafeRawPointer, _ subject: @autoclosure () -> String) throws(IPCError) {
    var location = cipc_image_location_t()
    guard unsafe cipc_image_locate(address, &location) == 0 else {
      throw IPCError(
        .notTransferable, context: "\(subject()): it is in no file that a child could load")
    }
    offset = location.offset
    isProgram = location.is_program != 0
    id = unsafe withUnsafeBytes(of: location.id) { bytes in
      unsafe Array(bytes.prefix(Int(location.id_size)))
    }
  }

  /// The address in this process.
  ///
  /// - Throws: `bootstrapFailed` when this process has not loaded that image, in that version.
  func resolve(_ subject: @autoclosure () -> String) throws(IPCError) -> UnsafeRawPointer {
    var location = cipc_image_location_t()
    location.offset = offset
    location.is_program = isProgram ? 1 : 0
    location.id_size = UInt32(min(id.count, Int(CIPC_IMAGE_ID_MAX)))
    unsafe withUnsafeMutableBytes(of: &location.id) { bytes in
      unsafe bytes.copyBytes(from: id.prefix(bytes.count))
    }
    var address: UnsafeRawPointer?
    guard unsafe cipc_image_resolve(&location, &address) == 0, let address = unsafe address else {
      let image = isProgram ? "the program" : "a library"
      throw IPCError(
        .bootstrapFailed,
        context: "\(subject()): \(image) is another version than the parent's, or is not loaded")
    }
    return unsafe address
  }
}
