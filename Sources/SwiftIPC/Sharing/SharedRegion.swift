// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Many shared objects in one piece of memory, found by name.
///
/// ```swift
/// let region = try SharedRegion(size: 1 << 20)
/// let hits = try region.value("hits", 0)
/// let lock = try region.lock("lock")
/// let row = try region.array("row", repeating: 0.0, count: 100)
/// try await ChildProcess.start(region) { region in
///   try region.value("hits", 0).withLock { $0 += 1 }
/// }.join()
/// print(hits.value, region.names)
/// ```
///
/// A thousand separate objects are a thousand descriptors and at least as many pages; in a region they
/// are one descriptor, and each takes what it needs, rounded up to 64 bytes, and 128 bytes for its
/// name and type. All in all an object of a region is what it would be on its own.
///
/// Each function finds the object of that name or makes it, or does one of both alone, as its mode
/// says: of any number of processes that ask for the same name at the same time, one makes the
/// object and the others get it. The type has to be the same. A process killed while it makes an
/// object leaves the region as it was.
///
/// Objects stay as long as the region: nothing is freed singly. They keep the region's memory mapped,
/// also when the region itself is released. An object that is sent to another process travels as the
/// region and its name, so the other process has all of the region.
///
/// For processes that trust each other, because of the lock with which objects are made: a process
/// that writes over its bytes can make the others write to memory of theirs, see `Lock`. Any number
/// of threads and processes may use it. It travels to another process as an argument of a child or in
/// a message on a `Connection`, and may have a name of its own, see `NamedObject`. The corresponding
/// C type is `cipc_region_t`.
@safe
public final class SharedRegion: SegmentObject {
  /// The memory in which the region lies. For the library.
  public let memory: ObjectMemory

  /// Makes an empty region; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameter size: bytes for objects and their directory, see `size(forObjects:bytes:)`; the same
  ///   in all programs.
  /// - Throws: `IPCError` with `invalidArgument` for a size too small for one object or one that
  ///   cannot be represented, `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than a
  ///   region of this size, `invalidArgument` when it cannot be one. See `NamedObject`.
  public init(
    size: Int, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    memory = ObjectMemory(
      try Self.makeSegment(size: size, name: name.map { ObjectName($0, mode) }))
  }

  /// Finds a region by its name, of whatever size.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or otherwise as `init(size:named:_:)`.
  public init(named name: String) throws(IPCError) {
    let segment = try Segment.open(
      ObjectName(name, .open), as: cipc_region_type(Segment.anyCount), subject: "SharedRegion")
    try RegionTable.check(segment)
    RegionTable.insert(segment)
    memory = ObjectMemory(segment)
  }

  /// Receives a region from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `SharedRegion`; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let inbox = try decoder.descriptorInbox(for: SharedRegion.self)
    let index = try decoder.singleValueContainer().decode(Int.self)
    memory = ObjectMemory(try inbox.shared(index) { try RegionTable.region($0) })
  }

  private static func makeSegment(size: Int, name: ObjectName?) throws(IPCError) -> Segment {
    let segment = try unsafe Segment.make(
      cipc_region_type(UInt64(clamping: size)), size: max(0, size), name: name,
      subject: "SharedRegion"
    ) { address in
      unsafe cipc_region_format(address.assumingMemoryBound(to: cipc_region_t.self), size)
    }
    try RegionTable.check(segment)
    RegionTable.insert(segment)
    return segment
  }

  /// Bytes that a region needs for a number of objects.
  ///
  /// - Parameters:
  ///   - objects: how many.
  ///   - bytes: what all of them need: 8 for a `SharedAtomic`, 128 for a lock, and for each value, array,
  ///     text and the like what is in it and 256 more, twice what is in it for those that change as
  ///     a whole.
  public static func size(forObjects objects: Int, bytes: Int) -> Int {
    let size = cipc_region_footprint(max(0, objects), max(0, bytes))
    // What C has as its largest size is negative here.
    return size < 0 ? .max : size
  }

  /// Bytes for objects and their directory.
  public var size: Int { segment.size }

  /// How many objects there are. Others may be making more.
  public var count: Int {
    withExtendedLifetime(segment) {
      unsafe Int(cipc_region_count(segment.regionPointer, segment.size))
    }
  }

  /// The names of all objects, in the order in which they were made.
  public var names: [String] {
    withExtendedLifetime(segment) {
      (0..<count).compactMap { index in
        var entry = cipc_region_entry_t()
        let status = unsafe cipc_region_entry(segment.regionPointer, segment.size, index, &entry)
        guard status == 0 else { return nil }
        // Terminated, as the C core has checked.
        return unsafe withUnsafeBytes(of: &entry.name) { name in
          unsafe String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        }
      }
    }
  }
}

extension SharedRegion {
  /// Gives the region to another process, which then shares it: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder.
  public func encode(to encoder: any Encoder) throws {
    let index = try encoder.descriptorOutbox(for: SharedRegion.self)
      .enclose(segment.descriptor, sharedBy: segment)
    var container = encoder.singleValueContainer()
    try container.encode(index)
  }
}
