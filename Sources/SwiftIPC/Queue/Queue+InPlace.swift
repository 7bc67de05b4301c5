// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
internal import Synchronization

extension Queue {
  /// Whether this thread reads an element in place: then it must not be shown the next.
  var isReading: Bool { isThisThread(reader) }

  /// Whether this thread writes an element in place: then it must not reserve another.
  var isWriting: Bool { isThisThread(writer) }

  private func isThisThread(_ thread: borrowing Atomic<UInt64>) -> Bool {
    let found = thread.load(ordering: .relaxed)
    return found != 0 && found == cipc_participant_this_thread()
  }

  // MARK: Reading in place

  /// Reads the next element where it lies in shared memory, as its bytes, and takes it. Blocks until
  /// there is one.
  ///
  /// The body gets the bytes as they were put: those of a number, a structure of numbers or an array of
  /// these, the UTF-8 of text, and of all else a message as `MessageEncoder` writes it. They are valid
  /// until the body returns. Other consumers wait meanwhile, so be brief. Towards a process that is not
  /// trusted, copy before you check: it can change what you look at.
  ///
  /// The corresponding C functions are `cipc_ring_peek` and `cipc_ring_release`.
  ///
  /// - Parameters:
  ///   - timeout: how long to wait for an element; zero or less tries once, `nil` waits for as long as
  ///     it takes.
  ///   - body: must not take from this queue.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws: the element then stays where it is. `IPCError` with `unsupported`
  ///   unless delivery is at most once; otherwise as `get(timeout:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func withElementBytes<R>(
    timeout: Duration? = nil, _ body: (RawSpan) throws -> R
  ) throws -> R {
    guard delivery == .atMostOnce else { throw notInPlace }
    return try takeBlocking(until: Deadline.after(timeout)) { shown throws(IPCError) in
      show(shown, body)
    }.get()
  }

  /// The same without a blocked thread: the task is suspended until there is an element. The body runs
  /// without suspending.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public func withElementBytes<R>(
    timeout: Duration? = nil, _ body: (RawSpan) throws -> R
  ) async throws -> R {
    guard delivery == .atMostOnce else { throw notInPlace }
    return try await takeSuspending(until: Deadline.after(timeout)) { shown throws(IPCError) in
      show(shown, body)
    }.get()
  }

  /// Reads the next element in place, if there is one right now. Does not block.
  ///
  /// - Returns: what the body returns; `nil` when there is no element.
  /// - Throws: as `withElementBytes(timeout:_:)`.
  public func withElementBytesIfAvailable<R>(_ body: (RawSpan) throws -> R) throws -> R? {
    guard delivery == .atMostOnce else { throw notInPlace }
    return try takeIfAvailable { shown throws(IPCError) in show(shown, body) }?.get()
  }

  /// Reads the next array where it lies in shared memory, and takes it. Blocks until there is one.
  ///
  /// ```swift
  /// let frames = try Queue<[Float]>(capacity: .elements(8))
  /// let brightest = try frames.withElement { pixels in
  ///   var brightest: Float = 0
  ///   for i in pixels.indices { brightest = max(brightest, pixels[i]) }
  ///   return brightest
  /// }
  /// ```
  ///
  /// For arrays of numbers and of structures of numbers; all else as `withElementBytes(timeout:_:)`.
  ///
  /// - Throws: `IPCError` with `malformedMessage` when the bytes are no such array, which is gone then;
  ///   `unsupported` for another element type; otherwise as `withElementBytes(timeout:_:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func withElement<T: BitwiseCopyable, R>(
    timeout: Duration? = nil, _ body: (Span<T>) throws -> R
  ) throws -> R where Element == [T] {
    try checkInPlace(T.self)
    return try withElementBytes(timeout: timeout) { bytes in
      try Self.reading(bytes, body)
    }.get()
  }

  /// The same without a blocked thread: the task is suspended until there is an element. The body runs
  /// without suspending.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public func withElement<T: BitwiseCopyable, R>(
    timeout: Duration? = nil, _ body: (Span<T>) throws -> R
  ) async throws -> R where Element == [T] {
    try checkInPlace(T.self)
    return try await withElementBytes(timeout: timeout) { bytes in
      try Self.reading(bytes, body)
    }.get()
  }

  /// A failure is that of the bytes: the element is to be taken. What the body throws leaves it there.
  private static func reading<T: BitwiseCopyable, R>(
    _ bytes: RawSpan, _ body: (Span<T>) throws -> R
  ) throws -> Result<R, IPCError> where Element == [T] {
    let coding = ArrayQueueCoding<T>.self
    guard bytes.byteCount % coding.stride == 0 else {
      return .failure(coding.badLength(bytes.byteCount))
    }
    // Of any bytes there are elements, and records are aligned to 8; `checkInPlace` has seen to both.
    return try unsafe bytes.withUnsafeBytes { bytes in
      .success(try body(unsafe Span(_unsafeBytes: bytes)))
    }
  }

  private func checkInPlace<T>(_ type: T.Type) throws(IPCError) where Element == [T] {
    guard coding is ArrayQueueCoding<T>, MemoryLayout<T>.alignment <= 8 else {
      throw IPCError(
        .unsupported,
        context: "\(Self.subject): elements that are not arrays of numbers do not lie in place")
    }
  }

  private func show<R>(
    _ shown: QueueShown, _ body: (RawSpan) throws -> R
  ) -> Result<R, any Error> {
    reader.store(cipc_participant_this_thread(), ordering: .relaxed)
    let outcome = Result { try body(unsafe RawSpan(_unsafeBytes: shown.bytes)) }
    // While the side still is this thread's.
    reader.store(0, ordering: .relaxed)
    switch outcome {
    case .success(let result):
      let status = unsafe cipc_ring_release(ring)
      return status < 0 ? .failure(failure(status)) : .success(result)
    case .failure:
      // Cannot fail: this thread was shown it.
      _ = unsafe cipc_ring_restore(ring)
      return outcome
    }
  }

  private var notInPlace: IPCError {
    IPCError(
      .unsupported,
      context: "\(Self.subject): elements are read in place where delivery is at most once")
  }

  // MARK: Writing in place

  /// Writes an array where it will lie in shared memory, and puts it. Blocks while there is no room.
  ///
  /// ```swift
  /// try frames.put(upTo: 480 * 640) { pixels in
  ///   for _ in 0..<480 * 640 { pixels.append(camera.next()) }
  /// }
  /// ```
  ///
  /// The array is as long as what the body appends. Nobody sees it before the body has returned; other
  /// producers wait meanwhile, so be brief. A process that is killed inside has put nothing.
  ///
  /// The corresponding C functions are `cipc_ring_reserve` and `cipc_ring_commit`.
  ///
  /// - Parameters:
  ///   - capacity: how many elements the body appends at most; room is waited for for all of them.
  ///   - timeout: how long to wait for room; zero or less tries once, `nil` waits for as long as it
  ///     takes.
  ///   - body: must not put into this queue.
  /// - Throws: what the body throws: nothing was put. `IPCError` with `unsupported` for arrays of
  ///   anything but numbers and structures of numbers; `invalidArgument` for a negative capacity;
  ///   otherwise as `put(_:timeout:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func put<T: BitwiseCopyable, R>(
    upTo capacity: Int, timeout: Duration? = nil, _ body: (inout OutputSpan<T>) throws -> R
  ) throws -> R where Element == [T] {
    let length = try lengthInPlace(capacity, of: T.self)
    return try withExtendedLifetime(self) {
      if isWriting { throw failure(CIPC_EDEADLK.rawValue) }
      var payload: UnsafeMutableRawPointer?
      let status = unsafe cipc_ring_reserve(ring, length, &payload, Deadline.after(timeout))
      if status < 0 { throw failure(status) }
      // Reserved.
      return try unsafe write(payload!, capacity, body).get()
    }
  }

  /// The same without a blocked thread: the task is suspended while there is no room. The body runs
  /// without suspending.
  ///
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before.
  public func put<T: BitwiseCopyable, R>(
    upTo capacity: Int, timeout: Duration? = nil, _ body: (inout OutputSpan<T>) throws -> R
  ) async throws -> R where Element == [T] {
    let length = try lengthInPlace(capacity, of: T.self)
    var outcome: Result<R, any Error>?
    try await waitForTurn(until: Deadline.after(timeout)) { look, wait in
      if isWriting { return CIPC_EDEADLK.rawValue }
      var payload: UnsafeMutableRawPointer?
      let status = unsafe cipc_ring_reserve_step(ring, length, &payload, look ? 1 : 0, &wait)
      // Reserved.
      if status == 0 { outcome = unsafe write(payload!, capacity, body) }
      return status
    }
    // The step was successful.
    return try outcome!.get()
  }

  private func lengthInPlace<T: BitwiseCopyable>(
    _ capacity: Int, of type: T.Type
  ) throws(IPCError) -> Int where Element == [T] {
    try checkInPlace(T.self)
    let (length, overflow) = capacity.multipliedReportingOverflow(by: MemoryLayout<T>.stride)
    if capacity < 0 {
      throw IPCError(.invalidArgument, context: "\(Self.subject): an array of up to \(capacity)")
    }
    if overflow { throw failure(CIPC_ECAPACITY.rawValue) }
    return length
  }

  private func write<T: BitwiseCopyable, R>(
    _ payload: UnsafeMutableRawPointer, _ capacity: Int,
    _ body: (inout OutputSpan<T>) throws -> R
  ) -> Result<R, any Error> where Element == [T] {
    let buffer = unsafe UnsafeMutableBufferPointer(
      start: payload.assumingMemoryBound(to: T.self), count: capacity)
    writer.store(cipc_participant_this_thread(), ordering: .relaxed)
    let outcome = Result {
      var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
      let result = try body(&output)
      return (result, unsafe output.finalize(for: buffer))
    }
    // While the side still is this thread's.
    writer.store(0, ordering: .relaxed)
    switch outcome {
    case .success((let result, let count)):
      var status = unsafe cipc_ring_shorten(ring, count * MemoryLayout<T>.stride)
      if status == 0 { status = unsafe cipc_ring_commit(ring) }
      return status < 0 ? .failure(failure(status)) : .success(result)
    case .failure(let error):
      // Cannot fail: this thread has reserved it.
      _ = unsafe cipc_ring_cancel(ring)
      return .failure(error)
    }
  }
}
