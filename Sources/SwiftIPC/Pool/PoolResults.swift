// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// The results of `imap` and `imapUnordered`: a lazy sequence for asynchronous code; `results` is the one
/// for synchronous code.
///
/// ```swift
/// for try await page in pool.imap(names, { try read($0) }) { show(page) }
/// for page in pool.imap(names, { try read($0) }).results { show(try page.get()) }
/// ```
///
/// The asynchronous loop ends with the first error, whose `taskIndex` says which element it was; its
/// iterator can be asked for the next result after one. `indexed` gives results and errors alike, with
/// the places of their elements. Each iterator takes the input from its beginning. One that is dropped gives up what it has not
/// given out.
public struct PoolResults<Inputs: Sequence, Output: Sendable>: AsyncSequence
where Inputs.Element: Sendable {
  let core: PoolCore
  let inputs: Inputs
  let isOrdered: Bool
  let window: Int?
  let chunkSize: Int?
  let options: TaskOptions
  /// Or why there is none.
  let function: Result<PoolFunction, IPCError>
  /// How many elements there will be, where the caller has said it.
  var total: Int?

  /// Begins with the first element.
  public func makeAsyncIterator() -> Iterator { Iterator(run: PoolResultsRun(self)) }

  /// The same for synchronous code: what becomes of each element, a value or its error. Taking them
  /// blocks, and does the pool's work meanwhile.
  public var results: Blocking { Blocking(results: self) }

  /// Takes the results without blocking a thread.
  public struct Iterator: AsyncIteratorProtocol {
    let run: PoolResultsRun<Inputs, Output>

    /// The next result; `nil` behind the last.
    ///
    /// - Throws: the error of the task; `cancelled` when the waiting task is: then those that have not
    ///   begun do not.
    public mutating func next() async throws -> Output? { try await next(isolation: #isolation) }

    /// The next result; `nil` behind the last.
    ///
    /// - Throws: as `next()`.
    public mutating func next(isolation actor: isolated (any Actor)?) async throws -> Output? {
      try await run.next(isolation: actor)?.result.get()
    }
  }

  /// What becomes of each element, as a sequence for synchronous code.
  public struct Blocking: Sequence {
    let results: PoolResults

    /// Begins with the first element.
    public func makeIterator() -> Iterator { Iterator(run: PoolResultsRun(results)) }

    /// Takes the results; blocks.
    public struct Iterator: IteratorProtocol {
      let run: PoolResultsRun<Inputs, Output>

      /// What became of the next element; `nil` behind the last. Blocks until it is there.
      public mutating func next() -> Result<Output, any Error>? { run.next()?.result }
    }
  }

  // MARK: - With places

  /// The same with the place of each element in the input, and with errors as elements like others: so
  /// that the loop goes on after one.
  ///
  /// ```swift
  /// for try await (index, page) in pool.imapUnordered(urls, { try fetch($0) }).indexed {
  ///   switch page {
  ///   case .success(let page): show(page)
  ///   case .failure(let error): print("\(urls[index]): \(error)")
  ///   }
  /// }
  /// ```
  public var indexed: Indexed { Indexed(base: self) }

  /// What becomes of each element, with its place in the input.
  public struct Indexed: AsyncSequence {
    /// The place of an element in the input, counted from 0, and what became of it. Where the pool
    /// ends before the elements do, the last has the error and the place of the first that has no result.
    public typealias Element = (index: Int, result: Result<Output, any Error>)

    let base: PoolResults

    /// Begins with the first element.
    public func makeAsyncIterator() -> Iterator { Iterator(run: PoolResultsRun(base)) }

    /// The same for synchronous code. Taking them blocks, and does the pool's work meanwhile.
    public var results: Blocking { Blocking(base: base) }

    /// Takes the results without blocking a thread.
    public struct Iterator: AsyncIteratorProtocol {
      let run: PoolResultsRun<Inputs, Output>

      /// What became of the next element; `nil` behind the last.
      ///
      /// - Throws: `cancelled` when the waiting task is: then those that have not begun do not.
      public mutating func next() async throws -> Element? { try await next(isolation: #isolation) }

      /// What became of the next element; `nil` behind the last.
      ///
      /// - Throws: as `next()`.
      public mutating func next(isolation actor: isolated (any Actor)?) async throws -> Element? {
        try await run.next(isolation: actor)
      }
    }

    /// What becomes of each element, as a sequence for synchronous code.
    public struct Blocking: Sequence {
      let base: PoolResults

      /// Begins with the first element.
      public func makeIterator() -> Iterator { Iterator(run: PoolResultsRun(base)) }

      /// Takes the results; blocks.
      public struct Iterator: IteratorProtocol {
        let run: PoolResultsRun<Inputs, Output>

        /// What became of the next element; `nil` behind the last. Blocks until it is there.
        public mutating func next() -> Indexed.Element? { run.next() }
      }
    }
  }

  // MARK: - Totals

  /// The same with a number of elements that the progress of the pool counts on from the beginning.
  ///
  /// ```swift
  /// let lines = pool.imap(logFile.lines, { try parse($0) }).expecting(total: 1_000_000)
  /// ```
  ///
  /// A collection says it by itself. Where other elements come, the total is corrected: upwards when
  /// there are more, downwards when the input ends. It has no influence on what is done.
  public func expecting(total: Int) -> PoolResults {
    var results = self
    results.total = Swift.max(0, total)
    return results
  }
}

extension ProcessPool {
  func results<Inputs: Sequence, Output>(
    of inputs: Inputs, isOrdered: Bool, _ window: Int?, _ chunkSize: Int?, _ options: TaskOptions,
    _ function: () throws(IPCError) -> PoolFunction
  ) -> PoolResults<Inputs, Output> {
    let result: Result<PoolFunction, IPCError>
    do {
      result = .success(try function())
    } catch {
      result = .failure(error)
    }
    return PoolResults(
      core: core, inputs: inputs, isOrdered: isOrdered, window: window, chunkSize: chunkSize,
      options: options, function: result)
  }
}
