// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// Calls a step of the C core until it has done what it is for, and waits in between for what it
/// names: a word, a descriptor or a moment. Blocks.
///
/// - Parameters:
///   - deadline: as `Deadline` makes them.
///   - subject: what is waited for, for errors.
///   - step: tries without blocking; gets whether to look for the dead, and where to say what to
///     wait for when it returns `CIPC_EAGAIN`. That memory stays mapped until this returns.
/// - Returns: what the step returned in the end, 0 or positive.
/// - Throws: what it failed with, or `timedOut`.
@safe @discardableResult
func waitForStep(
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
func waitForStep(
  until deadline: Int64, subject: @autoclosure () -> String = "",
  step: (_ look: Bool, _ wait: inout cipc_wait_t) -> Int32
) async throws(IPCError) -> Int32 {
  try IPCError.check(await statusOfStep(until: deadline, step: step), subject())
}

/// The one way in which a task waits for a step, and in which its cancellation ends the wait.
///
/// - Parameter set: where what the step waits for may also come about by another thread or task of this
///   process, the set that these wake; a step that says `CIPC_EBUSY` waits for that alone.
/// - Returns: what the step returned in the end; `CIPC_ETIMEDOUT`, `CIPC_ECANCELED`, or why there can be
///   no waiting.
@safe
func statusOfStep(
  until deadline: Int64, in set: SuspensionSet? = nil,
  step: (_ look: Bool, _ wait: inout cipc_wait_t) -> Int32
) async -> Int32 {
  set?.enter()
  defer { set?.leave() }
  var wait = unsafe cipc_wait_t()
  var look = false
  // A word that changes all the time never ends a slice.
  var lookAt = cipc_clock_now() + Int64(CIPC_WAIT_SLICE)
  var wasGone = false
  while true {
    if Task.isCancelled { return CIPC_ECANCELED.rawValue }
    let round = set?.round ?? 0
    let status = unsafe step(look, &wait)
    let isBusy = set != nil && status == CIPC_EBUSY.rawValue
    guard status == CIPC_EAGAIN.rawValue || isBusy else { return status }
    var outcome = CIPC_ETIMEDOUT.rawValue
    if deadline > cipc_clock_now() {
      let condition =
        unsafe isBusy
        ? Suspension.Condition(deadline: deadline) : Suspension.Condition(wait, deadline: deadline)
      outcome =
        if let set { await set.wait(for: condition, in: round) } else {
          await Suspension().wait(for: condition)
        }
    }
    look = false
    if !isBusy, unsafe wait.kind == CIPC_WAIT_WORD {
      // The wake-up may have come as well, and is another's then.
      if outcome == CIPC_ECANCELED.rawValue { unsafe cipc_wait_pass(&wait) }
      // Does not sleep any more; says once that the dead are to be looked for before all is over.
      if outcome == CIPC_ETIMEDOUT.rawValue { outcome = unsafe cipc_wait_sleep(&wait, 0) }
      let now = cipc_clock_now()
      look = outcome == CIPC_WAIT_LOOK.rawValue || now >= lookAt
      if look { lookAt = now + Int64(CIPC_WAIT_SLICE) }
    } else if outcome == CIPC_ETIMEDOUT.rawValue, deadline > cipc_clock_now() {
      // A pause is over.
      continue
    } else if outcome.isOfAnotherFile, !wasGone {
      // The descriptor was closed between the step and the wait: the next step says so.
      wasGone = true
      continue
    }
    if outcome < 0 { return outcome }
    wasGone = false
  }
}

extension cipc_wait_t {
  /// A wait for a word that is to change.
  init(word: UnsafePointer<UInt32>, expected: UInt32) {
    unsafe self.init()
    unsafe (self.word, self.expected) = unsafe (word, expected)
  }
}

extension Int32 {
  /// Whether the kernel says it of a descriptor that is closed, or of another file by its number: one
  /// that cannot be waited for, or the very set that it was put in, or one that this is in.
  var isOfAnotherFile: Bool {
    [CIPC_EBADF.rawValue, CIPC_EPERM.rawValue, CIPC_EINVAL.rawValue, -ELOOP].contains(self)
  }
}
