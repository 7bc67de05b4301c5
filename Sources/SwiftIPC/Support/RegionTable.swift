// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The regions that this process has: so that objects of one region which arrive in a thousand messages
/// are in one mapping.
enum RegionTable {
  private struct File: Hashable {
    let device: UInt
    let inode: UInt

    init?(_ descriptor: Int32) {
      var status = stat()
      // Before anything else is asked: it may be a peer's.
      guard cipc_descriptor_is_memory(descriptor) == 1 else { return nil }
      guard unsafe fstat(descriptor, &status) == 0 else { return nil }
      device = UInt(status.st_dev)
      inode = UInt(status.st_ino)
    }
  }

  // A structure around a weak reference, of a class that is Sendable.
  private struct Entry: @unchecked Sendable {
    weak var region: Segment?
  }

  private static let entries = Guarded<[File: Entry]>([:])

  /// The region that a descriptor from elsewhere stands for; takes the descriptor over.
  ///
  /// - Throws: `segmentMismatch`.
  static func region(_ descriptor: Int32) throws(IPCError) -> Segment {
    if let file = File(descriptor), let region = entries.withLock({ $0[file]?.region }) {
      close(descriptor)
      return region
    }
    let region = try Segment.open(
      descriptor, as: cipc_region_type(Segment.anyCount), subject: "SharedRegion")
    try check(region)
    insert(region)
    return region
  }

  /// Throws unless a segment that was opened as one is a region.
  static func check(_ region: Segment) throws(IPCError) {
    try IPCError.check(
      unsafe cipc_region_check(region.regionPointer, region.size), "SharedRegion")
  }

  static func insert(_ region: Segment) {
    guard let file = File(region.descriptor) else { return }
    entries.withLock { entries in
      entries = entries.filter { $0.value.region != nil }
      entries[file] = Entry(region: region)
    }
  }
}
