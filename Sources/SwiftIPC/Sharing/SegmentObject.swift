// SPDX-License-Identifier: Apache-2.0

/// A shared object that is one segment of shared memory, or a part of a region's.
///
/// For the library: what such objects have in common, which is how they are found by name and how
/// they travel to another process, as an argument of a child or in a message on a `Connection`.
public protocol SegmentObject: NamedObject, Codable {
  /// The memory in which the object lies. For the library.
  var memory: ObjectMemory { get }
}

/// The memory in which a shared object lies. For the library.
@safe
public struct ObjectMemory: Sendable {
  @usableFromInline let segment: Segment

  init(_ segment: Segment) { self.segment = segment }
}

extension SegmentObject {
  @inlinable var segment: Segment { memory.segment }

  /// How the object is known by name. For the library.
  public var naming: ObjectNaming { memory.segment.naming }

  /// Gives the object to another process, which then shares it: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder.
  public func encode(to encoder: any Encoder) throws {
    try memory.segment.encode(to: encoder, as: Self.self)
  }
}
