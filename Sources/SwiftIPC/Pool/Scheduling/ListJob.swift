// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A job whose elements are all known, and whose results are wanted all together.
final class ListJob<Output: Sendable>: PoolJob, @unchecked Sendable {
  private struct State {
    /// Results that are numbers; places that are not filled hold anything.
    var numbers: [Output] = []
    /// All other results.
    var values: [Output?] = []
    /// Which elements have a result or an error.
    var isFilled: [Bool]
    var errors: [Int: any Error] = [:]
    var firstError: (any Error)?
    /// The element of that error; `nil` for an error of the whole job.
    var firstFailed: Int?
    var open: Int
  }
  private let inputs: any PoolInputs
  private let coder = ElementCoder<Output>()
  private let state: Guarded<State>
  private let endsAtError: Bool
  override var stopsAtError: Bool { endsAtError }

  init(
    _ function: PoolFunction, _ options: TaskOptions, _ inputs: any PoolInputs, chunkSize: Int?,
    stopsAtError: Bool = true, whenOver: (@Sendable () -> Void)? = nil
  ) {
    self.inputs = inputs
    endsAtError = stopsAtError
    var state = State(isFilled: Array(repeating: false, count: inputs.count), open: inputs.count)
    if coder.fixedSize != nil {
      // Any bytes are a number, and each is overwritten before it is read.
      state.numbers = unsafe Array(unsafeUninitializedCapacity: inputs.count) {
        unsafe $0.zero()
        $1 = inputs.count
      }
    } else {
      state.values = Array(repeating: nil, count: inputs.count)
    }
    self.state = Guarded(state)
    super.init(
      function, options, count: inputs.count, chunkSize: chunkSize,
      resultSize: coder.fixedSize ?? 0, whenOver: whenOver)
  }

  override var resultSize: Int? { coder.fixedSize }

  override func sizeHint(_ elements: Range<Int>) -> Int { inputs.size(elements) }

  override func write(_ elements: Range<Int>, to frame: FrameBuffer) {
    inputs.write(elements, to: frame) { element, error in fail(element, error) }
  }

  override func receive(
    _ element: Int, _ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?
  ) {
    do {
      if let size = coder.fixedSize, bytes.count != size {
        throw IPCError(.malformedMessage, context: "\(bytes.count) bytes for a \(Output.self)")
      }
      let value = try unsafe coder.value(bytes, inbox)
      let isOver = state.withLock { state in
        if state.isFilled[element] { return false }
        state.isFilled[element] = true
        // The places of numbers are there until all are filled.
        if coder.fixedSize != nil {
          state.numbers[element] = value
        } else {
          state.values[element] = value
        }
        state.open -= 1
        return state.open == 0
      }
      if isOver { over() }
    } catch {
      let context = (error as? IPCError)?.context ?? "\(error)"
      fail(element, IPCError(.malformedMessage, context: "the result of a task: \(context)"))
    }
  }

  override func receive(_ elements: Range<Int>, values: UnsafeRawBufferPointer) {
    let isOver = state.withLock { state in
      // All have a result or an error, and the places are gone: the pool may have ended meanwhile.
      if state.open == 0 { return false }
      unsafe state.numbers.withUnsafeMutableBytes { bytes in
        let start = elements.lowerBound * MemoryLayout<Output>.size
        unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + values.count])
          .copyMemory(from: values)
      }
      for element in elements where !state.isFilled[element] {
        state.isFilled[element] = true
        state.open -= 1
      }
      return state.open == 0
    }
    if isOver { over() }
  }

  override func fail(_ element: Int, _ error: any Error) {
    let (isOver, isFirst) = state.withLock { state in
      if state.isFilled[element] { return (false, false) }
      state.isFilled[element] = true
      state.errors[element] = error
      state.open -= 1
      let isFirst = state.firstError == nil
      if isFirst { (state.firstError, state.firstFailed) = (error, element) }
      return (state.open == 0 || (isFirst && stopsAtError), isFirst)
    }
    if isOver {
      over()
    } else if isFirst {
      // A waiter for all values need not wait any longer.
      change.notify()
    }
  }

  override func failAll(_ error: any Error) {
    let isOver = state.withLock { state in
      if state.open == 0 { return false }
      if state.firstError == nil { state.firstError = error }
      for element in state.isFilled.indices where !state.isFilled[element] {
        state.isFilled[element] = true
        state.errors[element] = error
      }
      state.open = 0
      return true
    }
    if isOver { over() }
  }

  override var isOver: Bool {
    state.withLock { state in state.open == 0 || (stopsAtError && state.firstError != nil) }
  }

  /// The results, once it is over.
  ///
  /// - Throws: the first error.
  ///
  /// - Parameter keeping: whether they are asked for again.
  func values(keeping: Bool = false) throws -> [Output] {
    let (numbers, values, error, place) = state.withLock { state in
      // One error ends a map, but results of elements that had begun still come into their places.
      defer { if !keeping && state.open == 0 { state.numbers = [] } }
      return (state.numbers, state.values, state.firstError, state.firstFailed)
    }
    if let error { throw place.map { Self.placed(error, $0) } ?? error }
    if coder.fixedSize != nil { return numbers }
    return values.compactMap { $0 }
  }

  /// Whether `values` has an answer: all values, or an error.
  var hasFailedOrIsOver: Bool {
    state.withLock { state in state.open == 0 || state.firstError != nil }
  }

  /// How many elements have no result yet, and how many have an error.
  var counts: (open: Int, failed: Int) {
    state.withLock { state in (state.open, state.errors.count) }
  }

  /// The result of a job with one element. May be asked for more than once.
  func value() throws -> Output {
    let (number, value, error) = state.withLock { state in
      (state.numbers.first, state.values.first ?? nil, state.firstError)
    }
    if let error { throw error }
    guard let value = number ?? value else { preconditionFailure("asked before it was there") }
    return value
  }

  /// The result or error of each element, once the job is over.
  func results() -> [Result<Output, any Error>] {
    let state = state.withLock { $0 }
    return state.isFilled.indices.map { element in
      if let error = state.errors[element] { return .failure(Self.placed(error, element)) }
      if coder.fixedSize != nil { return .success(state.numbers[element]) }
      guard let value = state.values[element] else { preconditionFailure("asked too early") }
      return .success(value)
    }
  }
}

extension UnsafeMutableBufferPointer {
  /// Fills memory of numbers with zero bytes.
  fileprivate func zero() {
    unsafe UnsafeMutableRawBufferPointer(self).initializeMemory(as: UInt8.self, repeating: 0)
  }
}
