// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
@_spi(Reflection) internal import Swift

// What a closure takes along is in an object: a header of two words (its metadata, its references),
// the types and conformances of the generic function around it, one word each, and the captures in
// their order, each aligned. The metadata names a descriptor, which the compiler emits for debuggers:
// how many words of types there are, and the mangled type of each capture.
//
// A debug build makes such contexts where a release build finds that it needs none: of a function
// that is passed by its name (a thunk around it), of a constant number, of a literal in a generic
// function. What a release build can do away with is sent from here, so that both run the same
// programs; everything else is refused by both. `ClosureLayoutTests` checks the layout.

/// What a closure takes along, as another process of the same program can make it again.
struct FunctionContext: Hashable, Sendable {
  /// The metadata of the object, which knows how to destroy it.
  var metadata: ImageLocation
  var bindings: [Binding] = []
  var captures: [Capture] = []

  /// A word that the generic function around the closure hands it.
  enum Binding: Hashable, Sendable {
    case type(TypeName)
    /// A conformance that the compiler laid out.
    case table(ImageLocation)
    /// A conformance that the runtime makes, such as that of an array: the type and the protocol.
    case conformance(TypeName, ImageLocation)
  }

  enum Capture: Hashable, Sendable {
    case number([UInt8], alignment: Int)
    case type(TypeName)
    case function(FunctionLocation)
  }

  /// A closure in a closure in a closure: deeper than programs are written.
  static let depthLimit = 32
}

// MARK: - Reading

extension FunctionContext {
  /// - Throws: `notTransferable` for what cannot be sent; the text names the remedy.
  init(of context: UnsafeRawPointer, _ depth: Int) throws(IPCError) {
    guard depth < Self.depthLimit, let object = unsafe ContextObject(context) else {
      throw Self.refusal(of: "something")
    }
    metadata = try unsafe ImageLocation(of: object.metadata, "the closure's context")
    var types: [Any.Type] = []
    for index in 0..<object.bindingCount {
      let word = object.binding(index)
      bindings.append(try Binding(word, &types))
    }
    let environment = GenericEnvironment(object)
    var offset = ContextObject.headerSize + object.bindingCount * 8
    for index in 0..<object.captureCount {
      let name = object.captureName(index)
      captures.append(
        try unsafe Capture(at: context, &offset, name, environment, depth))
    }
  }

  static func refusal(of subject: String) -> IPCError {
    IPCError(
      .notTransferable,
      context: """
        the closure captures \(subject), and of captures only numbers and functions can be sent to \
        another process: pass what it needs as an argument, as in start(x) { x in … }, or make it a \
        property of a ProcessTask
        """)
  }

  static let genericRefusal = IPCError(
    .notTransferable,
    context: """
      the closure stands in a generic function, and a type of that cannot be named to another \
      process: use a generic ProcessTask, or call the generic function from a closure that names \
      the types, as in map(x) { (x: Int) in work(x) }
      """)
}

extension FunctionContext.Binding {
  /// - Parameter types: those found so far, and what they are made of.
  fileprivate init(_ word: UInt, _ types: inout [Any.Type]) throws(IPCError) {
    // A pack's length is a small number, and a pack on the heap is marked in the lowest bit.
    guard word > 0xffff, word % 8 == 0, let address = unsafe UnsafeRawPointer(bitPattern: word)
    else { throw FunctionContext.genericRefusal }
    let first = unsafe address.load(as: UInt.self)
    if first < 0x800 {
      let type = unsafe unsafeBitCast(address, to: Any.Type.self)
      do {
        self = .type(try TypeName(of: type))
      } catch {
        throw FunctionContext.genericRefusal
      }
      types += [type] + TypeName.arguments(of: type)
      return
    }
    guard let conformance = unsafe UnsafeRawPointer(bitPattern: first), first % 4 == 0,
      let proto = unsafe Self.proto(of: conformance)
    else { throw FunctionContext.genericRefusal }
    for type in types where unsafe conformanceTable(type, proto) == address {
      do {
        self = .conformance(
          try TypeName(of: type), try unsafe ImageLocation(of: proto, "a protocol"))
        return
      } catch { break }
    }
    // The runtime makes tables in variables of its library, too, which are empty in the child.
    if unsafe cipc_image_is_constant(address) == 1 {
      self = .table(try unsafe ImageLocation(of: address, "a conformance"))
      return
    }
    throw FunctionContext.genericRefusal
  }

  /// The protocol of a conformance; `nil` where the address is something else.
  private static func proto(of conformance: UnsafeRawPointer) -> UnsafeRawPointer? {
    guard (try? unsafe ImageLocation(of: conformance, "a conformance")) != nil else { return nil }
    let relative = Int(unsafe conformance.load(as: Int32.self))
    var proto = unsafe conformance + (relative & ~1)
    guard relative != 0, (try? unsafe ImageLocation(of: proto, "a protocol")) != nil else {
      return nil
    }
    if relative & 1 != 0 {
      let indirect = unsafe proto.load(as: UnsafeRawPointer?.self)
      guard let indirect = unsafe indirect,
        (try? unsafe ImageLocation(of: indirect, "a protocol")) != nil
      else { return nil }
      unsafe proto = indirect
    }
    let kind = unsafe proto.load(as: UInt32.self) & 0x1f
    return unsafe kind == 3 ? proto : nil
  }
}

extension FunctionContext.Capture {
  fileprivate init(
    at context: UnsafeRawPointer, _ offset: inout Int, _ name: MangledName,
    _ environment: GenericEnvironment, _ depth: Int
  ) throws(IPCError) {
    func place(_ size: Int, _ alignment: Int) -> UnsafeRawPointer {
      offset = (offset + alignment - 1) / alignment * alignment
      defer { offset += size }
      return unsafe context + offset
    }
    if name.isThickFunction {
      let words = unsafe place(16, 8).load(as: ClosureWords.self)
      self = .function(try FunctionLocation(of: words, depth + 1))
      return
    }
    if name.isThickMetatype {
      let type = unsafe unsafeBitCast(
        place(8, 8).load(as: UnsafeRawPointer.self), to: Any.Type.self)
      self = .type(try TypeName(of: type))
      return
    }
    let (size, alignment) = try NumberType.layout(name, environment)
    let bytes = unsafe UnsafeRawBufferPointer(start: place(size, alignment), count: size)
    self = .number(unsafe Array(bytes), alignment: alignment)
  }
}

// MARK: - Making

extension FunctionContext {
  /// An object with these contents. The caller owns one reference to it.
  ///
  /// - Throws: `bootstrapFailed` when this process is not the same program.
  func make() throws(IPCError) -> UnsafeMutableRawPointer {
    let metadata = try unsafe metadata.resolve("the closure's context")
    var bytes: [UInt8] = []
    var functions: [(offset: Int, words: ClosureWords)] = []
    func append(_ word: UnsafeRawPointer) {
      unsafe withUnsafeBytes(of: word) { unsafe bytes.append(contentsOf: $0) }
    }
    func align(_ alignment: Int) {
      while (bytes.count + ContextObject.headerSize) % alignment != 0 { bytes.append(0) }
    }
    for binding in bindings { unsafe append(try binding.resolve()) }
    for capture in captures {
      switch capture {
      case .number(let number, let alignment):
        align(max(1, alignment))
        bytes += number
      case .type(let name):
        align(8)
        unsafe append(unsafeBitCast(try name.resolve(), to: UnsafeRawPointer.self))
      case .function(let function):
        align(8)
        functions.append((bytes.count, try function.resolve()))
        bytes += [UInt8](repeating: 0, count: 16)
      }
    }
    let object = unsafe makeObject(metadata, byteCount: bytes.count)
    let body = unsafe object + ContextObject.headerSize
    unsafe body.copyMemory(from: bytes, byteCount: bytes.count)
    for (offset, words) in functions {
      unsafe (body + offset).storeBytes(of: words, as: ClosureWords.self)
    }
    return unsafe object
  }
}

extension FunctionContext.Binding {
  fileprivate func resolve() throws(IPCError) -> UnsafeRawPointer {
    switch self {
    case .type(let name):
      return unsafe unsafeBitCast(try name.resolve(), to: UnsafeRawPointer.self)
    case .table(let location):
      return try unsafe location.resolve("a conformance of the closure's types")
    case .conformance(let name, let location):
      let type = try name.resolve()
      let proto = try unsafe location.resolve("a protocol of the closure's types")
      guard let table = unsafe conformanceTable(type, proto) else {
        throw IPCError(.bootstrapFailed, context: "\(type) has not the parent's conformances here")
      }
      return unsafe table
    }
  }
}

// MARK: - The runtime's side

/// An object with this metadata in front of `count` bytes of zeros. The caller owns one reference.
private func makeObject(
  _ metadata: UnsafeRawPointer, byteCount count: Int
) -> UnsafeMutableRawPointer {
  // One of a class of the standard library, whose elements begin behind the header's two words, and
  // which becomes the other by its metadata. An element has the alignment of a context.
  typealias Buffer = ManagedBuffer<Void, SIMD2<UInt64>>
  let buffer = Buffer.create(minimumCapacity: (count + 15) / 16) { _ in }
  let object = unsafe Unmanaged.passRetained(buffer).toOpaque()
  unsafe (object + ContextObject.headerSize).initializeMemory(
    as: UInt8.self, repeating: 0, count: count)
  unsafe object.storeBytes(of: metadata, as: UnsafeRawPointer.self)
  return unsafe object
}

/// The conformance of a type to a protocol, as functions are handed it.
private func conformanceTable(_ type: Any.Type, _ proto: UnsafeRawPointer) -> UnsafeRawPointer? {
  // The mangled name of `any P.Type`: a reference to where the protocol's address is, then the rest.
  let name = UnsafeMutableRawBufferPointer.allocate(byteCount: 24, alignment: 8)
  defer { unsafe name.deallocate() }
  unsafe name.initializeMemory(as: UInt8.self, repeating: 0)
  unsafe name.storeBytes(of: proto, as: UnsafeRawPointer.self)
  unsafe name[8] = 2
  unsafe name.storeBytes(of: -9 as Int32, toByteOffset: 9, as: Int32.self)
  unsafe name[13...].copyBytes(from: "_pXp".utf8)
  let existential = unsafe _getTypeByMangledNameInContext(
    name.baseAddress!.assumingMemoryBound(to: UInt8.self) + 8, 9, genericContext: nil,
    genericArguments: nil)
  guard let existential else { return nil }
  func table<E>(_ existential: E.Type) -> UnsafeRawPointer? {
    guard MemoryLayout<E>.size == 16, let type = type as? E else { return nil }
    // The type and its conformance.
    return unsafe withUnsafeBytes(of: type) { words in
      unsafe words.load(fromByteOffset: 8, as: UnsafeRawPointer?.self)
    }
  }
  return unsafe _openExistential(existential, do: table)
}

/// An object that a closure has for its context, as the compiler's descriptor tells it.
@safe private struct ContextObject {
  static let headerSize = 16

  let address: UnsafeRawPointer
  let metadata: UnsafeRawPointer
  private let descriptor: UnsafeRawPointer
  let captureCount: Int
  let sourceCount: Int
  let bindingCount: Int

  /// `nil` where it is another object, which a closure has that captures nothing but it, or where the
  /// program was built without descriptors.
  init?(_ address: UnsafeRawPointer) {
    // A context of the compiler's, not an object of a class.
    let metadata = unsafe address.load(as: UnsafeRawPointer.self)
    guard unsafe metadata.load(as: UInt.self) == 0x400,
      unsafe metadata.load(fromByteOffset: 8, as: UInt32.self) == UInt32(Self.headerSize),
      let descriptor = unsafe metadata.load(fromByteOffset: 16, as: UnsafeRawPointer?.self)
    else { return nil }
    unsafe self.address = unsafe address
    unsafe self.metadata = unsafe metadata
    unsafe self.descriptor = unsafe descriptor
    captureCount = Int(unsafe descriptor.load(as: UInt32.self))
    sourceCount = Int(unsafe descriptor.load(fromByteOffset: 4, as: UInt32.self))
    bindingCount = Int(unsafe descriptor.load(fromByteOffset: 8, as: UInt32.self))
    guard captureCount < 1024, sourceCount < 1024, bindingCount < 1024 else { return nil }
  }

  func binding(_ index: Int) -> UInt {
    unsafe address.load(fromByteOffset: Self.headerSize + index * 8, as: UInt.self)
  }

  func captureName(_ index: Int) -> MangledName { name(12 + index * 4) }

  /// A generic parameter, and where its type is.
  func source(_ index: Int) -> (parameter: MangledName, source: MangledName) {
    let offset = 12 + captureCount * 4 + index * 8
    return (name(offset), name(offset + 4))
  }

  private func name(_ offset: Int) -> MangledName {
    let field = unsafe descriptor + offset
    return unsafe MangledName(field + Int(field.load(as: Int32.self)))
  }
}

/// A mangled type in the compiler's tables: text, with references to descriptors in between.
@safe private struct MangledName {
  let start: UnsafeRawPointer
  let count: Int
  /// The text behind the last reference.
  let tail: String

  init(_ start: UnsafeRawPointer) {
    var count = 0
    var tail = 0
    while true {
      let byte = unsafe start.load(fromByteOffset: count, as: UInt8.self)
      if byte == 0 { break }
      switch byte {
      case 1...0x17: (count, tail) = (count + 5, count + 5)
      case 0x18...0x1f: (count, tail) = (count + 9, count + 9)
      default: count += 1
      }
    }
    unsafe self.start = unsafe start
    self.count = count
    let text = unsafe UnsafeRawBufferPointer(start: start + tail, count: count - tail)
    self.tail = unsafe String(decoding: text, as: UTF8.self)
  }

  /// A function of two words that keeps its context: "I", escaping, guaranteed, and no letter of
  /// another representation (a block, a C function, a method, …).
  var isThickFunction: Bool {
    guard tail.hasSuffix("_"), let last = tail.lastIndex(of: "I") else { return false }
    let attributes = tail[last...].dropFirst()
    guard attributes.hasPrefix("eg"), let next = attributes.dropFirst(2).first else { return false }
    return !"BCMJKWz".contains(next) && attributes.dropLast().allSatisfy(\.isLetter)
  }

  var isThickMetatype: Bool { tail.hasSuffix("XMT") }
  var isMetatype: Bool { tail.hasSuffix("m") || tail.hasSuffix("XMt") || tail.hasSuffix("XMo") }
}

/// The types of the generic function around a closure, for the names of captures that mention them.
private struct GenericEnvironment {
  /// Those of the outermost level.
  private var types: [Int: UInt] = [:]

  init(_ object: ContextObject) {
    for index in 0..<object.sourceCount {
      let (parameter, source) = object.source(index)
      guard let place = Self.place(parameter.tail), source.tail.hasPrefix("B"),
        let word = Int(source.tail.dropFirst()), word < object.bindingCount
      else { continue }
      types[place] = object.binding(word)
    }
  }

  /// "x", "q_", "q0_", …
  private static func place(_ name: String) -> Int? {
    if name == "x" { return 0 }
    if name == "q_" { return 1 }
    guard name.hasPrefix("q"), name.hasSuffix("_") else { return nil }
    return Int(name.dropFirst().dropLast()).map { $0 + 2 }
  }

  func type(_ name: MangledName) -> Any.Type? {
    if name.isMetatype { return nil }
    // The names are looked up as if they stood in this type.
    struct Eight<A, B, C, D, E, F, G, H> {}
    typealias Any8 = Eight<Int, Int, Int, Int, Int, Int, Int, Int>
    let unused = unsafe UInt(
      bitPattern: unsafeBitCast(Int.self as Any.Type, to: UnsafeRawPointer.self))
    let arguments = (0..<8).map { types[$0] ?? unused }
    if types.isEmpty {
      return unsafe _getTypeByMangledNameInContext(
        name.start.assumingMemoryBound(to: UInt8.self), UInt(name.count), genericContext: nil,
        genericArguments: nil)
    }
    let descriptor = unsafe unsafeBitCast(Any8.self as Any.Type, to: UnsafeRawPointer.self)
      .load(fromByteOffset: 8, as: UnsafeRawPointer.self)
    return unsafe arguments.withUnsafeBytes { arguments in
      unsafe _getTypeByMangledNameInContext(
        name.start.assumingMemoryBound(to: UInt8.self), UInt(name.count),
        genericContext: descriptor, genericArguments: arguments.baseAddress)
    }
  }
}

/// Numbers, and structs and tuples of nothing but numbers: their bytes mean the same in any process.
private enum NumberType {
  /// - Throws: `notTransferable` for another type.
  static func layout(
    _ name: MangledName, _ environment: GenericEnvironment, _ depth: Int = 0
  ) throws(IPCError) -> (size: Int, alignment: Int) {
    if let type = environment.type(name) {
      guard isNumber(type) else {
        throw FunctionContext.refusal(of: "a value of type \(String(reflecting: type))")
      }
      func layout<T>(_ type: T.Type) -> (size: Int, alignment: Int) {
        (MemoryLayout<T>.size, MemoryLayout<T>.alignment)
      }
      return _openExistential(type, do: layout)
    }
    guard depth < 16, let nominal = NominalType(name) else {
      throw FunctionContext.refusal(of: "something")
    }
    guard let fields = nominal.fields else {
      throw FunctionContext.refusal(of: "a value of type \(nominal.name)")
    }
    // One field behind the other, each where its alignment lets it begin.
    var (size, alignment) = (0, 1)
    for field in fields {
      let of = try layout(field, environment, depth + 1)
      size = (size + of.alignment - 1) / of.alignment * of.alignment + of.size
      alignment = max(alignment, of.alignment)
    }
    return (size, alignment)
  }

  private static func isNumber(_ type: Any.Type, _ depth: Int = 0) -> Bool {
    // The text is somewhere else in another process.
    if type == StaticString.self || depth > 16 { return false }
    let kind = unsafe unsafeBitCast(type, to: UnsafeRawPointer.self).load(as: Int.self)
    guard kind == 0x200 || kind == 0x301 else { return false }  // a struct, a tuple
    var isNumber = true
    let isWhole = unsafe _forEachField(of: type, options: []) { _, _, type, _ in
      let name = _mangledTypeName(type) ?? ""
      isNumber = name.hasPrefix("Bi") || name.hasPrefix("Bf") || self.isNumber(type, depth + 1)
      return isNumber
    }
    return isWhole && isNumber
  }
}

/// A type of the program's as its descriptor tells it, for those that have no metadata: a release build
/// makes none of a type that is nowhere used by it.
@safe private struct NominalType {
  private let descriptor: UnsafeRawPointer

  /// `nil` where the name is not that of a single type, or of a generic one.
  init?(_ name: MangledName) {
    guard name.count == 5 else { return nil }
    let field = unsafe name.start + 1
    let address = unsafe field + Int(field.loadUnaligned(as: Int32.self))
    switch unsafe name.start.load(as: UInt8.self) {
    case 1: unsafe descriptor = unsafe address
    case 2: unsafe descriptor = unsafe address.load(as: UnsafeRawPointer.self)
    default: return nil
    }
    if unsafe Self.flags(descriptor) & 0x80 != 0 { return nil }
  }

  private static func flags(_ descriptor: UnsafeRawPointer) -> UInt32 {
    unsafe descriptor.load(as: UInt32.self)
  }

  /// What a relative reference leads to; `nil` for none.
  private static func target(_ field: UnsafeRawPointer) -> UnsafeRawPointer? {
    let distance = Int(unsafe field.load(as: Int32.self))
    return unsafe distance == 0 ? nil : field + distance
  }

  /// What a type or a module is in. The lowest bit marks an indirect reference.
  private static func parent(_ descriptor: UnsafeRawPointer) -> UnsafeRawPointer? {
    let field = unsafe descriptor + 4
    let distance = Int(unsafe field.load(as: Int32.self))
    if distance == 0 { return nil }
    let address = unsafe field + (distance & ~1)
    return unsafe distance & 1 == 0 ? address : address.load(as: UnsafeRawPointer?.self)
  }

  /// The types of the fields of a structure; `nil` for another type, and for one without that list.
  var fields: [MangledName]? {
    guard unsafe Self.flags(descriptor) & 0x1f == 17, let list = unsafe Self.target(descriptor + 16)
    else { return nil }
    let size = Int(unsafe list.load(fromByteOffset: 10, as: UInt16.self))
    let count = Int(unsafe list.load(fromByteOffset: 12, as: UInt32.self))
    var fields: [MangledName] = []
    for index in 0..<count {
      let record = unsafe list + 16 + index * size
      guard let type = unsafe Self.target(record + 4) else { return nil }
      fields.append(unsafe MangledName(type))
    }
    return fields
  }

  /// As `String(reflecting:)` has it.
  var name: String {
    var parts: [String] = []
    var next: UnsafeRawPointer? = unsafe descriptor
    while let context = unsafe next, parts.count < 32 {
      switch unsafe Self.flags(context) & 0x1f {
      case 0, 16, 17, 18:  // a module, a class, a structure, an enumeration
        guard let text = unsafe Self.target(context + 8) else { return "?" }
        parts.append(unsafe String(cString: text.assumingMemoryBound(to: CChar.self)))
      case 2:  // a function, or a file where the type is private
        parts.append("(unknown context at $\(String(UInt(bitPattern: context), radix: 16)))")
      default: break
      }
      unsafe next = unsafe Self.parent(context)
    }
    return parts.reversed().joined(separator: ".")
  }
}
