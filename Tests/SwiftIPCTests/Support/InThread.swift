// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import Synchronization

/// A closure that runs on a thread of its own, for calls that block.
///
/// A thread and not a dispatch queue, whose pool does not grow at once when all of it is blocked.
final class InThread<R: Sendable>: Sendable {
  private let body: @Sendable () throws -> R
  private let result = Mutex<Result<R, any Error>?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () throws -> R) {
    self.body = body
    var thread = pthread_t()
    // Balanced on the thread.
    let context = unsafe Unmanaged.passRetained(self as AnyObject)
    let status = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        let thread = unsafe Unmanaged<AnyObject>.fromOpaque(context).takeRetainedValue()
        (thread as? any Runnable)?.run()
        return nil
      }, context.toOpaque())
    guard status == 0 else { fatalError("pthread_create: \(status)") }
    pthread_detach(thread)
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

private protocol Runnable { func run() }

extension InThread: Runnable {
  fileprivate func run() {
    let outcome = Result { try body() }
    result.withLock { $0 = outcome }
    done.signal()
  }
}
