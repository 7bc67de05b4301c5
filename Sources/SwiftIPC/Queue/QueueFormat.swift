// SPDX-License-Identifier: Apache-2.0

/// Chooses how elements of a type go through a queue, in the same way in every process.
enum QueueFormat {
  static func coding<Element: Codable & Sendable>(
    of type: Element.Type
  ) -> any QueueCoding<Element> {
    let found: Any? =
      if type == String.self {
        StringQueueCoding()
      } else if let array = type as? any ArrayOfQueueElements.Type {
        array.plainCoding
      } else if isPlain(type) {
        PlainQueueCoding<Element>()
      } else {
        nil
      }
    return found as? any QueueCoding<Element> ?? MessageQueueCoding<Element>()
  }

  /// Whether all bytes are a value of the type, and all of a value is in its bytes: numbers, and
  /// structures and tuples of these. Not a truth value, an enumeration or an optional, which do not
  /// have all bit patterns; and no other type of the standard library, which may have a rule that
  /// its `init(from:)` sees to, as `Range` has.
  static func isPlain<T>(_ type: T.Type) -> Bool {
    if numbers.contains(ObjectIdentifier(type)) { return true }
    if let vector = type as? any SIMD.Type { return isPlainVector(vector) }
    // With a bit pattern to spare it is one that `nil` has: a pointer, a metatype.
    guard _isPOD(type), MemoryLayout<T>.size > 0, MemoryLayout<T?>.size > MemoryLayout<T>.size,
      !(type is any CustomReflectable.Type)
    else { return false }
    return unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { zero in
      // Looked at for its types alone. Zero is a value of each that came so far.
      unsafe UnsafeMutableRawBufferPointer(zero).initializeMemory(as: UInt8.self, repeating: 0)
      let mirror = unsafe Mirror(reflecting: zero[0])
      guard mirror.displayStyle == .tuple || mirror.displayStyle == .struct,
        mirror.displayStyle == .tuple || !TypeFingerprint.name(of: type).hasPrefix("Swift."),
        !mirror.children.isEmpty
      else { return false }
      return mirror.children.allSatisfy { isPlain(opened: Swift.type(of: $0.value)) }
    }
  }

  private static func isPlain(opened type: Any.Type) -> Bool {
    func open<T>(_ type: T.Type) -> Bool { isPlain(type) }
    return open(type)
  }

  private static func isPlainVector<V: SIMD>(_ type: V.Type) -> Bool {
    numbers.contains(ObjectIdentifier(V.Scalar.self))
  }

  private static let numbers: Set<ObjectIdentifier> = [
    ObjectIdentifier(Int.self), ObjectIdentifier(Int8.self), ObjectIdentifier(Int16.self),
    ObjectIdentifier(Int32.self), ObjectIdentifier(Int64.self), ObjectIdentifier(Int128.self),
    ObjectIdentifier(UInt.self), ObjectIdentifier(UInt8.self), ObjectIdentifier(UInt16.self),
    ObjectIdentifier(UInt32.self), ObjectIdentifier(UInt64.self), ObjectIdentifier(UInt128.self),
    ObjectIdentifier(Float16.self), ObjectIdentifier(Float.self), ObjectIdentifier(Double.self),
  ]
}

/// An array, whatever its elements.
private protocol ArrayOfQueueElements {
  /// Its coding if its elements are plain.
  static var plainCoding: Any? { get }
}

extension Array: ArrayOfQueueElements {
  fileprivate static var plainCoding: Any? {
    QueueFormat.isPlain(Element.self) ? ArrayQueueCoding<Element>() : nil
  }
}
