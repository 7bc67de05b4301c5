// SPDX-License-Identifier: Apache-2.0

/// The first byte of a frame to a worker.
enum WorkerOrder: UInt8 {
  /// {finalizer or nothing, function with its arguments}: comes first, once, where there is an
  /// initializer.
  case initialize = 1
  /// {u32 name, function}: what later orders call by its name.
  case define = 2
  /// {u32 name, u32 count, u8 flags, elements}.
  case run = 3
  /// Ends the worker when it has done what came before.
  case stop = 4
}

/// The flags of an order to run.
struct RunFlags: OptionSet {
  var rawValue: UInt8
  /// Say when each element was begun.
  static let timed = RunFlags(rawValue: 1)
}

/// The first byte of a frame from a worker.
enum WorkerReport: UInt8 {
  /// The initializer is through, or there is none.
  case ready = 1
  /// {text}: it threw.
  case initializerFailed = 2
  /// {u64 nanoseconds, u32 count, results}: of the next elements of the chunk that it is in. The
  /// time is that of the whole chunk so far.
  case results = 3
  /// The same, where all results are bytes of the same size: {u64 nanoseconds, u32 count, bytes}.
  case values = 4
  /// {text}: the finalizer threw.
  case finalizerFailed = 5
}

/// How one element went; before the bytes of its result.
enum ResultKind: UInt8 {
  /// The value, as its coding has it.
  case value = 0
  /// {type, description, trace}.
  case threw = 1
  /// {text}: the element could not be decoded, or its result not be encoded.
  case notCoded = 2
  /// {text}: the function is not known there.
  case refused = 3
}
