// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

extension Queue {
  /// Takes an element, or says that there will be none. Blocks until there is one.
  ///
  /// ```swift
  /// while let job = try jobs.next() { try work(on: job) }
  /// ```
  ///
  /// - Returns: the element; `nil` when the stream was finished and nothing is left.
  /// - Throws: as `get(timeout:)`, `finished` aside.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
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

extension Queue {
  /// What becomes of the elements: each as it is, or why it is none, until the stream was finished and
  /// nothing is left.
  ///
  /// ```swift
  /// for try await result in jobs.results {
  ///   switch result {
  ///   case .success(let job): try work(on: job)
  ///   case .failure(let error): log("skipped: \(error)")
  ///   }
  /// }
  /// ```
  ///
  /// A loop over the queue itself ends at the first element that cannot be decoded; this one goes on
  /// behind it. A failure is that one element's, which is gone, and done where delivery is tracked or
  /// leased. The loop throws what concerns the queue, as `get(timeout:)` does.
  public var results: QueueResults<Element> { QueueResults(of: self) }

  fileprivate func nextResult() async throws(IPCError) -> Result<Element, any Error>? {
    let taken: QueueTaken<Element>
    do throws(IPCError) {
      taken = try await takeSuspending(until: .max) { shown throws(IPCError) in try take(shown) }
    } catch  where error.code == .finished {
      return nil
    } catch  where error.code == .malformedMessage {
      // The bytes of one element; what is wrong with the queue itself is a segmentMismatch.
      return .failure(error)
    }
    do {
      return .success(try element(of: taken))
    } catch {
      return .failure(error)
    }
  }
}

/// What becomes of the elements of a queue, as an asynchronous sequence: see `Queue.results`.
public struct QueueResults<Value: Codable & Sendable>: AsyncSequence, Sendable {
  /// An element as it is, or why it is none.
  public typealias Element = Result<Value, any Error>

  private let queue: Queue<Value>

  init(of queue: Queue<Value>) { self.queue = queue }

  /// Makes an iterator; all iterators take from the same queue, so two loops share its elements.
  public func makeAsyncIterator() -> Iterator { Iterator(queue: queue) }

  /// Takes one element after the other.
  public struct Iterator: AsyncIteratorProtocol {
    fileprivate let queue: Queue<Value>

    /// What becomes of the next element; `nil` when the stream was finished and nothing is left.
    ///
    /// - Throws: as `Queue.get()`, `finished` and what decoding an element throws aside.
    public func next() async throws -> Result<Value, any Error>? { try await queue.nextResult() }
  }
}

extension Queue: AsyncSequence {
  /// Makes an iterator; all iterators take from the same queue, so two loops share its elements.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: self) }

  /// Takes one element after the other.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let queue: Queue

    /// The next element; `nil` when the stream was finished and nothing is left.
    ///
    /// - Throws: as `get(timeout:)`, `finished` aside: `cancelled` and `peersGone` among it.
    public func next() async throws -> Element? {
      do {
        return try await queue.get()
      } catch let error as IPCError where error.code == .finished {
        return nil
      }
    }
  }
}
