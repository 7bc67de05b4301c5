// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// A growing list of plain values with one owner.
///
/// An array would ask at each append whether it is shared; reading a message is mostly appends.
@safe struct PickleBuffer<Element: BitwiseCopyable>: ~Copyable {
  /// From malloc: realloc moves the pages of a large block instead of copying them.
  private var base: UnsafeMutablePointer<Element>
  private var capacity: Int
  private(set) var count = 0

  /// Makes an empty list; one that is seldom needed takes no memory with a capacity of zero.
  init(capacity: Int) {
    self.capacity = capacity
    // The pointer of an empty list is never followed.
    unsafe base =
      capacity > 0
      ? Self.allocate(nil, capacity)
      : UnsafeMutablePointer(bitPattern: MemoryLayout<Element>.alignment)!
  }

  deinit { if capacity > 0 { unsafe free(base) } }

  private static func allocate(
    _ old: UnsafeMutablePointer<Element>?, _ capacity: Int
  ) -> UnsafeMutablePointer<Element> {
    guard let memory = unsafe realloc(old, capacity * MemoryLayout<Element>.stride) else {
      fatalError("no memory for \(capacity) values of a message")
    }
    return unsafe memory.assumingMemoryBound(to: Element.self)
  }

  @inline(__always)
  mutating func append(_ element: Element) {
    if count == capacity { grow(by: 1) }
    unsafe base[count] = element
    count += 1
  }

  /// Appends the elements of another buffer from `first` on.
  @inline(__always)
  mutating func append(_ other: borrowing PickleBuffer, from first: Int) {
    let added = other.count - first
    if added <= 0 || first < 0 { return }
    if capacity - count < added { grow(by: added) }
    unsafe (base + count).update(from: other.base + first, count: added)
    count += added
  }

  /// Drops all elements from `count` on.
  @inline(__always)
  mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count)
    self.count = count
  }

  /// Drops all elements, and the memory where it is more than a message mostly needs.
  @inline(__always)
  mutating func clear() {
    count = 0
    if capacity > Self.kept { shrink() }
  }

  private static var kept: Int { 1024 }

  @inline(never)
  private mutating func shrink() { self = PickleBuffer(capacity: 32) }

  @inline(__always)
  subscript(index: Int) -> Element {
    get {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      return unsafe base[index]
    }
    set {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      unsafe base[index] = newValue
    }
  }

  @inline(never)
  private mutating func grow(by added: Int) {
    let larger = max(capacity * 2, count + added, 8)
    unsafe base = Self.allocate(capacity > 0 ? base : nil, larger)
    capacity = larger
  }
}
