// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// Timeouts as the C core takes them: absolute times on the monotonic clock.
package enum Deadline {
  /// The deadline after a timeout that begins now.
  ///
  /// `nil` is no deadline. A timeout that is not positive is tried once, without waiting; one
  /// beyond the range of the clock never ends.
  package static func after(_ timeout: Duration?) -> Int64 {
    guard let timeout else { return cipc_deadline_t.max }
    let (seconds, attoseconds) = timeout.components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    // Rounded up, so that a positive timeout below a nanosecond still is a timeout.
    let (sum, carry) = whole.addingReportingOverflow((attoseconds + 999_999_999) / 1_000_000_000)
    return cipc_clock_deadline(overflow || carry ? .max : sum)
  }

  /// The deadline at a time of the clock that stands still while the machine sleeps, which is the
  /// monotonic one of Linux. One in the past is tried once, without waiting.
  package static func at(_ instant: SuspendingClock.Instant) -> Int64 {
    after(SuspendingClock.now.duration(to: instant))
  }
}
