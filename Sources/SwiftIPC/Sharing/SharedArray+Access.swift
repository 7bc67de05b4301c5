// SPDX-License-Identifier: Apache-2.0

// Access to all elements at once: under the array's lock, or unsynchronised.
extension SharedArray {
  @inlinable var mutex: RobustMutex { RobustMutex(storage.segment) }

  // In transactional mode the lock is that of a journal: an update which the last owner did not live
  // to finish is finished first, and only a death outside of updates is told.
  @inlinable func locked<R: ~Copyable>(until deadline: Int64, _ body: () throws -> R) throws -> R {
    if !storage.isTransactional { return try mutex.withLock(until: deadline, body) }
    return try mutex.withLock(until: deadline) {
      try storage.changingInPlace(body)
    } recovering: {
      try settle()
    }
  }

  @inlinable func locked<R: ~Copyable>(
    until deadline: Int64, _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    if !storage.isTransactional {
      return try mutex.withLock(until: deadline, body, recovering: repair)
    }
    return try mutex.withLock(until: deadline) {
      try storage.changingInPlace(body)
    } recovering: {
      try storage.settle(stride: MemoryLayout<T>.stride, repair)
    }
  }

  @inlinable func lockedIfAvailable<R: ~Copyable>(_ body: () throws -> R) throws -> R? {
    if !storage.isTransactional { return try mutex.withLockIfAvailable(body) }
    return try mutex.withLockIfAvailable {
      try storage.changingInPlace(body)
    } recovering: {
      try settle()
    }
  }

  @inlinable func lockedIfAvailable<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R? {
    if !storage.isTransactional {
      return try mutex.withLockIfAvailable(body, recovering: repair)
    }
    return try mutex.withLockIfAvailable {
      try storage.changingInPlace(body)
    } recovering: {
      try storage.settle(stride: MemoryLayout<T>.stride, repair)
    }
  }

  @inlinable func settle() throws {
    try storage.settle(stride: MemoryLayout<T>.stride) { throw mutex.casualty }
  }

  /// Gives all elements to a closure, to read or write, under the array's lock.
  ///
  /// The lock keeps out other callers that take it; element access elsewhere does not. Unlike the
  /// change of a `Value`, what the body did before it threw stays; `update(_:)` is for changes that
  /// happen whole or not at all. Blocks until the lock is free.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when an owner died and no later
  ///   owner has repaired it yet: the body did not run, and the next caller is told as well;
  ///   `alreadyLocked` when this thread holds the lock; `timedOut` when the lock was held all the
  ///   time; the body did not run.
  @inlinable public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R {
    try withExtendedLifetime(storage) {
      try locked(until: Deadline.after(timeout)) {
        try withMutableSpan(body)
      }
    }
  }

  /// Gives all elements to a closure under the array's lock, after a repair if an owner died.
  ///
  /// `repair` runs under the lock, and only when an owner died. If it throws, or is itself killed,
  /// the next owner is told again. Blocks until the lock is free.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what `repair` or the body throws; `IPCError` with `alreadyLocked` when this thread
  ///   holds the lock; `timedOut` when the lock was held all the time.
  @inlinable public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout MutableSpan<T>) throws -> R,
    recovering repair: (inout MutableSpan<T>) throws -> Void
  ) throws -> R {
    try withExtendedLifetime(storage) {
      try locked(until: Deadline.after(timeout)) {
        try withMutableSpan(body)
      } recovering: {
        try withMutableSpan(repair)
      }
    }
  }

  /// Gives all elements to a closure if the array's lock is free right now. Does not block.
  ///
  /// - Returns: what the body returns, or `nil` while another owner holds the lock.
  /// - Throws: as `withLock(timeout:_:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R? {
    try withExtendedLifetime(storage) {
      try lockedIfAvailable { try withMutableSpan(body) }
    }
  }

  /// Gives all elements to a closure if the array's lock is free right now, after a repair if an
  /// owner died. Does not block.
  ///
  /// - Returns: what the body returns, or `nil` while another owner holds the lock.
  /// - Throws: as `withLock(timeout:_:recovering:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: (inout MutableSpan<T>) throws -> R,
    recovering repair: (inout MutableSpan<T>) throws -> Void
  ) throws -> R? {
    try withExtendedLifetime(storage) {
      try lockedIfAvailable {
        try withMutableSpan(body)
      } recovering: {
        try withMutableSpan(repair)
      }
    }
  }

  /// Overwrites the first elements with those of a sequence. Unsynchronised.
  ///
  /// - Returns: how many were written: fewer than `count` when the sequence ended before, and what
  ///   the sequence has beyond `count` is left out.
  /// - Complexity: a single copy of memory when the sequence is contiguous.
  @discardableResult
  @inlinable public func update(from elements: some Sequence<T>) -> Int {
    withExtendedLifetime(storage) {
      let copied = elements.withContiguousStorageIfAvailable { source -> Int in
        let copied = Swift.min(source.count, count)
        // `source` may be this very memory; update(from:) is for memory that overlaps, too.
        if copied > 0, let start = source.baseAddress {
          unsafe base.update(from: start, count: copied)
        }
        return copied
      }
      if let copied { return copied }
      var written = 0
      for element in elements {
        if written == count { break }
        unsafe base[written] = element
        written += 1
      }
      return written
    }
  }

  /// Copies the first elements to a span of the caller. Unsynchronised.
  ///
  /// - Returns: how many were copied: the smaller of both counts.
  /// - Complexity: a single copy of memory.
  @discardableResult
  @inlinable public func copy(into span: inout MutableSpan<T>) -> Int {
    withExtendedLifetime(storage) {
      let copied = Swift.min(span.count, count)
      unsafe span.withUnsafeMutableBufferPointer { destination in
        if copied > 0, let start = destination.baseAddress {
          unsafe start.update(from: base, count: copied)
        }
      }
      return copied
    }
  }
}
