// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A job whose elements come one after the other, and whose results are taken one by one: in the order of
/// the elements, or as they arrive.
final class StreamJob<Input: Sendable, Output: Sendable>: PoolJob, @unchecked Sendable {
  typealias Arrival = (index: Int, result: Result<Output, any Error>)

  private struct State {
    /// Elements from `first` on: without a result, or with one that was not taken yet.
    var inputs = PoolDeque<Input?>()
    var results = PoolDeque<Result<Output, any Error>?>()
    var first = 0
    /// Results in the order in which they arrived, with their elements.
    var arrived = PoolDeque<Arrival>()
    /// How many elements were added, and how many results were taken.
    var added = 0
    var taken = 0
    var end: (any Error)?
  }
  private let state = Guarded(State())
  private let isOrdered: Bool
  private let inputCoder = ElementCoder<Input>()
  private let coder = ElementCoder<Output>()

  init(_ function: PoolFunction, _ options: TaskOptions, isOrdered: Bool, chunkSize: Int?) {
    self.isOrdered = isOrdered
    super.init(function, options, count: 0, chunkSize: chunkSize)
  }

  /// How many elements were added whose results were not taken yet.
  var open: Int { state.withLock { $0.added - $0.taken } }

  func add(_ input: Input) {
    state.withLock { state in
      state.inputs.append(input)
      if isOrdered { state.results.append(nil) }
      state.added += 1
    }
  }

  /// Whether `take` has something to return.
  var isReady: Bool {
    state.withLock { state in
      if state.end != nil { return true }
      if isOrdered { return (state.results.first ?? nil) != nil }
      return !state.arrived.isEmpty
    }
  }

  /// Takes the next result; `nil` where there is none yet. Of a stream that was given up, the first
  /// element without a result, and the reason.
  func take() -> Arrival? {
    state.withLock { state in
      if isOrdered {
        if let next = state.results.first, let next {
          state.results.removeFirst()
          state.inputs.removeFirst()
          defer { state.first += 1 }
          state.taken += 1
          return (state.first, next)
        }
      } else if !state.arrived.isEmpty {
        state.taken += 1
        return state.arrived.removeFirst()
      }
      return state.end.map { (state.first, .failure($0)) }
    }
  }

  /// Whether no more results will come, since the pool or the job was given up.
  var hasEnded: Bool { state.withLock { $0.end != nil } }

  override var resultSize: Int? { nil }
  override var isStream: Bool { true }

  override func write(_ elements: Range<Int>, to frame: FrameBuffer) {
    let inputs = state.withLock { state in
      elements.map { element -> Input? in
        let place = element - state.first
        return place >= 0 && place < state.inputs.count ? state.inputs[place] : nil
      }
    }
    for (element, input) in zip(elements, inputs) {
      // An element that could not be written the first time has its error by now.
      let failing = { (element: Int, error: any Error) in self.fail(element, error) }
      frame.append(to: element, failing) {
        guard let input else {
          throw IPCError(.cancelled, context: "an element of a stream whose result is there")
        }
        try inputCoder.append(input, to: frame)
      }
    }
  }

  override func receive(
    _ element: Int, _ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?
  ) {
    do {
      if let size = coder.fixedSize, bytes.count != size {
        throw IPCError(.malformedMessage, context: "\(bytes.count) bytes for a \(Output.self)")
      }
      finish(element, .success(try unsafe coder.value(bytes, inbox)))
    } catch {
      let context = (error as? IPCError)?.context ?? "\(error)"
      fail(element, IPCError(.malformedMessage, context: "the result of a task: \(context)"))
    }
  }

  override func fail(_ element: Int, _ error: any Error) {
    finish(element, .failure(Self.placed(error, element)))
  }

  private func finish(_ element: Int, _ result: Result<Output, any Error>) {
    state.withLock { state in
      let place = element - state.first
      guard place >= 0, place < state.inputs.count else { return }
      if isOrdered {
        if state.results[place] == nil { state.results[place] = result }
        return
      }
      guard state.inputs[place] != nil else { return }
      state.inputs[place] = nil
      state.arrived.append((element, result))
      while let next = state.inputs.first, next == nil {
        state.inputs.removeFirst()
        state.first += 1
      }
    }
    change.notify()
  }

  override func failAll(_ error: any Error) {
    state.withLock { state in if state.end == nil { state.end = error } }
    over()
  }

  /// Errors are results like others: a stream has no end.
  override var isOver: Bool { false }
}
