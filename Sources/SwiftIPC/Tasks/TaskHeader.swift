// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

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

  init(name: String, returnsValue: Bool, work: Work) {
    self.name = name
    self.returnsValue = returnsValue
    self.work = work
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

extension TaskHeader.Work {
  /// What names a closure to another process.
  ///
  /// - Throws: `notTransferable` for a closure that captures what cannot be sent, and for a type that
  ///   has no name.
  init(
    _ function: some SendableFunction, arguments: [any Any.Type], output: Any.Type?
  ) throws(IPCError) {
    var names: [TypeName] = []
    for argument in arguments { names.append(try TypeName(of: argument)) }
    var outputName: TypeName?
    if let output { outputName = try TypeName(of: output) }
    self = .closure(
      try function.location(), type(of: function).call, arguments: names, output: outputName)
  }
}

extension TaskHeader {
  private static let version: UInt8 = 2

  var bytes: [UInt8] {
    let frame = FrameBuffer(capacity: 512)
    frame.append(Self.version)
    frame.append(returnsValue ? 1 : 0 as UInt8)
    frame.append(hasMemoryLimit ? 1 : 0 as UInt8)
    frame.append(counted: name)
    switch work {
    case .closure(let location, let call, let arguments, let output):
      frame.append(call.rawValue)
      frame.append(location)
      frame.append(UInt32(arguments.count))
      for argument in arguments { frame.append(argument) }
      frame.append(output == nil ? 0 : 1 as UInt8)
      if let output { frame.append(output) }
    case .task(let type):
      frame.append(Self.taskCall)
      frame.append(type)
    case .inherited: break
    }
    return unsafe Array(frame.bytes)
  }

  /// Stands where the call of a closure does.
  private static let taskCall: UInt8 = 255

  /// - Throws: `malformedMessage` with the offset.
  init(_ bytes: [UInt8]) throws(IPCError) {
    let header = unsafe bytes.withUnsafeBytes { bytes in
      Result { () throws(IPCError) in
        var reader = unsafe FrameReader(bytes)
        return try TaskHeader(&reader)
      }
    }
    self = try header.get()
  }

  init(_ reader: inout FrameReader) throws(IPCError) {
    guard try reader.integer(UInt8.self) == Self.version else { throw reader.malformed("version") }
    returnsValue = try reader.integer(UInt8.self) != 0
    hasMemoryLimit = try reader.integer(UInt8.self) != 0
    name = try reader.text()
    let call = try reader.integer(UInt8.self)
    if call == Self.taskCall {
      work = .task(try reader.typeName())
      return
    }
    guard FunctionCall.known.isSuperset(of: FunctionCall(rawValue: call)) else {
      throw reader.malformed("call")
    }
    let location = try reader.function()
    var arguments: [TypeName] = []
    for _ in 0..<(try reader.integer(UInt32.self)) { arguments.append(try reader.typeName()) }
    let output = try reader.integer(UInt8.self) != 0 ? try reader.typeName() : nil
    work = .closure(
      location, FunctionCall(rawValue: call), arguments: arguments, output: output)
  }
}

extension FrameBuffer {
  fileprivate func append(_ location: ImageLocation) {
    append(location.offset)
    append(location.isProgram ? 1 : 0 as UInt8)
    append(UInt8(location.id.count))
    append(location.id)
    if !location.isProgram { append(counted: location.library) }
  }

  fileprivate func append(_ location: FunctionLocation) {
    append(location.code)
    guard let context = location.context else {
      append(0 as UInt8)
      return
    }
    append(1 as UInt8)
    append(context.metadata)
    append(UInt32(context.bindings.count))
    for binding in context.bindings {
      switch binding {
      case .type(let name):
        append(0 as UInt8)
        append(name)
      case .table(let location):
        append(1 as UInt8)
        append(location)
      case .conformance(let name, let proto):
        append(2 as UInt8)
        append(name)
        append(proto)
      }
    }
    append(UInt32(context.captures.count))
    for capture in context.captures {
      switch capture {
      case .number(let number, let alignment):
        append(0 as UInt8)
        append(UInt8(alignment))
        append(UInt32(number.count))
        append(number)
      case .type(let name):
        append(1 as UInt8)
        append(name)
      case .function(let function):
        append(2 as UInt8)
        append(function)
      }
    }
  }

  fileprivate func append(_ type: TypeName) {
    switch type {
    case .mangled(let name, library: nil):
      append(0 as UInt8)
      append(counted: name)
    case .mangled(let name, let library?):
      append(2 as UInt8)
      append(counted: name)
      append(library)
    case .descriptor(let location):
      append(1 as UInt8)
      append(location)
    }
  }
}

extension FrameReader {
  private mutating func bytes(_ count: Int) throws(IPCError) -> [UInt8] {
    unsafe Array(try raw(count))
  }

  private mutating func location() throws(IPCError) -> ImageLocation {
    let offset = try integer(UInt64.self)
    let isProgram = try integer(UInt8.self) != 0
    let id = try bytes(Int(try integer(UInt8.self)))
    let library = isProgram ? "" : try text()
    return ImageLocation(offset: offset, isProgram: isProgram, id: id, library: library)
  }

  fileprivate mutating func function(_ depth: Int = 0) throws(IPCError) -> FunctionLocation {
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
        let number = try bytes(Int(try integer(UInt32.self)))
        context.captures.append(.number(number, alignment: alignment))
      case 1: context.captures.append(.type(try typeName()))
      case 2: context.captures.append(.function(try function(depth + 1)))
      default: throw malformed("kind of capture")
      }
    }
    return FunctionLocation(code: code, context: context)
  }

  fileprivate mutating func typeName() throws(IPCError) -> TypeName {
    switch try integer(UInt8.self) {
    case 0: return .mangled(try text(), library: nil)
    case 1: return .descriptor(try location())
    case 2: return .mangled(try text(), library: try location())
    default: throw malformed("kind of type name")
    }
  }
}
