// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// The name of a type, as another process of the same program understands it.
///
/// Most types are found by their mangled name. Private and local ones are not; for them the place
/// of the type's descriptor in its image stands in, which exists for all but generic types.
///
/// A name finds the type of that name in any version of a library, which may have been replaced on disk
/// since the parent started; so the place of the descriptor goes with it.
enum TypeName: Hashable, Sendable {
  case mangled(String, library: ImageLocation?)
  case descriptor(ImageLocation)

  /// The name of a type that resolves to this same type.
  ///
  /// - Throws: `notTransferable` when there is none; the context names the type.
  init(of type: Any.Type) throws(IPCError) {
    if let name = _mangledTypeName(type), let found = _typeByName(name), found == type {
      self = .mangled(name, library: try Self.library(of: type, named: name))
      return
    }
    let descriptor = unsafe Self.descriptor(of: type)
    if let descriptor = unsafe descriptor {
      let subject = "the type \(String(reflecting: type))"
      let location = try unsafe ImageLocation(of: descriptor, subject)
      if unsafe Self.type(of: descriptor) == type {
        self = .descriptor(location)
        return
      }
    }
    throw IPCError(
      .notTransferable,
      context: """
        the type \(String(reflecting: type)) cannot be named to another process, since it, or an \
        argument of it, is private or local and it is generic: make the types internal and put \
        them at the top level
        """)
  }

  /// The type of this name in this process.
  ///
  /// - Throws: `bootstrapFailed` when there is no such type here.
  func resolve() throws(IPCError) -> Any.Type {
    switch self {
    case .mangled(let name, let library):
      if let library { _ = try unsafe library.resolve("the type \(name)") }
      guard let type = _typeByName(name) else {
        throw IPCError(
          .bootstrapFailed, context: "the type \(name) does not exist in the child's program")
      }
      return type
    case .descriptor(let location):
      let descriptor = try unsafe location.resolve("a private type")
      guard let type = unsafe Self.type(of: descriptor) else {
        throw IPCError(.bootstrapFailed, context: "a private type is not where the parent has it")
      }
      return type
    }
  }

  /// Where a type's descriptor is, if that is not in the program; without the arguments of a generic
  /// type, and not for the standard library's types, whose names begin with a letter.
  private static func library(
    of type: Any.Type, named name: String
  ) throws(IPCError) -> ImageLocation? {
    guard let first = name.utf8.first, (0x30...0x39).contains(first),
      let descriptor = unsafe descriptor(of: type)
    else { return nil }
    let location = try unsafe ImageLocation(of: descriptor, "the type \(name)")
    return location.isProgram ? nil : location
  }

  // MARK: - Descriptors
  //
  // The layout of metadata and of descriptors is the stable part of Swift's ABI: see
  // docs/ABI/TypeMetadata.rst in the Swift repository, without Objective-C.

  private enum MetadataKind {
    static let `class` = 0
    static let `struct` = 0x200
    static let `enum` = 0x201
    static let optional = 0x202
  }

  private static func descriptor(of type: Any.Type) -> UnsafeRawPointer? {
    let metadata = unsafe unsafeBitCast(type, to: UnsafeRawPointer.self)
    switch unsafe metadata.load(as: Int.self) {
    case MetadataKind.struct, MetadataKind.enum, MetadataKind.optional:
      return unsafe metadata.load(fromByteOffset: 8, as: UnsafeRawPointer?.self)
    case MetadataKind.class:
      // Behind the kind, the superclass, and 24 bytes of flags, sizes and address points.
      return unsafe metadata.load(fromByteOffset: 40, as: UnsafeRawPointer?.self)
    default:
      return nil
    }
  }

  /// What a generic type is made of, and what that is made of: those that are types.
  static func arguments(of type: Any.Type, _ depth: Int = 0) -> [Any.Type] {
    let metadata = unsafe unsafeBitCast(type, to: UnsafeRawPointer.self)
    switch unsafe metadata.load(as: Int.self) {
    case MetadataKind.struct, MetadataKind.enum, MetadataKind.optional: break
    default: return []
    }
    guard depth < 16, let descriptor = unsafe descriptor(of: type) else { return [] }
    let flags = unsafe descriptor.load(as: UInt32.self)
    guard flags & 0x80 != 0 else { return [] }
    // Behind the 28 bytes of a struct's or enum's descriptor: 8 bytes for instances, the number of
    // parameters and of requirements, and that of arguments in the metadata.
    let count = Int(unsafe descriptor.load(fromByteOffset: 28 + 12, as: UInt16.self))
    var found: [Any.Type] = []
    for index in 0..<count {
      let word = unsafe metadata.load(fromByteOffset: 16 + index * 8, as: UInt.self)
      guard word > 0xffff, word % 8 == 0, let address = unsafe UnsafeRawPointer(bitPattern: word),
        unsafe address.load(as: UInt.self) < 0x800
      else { continue }
      let argument = unsafe unsafeBitCast(address, to: Any.Type.self)
      found += [argument] + arguments(of: argument, depth + 1)
    }
    return found
  }

  /// Takes a request (0 for complete metadata) and returns the metadata and its state in two
  /// registers, of which C sees the first.
  private typealias Accessor = @convention(c) (Int) -> UnsafeRawPointer?

  /// The type of a descriptor; `nil` when it is generic or no descriptor of a type.
  private static func type(of descriptor: UnsafeRawPointer) -> Any.Type? {
    let flags = unsafe descriptor.load(as: UInt32.self)
    let isGeneric = flags & 0x80 != 0
    let isNominal = (16...18).contains(flags & 0x1f)  // class, struct, enum
    guard isNominal, !isGeneric else { return nil }
    let field = unsafe descriptor + 12  // behind the flags, the parent and the name
    let relative = unsafe field.load(as: Int32.self)
    guard relative != 0 else { return nil }
    let accessor = unsafe unsafeBitCast(field + Int(relative), to: Accessor.self)
    guard let metadata = unsafe accessor(0) else { return nil }
    return unsafe unsafeBitCast(metadata, to: Any.Type.self)
  }
}
