// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

// Transactions.
extension SharedArray {
  /// Changes all elements, whole or not at all.
  ///
  /// As `update(_:timeout:_:)` for all indices.
  @inlinable public func update<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R {
    try update(
      startIndex..<endIndex, until: Deadline.after(timeout), body)
  }

  /// Changes the elements of a range, whole or not at all.
  ///
  /// ```swift
  /// let balances = try SharedArray([100, 0], transactional: true)
  /// try balances.update(0..<2) { span in
  ///   span[0] -= 30
  ///   span[1] += 30
  /// }
  /// ```
  ///
  /// The body works on a copy of the elements, whose first index is 0; when it has ended they all
  /// change. A caller that takes the lock (`withLock`, `update`) sees either none or all of the change,
  /// also when this process is killed at any moment: then the next owner finishes what was
  /// committed, nothing is half-changed, and no owner gets `ownerDied`. Element access without the
  /// lock may see a part of it. Blocks until the array's lock is free.
  ///
  /// - Parameter range: of indices in row-major order. Traps when out of bounds.
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws: then nothing has changed; `IPCError` with `unsupported` when
  ///   the array was not made with `transactional: true`; `alreadyLocked` when this thread holds
  ///   the lock; `ownerDied` when an owner died in a `withLock`, which changes in place, and nobody
  ///   has repaired yet: the body did not run; `timedOut` when the lock was held all the time; the
  ///   body did not run.
  /// - Complexity: two copies of the range in memory.
  @inlinable public func update<R: ~Copyable>(
    _ range: some RangeExpression<Int>, timeout: Duration? = nil,
    _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R {
    try update(range.relative(to: self), until: Deadline.after(timeout), body)
  }

  @inlinable func update<R: ~Copyable>(
    _ range: Range<Int>, until deadline: Int64, _ body: (inout MutableSpan<T>) throws -> R
  ) throws -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "Range out of bounds")
    guard let redo = unsafe storage.redo else { throw notTransactional() }
    return try withExtendedLifetime(storage) {
      try mutex.withLock(until: deadline) {
        try storage.stage(range, stride: MemoryLayout<T>.stride)
        // The redo area has room for all elements.
        var span = unsafe UnsafeMutableBufferPointer(
          start: redo.assumingMemoryBound(to: T.self), count: range.count
        ).mutableSpan
        let result = try body(&span)
        try storage.apply(range, stride: MemoryLayout<T>.stride)
        return result
      } recovering: {
        try settle()
      }
    }
  }

  @usableFromInline @inline(never) func notTransactional() -> IPCError {
    IPCError(
      .unsupported,
      context: "\(SharedArray.self): update needs an array made with transactional: true")
  }
}
