// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Elements in memory that processes share, as fast to get at as those of an array.
///
/// ```swift
/// let numbers = try SharedArray<Int32>(0..<10)
/// for i in numbers.indices { numbers[i] = -numbers[i] }
/// try numbers.withLock { span in span[0] += 1 }
/// let image = try SharedArray<Float>(shape: 480, 640, repeating: 0)
/// image[12, 34] = 1
/// print(Array(numbers), image.shape)
/// ```
///
/// Element access is *not* synchronised: two processes, or threads, that touch the same element at
/// the same time are the program's to keep apart, by the lock that each array has (`withLock`) or
/// by giving each its own part. An index out of bounds traps, as with `Array`. A copy of this
/// structure is another handle to the same elements; changing an element needs no `var`.
/// Algorithms that change their collection, and loops that are to be as fast as those over memory of
/// one process, work on a span: of all elements under the lock (`withLock`), or without it
/// (`withMutableSpan`, `withSpan`), also of some rows (`withMutableSpan(rows:_:)`).
///
/// An array made with `transactional: true` also has `update`, which changes a range whole or not at
/// all for every later owner of the lock, also when the process is killed in it. That takes as much
/// memory again as the elements.
///
/// An array has a row-major `shape` of 1 to 64 dimensions. As a collection, and with one index, it
/// is flat whatever its shape. The count and the shape are fixed when it is made; each process
/// keeps its own checked copy of them.
///
/// The elements are made of their bytes. `BitwiseCopyable` lets some types through whose bytes
/// mean nothing in another process: `Unmanaged`, `StaticString`, `ObjectIdentifier`, metatypes and
/// C function pointers. Do not share these.
///
/// For processes that trust each other: a process that writes over the lock's bytes can crash those
/// that use the lock and make them write to memory of theirs, see `Lock`, and one that writes over
/// the elements can leave a bit pattern that their type does not have (`Bool`, enums and optionals
/// have such patterns), which is undefined behaviour where it is read. Use numbers where that is a
/// concern, and `Connection` towards processes you do not trust.
///
/// It travels to another process as an argument of a child or in a message on a `Connection`.
@safe
public struct SharedArray<T: BitwiseCopyable & Sendable>: SegmentObject, @unchecked Sendable {
  /// The memory in which the elements lie. For the library.
  public var memory: ObjectMemory { ObjectMemory(storage.segment) }
  /// Keeps the memory mapped.
  @usableFromInline let storage: SharedArrayStorage
  // Private copies, in the structure itself so that a loop keeps them in registers.
  @usableFromInline let base: UnsafeMutablePointer<T>
  /// The number of elements.
  public let count: Int
  @usableFromInline let extents: (Int, Int, Int, Int)
  @usableFromInline let rank: Int

  /// Makes an array of the elements of a sequence; with a name, one that other programs find by it, or
  /// finds theirs.
  ///
  /// - Parameters:
  ///   - elements: what it holds at first, where it is made.
  ///   - transactional: whether it has `update`, for which it takes twice the memory.
  /// - Throws: `IPCError` with `outOfMemory`, `invalidArgument` for a size that cannot be
  ///   represented, or `resourceLimit`; with a name, `nameExists` or `nameNotFound` as
  ///   the mode says, `segmentMismatch` when it is that of something else than such an array of as
  ///   many elements, `invalidArgument` when it cannot be one. See `NamedObject`.
  public init(
    _ elements: some Sequence<T>, named name: String? = nil, _ mode: NameMode = .openOrCreate,
    transactional: Bool = false
  ) throws(IPCError) {
    try self.init(
      copying: elements, shape: nil, transactional, name: name.map { ObjectName($0, mode) })
  }

  /// Makes an array of equal elements; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Throws: as `init(shape:repeating:named:_:transactional:)`.
  public init(
    repeating element: T, count: Int, named name: String? = nil,
    _ mode: NameMode = .openOrCreate, transactional: Bool = false
  ) throws(IPCError) {
    try self.init(
      shape: [count], repeating: element, transactional, name: name.map { ObjectName($0, mode) })
  }

  /// Makes an array of equal elements with a row-major shape, as in `shape: 480, 640`.
  ///
  /// - Throws: as with a list of dimensions.
  public init(
    shape: Int..., repeating element: T, transactional: Bool = false
  ) throws(IPCError) {
    try self.init(shape: shape, repeating: element, transactional, name: nil)
  }

  /// Makes an array of equal elements with a row-major shape of any rank up to 64; with a name, one that
  /// other programs find by it, or finds theirs.
  ///
  /// - Parameter element: what each element is at first, where the array is made.
  /// - Throws: `IPCError` with `invalidArgument` for no or more than 64 dimensions, a negative one,
  ///   or a size that cannot be represented; `outOfMemory` or `resourceLimit`; with a name,
  ///   `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` when it is that of
  ///   something else than such an array of this shape, `invalidArgument` when it cannot be one.
  ///   See `NamedObject`.
  public init(
    shape: [Int], repeating element: T, named name: String? = nil,
    _ mode: NameMode = .openOrCreate, transactional: Bool = false
  ) throws(IPCError) {
    try self.init(
      shape: shape, repeating: element, transactional, name: name.map { ObjectName($0, mode) })
  }

  /// Makes an array of the elements of a sequence with a row-major shape, as in `shape: 2, 3`.
  ///
  /// - Throws: as with a list of dimensions.
  @_disfavoredOverload  // or it would be one for arrays without a shape, too
  public init(
    _ elements: some Sequence<T>, shape: Int..., transactional: Bool = false
  ) throws(IPCError) {
    try self.init(copying: elements, shape: shape, transactional)
  }

  /// Makes an array of the elements of a sequence with a row-major shape of any rank up to 64; with a
  /// name, one that other programs find by it, or finds theirs.
  ///
  /// - Throws: as `init(shape:repeating:named:_:transactional:)`; `invalidArgument` also where the
  ///   shape is for another number of elements.
  public init(
    _ elements: some Sequence<T>, shape: [Int], named name: String? = nil,
    _ mode: NameMode = .openOrCreate, transactional: Bool = false
  ) throws(IPCError) {
    try self.init(
      copying: elements, shape: shape, transactional, name: name.map { ObjectName($0, mode) })
  }

  init(
    shape: [Int], repeating element: T, _ transactional: Bool, name: ObjectName?
  ) throws(IPCError) {
    self.init(
      try unsafe Self.makeStorage(shape: shape, transactional, name: name) { elements, count in
        unsafe elements.initialize(repeating: element, count: count)
      })
  }

  /// Finds an array by its name, of whatever shape.
  ///
  /// - Throws: `IPCError` with `nameNotFound`; `segmentMismatch` when the name is that of something else
  ///   than a `SharedArray` of this element type; `invalidArgument` when it cannot be one;
  ///   `outOfMemory` or `resourceLimit`.
  public init(named name: String) throws(IPCError) {
    try self.init(finding: ObjectName(name, .open))
  }

  init(finding name: ObjectName) throws(IPCError) {
    let subject = "\(SharedArray.self)"
    let segment = try Segment.open(
      name, as: Self.segmentType(count: Segment.anyCount), subject: subject)
    self.init(
      try SharedArrayStorage(
        checking: segment, of: cipc_element_t(of: T.self), subject: subject))
  }

  /// Receives an array from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `SharedArray` of this element type; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let segment = try Segment.decode(
      from: decoder, as: SharedArray.self, Self.segmentType(count: Segment.anyCount))
    self.init(
      try SharedArrayStorage(
        checking: segment, of: cipc_element_t(of: T.self), subject: "\(SharedArray.self)"))
  }

  init(
    copying elements: some Sequence<T>, shape: [Int]?, _ transactional: Bool,
    name: ObjectName? = nil
  ) throws(IPCError) {
    // What a sequence says about its length is not to be relied on.
    let array = ContiguousArray(elements)
    let storage = try unsafe Self.makeStorage(
      shape: shape ?? [array.count], count: array.count, transactional, name: name
    ) { destination, count in
      unsafe array.withUnsafeBufferPointer { source in
        guard count > 0 else { return }
        // Not empty, so there is a base address.
        unsafe destination.initialize(from: source.baseAddress!, count: count)
      }
    }
    self.init(storage)
  }

  private init(_ storage: SharedArrayStorage) {
    self.storage = storage
    unsafe base = unsafe storage.elements.assumingMemoryBound(to: T.self)
    count = storage.count
    let shape = storage.shape
    rank = shape.count
    func extent(_ index: Int) -> Int { index < shape.count ? shape[index] : 1 }
    extents = (extent(0), extent(1), extent(2), extent(3))
  }

  private static func segmentType(count: UInt64) -> cipc_segment_type_t {
    var element = cipc_element_t(of: T.self)
    return unsafe cipc_array_type(&element, count)
  }

  private static func makeStorage(
    shape: [Int], count: Int? = nil, _ transactional: Bool, name: ObjectName? = nil,
    fill: (UnsafeMutablePointer<T>, Int) -> Void
  ) throws(IPCError) -> SharedArrayStorage {
    let subject = "\(SharedArray.self)"
    let elements = try SharedArrayStorage.elementCount(of: shape, subject: subject)
    if let count, count != elements {
      throw IPCError(.invalidArgument, context: "\(subject): shape \(shape) for \(count) elements")
    }
    return try unsafe SharedArrayStorage(
      making: cipc_element_t(of: T.self), shape: shape, transactional: transactional, name: name,
      subject: subject
    ) { address in
      unsafe fill(address.bindMemory(to: T.self, capacity: elements), elements)
    }
  }

  /// The extent of each dimension, outermost first. Their product is `count`.
  public var shape: [Int] { storage.shape }

  /// Whether the array was made for `update`.
  public var isTransactional: Bool { storage.isTransactional }
}

// Every accessor names `storage` after its last use of the memory: the optimiser may otherwise
// release the last reference, and with it the mapping, as soon as the pointer is loaded.
extension SharedArray: RandomAccessCollection {
  /// Always 0.
  @inlinable public var startIndex: Int { 0 }
  /// The number of elements.
  @inlinable public var endIndex: Int { count }

  /// The element at a position in row-major order. Unsynchronised; traps when out of bounds.
  @inlinable public subscript(index: Int) -> T {
    get {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "Index out of range")
      return withExtendedLifetime(storage) { unsafe base[index] }
    }
    nonmutating set {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "Index out of range")
      withExtendedLifetime(storage) { unsafe base[index] = newValue }
    }
  }

  /// Gives the elements to a closure as they stand in memory. Unsynchronised.
  @inlinable public func withContiguousStorageIfAvailable<R>(
    _ body: (UnsafeBufferPointer<T>) throws -> R
  ) rethrows -> R? {
    try withExtendedLifetime(storage) {
      try unsafe body(UnsafeBufferPointer(start: base, count: count))
    }
  }
}

extension SharedArray {
  @inlinable func offset(_ i: Int, _ j: Int) -> Int {
    precondition(rank == 2, "Two indices for an array of another rank")
    return checked(i, extents.0) * extents.1 + checked(j, extents.1)
  }

  @inlinable func offset(_ i: Int, _ j: Int, _ k: Int) -> Int {
    precondition(rank == 3, "Three indices for an array of another rank")
    return (checked(i, extents.0) * extents.1 + checked(j, extents.1)) * extents.2
      + checked(k, extents.2)
  }

  @inlinable func offset(_ i: Int, _ j: Int, _ k: Int, _ l: Int) -> Int {
    precondition(rank == 4, "Four indices for an array of another rank")
    return
      ((checked(i, extents.0) * extents.1 + checked(j, extents.1)) * extents.2
      + checked(k, extents.2)) * extents.3 + checked(l, extents.3)
  }

  @inlinable func checked(_ index: Int, _ extent: Int) -> Int {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: extent), "Index out of range")
    return index
  }

  /// The element at row `i`, column `j` of an array of rank 2. Unsynchronised; traps when out of
  /// bounds or when the array has another rank.
  @inlinable public subscript(i: Int, j: Int) -> T {
    get {
      let offset = offset(i, j)
      return withExtendedLifetime(storage) { unsafe base[offset] }
    }
    nonmutating set {
      let offset = offset(i, j)
      withExtendedLifetime(storage) { unsafe base[offset] = newValue }
    }
  }

  /// The element at three indices of an array of rank 3. Unsynchronised; traps when out of bounds
  /// or when the array has another rank.
  @inlinable public subscript(i: Int, j: Int, k: Int) -> T {
    get {
      let offset = offset(i, j, k)
      return withExtendedLifetime(storage) { unsafe base[offset] }
    }
    nonmutating set {
      let offset = offset(i, j, k)
      withExtendedLifetime(storage) { unsafe base[offset] = newValue }
    }
  }

  /// The element at four indices of an array of rank 4. Unsynchronised; traps when out of bounds or
  /// when the array has another rank.
  @inlinable public subscript(i: Int, j: Int, k: Int, l: Int) -> T {
    get {
      let offset = offset(i, j, k, l)
      return withExtendedLifetime(storage) { unsafe base[offset] }
    }
    nonmutating set {
      let offset = offset(i, j, k, l)
      withExtendedLifetime(storage) { unsafe base[offset] = newValue }
    }
  }
}
