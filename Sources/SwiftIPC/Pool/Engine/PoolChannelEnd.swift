// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The pool's end of the channel to a worker process, and that process.
///
/// One thread at a time receives; one at a time sends, and may be another.
@safe final class PoolChannelEnd: @unchecked Sendable {
  let number: Int
  let child: ChildHandle
  let printed: WorkerOutput
  let descriptor: Int32
  private let socket: Connection
  private let down: WorkerRing
  private let up: WorkerRing
  private let page: WorkerStatusPage

  /// An order to run that the worker has not been through.
  private struct Run {
    var count: Int
    /// Bytes of each result; 0 where these differ or are not known.
    var stride: Int
    /// Where the slot for its results is in the status page, if it has one.
    var slot: Int?
    /// Bytes of the page that are not free until the run is over.
    var taken = 0
    var isInBuffer = false
    var finished = 0
  }

  private struct State {
    /// What found no space in the channel, in order.
    var unsent = PoolDeque<Unsent>()
    /// How much of a frame on the socket is out.
    var progress: UInt64 = 0
    var runs = PoolDeque<Run>()
    /// Where the next slot begins, and how many bytes are in use.
    var head = 0
    var used = 0
    /// Results in slots that were reported.
    var left: UInt64 = 0
    var isBroken = false
    /// Whether the worker was told to end: its exit handlers may close the channel.
    var isLeaving = false
    let buffers = SharedBufferPool()
  }
  private let state = Guarded(State())

  // The receiving thread's.
  /// Frames from the socket that records in the ring will announce. Their descriptors are closed with
  /// them, where the worker ends before its record is there.
  private var socketFrames = PoolDeque<SocketFrame>()
  private let frames = FrameReceiver()
  private var buffersRead: UInt64 = 0
  /// What it received that made no sense.
  private var nonsense: IPCError?

  /// A record for the ring, and what goes over the socket behind it.
  private struct Unsent {
    var record: [UInt8]
    var isInRing = false
    var onSocket: [UInt8]?
    var attachments: DescriptorOutbox?
  }

  /// Space for the results of as many chunks as a worker has, and for what a round leaves over at its
  /// end.
  static let slotCapacity = JobSchedule.slotCapacity + JobSchedule.chunkCapacity

  init(
    _ number: Int, _ setting: WorkerSetting, _ options: ChildProcessOptions,
    _ initializer: (any PoolInitializing)?
  ) throws(IPCError) {
    self.number = number
    let (ours, theirs) = try Connection.pair(maximumMessageSize: 1 << 46)
    page = try WorkerStatusPage(capacity: Self.slotCapacity)
    down = try WorkerRing()
    up = try WorkerRing()
    socket = ours
    var descriptor: Int32 = -1
    try IPCError.check(
      unsafe cipc_connection_descriptor(ours.handle, &descriptor), "a worker of a pool")
    self.descriptor = descriptor
    do {
      // Before the start: a worker without orders would stay forever.
      let first = try initializer.map { initializer in
        let first = FrameBuffer()
        first.begin(.initialize)
        try initializer.write(to: first)
        return first
      }
      let channel = WorkerChannel(socket: theirs, down: down, up: up, page: page.memory)
      child = try ChildProcess.start(channel, setting, options: options) { channel, setting in
        try WorkerMain(WorkerChannelEnd(channel), setting).run()
      }.handle
      printed = WorkerOutput([child.output, child.error].compactMap { $0 })
      if let first { _ = send(first) }
    } catch {
      closeDescriptor(descriptor)
      throw error as? IPCError ?? IPCError(.notTransferable, context: "an initializer: \(error)")
    }
  }

  deinit {
    closeDescriptor(descriptor)
    // Dropped with the pool: no one is left to ask.
    kill()
  }

  func kill() { try? child.child.signal(SIGKILL) }

  /// Whether the channel is of no use any more, while the worker may still live.
  var isBroken: Bool { state.withLock { $0.isBroken } }

  /// Whether the channel broke while the worker still had something to do with it.
  var mustEnd: Bool { state.withLock { $0.isBroken && !$0.isLeaving } }

  /// Whether something has found no space yet.
  var isBehind: Bool { state.withLock { !$0.unsent.isEmpty } }

  var activity: WorkerActivity {
    let begun = page.begun
    return WorkerActivity(begun: begun, begunAt: page.begunAt)
  }

  /// How the worker ended, once it has.
  func end(_ status: ExitStatus) -> WorkerEnd {
    var cause = child.causeOfDeath().text(status)
    if let nonsense { cause += "; it had sent what makes no sense: \(nonsense.context)" }
    return WorkerEnd(name: child.name, status: status, cause: cause)
  }

  // MARK: - Sleeping

  /// Says whether the pool sleeps, so that the worker wakes it.
  func setAsleep(_ isAsleep: Bool) { page.isPoolAsleep = isAsleep }

  // MARK: - Sending

  /// Memory for a long frame in which it can be written, instead of being copied there.
  func takeBuffer(_ size: Int) -> SharedBufferPool.Buffer? {
    state.withLock { $0.buffers.take(size) }
  }

  /// Sends a frame, whose bytes are copied unless they stand in a buffer of this channel.
  ///
  /// - Parameters:
  ///   - run: of an order to run, how many results there will be, and how many bytes each will have; 0
  ///     where that is not known.
  ///   - isLast: whether it tells the worker to end.
  /// - Returns: whether all has gone out.
  func send(
    _ frame: FrameBuffer, run: (count: Int, stride: Int)? = nil, isLast: Bool = false
  ) -> Bool {
    state.withLock { state in
      if isLast { state.isLeaving = true }
      var buffer = frame.owner as? SharedBufferPool.Buffer
      let hasDescriptors = frame.attachments.map { !$0.descriptors.isEmpty } ?? false
      // Behind descriptors it goes over the socket.
      if state.isBroken || hasDescriptors, let unused = buffer {
        state.buffers.giveBack(unused)
        buffer = nil
      }
      if state.isBroken { return true }
      if let run {
        var entry = Run(count: run.count, stride: run.stride)
        if run.stride > 0, let (slot, taken) = Self.takeSlot(run.stride * run.count, &state) {
          (entry.slot, entry.taken) = (slot, taken)
          frame.setResultSlot(stride: run.stride, offset: slot)
        }
        state.runs.append(entry)
      }
      let count = frame.count
      if !hasDescriptors && buffer == nil {
        if count <= WorkerRing.longest { return sendInRing(frame, &state) }
        // Only an order to run says when its buffer has been read.
        if run != nil { buffer = unsafe state.buffers.take(copying: frame.bytes) }
      }
      var unsent = Unsent(record: [], attachments: frame.attachments)
      if let buffer {
        unsent.record = RecordKind.record(of: buffer, count - 1)
        if !buffer.isKnown,
          let (bytes, outbox) = try? MessageEncoder().encodeWithDescriptors(buffer.memory)
        {
          (unsent.onSocket, unsent.attachments) = (bytes, outbox)
        }
        state.buffers.wasSent(buffer)
        state.runs[state.runs.count - 1].isInBuffer = true
      } else {
        unsent.record = [RecordKind.onSocket.rawValue]
        unsent.onSocket = unsafe Array(frame.frameBytes)
      }
      state.unsent.append(unsent)
      push(&state)
      return state.unsent.isEmpty
    }
  }

  /// The short way.
  private func sendInRing(_ frame: FrameBuffer, _ state: inout State) -> Bool {
    let bytes = unsafe frame.bytes
    if state.unsent.isEmpty {
      let status = unsafe down.put(bytes.count) { unsafe $0.copyMemory(from: bytes) }
      if status == 0 { return true }
      if !isPending(status) {
        state.isBroken = true
        return true
      }
    }
    state.unsent.append(Unsent(record: unsafe Array(bytes)))
    return false
  }

  private func isPending(_ status: Int32) -> Bool {
    status == CIPC_EAGAIN.rawValue || status == CIPC_EBUSY.rawValue
  }

  /// Sends what found no space before.
  func flush() { state.withLock { push(&$0) } }

  private func push(_ state: inout State) {
    while !state.unsent.isEmpty, !state.isBroken {
      var status = Int32(0)
      let next = state.unsent[0]
      // First the ring, then the socket: the worker reads the socket when the ring says so.
      if !next.isInRing {
        status = unsafe next.record.withUnsafeBytes { bytes in
          unsafe down.put(bytes.count) { unsafe $0.copyMemory(from: bytes) }
        }
        if status == 0 { state.unsent[0].isInRing = true }
      }
      if status == 0, let bytes = next.onSocket {
        let descriptors = next.attachments?.descriptors ?? []
        // Waited for elsewhere: the pool's thread comes again.
        var wait = unsafe cipc_wait_t()
        status = unsafe cipc_connection_send_step(
          socket.handle, bytes, bytes.count, descriptors, descriptors.count, &state.progress, &wait)
      }
      if isPending(status) { return }
      state.unsent.removeFirst()
      state.progress = 0
      if status < 0 { state.isBroken = true }
    }
  }

  /// A slot in one piece, and how many bytes it keeps from others; `nil` when there is none.
  private static func takeSlot(_ size: Int, _ state: inout State) -> (Int, Int)? {
    let size = (size + 63) & ~63
    if state.used == 0 { state.head = 0 }
    var offset = state.head % slotCapacity
    var skipped = 0
    if offset + size > slotCapacity {
      skipped = slotCapacity - offset
      offset = 0
    }
    guard size + skipped <= slotCapacity - state.used else { return nil }
    state.used += size + skipped
    state.head = offset + size
    return (offset, size + skipped)
  }

  // MARK: - Receiving

  /// Reports what has arrived through the ring.
  ///
  /// - Returns: whether that was anything.
  func receive(_ receiver: any WorkerReceiver) -> Bool {
    var count = 0
    // Not forever: other workers have something to report too.
    while count < 1024, let record = unsafe up.peek() {
      do {
        try unsafe report(record, to: receiver)
      } catch {
        if nonsense == nil { nonsense = error as? IPCError }
        state.withLock { $0.isBroken = true }
      }
      count += 1
      // Space for the worker, in batches: each costs a fence.
      if count & 15 == 0 { up.release() }
    }
    if count & 15 != 0 { up.release() }
    return count > 0
  }

  /// Takes in what has come over the socket: frames that records in the ring announce, and ones without
  /// bytes, which only wake.
  func receiveOnSocket() {
    if isBroken { return }
    // Not forever: other workers have something to report too.
    for _ in 0..<1024 {
      var arrival = Connection.Arrival()
      let status = socket.take(&arrival, withDescriptors: true, until: 0)
      let frame = SocketFrame(
        bytes: arrival.bytes, inbox: DescriptorInbox(arrival.descriptors))
      if status == CIPC_ETIMEDOUT.rawValue || status == CIPC_EBUSY.rawValue { return }
      if status < 0 { return state.withLock { $0.isBroken = true } }
      if !frame.bytes.isEmpty { socketFrames.append(frame) }
    }
  }

  /// The frame that a record says is on the socket.
  private func takeFromSocket() throws(IPCError) -> SocketFrame {
    if socketFrames.isEmpty { receiveOnSocket() }
    guard !socketFrames.isEmpty else {
      throw IPCError(.malformedMessage, context: "a frame of a pool that is not on the socket")
    }
    return socketFrames.removeFirst()
  }

  private func report(
    _ record: UnsafeRawBufferPointer, to receiver: any WorkerReceiver
  ) throws {
    var record = unsafe FrameReader(record)
    guard let kind = RecordKind(rawValue: try record.integer(UInt8.self)) else {
      throw record.malformed()
    }
    if kind == .left {
      let nanoseconds = try record.integer(UInt64.self)
      let count = Int(try record.integer(UInt32.self))
      if !reportLeft(count, nanoseconds, to: receiver) { throw record.malformed() }
      return
    }
    try frames.withFrame(kind, &record, fromSocket: takeFromSocket) { frame, inbox in
      let report = try WorkerReport(&frame, inbox, from: child.name)
      if case .result = report { state.withLock { Self.finish(1, &$0) } }
      receiver.received(report, from: number)
    }
    if kind == .inBuffer || kind == .inNewBuffer {
      buffersRead += 1
      page.buffersRead = buffersRead
    }
  }

  private static func finish(_ count: Int, _ state: inout State) {
    guard !state.runs.isEmpty else { return }
    state.runs[0].finished += count
    let run = state.runs[0]
    if run.slot != nil { state.left += UInt64(count) }
    if run.finished >= run.count {
      state.used -= run.taken
      if run.isInBuffer { state.buffers.wasRead() }
      state.runs.removeFirst()
    }
  }

  /// Reports results that the worker left in the slot of its run.
  ///
  /// - Returns: `false` where there can be none.
  private func reportLeft(
    _ count: Int, _ nanoseconds: UInt64, to receiver: any WorkerReceiver
  ) -> Bool {
    let bytes = unsafe state.withLock { state -> UnsafeMutableRawBufferPointer? in
      guard let run = state.runs.first, let slot = run.slot, count > 0,
        count <= run.count - run.finished
      else { return nil }
      return unsafe page.slot(slot + run.finished * run.stride, count * run.stride)
    }
    guard let bytes = unsafe bytes else { return false }
    receiver.received(
      unsafe .values(UnsafeRawBufferPointer(bytes), count: count, nanoseconds: nanoseconds),
      from: number)
    state.withLock { Self.finish(count, &$0) }
    return true
  }

  /// Reports results that a worker which has ended had left in a slot, and did not announce.
  func reportUnannounced(to receiver: any WorkerReceiver) {
    let count = state.withLock { state -> Int in
      guard let run = state.runs.first, run.slot != nil else { return 0 }
      let left = page.left
      guard left > state.left else { return 0 }
      return min(Int(clamping: left - state.left), run.count - run.finished)
    }
    if count > 0 { _ = reportLeft(count, 0, to: receiver) }
  }
}
