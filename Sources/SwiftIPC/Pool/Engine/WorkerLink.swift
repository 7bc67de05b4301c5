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
@safe final class WorkerLink: @unchecked Sendable {
  let number: Int
  let child: ChildHandle
  let printed: WorkerOutput
  let descriptor: Int32
  private let socket: Connection
  private let down: WorkerRing
  private let up: WorkerRing
  private let desk: WorkerDesk

  /// An order to run that the worker has not been through.
  private struct Run {
    var count: Int
    /// Room for its results in the desk, at this offset.
    var offset: Int?
    var stride: Int
    /// What of the room this keeps others from, in bytes.
    var taken = 0
    var isInParcel = false
    var finished = 0
  }

  private struct State {
    /// What found no room in the channel, in order.
    var unsent = PoolDeque<Unsent>()
    /// How much of a frame on the socket is out.
    var progress: UInt64 = 0
    var runs = PoolDeque<Run>()
    /// Where the next room begins, and how much is in use.
    var head = 0
    var used = 0
    /// Results that were told of runs with room.
    var left: UInt64 = 0
    var isBroken = false
    /// Whether the worker was told to end: its exit handlers may close what they like.
    var isLeaving = false
    let parcels = OutgoingParcels()
  }
  private let state = Guarded(State())

  // The receiving thread's.
  private struct Arrivals {
    /// Frames from the socket that records in the ring are to come for. Their descriptors are closed
    /// with them, where the worker ends before its record is there.
    var onSocket = PoolDeque<SocketFrame>()
    var parcels = IncomingParcels()
    var parcelsRead: UInt64 = 0
  }
  private var arrivals = Arrivals()

  private struct SocketFrame {
    var bytes: [UInt8]
    var inbox: DescriptorInbox
  }

  /// A record for the ring, and what goes over the socket behind it.
  private struct Unsent {
    var record: [UInt8]
    var isInRing = false
    var onSocket: [UInt8]?
    var attachments: DescriptorOutbox?
  }

  /// Room for the results of as many chunks as a worker has, and for what a round leaves over at its
  /// end.
  static let room = JobSchedule.room + JobSchedule.chunkRoom

  init(
    _ number: Int, _ setting: WorkerSetting, _ options: ChildProcessOptions,
    _ initializer: (any PoolInitializing)?
  ) throws(IPCError) {
    self.number = number
    let (ours, theirs) = try Connection.pair(maximumMessageSize: 1 << 46)
    desk = try WorkerDesk(room: Self.room)
    down = try WorkerRing()
    up = try WorkerRing()
    socket = ours
    var descriptor: Int32 = -1
    try IPCError.check(
      unsafe cipc_connection_descriptor(ours.handle, &descriptor), "a worker of a pool")
    self.descriptor = descriptor
    do {
      // Before the start: a worker without orders would stay for ever.
      let first = try initializer.map { initializer in
        let first = FrameBuffer()
        try initializer.write(to: first)
        return first
      }
      let ends = WorkerEnds(socket: theirs, down: down, up: up, desk: desk.memory)
      child = try ChildProcess.start(ends, setting, options: options) { ends, setting in
        try WorkerMain(WorkerPort(ends), setting).run()
      }.handle
      printed = WorkerOutput([child.output, child.error].compactMap { $0 })
      if let first { _ = send(first.frame) }
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

  /// Whether the channel broke while the worker still had something to do with it.
  var mustEnd: Bool { state.withLock { $0.isBroken && !$0.isLeaving } }

  /// Whether there is something that found no room.
  var isBehind: Bool { state.withLock { !$0.unsent.isEmpty } }

  var activity: WorkerActivity {
    let begun = desk.begun
    return WorkerActivity(begun: begun, begunAt: desk.begunAt)
  }

  // MARK: - Sleeping

  /// Says whether the pool sleeps, so that the worker wakes it.
  func setAsleep(_ isAsleep: Bool) { desk.isPoolAsleep = isAsleep }

  // MARK: - Sending

  /// Memory for a long frame in which it can be written, instead of being copied there.
  func parcel(_ size: Int) -> OutgoingParcels.Parcel? {
    state.withLock { $0.parcels.take(size) }
  }

  /// - Returns: whether all has gone out.
  func send(_ frame: OutgoingFrame) -> Bool {
    state.withLock { state in
      if frame.isLast { state.isLeaving = true }
      if state.isBroken {
        if let parcel = frame.parcel { state.parcels.giveBack(parcel) }
        return true
      }
      var room: (offset: Int, stride: Int, count: Int)?
      if let run = frame.run {
        var entry = Run(count: run.count, stride: run.stride)
        if run.stride > 0, let (offset, taken) = Self.takeRoom(run.stride * run.count, &state) {
          (entry.offset, entry.taken) = (offset, taken)
          room = (offset, run.stride, run.count)
        }
        state.runs.append(entry)
      }
      let hasAttachments = frame.attachments.map { !$0.descriptors.isEmpty } ?? false
      let count = unsafe frame.bytes.count
      if !hasAttachments && frame.parcel == nil && count <= WorkerRing.longest {
        return sendInRing(frame, room, &state)
      }
      var unsent = Unsent(record: [], attachments: frame.attachments)
      let record = FrameBuffer(capacity: 64)
      // Only an order to run says when its parcel has been read.
      if !hasAttachments, frame.run != nil,
        let parcel = unsafe frame.parcel ?? Self.pack(frame.bytes, &state)
      {
        Self.writeHeader(parcel.isKnown ? .inParcel : .inNewParcel, room, to: record)
        record.append(parcel.number)
        record.append(UInt64(count))
        if !parcel.isKnown,
          let (bytes, outbox) = try? MessageEncoder().encodeWithDescriptors(
            parcel.memory)
        {
          unsent.onSocket = bytes
          unsent.attachments = outbox
        }
        state.parcels.wasSent(parcel)
        state.runs[state.runs.count - 1].isInParcel = true
      } else {
        if let parcel = frame.parcel { state.parcels.giveBack(parcel) }
        Self.writeHeader(.onSocket, room, to: record)
        unsent.onSocket = unsafe Array(frame.bytes)
      }
      unsent.record = unsafe Array(record.bytes)
      state.unsent.append(unsent)
      push(&state)
      return state.unsent.isEmpty
    }
  }

  private static func pack(
    _ bytes: UnsafeRawBufferPointer, _ state: inout State
  ) -> OutgoingParcels.Parcel? {
    guard let parcel = state.parcels.take(bytes.count) else { return nil }
    unsafe parcel.bytes.copyMemory(from: bytes)
    return parcel
  }

  private static func writeHeader(
    _ kind: ChannelRecord, _ room: (offset: Int, stride: Int, count: Int)?, to record: FrameBuffer
  ) {
    record.append(kind.rawValue)
    record.append(UInt32(room?.stride ?? 0))
    record.append(UInt32(room?.count ?? 0))
    record.append(UInt64(room?.offset ?? 0))
  }

  /// The short way.
  private func sendInRing(
    _ frame: OutgoingFrame, _ room: (offset: Int, stride: Int, count: Int)?, _ state: inout State
  ) -> Bool {
    let size = unsafe ChannelRecord.headerSize + frame.bytes.count
    if state.unsent.isEmpty {
      let status = unsafe down.put(size) { record in
        unsafe record.storeBytes(of: ChannelRecord.frame.rawValue, as: UInt8.self)
        unsafe record.storeBytes(of: UInt32(room?.stride ?? 0), toByteOffset: 1, as: UInt32.self)
        unsafe record.storeBytes(of: UInt32(room?.count ?? 0), toByteOffset: 5, as: UInt32.self)
        unsafe record.storeBytes(of: UInt64(room?.offset ?? 0), toByteOffset: 9, as: UInt64.self)
        unsafe UnsafeMutableRawBufferPointer(rebasing: record[ChannelRecord.headerSize...])
          .copyMemory(from: frame.bytes)
      }
      if status == 0 { return true }
      if !isPending(status) {
        state.isBroken = true
        return true
      }
    }
    let record = FrameBuffer(capacity: size)
    Self.writeHeader(.frame, room, to: record)
    unsafe record.append(frame.bytes)
    state.unsent.append(Unsent(record: unsafe Array(record.bytes)))
    return false
  }

  private func isPending(_ status: Int32) -> Bool {
    status == CIPC_EAGAIN.rawValue || status == CIPC_EBUSY.rawValue || status == -ETOOMANYREFS
  }

  /// Sends what found no room before.
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
        status = unsafe cipc_connection_send_step(
          socket.handle, bytes, bytes.count, descriptors, descriptors.count, &state.progress)
      }
      if isPending(status) { return }
      state.unsent.removeFirst()
      state.progress = 0
      if status < 0 { state.isBroken = true }
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

  /// Tells what has arrived through the ring.
  ///
  /// - Returns: whether that was anything.
  func receive(_ receiver: any WorkerReceiver) -> Bool {
    var count = 0
    // Not for ever: others have something to tell too.
    while count < 1024, let record = unsafe up.peek() {
      unsafe tell(record, receiver)
      count += 1
      // Room for the worker, in batches: each costs a fence.
      if count & 15 == 0 { up.release() }
    }
    if count & 15 != 0 { up.release() }
    return count > 0
  }

  /// Takes in what has come over the socket: frames that are to be asked for by the ring, and ones
  /// without bytes, whose coming is all that there is to them.
  func receiveOnSocket() {
    if isBroken { return }
    // Not for ever: others have something to tell too.
    for _ in 0..<1024 {
      var arrival = Connection.Arrival()
      let status = socket.take(&arrival, withDescriptors: true, until: 0)
      let frame = SocketFrame(
        bytes: arrival.bytes, inbox: DescriptorInbox(arrival.descriptors))
      if status == CIPC_ETIMEDOUT.rawValue || status == CIPC_EBUSY.rawValue { return }
      if status < 0 { return state.withLock { $0.isBroken = true } }
      if !frame.bytes.isEmpty { arrivals.onSocket.append(frame) }
    }
  }

  /// The frame that a record says is on the socket.
  private func takeFromSocket() -> SocketFrame? {
    if arrivals.onSocket.isEmpty { receiveOnSocket() }
    return arrivals.onSocket.isEmpty ? nil : arrivals.onSocket.removeFirst()
  }

  private func tell(_ record: UnsafeRawBufferPointer, _ receiver: any WorkerReceiver) {
    var reader = unsafe FrameReader(record)
    do {
      let kind = ChannelRecord(rawValue: try reader.integer(UInt8.self))
      switch kind {
      case .frame: try unsafe tell(frame: reader.remaining(), nil, receiver)
      case .onSocket:
        guard let arrival = takeFromSocket() else { throw reader.malformed() }
        try unsafe arrival.bytes.withUnsafeBytes { bytes in
          try unsafe tell(frame: bytes, arrival.inbox, receiver)
        }
      case .inParcel, .inNewParcel:
        let number = try reader.integer(UInt32.self)
        let length = try reader.integer(UInt64.self)
        if kind == .inNewParcel {
          guard let arrival = takeFromSocket() else { throw reader.malformed() }
          let memory = try MessageDecoder().decode(
            SharedMemory.self, from: arrival.bytes, inbox: arrival.inbox)
          try arrivals.parcels.add(number, memory)
        }
        // The first byte is the channel's. The largest number stays what it is, and too large.
        let whole = length == .max ? length : length + 1
        let bytes = try unsafe arrivals.parcels.bytes(number, whole)
        try unsafe tell(frame: UnsafeRawBufferPointer(rebasing: bytes.dropFirst()), nil, receiver)
        arrivals.parcelsRead += 1
        desk.parcelsRead = arrivals.parcelsRead
      case .left:
        let nanoseconds = try reader.integer(UInt64.self)
        let count = Int(try reader.integer(UInt32.self))
        if !tellLeft(count, nanoseconds, receiver) { throw reader.malformed() }
      case nil: throw reader.malformed()
      }
    } catch {
      state.withLock { $0.isBroken = true }
    }
  }

  private func tell(
    frame bytes: UnsafeRawBufferPointer, _ inbox: DescriptorInbox?, _ receiver: any WorkerReceiver
  ) throws {
    let frame = unsafe IncomingFrame(bytes: bytes, attachments: inbox)
    if let count = unsafe Self.results(in: bytes) { state.withLock { Self.finish(count, &$0) } }
    receiver.received(frame, from: number)
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
      if run.isInParcel { state.parcels.wasRead() }
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
