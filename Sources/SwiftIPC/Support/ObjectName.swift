// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// A name, and what is to happen when an object is asked for by it.
struct ObjectName {
  /// Without a slash before it, as Python's names are.
  let text: String
  let mode: NameMode
  /// The region in which it is to be found; `nil` for /dev/shm.
  let region: Segment?

  /// - Parameter name: with or without a slash before it.
  init(_ name: String, _ mode: NameMode) {
    // A byte, as in C: a slash and a combining mark are one character.
    let scalars = name.unicodeScalars
    text = scalars.first == "/" ? String(String.UnicodeScalarView(scalars.dropFirst())) : name
    self.mode = mode
    region = nil
  }

  /// A name in a region, where a slash is a character like any other.
  init(_ name: String, _ mode: NameMode, in region: Segment) {
    text = name
    self.mode = mode
    self.region = region
  }

  /// What the C core takes.
  var path: String { "/" + text }

  /// Throws unless it can be a name.
  func check(_ subject: String) throws(IPCError) {
    let bytes = text.utf8
    if region != nil {
      if (1..<Int(CIPC_REGION_NAME_SIZE)).contains(bytes.count) && !bytes.contains(0) { return }
      throw IPCError(
        .invalidArgument,
        context:
          "\(subject) named \(text): a name in a region has 1 to \(CIPC_REGION_NAME_SIZE - 1) bytes, "
          + "none of them zero")
    }
    // The C core sees no zero byte: the name would end there.
    if !(1...250).contains(bytes.count) || text == "." || text == ".."
      || bytes.contains(0) || bytes.contains(UInt8(ascii: "/"))
    {
      throw IPCError(
        .invalidArgument,
        context:
          "\(subject) named \(text): a name has 1 to 250 bytes, none of them a slash or zero, "
          + "and is not . or ..")
    }
  }

  /// Whether there is something of that name in /dev/shm: a hint.
  var exists: Bool { unsafe access("/dev/shm" + path, F_OK) == 0 }

  /// The error for a status of the C core about this name.
  func failure(_ status: Int32, _ subject: String) -> IPCError {
    var error = IPCError(status: status, "\(subject) named \(text)")
    switch cipc_status_t(status) {
    case CIPC_EEXIST: error.code = .nameExists
    case CIPC_ENOENT: error.code = .nameNotFound
    default: break
    }
    return error
  }
}

extension Segment {
  static func make(
    _ name: ObjectName, as type: cipc_segment_type_t, size: Int, subject: String,
    prepare: (UnsafeMutableRawPointer) -> Int32
  ) throws(IPCError) -> Segment {
    if let region = name.region {
      return try unsafe make(name, in: region, as: type, size: size, subject, prepare)
    }
    if name.mode == .open { return try open(name, as: type, subject: subject) }
    return try unsafe withUnsafePointer(to: type) { type throws(IPCError) in
      var options = unsafe cipc_segment_options_t()
      unsafe options.type = unsafe type
      return try unsafe make(name, options, size: size, subject: subject, prepare: prepare)
    }
  }

  /// Finds a named segment.
  ///
  /// - Throws: `nameNotFound`; `segmentMismatch` for another object.
  static func open(
    _ name: ObjectName, as type: cipc_segment_type_t, subject: String
  ) throws(IPCError) -> Segment {
    if let region = name.region { return try find(name, in: region, as: type, subject) }
    return try unsafe withUnsafePointer(to: type) { type throws(IPCError) in
      var options = unsafe cipc_segment_options_t()
      unsafe options.type = unsafe type
      return try unsafe open(name, options, subject: subject)
    }
  }

  /// Finds a named segment with the options of the C core.
  static func open(
    _ name: ObjectName, _ options: cipc_segment_options_t, subject: String
  ) throws(IPCError) -> Segment {
    try name.check(subject)
    var options = unsafe options
    var handle: OpaquePointer?
    let status = unsafe cipc_segment_open_named(&handle, name.path, &options)
    guard status >= 0, let handle = unsafe handle else { throw name.failure(status, subject) }
    return unsafe Segment(handle: handle, name: name.text)
  }

  /// Makes a named segment, or finds it if its mode is `openOrCreate`, with the options of the C core.
  static func make(
    _ name: ObjectName, _ options: cipc_segment_options_t, size: Int, subject: String,
    prepare: (UnsafeMutableRawPointer) -> Int32
  ) throws(IPCError) -> Segment {
    try name.check(subject)
    var options = unsafe options
    unsafe options.named = 1
    var handle: OpaquePointer?
    var status: Int32
    if name.mode == .create {
      status = unsafe cipc_segment_create(&handle, size, &options)
      if status >= 0 {
        // Made, so there is one.
        status = unsafe prepare(cipc_segment_address(handle!))
        if status >= 0 { status = unsafe cipc_segment_publish(handle!, name.path) }
        if status >= 0 {
          status = CIPC_SEGMENT_CREATED.rawValue
        } else {
          unsafe cipc_segment_close(handle)
        }
      }
    } else {
      status = unsafe withoutActuallyEscaping(prepare) { prepare in
        // Through C goes the address of the closure.
        unsafe withUnsafePointer(to: Preparation(body: prepare)) { preparation in
          unsafe cipc_segment_open_or_create(
            &handle, name.path, size, &options,
            { payload, context in
              // Both were given.
              unsafe context!.assumingMemoryBound(to: Preparation.self).pointee.body(payload!)
            }, UnsafeMutableRawPointer(mutating: preparation))
        }
      }
    }
    guard status >= 0, let handle = unsafe handle else {
      throw name.failure(status, subject)
    }
    return unsafe Segment(
      handle: handle, name: name.text, wasCreated: status == CIPC_SEGMENT_CREATED.rawValue)
  }

  @unsafe private struct Preparation {
    let body: (UnsafeMutableRawPointer) -> Int32
  }
}
