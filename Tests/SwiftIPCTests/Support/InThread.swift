// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Synchronization

/// A closure that runs on a thread of its own, for calls that block.
final class InThread<R: Sendable>: Sendable {
  private let result = Mutex<Result<R, any Error>?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () throws -> R) {
    DispatchQueue.global().async {
      let outcome = Result { try body() }
      self.result.withLock { $0 = outcome }
      self.done.signal()
    }
  }

  /// Waits for the closure's end.
  func join() throws -> R {
    done.wait()
    return try result.withLock { result in
      guard let result else { fatalError("joined twice") }
      return try result.get()
    }
  }
}
