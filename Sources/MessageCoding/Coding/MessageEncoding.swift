// SPDX-License-Identifier: Apache-2.0

/// A message, or a part of one, that is being encoded.
///
/// Bytes go straight into the buffer while `encode(to:)` runs. A nested container may be written to
/// at any time until the end, so it has a buffer of its own which is inserted when all is done.
package final class MessageEncoding {
  package let context: MessageEncodingContext
  package let writer: PickleWriter
  let path: MessageCodingPath?

  /// The container that the value being encoded has asked for so far.
  enum Kind: UInt8 {
    case nothing, keyed, unkeyed, single
  }

  // Of the innermost value whose `encode(to:)` runs; the ones around it are saved by `encode`.
  var kind = Kind.nothing
  /// Names that value, so that a container of a value that is done is noticed.
  var serial = 0
  /// How many elements its container has.
  var count = 0

  private var lastSerial = 0
  private var depth: Int
  private var parts: [(offset: Int, encoding: MessageEncoding)] = []
  private var hadParts = false
  /// Why nothing can be written here.
  private var failure: IPCError?

  init(
    _ context: MessageEncodingContext, path: MessageCodingPath?, depth: Int = 0, capacity: Int = 256
  ) {
    self.context = context
    self.path = path
    self.depth = depth
    writer = PickleWriter(capacity: capacity)
    writer.packsNumbers = context.packsNumbers
  }

  private static let spare = Spare<MessageEncoding>()

  /// Runs the body with one for a message.
  @inline(__always)
  static func with<Result>(_ body: (MessageEncoding) throws -> Result) throws -> Result {
    // Moved, not copied: there is one reference unless a type that was encoded has kept another.
    var encoding =
      spare.take() ?? Optional(MessageEncoding(MessageEncodingContext(), path: nil))
    defer { putAway(&encoding) }
    return try body(encoding!)
  }

  private static func putAway(_ encoding: inout MessageEncoding?) {
    // A type that was encoded may have kept its encoder, or a container, and a part has the context.
    guard isKnownUniquelyReferenced(&encoding), let mine = encoding.take(), !mine.hadParts,
      !mine.writer.isLarge
    else { return }
    mine.context.clear()
    (mine.kind, mine.count) = (.nothing, 0)
    spare.keep(mine)
  }

  /// Encodes a value of any type where the writer stands.
  func encode<T: Encodable>(
    _ value: T, _ path: MessageCodingPath?, _ key: @autoclosure () -> (any CodingKey)?
  ) throws {
    if try encodeDirectly(value, path, key()) { return }
    try PickleWriter.checkDepth(depth)
    let saved = (kind, serial, count)
    let start = writer.count
    let partCount = parts.count
    lastSerial += 1
    depth += 1
    (kind, serial, count) = (.nothing, lastSerial, 0)
    defer {
      depth -= 1
      (kind, serial, count) = saved
    }
    do {
      let path = key().map { MessageCodingPath(path, $0) } ?? path
      try value.encode(to: MessageValueEncoder(encoding: self, serial: serial, path: path))
      close()
    } catch {
      // A caller that catches the error can go on as if nothing had been encoded.
      writer.truncate(to: start)
      parts.removeLast(parts.count - partCount)
      throw error
    }
  }

  /// Ends the container of the innermost value. A value that encoded nothing is an empty dictionary.
  private func close() {
    switch kind {
    case .nothing: writer.opcode(PickleOpcode.emptyDictionary)
    case .keyed: if count > 0 { writer.opcode(PickleOpcode.setItems) }
    case .unkeyed: if count > 0 { writer.opcode(PickleOpcode.appends) }
    case .single: break
    }
  }

  /// A part that is inserted here and written on its own.
  func makePart(_ path: MessageCodingPath?, _ kind: Kind) -> MessageEncoding {
    do {
      try PickleWriter.checkDepth(depth)
    } catch {
      // Codable does not let this throw: what is encoded into the part throws, and the end does.
      context.failure = context.failure ?? error
      return .unusable(path, error)
    }
    let part = MessageEncoding(context, path: path, depth: depth + 1, capacity: 64)
    parts.append((writer.count, part))
    hadParts = true
    if kind != .nothing { part.open(kind) }
    return part
  }

  /// Ends the message where it is; false when there are parts to be inserted.
  package func finishInPlace() -> Bool {
    if !parts.isEmpty { return false }
    writer.end()
    return true
  }

  /// The bytes of the message.
  package func finish() -> [UInt8] {
    let size = finishParts()
    writer.end()
    if parts.isEmpty { return writer.bytes() }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size + 1)
    append(to: &bytes)
    return bytes
  }

  /// Ends the parts, and the parts in them. The number of bytes of all.
  private func finishParts() -> Int {
    parts.reduce(writer.count) { size, part in
      part.encoding.close()
      let inner = part.encoding.finishParts()
      writer.takeNote(of: part.encoding.writer)
      return size + inner
    }
  }

  /// Appends what was written, with the parts where they belong: each byte once, however deep it is.
  private func append(to bytes: inout [UInt8]) {
    var done = 0
    for part in parts {
      writer.append(done..<part.offset, to: &bytes)
      part.encoding.append(to: &bytes)
      done = part.offset
    }
    writer.append(done..<writer.count, to: &bytes)
  }

  // MARK: Containers

  /// Makes the value a container, or goes on with the container that it is. False when it is
  /// something else already.
  @discardableResult
  func open(_ wanted: Kind) -> Bool {
    if kind == wanted { return true }
    guard kind == .nothing else { return false }
    kind = wanted
    writer.opcode(wanted == .keyed ? PickleOpcode.emptyDictionary : PickleOpcode.emptyList)
    return true
  }

  /// Begins an element of the container that belongs to the value `serial`.
  @inline(__always)
  func element(_ serial: Int, _ kind: Kind) throws(IPCError) {
    guard serial == self.serial, kind == self.kind else { throw stale() }
    if count == 0, kind != .single { writer.opcode(PickleOpcode.mark) }
    count += 1
  }

  /// Begins the one value of a single-value container.
  @inline(__always)
  func single(_ serial: Int) throws(IPCError) {
    guard serial == self.serial, kind == .nothing else { throw stale() }
    kind = .single
  }

  private func stale() -> IPCError {
    failure
      ?? IPCError(
        .invalidArgument,
        context:
          "\(MessageCodingPath.describe(path)): a container was used after its value was encoded, "
          + "or a value encoded in two ways"
      )
  }

  /// Writes the whole of a value that asked for no container.
  func write(_ value: MessageValue, _ serial: Int) throws(IPCError) {
    try single(serial)
    try writer.value(value, depth: depth)
  }

  // MARK: Types that are written without their `encode(to:)`

  @inline(__always)
  private func encodeDirectly<T: Encodable>(
    _ value: T, _ path: MessageCodingPath?, _ key: @autoclosure () -> (any CodingKey)?
  ) throws -> Bool {
    // Arrays, dictionaries and sets are one word, so most structs are done with this test.
    if MemoryLayout<T>.size == MemoryLayout<Int>.size {
      return try encodeWord(value, path, key())
    }
    if T.self == String.self {
      writer.string(cast(value))
      return true
    }
    if T.self == MessageValue.self {
      try writer.value(cast(value), depth: depth)
      return true
    }
    return false
  }

  private func encodeWord<T: Encodable>(
    _ value: T, _ path: MessageCodingPath?, _ key: @autoclosure () -> (any CodingKey)?
  ) throws -> Bool {
    if T.self == Int.self {
      writer.integer(Int64(cast(value, to: Int.self)))
    } else if T.self == Double.self {
      writer.float(cast(value))
    } else if T.self == [Double].self {
      writer.list(cast(value, to: [Double].self))
    } else if T.self == [UInt8].self {
      writer.bytes(cast(value))
    } else if T.self == [String].self {
      writer.list(cast(value, to: [String].self))
    } else if T.self == [Int].self {
      writer.list(cast(value, to: [Int].self))
    } else if T.self == [Float].self {
      writer.list(cast(value, to: [Float].self))
    } else if T.self == [Bool].self {
      writer.list(cast(value, to: [Bool].self))
    } else if T.self == [Int8].self {
      writer.list(cast(value, to: [Int8].self))
    } else if T.self == [Int16].self {
      writer.list(cast(value, to: [Int16].self))
    } else if T.self == [Int32].self {
      writer.list(cast(value, to: [Int32].self))
    } else if T.self == [Int64].self {
      writer.list(cast(value, to: [Int64].self))
    } else if T.self == [UInt].self {
      writer.list(cast(value, to: [UInt].self))
    } else if T.self == [UInt16].self {
      writer.list(cast(value, to: [UInt16].self))
    } else if T.self == [UInt32].self {
      writer.list(cast(value, to: [UInt32].self))
    } else if T.self == [UInt64].self {
      writer.list(cast(value, to: [UInt64].self))
    } else if T.self == [Float16].self {
      writer.list(cast(value, to: [Float16].self))
    } else if T.self == [Int128].self {
      writer.list(cast(value, to: [Int128].self))
    } else if T.self == [UInt128].self {
      writer.list(cast(value, to: [UInt128].self))
    } else if let dictionary = value as? any PickleDictionary {
      try PickleWriter.checkDepth(depth)
      depth += 1
      defer { depth -= 1 }
      let start = writer.count
      let partCount = parts.count
      do {
        try dictionary.write(to: self, key().map { MessageCodingPath(path, $0) } ?? path)
      } catch {
        writer.truncate(to: start)
        parts.removeLast(parts.count - partCount)
        throw error
      }
    } else if let set = value as? any PickleSet {
      set.write(to: writer)
    } else {
      return false
    }
    return true
  }

  /// The value as the type that the caller has found it to have.
  @inline(__always)
  private func cast<T, U>(_ value: T, to: U.Type = U.self) -> U {
    // The types were compared, and they are one and the same.
    unsafe unsafeBitCast(value, to: U.self)
  }
}

extension MessageEncoding {
  /// A part of nothing, on which every `encode` throws.
  static func unusable(_ path: MessageCodingPath?, _ failure: IPCError? = nil) -> MessageEncoding {
    let encoding = MessageEncoding(
      MessageEncodingContext(), path: path, capacity: 16)
    encoding.serial = -1
    encoding.failure = failure
    return encoding
  }
}
