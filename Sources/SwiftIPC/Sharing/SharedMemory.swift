// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Plain bytes that processes share: under a name, as Python's `SharedMemory` has them, or anonymous.
///
/// ```swift
/// let memory = try SharedMemory(creating: "frame", size: 640 * 480 * 4)
/// defer { try? memory.unlink() }
/// try memory.withMutableSpan(of: Float.self) { pixels in pixels[0] = 0.5 }
/// // In another program, or in Python: SharedMemory("frame")
/// let same = try SharedMemory(attachingTo: "frame")
/// print(try same.withSpan(of: Float.self) { $0[0] })
/// ```
///
/// There is no header and no lock in it: all programs that can map memory see the same bytes, and what
/// they mean, and who may touch them when, is between these programs. A `SharedArray` has all that.
///
/// Named memory appears under its name whole, stays until `unlink()`, and is found by programs that
/// are not related; what `NamedObject` says of names holds here too. It trusts all programs of its
/// owner: one of them can shrink the file, and then access ends this process with SIGBUS. Anonymous
/// memory is sealed against that. Both travel to another process as arguments of a child or in a
/// message on a `Connection`.
///
/// Python before 3.13 takes the names of others away: when a Python that attached ends, its resource
/// tracker unlinks what it attached, and the same goes for 3.13 without `track=False`. Processes
/// that are attached keep the memory; it cannot be found any more. In Python, attach with
/// `SharedMemory(name, track=False)`, or before 3.13 call
/// `resource_tracker.unregister(memory._name, "shared_memory")` after attaching.
///
/// Any number of threads and processes may use it. The corresponding C type is `cipc_segment_t`.
@safe
public final class SharedMemory: NamedObject {
  /// Whether huge pages are used.
  public enum HugePages: Hashable, Sendable {
    /// They are not asked for.
    case no
    /// As far as there are any: from the machine's pool for anonymous memory, or transparent ones, where
    /// the kernel was told to give them (`shmem_enabled` in /sys/kernel/mm/transparent_hugepage; for
    /// named memory, how /dev/shm is mounted).
    case ifAvailable
    /// From the machine's pool (`vm.nr_hugepages`), or not at all. Anonymous memory alone; its size is
    /// rounded up to whole pages.
    case required
  }

  /// What this process may do with memory that it attaches to.
  public enum Access: Hashable, Sendable {
    case readWrite
    /// The memory is opened and mapped for reading: nothing in this process can write there through
    /// this handle, and permission to read is enough.
    case readOnly
  }

  /// How memory is made.
  public struct Options: Hashable, Sendable {
    /// Whether huge pages are used.
    public var hugePages: HugePages
    /// Whether all pages are mapped at once, so that no first access is slower than the next.
    public var prefault: Bool
    /// Whether a process that receives the memory may write there. Anonymous memory alone.
    ///
    /// If not, the handle that made it, and forks of its process, are the only ones that ever write,
    /// whatever a receiver tries: the kernel refuses (`F_SEAL_FUTURE_WRITE`).
    public var receiversWrite: Bool
    /// Whether other users may read (mode 0644 instead of 0600). Named memory alone. They attach with
    /// `readOnly`, and to what root made alone.
    public var otherUsersRead: Bool

    /// Makes options; each has a default that asks for nothing special.
    public init(
      hugePages: HugePages = .no, prefault: Bool = false, receiversWrite: Bool = true,
      otherUsersRead: Bool = false
    ) {
      self.hugePages = hugePages
      self.prefault = prefault
      self.receiversWrite = receiversWrite
      self.otherUsersRead = otherUsersRead
    }
  }

  /// Bytes there are: at least as many as were asked for.
  public let size: Int

  /// Whether this process may write there through this handle.
  public let isWritable: Bool

  /// How the memory is known by name. For the library.
  public let naming: ObjectNaming

  /// `nil` once it was closed. A call that is inside keeps the memory mapped.
  private let segment: Guarded<Segment?>

  private init(_ segment: Segment, name: String? = nil) {
    size = segment.size
    isWritable = segment.isWritable
    naming =
      name == nil
      ? segment.naming
      : ObjectNaming(name: name, wasCreated: false, claim: segment.naming.claim)
    self.segment = Guarded(segment)
  }

  /// Makes anonymous memory, all zero.
  ///
  /// - Throws: `IPCError` with `invalidArgument` for a size that is not positive or cannot be
  ///   represented, or options for named memory; `outOfMemory`, also when huge pages are required and
  ///   there are too few; `resourceLimit`; `unsupported` for `receiversWrite: false` before Linux 5.1.
  public convenience init(size: Int, options: Options = Options()) throws(IPCError) {
    try Self.check(size, options, isNamed: false)
    var handle: OpaquePointer?
    let status = unsafe "swift-ipc".withCString { label in
      var raw = unsafe Self.raw(options, isNamed: false)
      unsafe raw.label = unsafe label
      return unsafe cipc_segment_create(&handle, size, &raw)
    }
    guard status >= 0, let handle = unsafe handle else {
      throw IPCError(status: status, "SharedMemory of \(size) bytes")
    }
    self.init(unsafe Segment(handle: handle, wasCreated: true))
  }

  /// Makes named memory, all zero.
  ///
  /// - Parameter name: `nil` for a fresh one, such as "sipc_3f0c9a1b5d7e2460"; see `name`.
  /// - Throws: `IPCError` with `nameExists`; `invalidArgument` for a size that is not positive or
  ///   cannot be represented, a name that cannot be one, or options for anonymous memory;
  ///   `unsupported` when huge pages are required; `outOfMemory` or `resourceLimit`.
  public convenience init(
    creating name: String?, size: Int, options: Options = Options()
  ) throws(IPCError) {
    while true {
      do {
        let name = ObjectName(name ?? Self.anyName(), .create)
        self.init(try Self.make(name, size: size, options))
        return
      } catch  where error.code == .nameExists && name == nil {
        // Drawn again: that one is taken, by a chance of one in 2^64.
      }
    }
  }

  /// Attaches to named memory of any creator, as large as it is.
  ///
  /// What another program made need not have memory for all of its size: when attaching to write,
  /// it gets it, so that no access fails later.
  ///
  /// - Parameter prefault: whether all pages are mapped at once.
  /// - Throws: `IPCError` with `nameNotFound`; `segmentMismatch` when it is empty, or owned by another
  ///   user than the caller or root; `invalidArgument` for a name that cannot be one; `outOfMemory` or
  ///   `resourceLimit`; `system` when the file's permissions do not allow it, or for a symbolic link.
  public convenience init(
    attachingTo name: String, access: Access = .readWrite, prefault: Bool = false
  ) throws(IPCError) {
    var raw = unsafe Self.raw(Options(prefault: prefault), isNamed: false)
    if access == .readOnly { unsafe raw.flags |= UInt32(CIPC_SEGMENT_READ_ONLY) }
    self.init(
      try unsafe Segment.open(ObjectName(name, .open), raw, subject: "SharedMemory"))
  }

  /// Attaches to named memory, or makes it, all zero: of any number of processes that do so at the same
  /// time, one makes it. `wasCreated` says which.
  ///
  /// - Parameter size: what is made has as many bytes, what is found at least as many.
  /// - Throws: `IPCError` with `segmentMismatch` when what is there is smaller; otherwise as
  ///   `init(creating:size:options:)` and `init(attachingTo:access:prefault:)`.
  public convenience init(
    openingOrCreating name: String, size: Int, options: Options = Options()
  ) throws(IPCError) {
    self.init(try Self.make(ObjectName(name, .openOrCreate), size: size, options))
  }

  /// Receives memory from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what came
  ///   is no memory, or memory that could shrink.
  public convenience init(from decoder: any Decoder) throws {
    let inbox = try decoder.descriptorInbox(for: SharedMemory.self)
    let container = try decoder.container(keyedBy: Key.self)
    let index = try container.decode(Int.self, forKey: .memory)
    let name = try container.decodeIfPresent(String.self, forKey: .name)
    var raw = unsafe cipc_segment_options_t()
    unsafe raw.flags = UInt32(CIPC_SEGMENT_ANY_ACCESS)
    self.init(
      try unsafe Segment.open(inbox.take(index), raw, subject: "SharedMemory"), name: name)
  }

  /// Gives all bytes to a closure, to read. Unsynchronised.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `closed`.
  public func withBytes<R: ~Copyable>(_ body: (RawSpan) throws -> R) throws -> R {
    let segment = try opened()
    return try withExtendedLifetime(segment) {
      try body(unsafe UnsafeRawBufferPointer(start: segment.address, count: size).bytes)
    }
  }

  /// Gives all bytes to a closure, to read and write. Unsynchronised.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `closed`, or `notWritable` where `isWritable` is
  ///   `false`.
  public func withMutableBytes<R: ~Copyable>(
    _ body: (inout MutableRawSpan) throws -> R
  ) throws -> R {
    let segment = try openedForWriting()
    return try withExtendedLifetime(segment) {
      var span = unsafe UnsafeMutableRawBufferPointer(start: segment.address, count: size)
        .mutableBytes
      return try body(&span)
    }
  }

  /// Gives the bytes as elements of a type to a closure, to read: as many as fit. Unsynchronised.
  ///
  /// For types of which all bit patterns are values, such as numbers.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `closed`.
  public func withSpan<T: BitwiseCopyable, R: ~Copyable>(
    of type: T.Type, _ body: (Span<T>) throws -> R
  ) throws -> R {
    let segment = try opened()
    return try withExtendedLifetime(segment) {
      // Of a page's alignment, which is that of every type.
      try body(unsafe Self.elements(of: type, segment).span)
    }
  }

  /// Gives the bytes as elements of a type to a closure, to read and write: as many as fit.
  /// Unsynchronised.
  ///
  /// For types of which all bit patterns are values, such as numbers.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `closed`, or `notWritable` where `isWritable` is
  ///   `false`.
  public func withMutableSpan<T: BitwiseCopyable, R: ~Copyable>(
    of type: T.Type, _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R {
    let segment = try openedForWriting()
    return try withExtendedLifetime(segment) {
      var span = unsafe Self.elements(of: type, segment).mutableSpan
      return try body(&span)
    }
  }

  /// Gives the memory up, in this process: it is unmapped once no call is inside.
  ///
  /// Does not wait. The name, if there is one, stays, and `unlink()` still works. Closing again is
  /// nothing; releasing the last reference closes as well.
  public func close() { segment.withLock { $0 = nil } }

  /// Removes a name, of any object and any creator: of a program that was killed, say.
  ///
  /// All named objects are files in /dev/shm, so this is the one for all of them: a `Value`, a `Queue`
  /// or a lock, as well as memory. It does not look what the name stands for, so a name that was
  /// mistyped is gone too. `unlink()`, which each named object has, removes the object's own name and
  /// no other's. Processes that have the object keep it either way.
  ///
  /// - Throws: `IPCError` with `nameNotFound`; `notOwner` when it belongs to another user;
  ///   `invalidArgument` when it cannot be a name.
  public static func removeName(_ name: String) throws(IPCError) {
    let name = ObjectName(name, .open)
    try name.check("SharedMemory")
    let status = unsafe cipc_segment_unlink(name.path)
    if status < 0 { throw name.failure(status, "SharedMemory") }
  }
}

extension SharedMemory {
  func opened() throws(IPCError) -> Segment {
    guard let segment = segment.withLock({ $0 }) else {
      throw IPCError(.closed, context: "SharedMemory\(name.map { " named \($0)" } ?? "")")
    }
    return segment
  }

  private func openedForWriting() throws(IPCError) -> Segment {
    let segment = try opened()
    if !isWritable {
      throw IPCError(
        .notWritable,
        context: "SharedMemory\(name.map { " named \($0)" } ?? ""): mapped for reading")
    }
    return segment
  }

  private static func elements<T>(
    of type: T.Type, _ segment: Segment
  ) -> UnsafeMutableBufferPointer<T> {
    let count = segment.size / MemoryLayout<T>.stride
    return unsafe UnsafeMutableBufferPointer(
      start: segment.address.bindMemory(to: type, capacity: count), count: count)
  }

  private static func check(
    _ size: Int, _ options: Options, isNamed: Bool
  ) throws(IPCError) {
    func fail(_ code: IPCError.Code, _ what: String) -> IPCError {
      IPCError(code, context: "SharedMemory: \(what)")
    }
    if size <= 0 { throw fail(.invalidArgument, "a size of \(size) bytes") }
    if isNamed && !options.receiversWrite {
      throw fail(
        .invalidArgument, "receiversWrite is for anonymous memory: a name cannot be sealed")
    }
    if isNamed && options.hugePages == .required {
      throw fail(.unsupported, "the pool of huge pages has no names: use ifAvailable")
    }
    if !isNamed && options.otherUsersRead {
      throw fail(.invalidArgument, "otherUsersRead is for named memory")
    }
  }

  private static func raw(_ options: Options, isNamed: Bool) -> cipc_segment_options_t {
    var raw = unsafe cipc_segment_options_t()
    var flags = 0
    switch options.hugePages {
    case .no: break
    case .ifAvailable: flags |= Int(CIPC_SEGMENT_HUGE_IF_AVAILABLE)
    case .required: flags |= Int(CIPC_SEGMENT_HUGE)
    }
    if options.prefault { flags |= Int(CIPC_SEGMENT_PREFAULT) }
    if !options.receiversWrite { flags |= Int(CIPC_SEGMENT_ONE_WRITER) }
    unsafe raw.flags = UInt32(flags)
    unsafe raw.named = isNamed ? 1 : 0
    unsafe raw.mode = isNamed && options.otherUsersRead ? 0o644 : 0
    return unsafe raw
  }

  private static func make(
    _ name: ObjectName, size: Int, _ options: Options
  ) throws(IPCError) -> Segment {
    try check(size, options, isNamed: true)
    return try unsafe Segment.make(
      name, raw(options, isNamed: true), size: size, subject: "SharedMemory"
    ) { _ in 0 }
  }

  private static func anyName() -> String {
    let number = String(UInt64.random(in: .min ... .max), radix: 16)
    return "sipc_" + String(repeating: "0", count: 16 - number.count) + number
  }
}

extension SharedMemory: Codable {
  private enum Key: String, CodingKey { case memory, name }

  /// Gives the memory to another process, which then shares it: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder, `closed`.
  public func encode(to encoder: any Encoder) throws {
    let outbox = try encoder.descriptorOutbox(for: SharedMemory.self)
    let segment = try opened()
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(outbox.enclose(segment.descriptor, keeping: segment), forKey: .memory)
    try container.encodeIfPresent(name, forKey: .name)
  }
}
