// SPDX-License-Identifier: Apache-2.0
package import Synchronization

/// Keeps one used object for the next caller that needs one.
///
/// Coding a short message takes as long as making a few objects does. A second thread that comes at
/// the same time finds none, and makes one.
@safe package struct Spare<Object: AnyObject>: ~Copyable, @unchecked Sendable {
  // Owns its object. It is only exchanged, so that each object has one owner.
  @usableFromInline let slot = unsafe Atomic<UnsafeMutableRawPointer?>(nil)

  @inlinable package init() {}

  /// The object, which is the caller's alone.
  @inlinable @inline(__always)
  package borrowing func take() -> Object? {
    guard let object = unsafe slot.exchange(nil, ordering: .acquiring) else { return nil }
    return unsafe Unmanaged<Object>.fromOpaque(object).takeRetainedValue()
  }

  /// Keeps an object to which there is no other reference.
  @inlinable @inline(__always)
  package borrowing func keep(_ object: consuming Object) {
    let object = unsafe Unmanaged.passRetained(object).toOpaque()
    guard let other = unsafe slot.exchange(object, ordering: .acquiringAndReleasing) else { return }
    unsafe Unmanaged<Object>.fromOpaque(other).release()
  }
}
