// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// How the elements of a queue become bytes, and bytes elements: chosen once for a type.
///
/// In two steps each, so that no code of the element type's runs while a side of the queue is held.
protocol QueueCoding<Element>: Sendable {
  associatedtype Element

  /// What the queue says of its elements: readers and writers must agree.
  var fingerprint: UInt64 { get }

  /// Before the side is taken: what is to be written.
  func record(of element: Element) throws -> QueueRecord<Element>

  /// With the side held: the bytes to be copied.
  func withBytes(
    of record: QueueRecord<Element>, _ body: (UnsafeRawBufferPointer) -> Int32
  ) -> Int32

  /// With the side held: copies and checks bytes that another process may change meanwhile.
  ///
  /// - Throws: `malformedMessage`, which names what is wrong.
  func read(_ bytes: UnsafeRawBufferPointer) throws(IPCError) -> QueueRecord<Element>

  /// When the side is free again.
  func element(of record: QueueRecord<Element>) throws -> Element
}

/// An element on its way through a queue.
enum QueueRecord<Element> {
  /// As it is.
  case element(Element)
  /// As a message.
  case message([UInt8])
}

/// An element that was taken out of a queue.
struct QueueTaken<Element> {
  var record: QueueRecord<Element>
  /// Names it where it was leased.
  var ticket: UInt64
}

extension QueueCoding {
  func record(of element: Element) throws -> QueueRecord<Element> { .element(element) }

  func element(of record: QueueRecord<Element>) throws -> Element {
    guard case .element(let element) = record else { preconditionFailure("read as a message") }
    return element
  }
}

/// Elements of numbers alone: their bytes.
struct PlainQueueCoding<Element>: QueueCoding {
  static var size: Int { MemoryLayout<Element>.size }

  var fingerprint: UInt64 {
    var element = cipc_element_t(of: Element.self)
    return unsafe cipc_ring_fingerprint(Int32(CIPC_RING_OF_ELEMENTS), &element)
  }

  func withBytes(
    of record: QueueRecord<Element>, _ body: (UnsafeRawBufferPointer) -> Int32
  ) -> Int32 {
    guard case .element(let element) = record else { preconditionFailure("encoded as a message") }
    return unsafe withUnsafeBytes(of: element) { unsafe body($0) }
  }

  func read(_ bytes: UnsafeRawBufferPointer) throws(IPCError) -> QueueRecord<Element> {
    guard bytes.count == Self.size else {
      throw IPCError(
        .malformedMessage,
        context: "element of a queue: length \(bytes.count), and a \(Element.self) has \(Self.size)"
      )
    }
    return unsafe withUnsafeTemporaryAllocation(of: Element.self, capacity: 1) { copy in
      // Of any bytes there is an element: that was found out when this coding was chosen.
      unsafe UnsafeMutableRawBufferPointer(copy).copyMemory(from: bytes)
      return unsafe .element(copy[0])
    }
  }
}

/// Arrays of such elements: the bytes of all.
struct ArrayQueueCoding<T>: QueueCoding {
  typealias Element = [T]

  static var stride: Int { MemoryLayout<T>.stride }

  var fingerprint: UInt64 {
    var element = cipc_element_t(of: T.self)
    return unsafe cipc_ring_fingerprint(Int32(CIPC_RING_OF_ARRAYS), &element)
  }

  func withBytes(
    of record: QueueRecord<[T]>, _ body: (UnsafeRawBufferPointer) -> Int32
  ) -> Int32 {
    guard case .element(let array) = record else { preconditionFailure("encoded as a message") }
    return unsafe array.withUnsafeBytes { unsafe body($0) }
  }

  func read(_ bytes: UnsafeRawBufferPointer) throws(IPCError) -> QueueRecord<[T]> {
    guard bytes.count % Self.stride == 0 else { throw Self.badLength(bytes.count) }
    return unsafe .element(
      [T](unsafeUninitializedCapacity: bytes.count / Self.stride) { buffer, count in
        unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        count = bytes.count / Self.stride
      })
  }

  static func badLength(_ length: Int) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "element of a queue: length \(length), and a \(T.self) takes \(stride) of an array")
  }
}

/// Text: its UTF-8.
struct StringQueueCoding: QueueCoding {
  typealias Element = String

  var fingerprint: UInt64 { unsafe cipc_fingerprint_of("text") }

  func record(of element: String) -> QueueRecord<String> {
    // Contiguous from here on, also where it came from elsewhere.
    var element = element
    element.makeContiguousUTF8()
    return .element(element)
  }

  func withBytes(
    of record: QueueRecord<String>, _ body: (UnsafeRawBufferPointer) -> Int32
  ) -> Int32 {
    guard case .element(var text) = record else { preconditionFailure("encoded as a message") }
    return text.withUTF8 { unsafe body(UnsafeRawBufferPointer($0)) }
  }

  func read(_ bytes: UnsafeRawBufferPointer) throws(IPCError) -> QueueRecord<String> {
    // A copy first: another process may write over text that was validated in place.
    let text = unsafe withUnsafeTemporaryAllocation(
      byteCount: bytes.count, alignment: 1
    ) { copy -> String? in
      unsafe copy.copyMemory(from: bytes)
      if unsafe CombiningMarks.isTooLong(UnsafeRawBufferPointer(copy)) { return nil }
      return unsafe String(validating: copy, as: UTF8.self)
    }
    guard let text else {
      throw IPCError(
        .malformedMessage,
        context:
          "element of a queue: text that is not valid UTF-8, or has more than "
          + "\(CombiningMarks.maximum) combining characters in a row"
      )
    }
    return .element(text)
  }
}

/// Everything else: messages, as a `Connection` sends them.
struct MessageQueueCoding<Element: Codable & Sendable>: QueueCoding {
  var fingerprint: UInt64 {
    var element = cipc_element_t(of: Element.self)
    return unsafe cipc_ring_fingerprint(Int32(CIPC_RING_OF_MESSAGES), &element)
  }

  func record(of element: Element) throws -> QueueRecord<Element> {
    do {
      return .message(try MessageEncoder().encode(element))
    } catch var error as IPCError where error.code == .notTransferable {
      error.context +=
        "; a queue is memory, which carries no descriptors: send it over a Connection"
      throw error
    }
  }

  func withBytes(
    of record: QueueRecord<Element>, _ body: (UnsafeRawBufferPointer) -> Int32
  ) -> Int32 {
    guard case .message(let bytes) = record else { preconditionFailure("encoded as a message") }
    return unsafe bytes.withUnsafeBytes { unsafe body($0) }
  }

  func read(_ bytes: UnsafeRawBufferPointer) throws(IPCError) -> QueueRecord<Element> {
    .message(unsafe [UInt8](bytes))
  }

  func element(of record: QueueRecord<Element>) throws -> Element {
    guard case .message(let bytes) = record else { preconditionFailure("read as it is") }
    return try MessageDecoder().decode(Element.self, from: bytes)
  }
}
