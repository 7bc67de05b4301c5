// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// A place in the program or in one of its libraries, as another process of the same program
/// understands it: the image, known by its build id, and the distance from its beginning.
struct ImageLocation: Hashable, Sendable {
  var offset: UInt64
  var isProgram: Bool
  var id: [UInt8]
  /// The library's file, for errors; empty for the program.
  var library: String

  init(offset: UInt64, isProgram: Bool, id: [UInt8], library: String) {
    self.offset = offset
    self.isProgram = isProgram
    self.id = id
    self.library = library
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
    library = isProgram ? "" : unsafe Self.library(of: address)
  }

  /// The file of the library that holds an address, or with `nil` this library's code: empty where that
  /// is the program.
  static func library(of address: UnsafeRawPointer?) -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard unsafe cipc_image_name(address, &name, name.count) == 0 else { return "" }
    return String(
      decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// What is wrong with a process that has not the image that another one has.
  static func otherVersion(of library: String) -> String {
    if library.isEmpty { return "the program is another version than the parent's" }
    return """
      the library \(library) is not the one that the parent runs: it was replaced on disk since the \
      parent started, or the child has not loaded it
      """
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
      throw IPCError(
        .bootstrapFailed, context: "\(subject()): \(Self.otherVersion(of: library))")
    }
    return unsafe address
  }
}
