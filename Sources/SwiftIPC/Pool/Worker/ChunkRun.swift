// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// Where in the status page the results of a run are to be left.
struct ResultSlot {
  var offset: Int
  /// Bytes of each.
  var stride: Int

  /// `nil` where an order has none.
  ///
  /// - Throws: `malformedMessage` for one that is not within the page.
  init?(
    _ order: inout FrameReader, count: Int, in page: WorkerStatusPage
  ) throws(IPCError) {
    stride = Int(try order.integer(UInt32.self))
    offset = Int(clamping: try order.integer(UInt64.self))
    if stride == 0 { return nil }
    let (size, overflow) = stride.multipliedReportingOverflow(by: count)
    guard !overflow, size <= page.capacity, offset <= page.capacity - size else {
      throw order.malformed()
    }
  }
}

/// The chunk that a worker is in: gives out its elements and takes their results.
/// Unchecked: the loop waits until the chunk is over.
@safe final class ChunkRun: @unchecked Sendable {
  let count: Int
  private let channel: WorkerChannelEnd
  private var reader: FrameReader
  private let inbox: DescriptorInbox?
  private let slot: ResultSlot?
  private let isTimed: Bool
  private let startedAt: Int64
  private var begun: UInt64
  private var finished = 0

  init(
    _ channel: WorkerChannelEnd, _ reader: FrameReader, count: Int, _ flags: RunFlags,
    _ slot: ResultSlot?, _ inbox: DescriptorInbox?
  ) {
    self.channel = channel
    self.reader = reader
    self.count = count
    self.inbox = inbox
    self.slot = slot
    isTimed = flags.contains(.timed)
    begun = channel.page.begun
    startedAt = cipc_clock_now()
  }

  /// Notes that the next element is begun, before its bytes are read.
  @inline(__always)
  fileprivate func begin() {
    begun += 1
    if isTimed { channel.page.begunAt = cipc_clock_now() }
    // From here on, this element is lost if the worker dies.
    channel.page.begun = begun
  }

  /// Begins the next element.
  ///
  /// - Returns: its bytes.
  func nextElement(fixedSize: Int?) throws(IPCError) -> IncomingElement {
    begin()
    let bytes =
      if let fixedSize { try unsafe reader.raw(fixedSize) } else { try unsafe reader.counted() }
    return unsafe IncomingElement(bytes: bytes, inbox: inbox)
  }

  private var nanoseconds: UInt64 { UInt64(max(0, cipc_clock_now() - startedAt)) }

  private func begin(_ kind: ResultKind) -> FrameBuffer {
    finished += 1
    let frame = channel.begin(.result)
    // Only where it is of use: the clock costs as much as a small task.
    frame.append(finished == count || finished & 15 == 0 ? nanoseconds : 0)
    frame.append(kind.rawValue)
    return frame
  }

  /// Sends the value of the element at hand.
  func succeed<T>(_ value: T, _ coder: ElementCoder<T>) {
    let frame = begin(.value)
    if case .numbers = coding(coder), let numbers = value as? any RawNumberArray {
      channel.expect(numbers.rawSize)
    }
    let start = frame.count
    do {
      if coder.fixedSize != nil {
        frame.append(UInt64(MemoryLayout<T>.size))
        try coder.append(value, to: frame)
      } else {
        try coder.append(value, to: frame)
      }
    } catch {
      frame.truncate(to: start - 1)
      frame.attachments = nil
      frame.append(ResultKind.notCoded.rawValue)
      frame.append(counted: "the result of a task cannot be sent: \(describe(error))")
    }
    finish()
  }

  @inline(__always)
  private func coding<T>(_ coder: ElementCoder<T>) -> ElementCoding { coder.coding }

  /// Sends the error that the element at hand threw.
  func fail(_ error: any Error) {
    let frame = begin(.threw)
    let place = frame.count
    frame.append(UInt64(0))
    frame.append(thrown: error)
    frame.set(UInt64(frame.count - place - 8), at: place)
    finish()
  }

  /// Sends the reason why the element at hand has no result.
  func fail(_ kind: ResultKind, _ text: String) {
    begin(kind).append(counted: text)
    finish()
  }

  /// Sends the result of the element at hand, once what it printed is written out: the pool may end this
  /// worker as soon as it has the result.
  private func finish() {
    cipc_process_flush_all()
    channel.send()
  }

  /// Whether this process is a fork of the worker that the task made.
  var isFork: Bool { channel.isFork }

  // MARK: - All at once

  var hasSlot: Bool { slot != nil }

  /// Goes through numbers that become numbers, and leaves the results in the slot for them.
  ///
  /// - Returns: `false` where there is no such slot: nothing has happened.
  @inline(__always)
  func runInSlot<A, B>(_ coder: ElementCoder<A>, _ body: (A) throws -> B) throws -> Bool {
    guard let slot, slot.stride == MemoryLayout<B>.size, coder.fixedSize != nil else {
      return false
    }
    let size = MemoryLayout<A>.size
    let input = try unsafe reader.raw(size * count)
    let output = unsafe channel.page.slot(slot.offset, slot.stride * count)
    var left = channel.page.left
    var done = 0
    while done < count {
      let begin = done
      do {
        while done < count {
          self.begin()
          // Numbers: any bytes of that size are one.
          let value = try body(
            unsafe input.loadUnaligned(fromByteOffset: done * size, as: A.self, checked: ()))
          if isFork { CurrentProcess.leave(0) }
          unsafe output.storeUnaligned(value, at: done * slot.stride)
          done += 1
          left += 1
          // First what the element printed: with the next line its result exists.
          cipc_process_flush()
          // Commit point of a result.
          channel.page.left = left
        }
        finished = count
        cipc_process_flush_all()
        channel.sendLeft(done - begin, nanoseconds)
      } catch {
        if isFork { CurrentProcess.leave(0) }
        // Earlier results are announced first, so that all stay in order.
        cipc_process_flush_all()
        if done > begin { channel.sendLeft(done - begin, nanoseconds) }
        finished = done
        fail(error)
        done += 1
        left += 1
        // Its place stays empty.
        channel.page.left = left
      }
    }
    return true
  }

  private func describe(_ error: any Error) -> String {
    if let error = error as? IPCError { return "\(error)" }
    return "\(String(reflecting: type(of: error))): \(error)"
  }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  fileprivate func loadUnaligned<T>(
    fromByteOffset offset: Int, as type: T.Type, checked: Void
  ) -> T {
    unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { place in
      unsafe UnsafeMutableRawBufferPointer(place).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: self[offset..<offset + MemoryLayout<T>.size]))
      return unsafe place[0]
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  @inline(__always)
  fileprivate func storeUnaligned<T>(_ value: T, at offset: Int) {
    unsafe withUnsafeBytes(of: value) { bytes in
      unsafe UnsafeMutableRawBufferPointer(rebasing: self[offset..<offset + bytes.count])
        .copyMemory(from: bytes)
    }
  }
}

extension ChunkRun {
  /// Begins an element of a function that is not known.
  func beginRefused() { begin() }
}
