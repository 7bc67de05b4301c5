// SPDX-License-Identifier: Apache-2.0
package import IPCLibc

/// A value that the threads of this process take turns with.
///
/// Not the standard library's `Mutex`: ThreadSanitizer does not know that one on Linux (6.3.1, tried:
/// two threads that only add one under it are a race) and would have to look away from all that it
/// guards.
@safe
package final class Guarded<Value>: @unchecked Sendable {
  @usableFromInline let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  @usableFromInline var value: Value

  /// - Parameter value: not of size 0. ThreadSanitizer takes the address of an empty property for
  ///   that of the object's head, which is read without the mutex.
  @inlinable package init(_ value: sending Value) {
    assert(MemoryLayout<Value>.size > 0)
    self.value = value
    // With default attributes it does not fail, nor do lock and unlock of a mutex that exists.
    _ = unsafe pthread_mutex_init(mutex, nil)
  }

  @inlinable deinit {
    _ = unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
  }

  /// Runs the body with the value, which no other thread has meanwhile. The body must not come back
  /// here.
  @inlinable package func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout sending Value) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    _ = unsafe pthread_mutex_lock(mutex)
    defer { _ = unsafe pthread_mutex_unlock(mutex) }
    return try body(&value)
  }
}
