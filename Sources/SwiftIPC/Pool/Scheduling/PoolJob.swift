// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// One call to a pool: a function, the elements that it is applied to, and the place of its results.
///
/// Not generic, for the scheduler's sake; subclasses know the types.
class PoolJob: @unchecked Sendable {
  let function: PoolFunction
  let options: TaskOptions
  /// In nanoseconds; `nil` for none.
  let timeout: Int64?
  /// When the caller asked for it.
  final let madeAt = PoolClock().now()
  /// The scheduler's, under its lock.
  final var schedule: JobSchedule
  /// The scheduler's: how many elements workers have at the moment.
  final var given = 0

  /// The scheduler's: how many elements were given up before a worker had them.
  final var givenUp = 0
  /// The scheduler's: how many elements are to come, as far as is known, that the schedule does not have yet.
  final var announced = 0
  /// Whether the first error ends the job.
  var stopsAtError: Bool { false }
  /// Whether more elements may come.
  var isStream: Bool { false }

  /// Called once, when it is over.
  private let whenOver: Guarded<(@Sendable () -> Void)?>
  /// Notifies the job's waiters.
  final let change = PoolChange()

  init(
    _ function: PoolFunction, _ options: TaskOptions, count: Int, chunkSize: Int?,
    resultSize: Int = 0, whenOver: (@Sendable () -> Void)? = nil
  ) {
    self.whenOver = Guarded(whenOver)
    self.function = function
    self.options = options
    timeout = options.timeout.map { max(0, Deadline.nanoseconds($0)) }
    schedule = JobSchedule(count: count, chunkSize: chunkSize, resultSize: resultSize)
  }

  /// Adds an action for the end of the job. Called before the pool has the job.
  final func addWhenOver(_ action: @escaping @Sendable () -> Void) {
    whenOver.withLock { whenOver in
      guard let first = whenOver else {
        whenOver = action
        return
      }
      whenOver = {
        action()
        first()
      }
    }
  }

  /// Notifies of the job's end: no more results are needed, or none will come.
  final func over() {
    let action = whenOver.withLock { whenOver in
      defer { whenOver = nil }
      return whenOver
    }
    action?()
    change.notify()
  }

  /// The error with the index of its element.
  static func placed(_ error: any Error, _ element: Int) -> any Error {
    if var error = error as? IPCError {
      error.taskIndex = element
      return error
    }
    if var error = error as? RemoteError {
      error.taskIndex = element
      return error
    }
    return error
  }

  // MARK: For subclasses

  /// Bytes of a result, where all have the same size.
  var resultSize: Int? { nil }

  /// How many bytes elements will take, where that is quickly found; 0 otherwise.
  func sizeHint(_ elements: Range<Int>) -> Int { 0 }

  /// Writes elements into an order. Called by one thread at a time. An element that cannot be written gets
  /// its error here, and an empty place in the frame.
  func write(_ elements: Range<Int>, to frame: FrameBuffer) { fatalError("abstract") }

  /// Takes the result of an element: its bytes. Called by one thread at a time.
  func receive(_ element: Int, _ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?) {
    fatalError("abstract")
  }

  /// Takes the results of several elements, each of `resultSize` bytes.
  func receive(_ elements: Range<Int>, values: UnsafeRawBufferPointer) { fatalError("abstract") }

  /// Takes the error of an element, unless that has a result already.
  func fail(_ element: Int, _ error: any Error) { fatalError("abstract") }

  /// Takes an error for all elements that have no result yet.
  func failAll(_ error: any Error) { fatalError("abstract") }

  /// Whether no more results are needed: all are there, or the first error ended the job.
  var isOver: Bool { fatalError("abstract") }
}

/// Notifies waiters of a change, however they wait.
final class PoolChange: Sendable {
  private let waiting = Guarded<[@Sendable () -> Void]>([])

  /// Has `wake` called at the next change.
  ///
  /// - Returns: `false` where the condition holds already.
  func listen(unless isDone: () -> Bool, _ wake: @escaping @Sendable () -> Void) -> Bool {
    waiting.withLock { $0.append(wake) }
    // After the entry: an earlier change is seen here.
    return !isDone()
  }

  /// Wakes the waiters.
  func notify() {
    let wakes = waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
    for wake in wakes { wake() }
  }
}

extension Deadline {
  /// A duration in nanoseconds, as far as these go.
  static func nanoseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, carry) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
    return carry ? .max : sum
  }
}
