// SPDX-License-Identifier: Apache-2.0

/// What a parent tells its child to do. A frame of its own, with the arguments in a second one.
///
/// The bytes are laid out by hand. Coding them as a message would have the Swift runtime of each new
/// child look up dozens of conformances and make as many types: a tenth of a start.
struct TaskHeader: Sendable {
  /// The child's name.
  var name: String
  /// Whether the task returns something other than `Void`.
  var returnsValue: Bool
  /// Whether the child's memory was limited at its start.
  var hasMemoryLimit = false
  var work: Work

  enum Work: Sendable {
    /// A closure: where it is, how it is called, and the types in its signature.
    case closure(FunctionLocation, FunctionCall, arguments: [TypeName], output: TypeName?)
    /// A `ProcessTask` of this type, which is the one argument.
    case task(TypeName)
    /// What a forked child has in its memory, this header included: it is not sent.
    case inherited(hasArguments: Bool)
  }

  /// Whether a frame with arguments follows.
  var hasArguments: Bool {
    switch work {
    case .closure(_, _, let arguments, _): !arguments.isEmpty
    case .task: true
    case .inherited(let hasArguments): hasArguments
    }
  }

  /// Whether the child has the header already.
  var isInherited: Bool {
    if case .inherited = work { true } else { false }
  }
}

extension TaskHeader {
  private static let version: UInt8 = 1

  var bytes: [UInt8] {
    var writer = HeaderWriter()
    writer.write(Self.version)
    writer.write(returnsValue ? 1 : 0 as UInt8)
    writer.write(hasMemoryLimit ? 1 : 0 as UInt8)
    writer.write(name)
    switch work {
    case .closure(let location, let call, let arguments, let output):
      writer.write(call.rawValue)
      writer.write(function: location)
      writer.write(UInt32(arguments.count))
      for argument in arguments { writer.write(argument) }
      if let output { writer.write(output) }
    case .task(let type):
      writer.write(Self.taskCall)
      writer.write(type)
    case .inherited: break
    }
    return writer.bytes
  }

  /// Stands where the call of a closure does.
  private static let taskCall: UInt8 = 255

  /// - Throws: `malformedMessage` with the offset.
  init(_ bytes: [UInt8]) throws(IPCError) {
    var reader = HeaderReader(bytes)
    guard try reader.integer(UInt8.self) == Self.version else { throw reader.malformed("version") }
    returnsValue = try reader.integer(UInt8.self) != 0
    hasMemoryLimit = try reader.integer(UInt8.self) != 0
    name = try reader.text()
    let call = try reader.integer(UInt8.self)
    if call == Self.taskCall {
      work = .task(try reader.typeName())
      return
    }
    guard let call = FunctionCall(rawValue: call) else { throw reader.malformed("call") }
    let location = try reader.function()
    var arguments: [TypeName] = []
    for _ in 0..<(try reader.integer(UInt32.self)) { arguments.append(try reader.typeName()) }
    let output = returnsValue ? try reader.typeName() : nil
    work = .closure(location, call, arguments: arguments, output: output)
  }
}

/// Integers in this machine's byte order, texts with their length in front.
private struct HeaderWriter {
  var bytes: [UInt8] = []

  mutating func write(_ integer: some FixedWidthInteger) {
    unsafe withUnsafeBytes(of: integer) { unsafe bytes.append(contentsOf: $0) }
  }

  mutating func write(_ text: String) {
    write(UInt32(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  mutating func write(_ location: ImageLocation) {
    write(location.offset)
    write(location.isProgram ? 1 : 0 as UInt8)
    write(UInt8(location.id.count))
    bytes.append(contentsOf: location.id)
    if !location.isProgram { write(location.library) }
  }

  mutating func write(function: FunctionLocation) {
    write(function.code)
    guard let context = function.context else {
      write(0 as UInt8)
      return
    }
    write(1 as UInt8)
    write(context.metadata)
    write(UInt32(context.bindings.count))
    for binding in context.bindings {
      switch binding {
      case .type(let name):
        write(0 as UInt8)
        write(name)
      case .table(let location):
        write(1 as UInt8)
        write(location)
      case .conformance(let name, let proto):
        write(2 as UInt8)
        write(name)
        write(proto)
      }
    }
    write(UInt32(context.captures.count))
    for capture in context.captures {
      switch capture {
      case .number(let number, let alignment):
        write(0 as UInt8)
        write(UInt8(alignment))
        write(UInt32(number.count))
        bytes += number
      case .type(let name):
        write(1 as UInt8)
        write(name)
      case .function(let function):
        write(2 as UInt8)
        write(function: function)
      }
    }
  }

  mutating func write(_ type: TypeName) {
    switch type {
    case .mangled(let name, library: nil):
      write(0 as UInt8)
      write(name)
    case .mangled(let name, let library?):
      write(2 as UInt8)
      write(name)
      write(library)
    case .descriptor(let location):
      write(1 as UInt8)
      write(location)
    }
  }
}

private struct HeaderReader {
  private let bytes: [UInt8]
  private var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func malformed(_ field: String) -> IPCError {
    IPCError(.malformedMessage, context: "task header: \(field) at offset \(offset)")
  }

  private mutating func next(_ count: Int) throws(IPCError) -> ArraySlice<UInt8> {
    guard count <= bytes.count - offset else { throw malformed("end of the bytes") }
    defer { offset += count }
    return bytes[offset..<offset + count]
  }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type) throws(IPCError) -> T {
    let bytes = try next(MemoryLayout<T>.size)
    return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: T.self) }
  }

  mutating func text() throws(IPCError) -> String {
    String(decoding: try next(Int(try integer(UInt32.self))), as: UTF8.self)
  }

  mutating func location() throws(IPCError) -> ImageLocation {
    let offset = try integer(UInt64.self)
    let isProgram = try integer(UInt8.self) != 0
    let id = Array(try next(Int(try integer(UInt8.self))))
    let library = isProgram ? "" : try text()
    return ImageLocation(offset: offset, isProgram: isProgram, id: id, library: library)
  }

  mutating func function(_ depth: Int = 0) throws(IPCError) -> FunctionLocation {
    let code = try location()
    guard try integer(UInt8.self) != 0 else { return FunctionLocation(code: code, context: nil) }
    guard depth <= FunctionContext.depthLimit else { throw malformed("depth of functions") }
    var context = FunctionContext(metadata: try location())
    for _ in 0..<(try integer(UInt32.self)) {
      switch try integer(UInt8.self) {
      case 0: context.bindings.append(.type(try typeName()))
      case 1: context.bindings.append(.table(try location()))
      case 2: context.bindings.append(.conformance(try typeName(), try location()))
      default: throw malformed("kind of binding")
      }
    }
    for _ in 0..<(try integer(UInt32.self)) {
      switch try integer(UInt8.self) {
      case 0:
        let alignment = Int(try integer(UInt8.self))
        let number = Array(try next(Int(try integer(UInt32.self))))
        context.captures.append(.number(number, alignment: alignment))
      case 1: context.captures.append(.type(try typeName()))
      case 2: context.captures.append(.function(try function(depth + 1)))
      default: throw malformed("kind of capture")
      }
    }
    return FunctionLocation(code: code, context: context)
  }

  mutating func typeName() throws(IPCError) -> TypeName {
    switch try integer(UInt8.self) {
    case 0: return .mangled(try text(), library: nil)
    case 1: return .descriptor(try location())
    case 2: return .mangled(try text(), library: try location())
    default: throw malformed("kind of type name")
    }
  }
}
