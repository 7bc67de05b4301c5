// SPDX-License-Identifier: Apache-2.0

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

  /// Tells those who wait that something has come about.
  final let change = PoolChange()

  init(
    _ function: PoolFunction, _ options: TaskOptions, count: Int, chunkSize: Int?,
    resultSize: Int = 0
  ) {
    self.function = function
    self.options = options
    timeout = options.timeout.map { max(0, Deadline.nanoseconds($0)) }
    schedule = JobSchedule(count: count, chunkSize: chunkSize, resultSize: resultSize)
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
