// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// Timeouts as the C core takes them: absolute times on the monotonic clock.
@usableFromInline package enum Deadline {
  /// The deadline after a timeout that begins now.
  ///
  /// `nil` is no deadline. A timeout that is not positive is tried once, without waiting; one
  /// beyond the range of the clock never ends.
  @inlinable package static func after(_ timeout: Duration?) -> Int64 {
    // Inlined, so that a lock without a time limit does not pay for the choice.
    guard let timeout else { return .max }
    return at(endOf: timeout)
  }

  @usableFromInline package static func at(endOf timeout: Duration) -> Int64 {
    let (seconds, attoseconds) = timeout.components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    // Rounded up, so that a positive timeout below a nanosecond still is a timeout.
    let (sum, carry) = whole.addingReportingOverflow((attoseconds + 999_999_999) / 1_000_000_000)
    return cipc_clock_deadline(overflow || carry ? .max : sum)
  }
}
