// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

extension Queue {
  /// Takes as many elements as there are, up to a number. Blocks until there is one.
  ///
  /// ```swift
  /// for number in try queue.getMany(upTo: 1000) { sum += number }
  /// ```
  ///
  /// Where delivery is at most once, they are taken in one step, so that a process which is killed takes
  /// all of them along, or none.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: as `get(timeout:)`. Where one of them is not an element, all are gone.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func getMany(upTo most: Int, timeout: Duration? = nil) throws -> [Element] {
    guard most > 0 else { return [] }
    return try elements(
      of: takeBlocking(until: Deadline.after(timeout)) { shown throws(IPCError) in
        try takeMany(from: shown, upTo: most)
      })
  }

  /// Takes as many elements as there are, up to a number. The task is suspended until there is one; no
  /// thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: as the blocking form, and `cancelled` when the task was cancelled before; `IPCError`
  ///   with `timedOut` when there was none.
  public func getMany(
    upTo most: Int, timeout: Duration? = nil
  ) async throws -> [Element] {
    guard most > 0 else { return [] }
    return try elements(
      of: await takeSuspending(until: Deadline.after(timeout)) { shown throws(IPCError) in
        try takeMany(from: shown, upTo: most)
      })
  }

  /// What was taken at once.
  private enum Batch {
    case elements([Element])
    case records([QueueTaken<Element>])
  }

  private func elements(of batch: Batch) throws -> [Element] {
    let taken: [QueueTaken<Element>]
    switch batch {
    case .elements(let elements): return elements
    case .records(let records): taken = records
    }
    do {
      return try taken.map { try coding.element(of: $0.record) }
    } catch {
      abandon(taken)
      throw error
    }
  }

  /// Takes the element that is shown or was leased, and those behind it.
  private func takeMany(from first: QueueShown, upTo most: Int) throws(IPCError) -> Batch {
    guard delivery == .atMostOnce else {
      return .records(try takeManyLeased(from: first, upTo: most))
    }
    var shown = first
    var problem: IPCError?
    let batch =
      plainSize > 0
      ? copyMany(&shown, upTo: most, &problem) : readMany(&shown, upTo: most, &problem)
    let status = unsafe cipc_ring_release(ring)
    if status < 0 { throw failure(status) }
    if let problem { throw problem }
    return batch
  }

  private func readMany(
    _ shown: inout QueueShown, upTo most: Int, _ problem: inout IPCError?
  ) -> Batch {
    var taken: [QueueTaken<Element>] = []
    do throws(IPCError) {
      repeat {
        taken.append(QueueTaken(record: unsafe try coding.read(shown.bytes), ticket: 0))
      } while taken.count < most && showNext(&shown)
    } catch {
      problem = error
    }
    return .records(taken)
  }

  /// The same for elements that are their bytes.
  private func copyMany(
    _ shown: inout QueueShown, upTo most: Int, _ problem: inout IPCError?
  ) -> Batch {
    // Elements that arrive meanwhile are left for the next call. Other processes write the count, so it
    // is bounded before memory is allocated for it.
    let most = Swift.min(most, Swift.max(1, count), 1 << 16)
    let stride = MemoryLayout<Element>.stride
    return .elements(
      unsafe [Element](unsafeUninitializedCapacity: most) { buffer, count in
        // There is room for one at least.
        let memory = UnsafeMutableRawPointer(buffer.baseAddress!)
        repeat {
          let bytes = unsafe shown.bytes
          guard bytes.count == plainSize else {
            problem = unusualLength(bytes.count)
            return
          }
          // All bytes are an element.
          unsafe (memory + count * stride).copyMemory(
            from: bytes.baseAddress!, byteCount: plainSize)
          count += 1
        } while count < most && showNext(&shown)
      })
  }

  private func showNext(_ shown: inout QueueShown) -> Bool {
    unsafe cipc_ring_peek_step(ring, &shown.record, 0, nil) == 0
  }

  private func takeManyLeased(
    from first: QueueShown, upTo most: Int
  ) throws(IPCError) -> [QueueTaken<Element>] {
    var taken: [QueueTaken<Element>] = []
    var shown = first
    do throws(IPCError) {
      while true {
        taken.append(try take(shown))
        if taken.count == most { break }
        if unsafe cipc_ring_lease_step(ring, &shown.record, 0, nil) != 0 { break }
      }
    } catch {
      abandon(taken)
      throw error
    }
    return taken
  }
}
