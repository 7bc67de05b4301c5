// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A chunk that a worker is in: gives out its elements and takes their results.
/// Unchecked: the loop waits while a chunk is gone through.
@safe final class ChunkRun: @unchecked Sendable {
  let count: Int
  private let port: WorkerPort
  private var reader: FrameReader
  private let inbox: DescriptorInbox?
  private let isTimed: Bool
  private let startedAt: Int64
  private var begun: UInt64
  private var finished = 0

  init(
    _ port: WorkerPort, _ reader: FrameReader, count: Int, _ flags: RunFlags,
    _ inbox: DescriptorInbox?
  ) {
    self.port = port
    self.reader = reader
    self.count = count
    self.inbox = inbox
    isTimed = flags.contains(.timed)
    begun = port.desk.begun
    startedAt = cipc_clock_now()
  }

  /// Says that the next element is begun, before it is looked at.
  @inline(__always)
  fileprivate func begin() {
    begun += 1
    if isTimed { port.desk.begunAt = cipc_clock_now() }
    // From here on a death of this worker is this element's.
    port.desk.begun = begun
  }

  /// Begins the next element: its bytes.
  func nextElement(fixedSize: Int?) throws(IPCError) -> IncomingElement {
    begin()
    let bytes =
      if let fixedSize { try unsafe reader.raw(fixedSize) } else { try unsafe reader.counted() }
    return unsafe IncomingElement(bytes: bytes, inbox: inbox)
  }

  private var nanoseconds: UInt64 { UInt64(max(0, cipc_clock_now() - startedAt)) }

  private func begin(_ kind: ResultKind) -> FrameBuffer {
    finished += 1
    let frame = port.begin(.results)
    // Asked for where it is of use: it costs as much as a small task.
    frame.append(finished == count || finished & 15 == 0 ? nanoseconds : 0)
    frame.append(UInt32(1))
    frame.append(kind.rawValue)
    return frame
  }

  /// Sends the value of the element at hand.
  func succeed<T>(_ value: T, _ coder: ElementCoder<T>) {
    let frame = begin(.value)
    if case .numbers = coding(coder), let numbers = value as? any RawNumberArray {
      port.expect(numbers.rawSize)
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

  /// Sends what is wrong with the element at hand.
  func fail(_ kind: ResultKind, _ text: String) {
    begin(kind).append(counted: text)
    finish()
  }

  /// Sends what became of the element at hand, once that has written out what it printed: whoever has
  /// the result may end this worker at once.
  private func finish() {
    cipc_process_flush_all()
    port.send()
  }

  /// Whether the process is a fork of the worker, made by the task.
  var isFork: Bool { port.isFork }

  // MARK: - All at once

  /// Goes through numbers that become numbers, and leaves the results where there is room for them.
  ///
  /// - Returns: `false` where there is none: nothing has happened.
  @inline(__always)
  func runInRoom<A, B>(_ coder: ElementCoder<A>, _ body: (A) throws -> B) throws -> Bool {
    guard let room = port.room, room.stride == MemoryLayout<B>.size, room.count == count,
      coder.fixedSize != nil
    else { return false }
    let size = MemoryLayout<A>.size
    let input = try unsafe reader.raw(size * count)
    let output = unsafe port.desk.place(room.offset, room.stride * count)
    var left = port.desk.left
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
          unsafe output.storeUnaligned(value, at: done * room.stride)
          done += 1
          left += 1
          // First what the element printed: from the next line on it is finished.
          cipc_process_flush()
          // Commit point of a result.
          port.desk.left = left
        }
        finished = count
        cipc_process_flush_all()
        port.sendLeft(done - begin, nanoseconds)
      } catch {
        if isFork { CurrentProcess.leave(0) }
        // What is left so far is told first, so that results stay in order.
        cipc_process_flush_all()
        if done > begin { port.sendLeft(done - begin, nanoseconds) }
        finished = done
        fail(error)
        done += 1
        left += 1
        // Its place is empty.
        port.desk.left = left
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
