// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// An object of a region on its way to another process.
struct RegionPlace: Codable {
  /// Index of the region's descriptor in the message.
  let descriptor: Int
  let name: String
}

extension Segment {
  func encode(in region: Segment, to encoder: any Encoder, as type: Any.Type) throws {
    let index = try encoder.descriptorOutbox(for: type)
      .enclose(region.descriptor, sharedBy: region)
    // Made with its name.
    try RegionPlace(descriptor: index, name: naming.name ?? "").encode(to: encoder)
  }

  static func find(
    _ place: RegionPlace, from inbox: DescriptorInbox, as type: cipc_segment_type_t,
    _ subject: String
  ) throws -> Segment {
    let region = try inbox.shared(place.descriptor) { try RegionTable.region($0) }
    return try find(ObjectName(place.name, .open, in: region), in: region, as: type, subject)
  }

  // A region aligns objects to pages, and a payload is this far into its page: a process that lays it out
  // counts on that.
  private static func lead(_ type: cipc_segment_type_t) -> Int {
    let header = Int(CIPC_SEGMENT_HEADER_SIZE)
    return type.alignment > UInt64(header) ? header : 0
  }

  private static func slice(
    of region: Segment, _ entry: cipc_region_entry_t, _ name: ObjectName, wasCreated: Bool,
    _ subject: String
  ) throws(IPCError) -> Segment {
    // Both are inside of a mapping, as the C core has checked; the count is that of a type, which need
    // not be.
    let lead = lead(entry.type)
    guard entry.size >= UInt64(lead) else {
      throw name.failure(CIPC_ESEGMENTSIZE.rawValue, subject)
    }
    return Segment(
      in: region, at: Int(entry.offset) + lead, size: Int(entry.size) - lead,
      count: Int(clamping: entry.type.count), name: name.text, wasCreated: wasCreated)
  }

  /// Finds an object of a region.
  ///
  /// - Throws: `nameNotFound`; `segmentMismatch` for another object.
  static func find(
    _ name: ObjectName, in region: Segment, as type: cipc_segment_type_t, _ subject: String
  ) throws(IPCError) -> Segment {
    try name.check(subject)
    var entry = cipc_region_entry_t()
    let status = unsafe withUnsafePointer(to: type) { type in
      unsafe cipc_region_find(region.regionPointer, region.size, name.text, type, &entry)
    }
    if status < 0 { throw name.failure(status, subject) }
    return try slice(of: region, entry, name, wasCreated: false, subject)
  }

  /// Makes an object in a region, or finds it, as the name's mode says.
  ///
  /// - Throws: what the mode says; `segmentMismatch` for another object; `capacityExceeded`.
  static func make(
    _ name: ObjectName, in region: Segment, as type: cipc_segment_type_t, size: Int,
    _ subject: String, _ prepare: (UnsafeMutableRawPointer) -> Int32
  ) throws(IPCError) -> Segment {
    if name.mode == .open { return try find(name, in: region, as: type, subject) }
    try name.check(subject)
    let lead = lead(type)
    var entry = cipc_region_entry_t()
    // Of any type: whether a name is taken does not depend on it.
    if name.mode == .create,
      unsafe cipc_region_find(region.regionPointer, region.size, name.text, nil, &entry)
        != CIPC_ENOENT.rawValue
    {
      throw name.failure(CIPC_EEXIST.rawValue, subject)
    }
    var status = unsafe withoutActuallyEscaping(prepare) { prepare in
      // Through C goes the address of the closure.
      unsafe withUnsafePointer(to: Preparation(lead: lead, body: prepare)) { preparation in
        unsafe name.text.withCString { text in
          var object = unsafe cipc_region_object_t()
          unsafe object.name = unsafe text
          unsafe object.type = type
          unsafe object.size = size < 0 || size > .max - lead ? .max : size + lead
          unsafe object.context = UnsafeMutableRawPointer(mutating: preparation)
          unsafe object.prepare = { payload, context in
            // Both were given.
            let preparation = unsafe context!.assumingMemoryBound(to: Preparation.self)
            return unsafe preparation.pointee.body(payload! + preparation.pointee.lead)
          }
          return unsafe cipc_region_allocate(
            region.regionPointer, region.size, &object, &entry, .max)
        }
      }
    }
    if status == 0 && name.mode == .create { status = CIPC_EEXIST.rawValue }
    if status < 0 { throw name.failure(status, subject) }
    return try slice(
      of: region, entry, name, wasCreated: status == CIPC_REGION_CREATED.rawValue, subject)
  }

  @unsafe private struct Preparation {
    let lead: Int
    let body: (UnsafeMutableRawPointer) -> Int32
  }

  /// Of a segment that is a region.
  var regionPointer: UnsafeMutablePointer<cipc_region_t> {
    unsafe address.assumingMemoryBound(to: cipc_region_t.self)
  }
}
