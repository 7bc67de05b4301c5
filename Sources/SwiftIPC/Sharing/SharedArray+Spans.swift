// SPDX-License-Identifier: Apache-2.0

// Spans without the lock: as fast as memory of this process alone.
extension SharedArray {
  /// Gives all elements to a closure, to read. Unsynchronised: takes no lock.
  @inlinable public func withSpan<R: ~Copyable, E: Error>(
    _ body: (Span<T>) throws(E) -> R
  ) throws(E) -> R {
    try withExtendedLifetime(storage) { () throws(E) -> R in
      try body(unsafe UnsafeBufferPointer(start: base, count: count).span)
    }
  }

  /// Gives all elements to a closure, to read or write. Unsynchronised: takes no lock.
  ///
  /// ```swift
  /// numbers.withMutableSpan { span in
  ///   for i in span.indices { span[i] *= 2 }
  /// }
  /// ```
  ///
  /// A loop over the span is as fast as one over an array of this process. No lock keeps other
  /// processes and threads from the elements meanwhile: give each its own part
  /// (`withMutableSpan(rows:_:)`), or let them take turns by a `Barrier`; `withLock(timeout:_:)` is the form
  /// that locks.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; what it did before stays.
  @inlinable public func withMutableSpan<R: ~Copyable, E: Error>(
    _ body: (inout MutableSpan<T>) throws(E) -> R
  ) throws(E) -> R {
    try withExtendedLifetime(storage) { () throws(E) -> R in
      var span = unsafe UnsafeMutableBufferPointer(start: base, count: count).mutableSpan
      return try body(&span)
    }
  }

  /// Gives some rows to a closure, to read: a single span over their elements, in row-major order.
  /// Unsynchronised: takes no lock.
  ///
  /// ```swift
  /// let sum = image.withSpan(rows: 3..<7) { span in
  ///   var sum: Float = 0
  ///   for i in span.indices { sum += span[i] }
  ///   return sum
  /// }
  /// ```
  ///
  /// - Parameter rows: of the first dimension: elements of an array of rank 1, rows of rank 2, and
  ///   slabs of higher ranks. The span's first index is 0, and the element at `[i, j]` is at
  ///   `(i - first) * shape[1] + j`. Traps when out of bounds.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws.
  @inlinable public func withSpan<R: ~Copyable, E: Error>(
    rows: some RangeExpression<Int>, _ body: (Span<T>) throws(E) -> R
  ) throws(E) -> R {
    let elements = elements(of: rows.relative(to: 0..<extents.0))
    return try withExtendedLifetime(storage) { () throws(E) -> R in
      try body(
        unsafe UnsafeBufferPointer(start: base + elements.lowerBound, count: elements.count).span)
    }
  }

  /// Gives some rows to a closure, to read or write: a single span over their elements, in row-major
  /// order. Unsynchronised: takes no lock.
  ///
  /// ```swift
  /// // One of four children, each of which has a quarter of the rows:
  /// let quarter = image.shape[0] / 4
  /// image.withMutableSpan(rows: part * quarter..<(part + 1) * quarter) { span in
  ///   for i in span.indices { span[i] = 1 - span[i] }
  /// }
  /// ```
  ///
  /// Processes and threads that have different rows need no lock. Otherwise as
  /// `withMutableSpan(_:)`.
  ///
  /// - Parameter rows: as with `withSpan(rows:_:)`. Traps when out of bounds.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; what it did before stays.
  @inlinable public func withMutableSpan<R: ~Copyable, E: Error>(
    rows: some RangeExpression<Int>, _ body: (inout MutableSpan<T>) throws(E) -> R
  ) throws(E) -> R {
    let elements = elements(of: rows.relative(to: 0..<extents.0))
    return try withExtendedLifetime(storage) { () throws(E) -> R in
      var span = unsafe UnsafeMutableBufferPointer(
        start: base + elements.lowerBound, count: elements.count
      ).mutableSpan
      return try body(&span)
    }
  }

  /// Where rows are among all elements. The bounds are checked here, once.
  @inlinable func elements(of rows: Range<Int>) -> Range<Int> {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= extents.0, "Rows out of bounds")
    // The count is the product of all extents.
    let size = extents.0 == 0 ? 0 : count / extents.0
    return rows.lowerBound * size..<rows.upperBound * size
  }
}
