// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

public enum Death {
  /// Prints what the error says of a worker that dies of this function.
  public static func report(_ body: @escaping @Sendable (Int) throws -> Int) throws {
    let pool = try ProcessPool(
      workers: 1,
      options: .init(environment: ["SWIFT_BACKTRACE": "enable=no"], standardError: .null))
    do {
      print("it lives:", try pool.map([4], body))
    } catch let error as IPCError where error.code == .workerDied {
      print(error.context)
    }
    pool.close()
  }
}
