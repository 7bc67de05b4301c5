// SPDX-License-Identifier: Apache-2.0

extension Queue {
  /// Takes an element, or says that there will be none. Blocks until there is one.
  ///
  /// ```swift
  /// while let job = try jobs.next() { try work(on: job) }
  /// ```
  ///
  /// - Returns: the element; `nil` when the stream was finished and nothing is left.
  /// - Throws: as `get()`, `finished` aside.
  @available(
    *, noasync,
    message:
      "use 'for try await element in queue'; at top level: func run() async throws { … }; try await run()"
  )
  public func next() throws -> Element? {
    do {
      return try get()
    } catch let error as IPCError where error.code == .finished {
      return nil
    }
  }

  /// The elements, one after the other, for a loop in synchronous code, which blocks until there is one
  /// and ends with the stream.
  ///
  /// ```swift
  /// let letters = queue.elements
  /// for letter in letters { print(letter) }
  /// if let error = letters.error { throw error }
  /// ```
  ///
  /// A loop cannot throw: an error ends it, and is in `error` then. `next()` throws it at once.
  public var elements: QueueElements<Element> { QueueElements(of: self) }
}

extension Queue: AsyncSequence {
  /// Makes an iterator; all iterators take from the same queue, so two loops share its elements.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: self) }

  /// Takes one element after the other.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let queue: Queue

    /// The next element; `nil` when the stream was finished and nothing is left.
    ///
    /// - Throws: as `get()`, `finished` aside: `cancelled` and `peersGone` among it.
    public func next() async throws -> Element? {
      do {
        return try await queue.get()
      } catch let error as IPCError where error.code == .finished {
        return nil
      }
    }
  }
}
