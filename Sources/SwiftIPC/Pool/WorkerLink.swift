// SPDX-License-Identifier: Apache-2.0
internal import CIPC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The pool's end of the channel to a worker process, and that process.
///
/// One thread at a time receives; one at a time sends, and may be another.
@safe final class WorkerLink: Sendable {
  let number: Int
  let child: ChildHandle
  let descriptor: Int32
  private let connection: Connection
  private let desk: WorkerDesk

  /// An order to run that the worker has not been through.
  private struct Run {
    var count: Int
    /// Room for its results in the desk, at this offset.
    var offset: Int?
    var stride: Int
    /// What of the room this keeps others from, in bytes.
    var taken = 0
    var finished = 0
  }

  private struct State {
    /// What found no room in the channel, in order.
    var unsent = PoolDeque<Unsent>()
    var progress: UInt64 = 0
    var runs = PoolDeque<Run>()
    /// Where the next room begins, and how much is in use.
    var head = 0
    var used = 0
    /// Results that were told of runs with room.
    var left: UInt64 = 0
    var isBroken = false
  }
  private let state = Guarded(State())

  private struct Unsent {
    var bytes: [UInt8]
    var attachments: DescriptorOutbox?
  }

  /// Room for results, for some tens of thousands of numbers at a time.
  static let room = 1 << 20

  init(
    _ number: Int, _ options: ChildProcessOptions, _ initializer: (any PoolInitializing)?
  ) throws(IPCError) {
    self.number = number
    let (ours, theirs) = try Connection.pair(maximumMessageSize: 1 << 46)
    desk = try WorkerDesk(room: Self.room)
    connection = ours
    var descriptor: Int32 = -1
    try IPCError.check(
      unsafe cipc_connection_descriptor(ours.handle, &descriptor), "a worker of a pool")
    self.descriptor = descriptor
    do {
      let first = FrameBuffer()
      if let initializer {
        first.append(ChannelRecord.frame.rawValue)
        try initializer.write(to: first)
      }
      child = try ChildProcess.start(
        theirs, desk.memory, initializer != nil, options: options
      ) { connection, memory, hasInitializer in
        let port = WorkerPort(connection, try WorkerDesk(memory))
        try WorkerMain(port, hasInitializer: hasInitializer).run()
      }.handle
      if first.count > 0 {
        try connection.sendBlocking(
          unsafe Array(first.bytes), first.attachments?.descriptors ?? [], nil)
      }
    } catch {
      closeDescriptor(descriptor)
      throw error as? IPCError ?? IPCError(.notTransferable, context: "an initializer: \(error)")
    }
  }

  deinit {
    closeDescriptor(descriptor)
    // Dropped with the pool: nobody is left to ask.
    kill()
  }

  func kill() { try? child.child.signal(SIGKILL) }

  /// Whether the channel is of no use any more, while the worker may still live.
  var isBroken: Bool { state.withLock { $0.isBroken } }

  /// Whether there is something that found no room.
  var isBehind: Bool { state.withLock { !$0.unsent.isEmpty } }

  var activity: WorkerActivity {
    let begun = desk.begun
    return WorkerActivity(begun: begun, begunAt: desk.begunAt)
  }

  // MARK: - Sending

  /// - Returns: whether all has gone out.
  func send(_ frame: OutgoingFrame) -> Bool {
    state.withLock { state in
      if state.isBroken { return true }
      let record = FrameBuffer(capacity: unsafe frame.bytes.count + 32)
      if let run = frame.run {
        var entry = Run(count: run.count, stride: run.stride)
        if run.stride > 0, let (offset, taken) = Self.takeRoom(run.stride * run.count, &state) {
          (entry.offset, entry.taken) = (offset, taken)
          record.append(ChannelRecord.frameWithRoom.rawValue)
          record.append(UInt64(offset))
          record.append(UInt32(run.stride))
          record.append(UInt32(run.count))
        } else {
          record.append(ChannelRecord.frame.rawValue)
        }
        state.runs.append(entry)
      } else {
        record.append(ChannelRecord.frame.rawValue)
      }
      unsafe record.append(frame.bytes)
      if state.unsent.isEmpty {
        let status = unsafe step(
          record.bytes, frame.attachments?.descriptors ?? [], &state.progress)
        if status >= 0 {
          state.progress = 0
          return true
        }
        if !isPending(status) {
          state.isBroken = true
          return true
        }
      }
      state.unsent.append(
        Unsent(bytes: unsafe Array(record.bytes), attachments: frame.attachments))
      return false
    }
  }

  private func step(
    _ bytes: UnsafeRawBufferPointer, _ descriptors: [Int32], _ progress: inout UInt64
  ) -> Int32 {
    unsafe cipc_connection_send_step(
      connection.handle, bytes.baseAddress, bytes.count, descriptors, descriptors.count, &progress)
  }

  private func isPending(_ status: Int32) -> Bool {
    status == CIPC_EAGAIN.rawValue || status == CIPC_EBUSY.rawValue || status == -ETOOMANYREFS
  }

  /// Sends what found no room before.
  ///
  /// - Returns: whether there was any.
  @discardableResult
  func flush() -> Bool {
    state.withLock { state in
      var had = false
      while let next = state.unsent.first, !state.isBroken {
        had = true
        let status = unsafe next.bytes.withUnsafeBytes { bytes in
          unsafe step(bytes, next.attachments?.descriptors ?? [], &state.progress)
        }
        if isPending(status) { break }
        state.unsent.removeFirst()
        state.progress = 0
        if status < 0 { state.isBroken = true }
      }
      return had
    }
  }

  /// Room of the desk in one piece; `nil` when there is none.
  private static func takeRoom(_ size: Int, _ state: inout State) -> (Int, Int)? {
    let size = (size + 63) & ~63
    if state.used == 0 { state.head = 0 }
    var offset = state.head % room
    var skipped = 0
    if offset + size > room {
      skipped = room - offset
      offset = 0
    }
    guard size + skipped <= room - state.used else { return nil }
    state.used += size + skipped
    state.head = offset + size
    return (offset, size + skipped)
  }

  // MARK: - Receiving

  /// Tells what has arrived.
  ///
  /// - Returns: whether that was anything.
  func receive(_ receiver: any WorkerReceiver) -> Bool {
    var hasTold = false
    var arrival = Connection.Arrival()
    // Not for ever: others have something to tell too.
    for _ in 0..<256 {
      let status = connection.take(&arrival, withDescriptors: true, until: 0)
      if status == CIPC_ETIMEDOUT.rawValue || status == CIPC_EBUSY.rawValue { break }
      if status < 0 {
        if isBroken { break }
        state.withLock { $0.isBroken = true }
        break
      }
      hasTold = true
      let inbox = arrival.descriptors.isEmpty ? nil : DescriptorInbox(arrival.descriptors)
      arrival.descriptors = []
      unsafe arrival.bytes.withUnsafeBytes { bytes in
        unsafe tell(bytes, inbox, receiver)
      }
    }
    return hasTold
  }

  private func tell(
    _ bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?, _ receiver: any WorkerReceiver
  ) {
    var reader = unsafe FrameReader(bytes)
    do {
      switch ChannelRecord(rawValue: try reader.integer(UInt8.self)) {
      case .frame:
        let frame = unsafe IncomingFrame(bytes: reader.remaining(), attachments: inbox)
        if let count = unsafe Self.results(in: frame.bytes) {
          state.withLock { Self.finish(count, &$0) }
        }
        receiver.received(frame, from: number)
      case .left:
        let nanoseconds = try reader.integer(UInt64.self)
        let count = Int(try reader.integer(UInt32.self))
        if !tellLeft(count, nanoseconds, receiver) { throw reader.malformed() }
      case .frameWithRoom, nil: throw reader.malformed()
      }
    } catch {
      state.withLock { $0.isBroken = true }
    }
  }

  /// How many results a frame has; `nil` for one that has none.
  private static func results(in bytes: UnsafeRawBufferPointer) -> Int? {
    var reader = unsafe FrameReader(bytes)
    guard let kind = try? reader.integer(UInt8.self),
      [WorkerReport.results.rawValue, WorkerReport.values.rawValue].contains(kind),
      (try? reader.integer(UInt64.self)) != nil, let count = try? reader.integer(UInt32.self)
    else { return nil }
    return Int(count)
  }

  private static func finish(_ count: Int, _ state: inout State) {
    guard !state.runs.isEmpty else { return }
    state.runs[0].finished += count
    let run = state.runs[0]
    if run.offset != nil { state.left += UInt64(count) }
    if run.finished >= run.count {
      state.used -= run.taken
      state.runs.removeFirst()
    }
  }

  /// Tells of results that the worker left in the room.
  private func tellLeft(
    _ count: Int, _ nanoseconds: UInt64, _ receiver: any WorkerReceiver
  ) -> Bool {
    let place = unsafe state.withLock { state -> UnsafeMutableRawBufferPointer? in
      guard let run = state.runs.first, let offset = run.offset, count > 0,
        count <= run.count - run.finished
      else { return nil }
      return unsafe desk.place(offset + run.finished * run.stride, count * run.stride)
    }
    guard let place = unsafe place else { return false }
    let header = FrameBuffer(capacity: 32)
    header.append(WorkerReport.values.rawValue)
    header.append(nanoseconds)
    header.append(UInt32(count))
    let frame = unsafe IncomingFrame(
      bytes: header.bytes, values: UnsafeRawBufferPointer(place), attachments: nil)
    receiver.received(frame, from: number)
    state.withLock { Self.finish(count, &$0) }
    return true
  }

  /// Tells of results that a worker which has ended had left in the room, and did not say so.
  func salvage(_ receiver: any WorkerReceiver) {
    let count = state.withLock { state -> Int in
      guard let run = state.runs.first, run.offset != nil else { return 0 }
      let left = desk.left
      guard left > state.left else { return 0 }
      return min(Int(clamping: left - state.left), run.count - run.finished)
    }
    if count > 0 { _ = tellLeft(count, 0, receiver) }
  }
}
