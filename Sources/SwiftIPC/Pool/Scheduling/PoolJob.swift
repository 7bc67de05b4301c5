// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// One call to a pool: a function and the elements that it is applied to, and where its results go.
///
/// Not generic, for the scheduler's sake; what knows the types inherits.
class PoolJob: @unchecked Sendable {
  let function: PoolFunction
  let options: TaskOptions
  /// In nanoseconds; `nil` for none.
  let timeout: Int64?
  /// When the caller asked for it.
  final let madeAt = PoolClock().now()
  /// The scheduler's, under its lock.
  final var schedule: JobSchedule
  /// The scheduler's: elements that workers have at the moment.
  final var given = 0

  /// The scheduler's: elements that were given up before a worker had them.
  final var givenUp = 0
  /// The scheduler's: elements that are to come, as far as is known, and are not in the schedule yet.
  final var announced = 0
  /// Whether one error is enough.
  var stopsAtError: Bool { false }
  /// Whether more elements may come.
  var isStream: Bool { false }

  /// Called once, when it is over.
  private let whenOver: Guarded<(@Sendable () -> Void)?>
  /// Tells those who wait that something has come about.
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

  /// Has something more done when it is over. Before the pool has the job.
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

  /// It is over: nobody needs more of its results, or none will come.
  final func over() {
    let action = whenOver.withLock { whenOver in
      defer { whenOver = nil }
      return whenOver
    }
    action?()
    change.tell()
  }

  /// An error that says for which element it is.
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

  // MARK: For those who inherit

  /// Bytes of a result, where all have as many.
  var resultSize: Int? { nil }

  /// How many bytes elements will take, where that is quickly told; 0 otherwise.
  func sizeHint(_ elements: Range<Int>) -> Int { 0 }

  /// Writes elements into an order. Called by one thread at a time. One that cannot be written gets
  /// its error here, and an empty place in the frame.
  func write(_ elements: Range<Int>, to frame: FrameBuffer) { fatalError("abstract") }

  /// Takes the result of an element: its bytes. Called by one thread at a time.
  func receive(_ element: Int, _ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?) {
    fatalError("abstract")
  }

  /// Takes the results of several elements, each of `resultSize` bytes.
  func receive(_ elements: Range<Int>, values: UnsafeRawBufferPointer) { fatalError("abstract") }

  /// Takes the error of an element; one that has a result already keeps that.
  func fail(_ element: Int, _ error: any Error) { fatalError("abstract") }

  /// Takes an error for all that have no result yet.
  func failAll(_ error: any Error) { fatalError("abstract") }

  /// Whether nobody needs more results: all are there, or the first error was enough.
  var isOver: Bool { fatalError("abstract") }
}

/// Those who wait for something to come about, in whatever way.
final class PoolChange: Sendable {
  private let waiting = Guarded<[@Sendable () -> Void]>([])

  /// Has `wake` called at the next change, unless the condition holds already: then returns false.
  func listen(unless isDone: () -> Bool, _ wake: @escaping @Sendable () -> Void) -> Bool {
    waiting.withLock { $0.append(wake) }
    // After the entry: a change that came before it is seen here.
    return !isDone()
  }

  /// Wakes those who wait.
  func tell() {
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
