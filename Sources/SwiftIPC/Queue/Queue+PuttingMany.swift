// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

extension Queue {
  /// Puts all elements of a sequence, in order. Blocks while there is no room.
  ///
  /// As many as there is room for become visible together. A process that is killed meanwhile has put
  /// the first of them.
  ///
  /// ```swift
  /// try queue.putMany(0..<1000)
  /// ```
  ///
  /// The corresponding C function is `cipc_ring_put_many`.
  ///
  /// - Parameter timeout: how long to wait; `nil` until all are put, zero or less does not wait.
  /// - Returns: how many were put: the first ones, and all of them where there is no timeout.
  /// - Throws: as `put(_:timeout:)`, and never `timedOut`. Those before the one that could not be put
  ///   are in the queue then; the context says how many.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  @inlinable public func putMany(
    _ elements: some Sequence<Element>, timeout: Duration? = nil
  ) throws -> Int {
    try putMany(elements, before: Deadline.after(timeout))
  }

  /// Puts all elements of a sequence, in order. The task is suspended while there is no room; no
  /// thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; `nil` until all are put, zero or less does not wait.
  /// - Returns: how many were put: the first ones, and all of them where there is no timeout.
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled.
  @discardableResult
  @inlinable public func putMany(
    _ elements: some Sequence<Element>, timeout: Duration? = nil
  ) async throws -> Int {
    try await putManySuspending(elements, Deadline.after(timeout))
  }

  @inlinable func putMany<Elements: Sequence>(
    _ elements: Elements, before deadline: Int64
  ) throws -> Int where Elements.Element == Element {
    guard plainPutSize >= 0 else { return try putRecords(elements, before: deadline) }
    var iterator = elements.makeIterator()
    var count = 0
    while true {
      let chunk = Self.chunk(&iterator)
      if chunk.isEmpty { return count }
      let put = try unsafe chunk.withUnsafeBytes {
        unsafe try putPlain($0, chunk.count, before: deadline, behind: count)
      }
      count += put
      if put < chunk.count { return count }
    }
  }

  @inlinable func putManySuspending<Elements: Sequence>(
    _ elements: Elements, _ deadline: Int64
  ) async throws -> Int where Elements.Element == Element {
    guard plainPutSize >= 0 else { return try await putRecordsSuspending(elements, deadline) }
    var iterator = elements.makeIterator()
    var count = 0
    while true {
      let chunk = Self.chunk(&iterator)
      if chunk.isEmpty { return count }
      let put = try await putPlainSuspending(chunk, deadline, behind: count)
      count += put
      if put < chunk.count { return count }
    }
  }

  /// The next elements of a sequence: not while the queue is held, since that is the caller's code.
  @inlinable static func chunk<Iterator: IteratorProtocol>(
    _ iterator: inout Iterator
  ) -> ContiguousArray<Element> where Iterator.Element == Element {
    var chunk = ContiguousArray<Element>()
    // As many as go in one commit, so that consumers have something to do meanwhile.
    while chunk.count < 1024, let element = iterator.next() { chunk.append(element) }
    return chunk
  }

  /// Puts elements that are their bytes: how many, fewer when the time is over.
  @usableFromInline func putPlain(
    _ chunk: UnsafeRawBufferPointer, _ count: Int, before deadline: Int64, behind before: Int
  ) throws -> Int {
    try withExtendedLifetime(self) {
      var put = 0
      while put < count {
        let status = unsafe putPlain(chunk, count, from: &put) {
          unsafe cipc_ring_reserve(ring, plainPutSize, &$0, deadline)
        }
        if status == CIPC_ETIMEDOUT.rawValue { return put }
        if status < 0 { throw failure(status, behind: before + put) }
      }
      return put
    }
  }

  @usableFromInline func putPlainSuspending(
    _ chunk: ContiguousArray<Element>, _ deadline: Int64, behind before: Int
  ) async throws -> Int {
    var put = 0
    do {
      while put < chunk.count {
        try await waitForTurn(until: deadline) { look, wait in
          unsafe chunk.withUnsafeBytes { bytes in
            unsafe putPlain(bytes, chunk.count, from: &put) {
              unsafe cipc_ring_reserve_step(ring, plainPutSize, &$0, look ? 1 : 0, &wait)
            }
          }
        }
      }
    } catch {
      if error.code == .timedOut { return put }
      throw failure(error, behind: before + put)
    }
    return put
  }

  /// Puts as many as there is room for after waiting for one, in one commit: 0, or why none could be put.
  private func putPlain(
    _ chunk: UnsafeRawBufferPointer, _ count: Int, from put: inout Int,
    reserve: (inout UnsafeMutableRawPointer?) -> Int32
  ) -> Int32 {
    var payload: UnsafeMutableRawPointer?
    let stride = chunk.count / count
    var status = unsafe reserve(&payload)
    if status < 0 { return status }
    while true {
      // Reserved, and there is one at the place.
      unsafe payload!.copyMemory(
        from: chunk.baseAddress! + put * stride, byteCount: plainPutSize)
      put += 1
      if put == count { break }
      status = unsafe cipc_ring_reserve(ring, plainPutSize, &payload, 0)
      if status < 0 { break }
    }
    return unsafe cipc_ring_commit(ring)
  }

  @usableFromInline func putRecords(
    _ elements: some Sequence<Element>, before deadline: Int64
  ) throws -> Int {
    var batch = QueueBatch(elements, of: self)
    while true {
      switch unsafe batch.put(reserve: { unsafe cipc_ring_reserve(ring, $0, &$1, deadline) }) {
      case 0 where batch.isOver: return batch.count
      case 0: break
      case CIPC_ETIMEDOUT.rawValue where batch.error == nil: return batch.count
      case let status: throw batch.error ?? failure(status, behind: batch.count)
      }
    }
  }

  @usableFromInline func putRecordsSuspending(
    _ elements: some Sequence<Element>, _ deadline: Int64
  ) async throws -> Int {
    var batch = QueueBatch(elements, of: self)
    do {
      while !batch.isOver {
        try await waitForTurn(until: deadline) { look, wait in
          unsafe batch.put(reserve: { length, payload in
            unsafe cipc_ring_reserve_step(ring, length, &payload, look ? 1 : 0, &wait)
          })
        }
      }
    } catch {
      if error.code == .timedOut && batch.error == nil { return batch.count }
      throw batch.error ?? failure(error, behind: batch.count)
    }
    return batch.count
  }

  private func failure(_ status: Int32, behind count: Int) -> IPCError {
    failure(failure(status), behind: count)
  }

  private func failure(_ error: IPCError, behind count: Int) -> IPCError {
    var error = error
    if count > 0 { error.context += "; the first \(count) elements were put" }
    return error
  }
}

/// Elements of a sequence on their way into a queue, in as few commits as possible.
@safe
private struct QueueBatch<Elements: Sequence, Element: Codable & Sendable>
where Elements.Element == Element {
  /// At most so many go in one commit, so that consumers have something to do meanwhile.
  private let most = 1024
  private let queue: Queue<Element>
  private var iterator: Elements.Iterator
  /// The next ones, made ready before the queue is held, and how many of them were put.
  private var records: [QueueRecord<Element>] = []
  private var put = 0
  /// How many were put in all.
  private(set) var count = 0
  private(set) var error: (any Error)?
  private var isAtEnd = false

  init(_ elements: Elements, of queue: Queue<Element>) {
    iterator = elements.makeIterator()
    self.queue = queue
  }

  /// Whether nothing is left to be put.
  private(set) var isOver = false

  /// Makes the next ones ready.
  private mutating func prepare() {
    (records, put) = ([], 0)
    while !isAtEnd && records.count < most {
      guard let element = iterator.next() else {
        isAtEnd = true
        break
      }
      do {
        records.append(try queue.coding.record(of: element))
      } catch {
        (self.error, isAtEnd) = (error, true)
      }
    }
  }

  /// Puts as many as there is room for after waiting for one, in one commit: 0, or why none could be put.
  mutating func put(
    reserve: (Int, inout UnsafeMutableRawPointer?) -> Int32
  ) -> Int32 {
    if put == records.count { prepare() }
    if records.isEmpty {
      isOver = true
      return error == nil ? 0 : CIPC_EINVAL.rawValue
    }
    // It would be one commit with what the thread writes in place.
    if queue.isWriting { return CIPC_EDEADLK.rawValue }
    let ring = unsafe queue.ring
    var reserved = 0
    var status: Int32 = 0
    while status == 0 && put + reserved < records.count {
      status = unsafe queue.coding.withBytes(of: records[put + reserved]) { bytes in
        var payload: UnsafeMutableRawPointer?
        let status = unsafe reserve(bytes.count, &payload)
        if status == 0, bytes.count > 0 {
          // Reserved for as many.
          unsafe payload!.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        }
        return status
      }
      if status == 0 { reserved += 1 }
    }
    guard reserved > 0 else { return status }
    let committed = unsafe cipc_ring_commit(ring)
    if committed < 0 { return committed }
    put += reserved
    count += reserved
    isOver = isAtEnd && put == records.count && error == nil
    return 0
  }
}
