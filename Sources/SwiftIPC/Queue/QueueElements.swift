// SPDX-License-Identifier: Apache-2.0

/// The elements of a queue as a sequence that blocks: see `Queue.elements`.
public final class QueueElements<Element: Codable & Sendable>: Sequence, IteratorProtocol {
  private let queue: Queue<Element>
  /// What ended the loop, where it was not the end of the stream.
  public private(set) var error: (any Error)?

  init(of queue: Queue<Element>) { self.queue = queue }

  /// The next element; `nil` at the end of the stream, and when there was an error. Blocks until there is
  /// one.
  public func next() -> Element? {
    do {
      return try queue.next()
    } catch {
      self.error = error
      return nil
    }
  }
}
