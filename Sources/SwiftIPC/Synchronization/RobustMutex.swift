// SPDX-License-Identifier: Apache-2.0
public import CIPC
internal import MessageCoding

/// The mutex of the C core at the start of a segment, as `Lock`, `RecursiveLock` and `SharedArray`
/// take it. A caller keeps its segment alive meanwhile: unmapping a held mutex crashes.
@safe @usableFromInline
struct RobustMutex {
  @usableFromInline let pointer: UnsafeMutablePointer<cipc_mutex_t>

  @inlinable init(_ segment: Segment) {
    unsafe pointer = unsafe segment.address.assumingMemoryBound(to: cipc_mutex_t.self)
  }

  @inlinable func withLock<R: ~Copyable>(
    until deadline: Int64, _ body: () throws -> R
  ) throws -> R {
    let status = unsafe cipc_mutex_lock(pointer, deadline)
    if status != 0 { throw refusal(of: status) }
    return try releasing(after: body)
  }

  @inlinable func withLock<R: ~Copyable>(
    until deadline: Int64, _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    let status = unsafe cipc_mutex_lock(pointer, deadline)
    if status != 0 { try recover(from: status, repair) }
    return try releasing(after: body)
  }

  @inlinable func withLockIfAvailable<R: ~Copyable>(_ body: () throws -> R) throws -> R? {
    let status = unsafe cipc_mutex_trylock(pointer)
    if status == CIPC_EBUSY.rawValue { return nil }
    if status != 0 { throw refusal(of: status) }
    return try releasing(after: body)
  }

  @inlinable func withLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R? {
    let status = unsafe cipc_mutex_trylock(pointer)
    if status == CIPC_EBUSY.rawValue { return nil }
    if status != 0 { try recover(from: status, repair) }
    return try releasing(after: body)
  }

  @inlinable func releasing<R: ~Copyable>(after body: () throws -> R) throws -> R {
    let result: R
    do {
      result = try body()
    } catch {
      // The body's error is what the caller wants to know.
      _ = unsafe cipc_mutex_unlock(pointer)
      throw error
    }
    let status = unsafe cipc_mutex_unlock(pointer)
    if status != 0 { throw failure(status) }
    return result
  }

  /// The error for an acquisition that was not plainly successful. If an owner died, the mutex is
  /// released and still says so to the next.
  @usableFromInline @inline(never) func refusal(of status: Int32) -> IPCError {
    guard status == CIPC_OWNER_DIED.rawValue else { return failure(status) }
    let error = casualty
    let released = unsafe cipc_mutex_unlock(pointer)
    return released != 0 ? failure(released) : error
  }

  /// The error that says which owner died. By the owner.
  @usableFromInline var casualty: IPCError {
    let casualty = unsafe cipc_mutex_casualty(pointer)
    let who = casualty == 0 ? "a process" : "process \(casualty)"
    return IPCError(
      .ownerDied,
      context: "\(who) died while it held the lock; withLock { } recovering: { } repairs")
  }

  /// Has the death of an owner repaired, as the new owner; afterwards the lock is held and clean.
  @usableFromInline @inline(never) func recover(
    from status: Int32, _ repair: () throws -> Void
  ) throws {
    guard status == CIPC_OWNER_DIED.rawValue else { throw failure(status) }
    do {
      try repair()
      let recovered = unsafe cipc_mutex_recover(pointer)
      if recovered != 0 { throw failure(recovered) }
    } catch {
      // Still dirty: the next owner is told as well.
      _ = unsafe cipc_mutex_unlock(pointer)
      throw error
    }
  }

  @usableFromInline @inline(never) func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, "lock")
  }

}

extension RobustMutex {
  /// Makes a segment that holds a mutex alone, or finds it by its name.
  static func segment(
    recursive: Bool, name: ObjectName? = nil, subject: String
  ) throws(IPCError) -> Segment {
    try unsafe Segment.make(
      segmentType(recursive: recursive), size: MemoryLayout<cipc_mutex_t>.size, name: name,
      subject: subject
    ) { address in
      var options = cipc_mutex_options_t(recursive: recursive ? 1 : 0)
      return unsafe cipc_mutex_init(
        address.assumingMemoryBound(to: cipc_mutex_t.self), &options)
    }
  }

  static func segmentType(recursive: Bool) -> cipc_segment_type_t {
    cipc_mutex_type(recursive ? 1 : 0)
  }
}
