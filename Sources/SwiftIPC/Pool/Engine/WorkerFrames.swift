// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

// The frames between the process engine and a worker process: what a `WorkerOrder` and a `WorkerReport`
// are as bytes.

/// The first byte of a frame to a worker.
enum OrderKind: UInt8 {
  /// {finalizer or nothing, function with its arguments}: comes first, once, where there is an
  /// initializer.
  case initialize = 1
  /// {u32 name, function}
  case define = 2
  /// {u32 name, u32 count, u8 flags, u32 stride, u64 offset, elements}: where the results are to be left in
  /// the status page, with a stride of 0 for nowhere.
  case run = 3
  /// {}
  case stop = 4
}

/// The flags of an order to run.
struct RunFlags: OptionSet {
  var rawValue: UInt8
  /// Say when each element was begun.
  static let timed = RunFlags(rawValue: 1)
}

/// The first byte of a frame from a worker. What the other reports say travels in the status page, or is
/// seen by the engine itself.
enum ReportKind: UInt8 {
  /// {}
  case ready = 1
  /// {text}
  case initializerFailed = 2
  /// {u64 nanoseconds, u8 kind of result, counted bytes}
  case result = 3
  /// {text}
  case finalizerFailed = 5
}

/// How one element went; before the bytes of its result.
enum ResultKind: UInt8 {
  /// The value, as its coding has it.
  case value = 0
  /// {type, description, trace}
  case threw = 1
  /// {text}: the element could not be decoded, or its result not be encoded.
  case notCoded = 2
  /// {text}: the function is not known there.
  case refused = 3
}

extension FrameBuffer {
  /// Begins a frame to a worker, in place of what the buffer held.
  func begin(_ kind: OrderKind) { begin(kind.rawValue) }
  /// Begins a frame from a worker, in place of what the buffer held.
  func begin(_ kind: ReportKind) { begin(kind.rawValue) }

  private func begin(_ kind: UInt8) {
    clear()
    // The place of a record's kind, should the frame go through the ring.
    append(RecordKind.frame.rawValue)
    append(kind)
  }

  /// The frame without the place in front of it.
  var frameBytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
  }

  /// Begins an order to run elements of a job; these follow.
  func beginRun(_ job: PoolJob, count: Int) {
    begin(.run)
    append(job.function.name)
    append(UInt32(count))
    append(job.timeout == nil ? 0 : RunFlags.timed.rawValue)
    append(UInt32(0))
    append(UInt64(0))
  }

  /// Says in an order to run where the results are to be left.
  func setResultSlot(stride: Int, offset: Int) {
    set(UInt32(stride), at: 11)
    set(UInt64(offset), at: 15)
  }
}

extension WorkerReport {
  /// The report that a frame holds.
  ///
  /// - Throws: `malformedMessage`.
  init(
    _ reader: inout FrameReader, _ inbox: DescriptorInbox?, from worker: String
  ) throws(IPCError) {
    switch ReportKind(rawValue: try reader.integer(UInt8.self)) {
    case .ready: self = .ready
    case .initializerFailed: self = .initializerFailed(try reader.text())
    case .finalizerFailed: self = .finalizerFailed(try reader.text())
    case .result:
      let nanoseconds = try reader.integer(UInt64.self)
      let kind = ResultKind(rawValue: try reader.integer(UInt8.self))
      let bytes = try unsafe reader.counted()
      let result: ElementResult
      switch kind {
      case .value: result = unsafe .value(IncomingElement(bytes: bytes, inbox: inbox))
      case .threw: result = .failed(try unsafe RemoteError(bytes, worker: worker))
      case .notCoded:
        result = unsafe .failed(IPCError(.malformedMessage, context: String(copying: bytes)))
      case .refused:
        result = unsafe .failed(IPCError(.bootstrapFailed, context: String(copying: bytes)))
      case nil: throw reader.malformed()
      }
      self = .result(result, nanoseconds: nanoseconds)
    case nil: throw reader.malformed()
    }
  }
}
