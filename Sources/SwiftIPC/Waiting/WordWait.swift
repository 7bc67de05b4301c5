// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// Calls a step of the C core until it has done what it is for, and sleeps in between on the word
/// that it names. Blocks.
///
/// - Parameters:
///   - deadline: as `Deadline` makes them.
///   - subject: what is waited for, for errors.
///   - step: tries without blocking; gets whether to look for the dead, and where to say what to
///     sleep on when it returns `CIPC_EAGAIN`. That memory stays mapped until this returns.
/// - Returns: what the step returned in the end, 0 or positive.
/// - Throws: what it failed with, or `timedOut`.
@safe @discardableResult
func waitForWord(
  until deadline: Int64, subject: @autoclosure () -> String = "",
  step: (_ look: Bool, _ wait: inout cipc_wait_t) -> Int32
) throws(IPCError) -> Int32 {
  var wait = unsafe cipc_wait_t()
  var look = false
  while true {
    let status = unsafe step(look, &wait)
    if status != CIPC_EAGAIN.rawValue { return try IPCError.check(status, subject()) }
    look =
      try IPCError.check(unsafe cipc_wait_sleep(&wait, deadline), subject())
      == CIPC_WAIT_LOOK.rawValue
  }
}

/// The same without a blocked thread: the task is suspended in between. The step is called where the
/// caller runs, so that it may use what is the caller's.
///
/// - Throws: what the step failed with, `timedOut`, or `cancelled` when the task is.
@safe @discardableResult
func waitForWord(
  until deadline: Int64, subject: @autoclosure () -> String = "",
  step: (_ look: Bool, _ wait: inout cipc_wait_t) -> Int32
) async throws(IPCError) -> Int32 {
  var wait = unsafe cipc_wait_t()
  var look = false
  // A word that changes all the time never ends a slice.
  var lookAt = cipc_clock_now() + Int64(CIPC_WAIT_SLICE)
  while true {
    if Task.isCancelled { throw IPCError(status: CIPC_ECANCELED.rawValue, subject()) }
    let status = unsafe step(look, &wait)
    if status != CIPC_EAGAIN.rawValue { return try IPCError.check(status, subject()) }
    var outcome = CIPC_ETIMEDOUT.rawValue
    if deadline > cipc_clock_now() {
      outcome = await Suspension().wait(for: unsafe .init(word: wait, deadline: deadline))
    }
    // The wake-up may have come as well, and is another's then.
    if outcome == CIPC_ECANCELED.rawValue { unsafe cipc_wait_pass(&wait) }
    // Does not sleep any more; says once that the dead are to be looked for before all is over.
    if outcome == CIPC_ETIMEDOUT.rawValue {
      outcome = unsafe cipc_wait_sleep(&wait, 0)
    }
    try IPCError.check(outcome, subject())
    let now = cipc_clock_now()
    look = outcome == CIPC_WAIT_LOOK.rawValue || now >= lookAt
    if look { lookAt = now + Int64(CIPC_WAIT_SLICE) }
  }
}
