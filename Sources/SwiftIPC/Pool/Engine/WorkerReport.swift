// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A report about a worker to its pool.
@safe enum WorkerReport {
  /// The initializer has returned, or there is none.
  case ready
  /// The initializer threw this; the worker is about to end.
  case initializerFailed(String)
  /// The finalizer threw this; the worker is about to end.
  case finalizerFailed(String)
  /// What became of the next element of the run that the worker is in. The time is that of the whole run
  /// so far; 0 where it was not measured.
  case result(ElementResult, nanoseconds: UInt64)
  /// The values of the next elements of that run, of a job whose results all have the same size: their
  /// bytes, one behind the other.
  case values(UnsafeRawBufferPointer, count: Int, nanoseconds: UInt64)
  /// The worker wrote a line to a standard stream that is a pipe.
  case wrote(String)
  /// The worker has ended. No report about it follows.
  case ended(WorkerEnd, WorkerActivity)
}

/// What became of one element.
enum ElementResult {
  case value(IncomingElement)
  case failed(any Error)
}

/// How a worker ended.
struct WorkerEnd: Equatable {
  var name: String
  var status: ExitStatus
  /// What is known beyond the status, as it follows that in a sentence; empty for nothing.
  var cause = ""

  /// As the end of a sentence about the worker.
  func description(_ place: String = "") -> String { "\(status)\(place)\(cause)" }
}
