// SPDX-License-Identifier: Apache-2.0
internal import CIPC

extension Suspension {
  /// Suspends the task until the descriptor, which stays the caller's, is readable or the deadline
  /// has passed.
  ///
  /// - Throws: `cancelled`, and what the kernel says where it cannot wait.
  static func untilReadable(
    _ descriptor: Int32, _ deadline: Int64, _ subject: @autoclosure () -> String
  ) async throws(IPCError) {
    let status = await Suspension().wait(
      for: .init(
        descriptor: descriptor, isOwned: false, direction: CIPC_WAITER_READABLE,
        deadline: deadline))
    if status != CIPC_ETIMEDOUT.rawValue { try IPCError.check(status, subject()) }
  }
}
