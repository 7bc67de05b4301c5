// SPDX-License-Identifier: Apache-2.0

/// Which elements of a job are still to be given out, and in what chunks.
///
/// Chunks adapt. The first are single elements; by the time that these take, later ones are made to take
/// half a millisecond, but never more than a third of an even share of what is left. So a million tiny
/// tasks go in some dozens of chunks, and long uneven tasks one by one.
struct JobSchedule {
  /// As the caller wants them; `nil` to adapt.
  var chunkSize: Int?
  /// Bytes of a result, where all have the same size and may be reported together; 0 otherwise.
  let resultSize: Int
  /// How many elements there are, so far.
  private(set) var count: Int
  private var next = 0
  /// Elements that workers had not begun when they died; they are given out first.
  private var returned: [Range<Int>] = []
  private var attempts: [Int: Int] = [:]
  /// Nanoseconds for an element, estimated; `nil` before the first is through.
  private(set) var pace: Double?
  private var lastSize = 1
  private(set) var isCancelled = false
  /// Whether the scheduler has the job in its list.
  var isListed = false

  /// How many nanoseconds a chunk is to take.
  static let chunkTime = 500_000.0
  /// How many nanoseconds of work may wait in a worker behind the chunk that it is in.
  static let queueTime = 1_000_000.0
  static let mostQueued = 64

  /// Bytes that the results of a chunk take at most where they are reported together, and those of all
  /// chunks that a worker has.
  static let chunkCapacity = 1 << 17
  static let slotCapacity = 3 * chunkCapacity

  init(count: Int, chunkSize: Int?, resultSize: Int = 0) {
    self.count = count
    self.resultSize = resultSize
    self.chunkSize = chunkSize.map { max(1, $0) }
  }

  var available: Int { returned.reduce(count - next) { $0 + $1.count } }

  mutating func extend(by more: Int) { if !isCancelled { count += more } }

  /// Gives out no more.
  mutating func cancel() {
    isCancelled = true
    returned = []
    next = count
  }

  /// Gives up what was not given out, and takes more all the same.
  mutating func giveUp() -> [Range<Int>] {
    defer { (returned, next) = ([], count) }
    return next < count ? returned + [next..<count] : returned
  }

  /// The next chunk, for one of this many workers.
  ///
  /// - Parameter most: how many elements the worker still takes.
  mutating func take(workers: Int, most: Int) -> Range<Int>? {
    let left = available
    guard left > 0 else { return nil }
    var size = chunkSize ?? adaptedSize(left, workers)
    size = min(size, most)
    if resultSize > 0 { size = min(size, Self.chunkCapacity / resultSize) }
    lastSize = max(size, 1)
    if let first = returned.first {
      let chunk = first.prefix(size)
      if chunk.count == first.count {
        returned.removeFirst()
      } else {
        returned[0] = first.dropFirst(size)
      }
      return chunk
    }
    let chunk = next..<min(next + size, count)
    next = chunk.upperBound
    return chunk
  }

  private func adaptedSize(_ left: Int, _ workers: Int) -> Int {
    guard let pace else { return 1 }
    let wanted = Self.chunkTime / max(pace, 1)
    let fair = (left + workers * 3 - 1) / (workers * 3)
    return max(1, min(Int(wanted), fair, lastSize * 8))
  }

  /// How many chunks of this job a worker may have at a time, including the one that it is in.
  var depth: Int {
    guard let pace else { return 1 }
    let chunk = max(pace, 1) * Double(lastSize)
    var depth = min(Self.mostQueued, Int(Self.queueTime / chunk))
    if resultSize > 0 && lastSize > 1 {
      depth = min(depth, Self.slotCapacity / (resultSize * lastSize))
    }
    return max(1, depth)
  }

  /// Adjusts the pace by elements that took this long together. Slower ones count at once, so that nothing
  /// is put behind them; faster ones count little by little.
  mutating func learn(_ elements: Int, _ nanoseconds: UInt64) {
    guard elements > 0 else { return }
    let each = Double(nanoseconds) / Double(elements)
    guard let pace else {
      self.pace = each
      return
    }
    self.pace = each > pace ? (pace + each) / 2 : pace * 0.75 + each * 0.25
  }

  /// Takes back elements that were given out and not begun.
  mutating func giveBack(_ elements: Range<Int>) {
    if elements.isEmpty || isCancelled { return }
    let place = returned.firstIndex { $0.lowerBound > elements.lowerBound } ?? returned.count
    returned.insert(elements, at: place)
  }

  /// Whether an element over which a worker died is to be tried again. Counts the attempt.
  mutating func triesAgain(_ element: Int, retries: Int) -> Bool {
    guard retries > 0, !isCancelled else { return false }
    let done = attempts[element, default: 0]
    if done >= retries {
      attempts[element] = nil
      return false
    }
    attempts[element] = done + 1
    giveBack(element..<element + 1)
    return true
  }
}
