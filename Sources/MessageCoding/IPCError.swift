// SPDX-License-Identifier: Apache-2.0
internal import CIPC

#if !os(Linux)
  #error("SwiftIPC runs on Linux only: it rests on futexes, memfd, pidfd and robust mutexes")
#endif

/// What went wrong, the system error behind it, and where.
///
/// `code` says what a program can act on, `errno` is the kernel's number where a system call
/// failed, and `context` names the object concerned in words: which segment, which field, which
/// peer.
///
/// ```swift
/// do {
///   try lock.withLock(timeout: .milliseconds(50)) { critical() }
/// } catch let error as IPCError where error.code == .timedOut {
///   giveUp()
/// }
/// ```
public struct IPCError: Error, Hashable, Sendable {
  /// The kind of failure.
  public var code: Code
  /// The `errno` value behind the failure, where a system call failed.
  public var errno: Int32?
  /// What the failure was about, in words. Empty where `code` says it all.
  public var context: String
  /// How the process ended that the failure was about, where one died.
  public var exitStatus: ExitStatus?
  /// Which element of the inputs of a pool's call the failure was about, counted from 0, where it was
  /// about one: of `map` and its kin, `imap`, `imapUnordered` and batches.
  public var taskIndex: Int?

  /// Makes an error of the given kind.
  public init(_ code: Code, errno: Int32? = nil, context: String = "") {
    self.code = code
    self.errno = errno
    self.context = context
  }

  /// A kind of failure: an open set, so that a later version can add to it.
  public struct Code: Hashable, Sendable, RawRepresentable, CustomStringConvertible {
    /// The name of the code, as in `IPCError.Code.timedOut.rawValue == "timedOut"`.
    public var rawValue: String
    /// Makes a code of a name.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// The name of the code.
    public var description: String { rawValue }

    /// An argument has a value that the operation does not take.
    public static let invalidArgument = Code(rawValue: "invalidArgument")
    /// There is not enough memory.
    public static let outOfMemory = Code(rawValue: "outOfMemory")
    /// A limit of the process or the machine was reached: descriptors, processes.
    public static let resourceLimit = Code(rawValue: "resourceLimit")
    /// The timeout ended before the operation could be done. Nothing was changed, unless the operation
    /// says otherwise.
    public static let timedOut = Code(rawValue: "timedOut")
    /// The task that waited was cancelled. Nothing was changed, unless the operation says otherwise.
    public static let cancelled = Code(rawValue: "cancelled")
    /// The last owner of the lock died inside it and nobody has repaired what it guards.
    public static let ownerDied = Code(rawValue: "ownerDied")
    /// This thread holds the lock already, and the lock is not recursive.
    public static let alreadyLocked = Code(rawValue: "alreadyLocked")
    /// The caller is not the owner of what it wanted to release.
    public static let notOwner = Code(rawValue: "notOwner")
    /// The lock can never be taken again.
    public static let notRecoverable = Code(rawValue: "notRecoverable")
    /// This handle was closed, or given to another process.
    public static let closed = Code(rawValue: "closed")
    /// The other end was closed, or its process ended, between two messages.
    public static let peerClosed = Code(rawValue: "peerClosed")
    /// This end of the connection only sends.
    public static let notReadable = Code(rawValue: "notReadable")
    /// This end of the connection only receives, or the memory is mapped for reading.
    public static let notWritable = Code(rawValue: "notWritable")
    /// The message is longer than the maximum or than the buffer.
    public static let messageTooLong = Code(rawValue: "messageTooLong")
    /// The bytes on the stream are not a frame, or end in the middle of one.
    public static let malformedFrame = Code(rawValue: "malformedFrame")
    /// The bytes of a message are not data of the kind expected; the context has the offset.
    public static let malformedMessage = Code(rawValue: "malformedMessage")
    /// The segment is not what was expected; the context names the field.
    public static let segmentMismatch = Code(rawValue: "segmentMismatch")
    /// The value cannot be sent in this way; the context says what to use.
    public static let notTransferable = Code(rawValue: "notTransferable")
    /// Descriptors that came with a message were lost or were too many.
    public static let descriptorsLost = Code(rawValue: "descriptorsLost")
    /// A child died, or ended without an answer; the context has the signal or the exit code.
    public static let childDied = Code(rawValue: "childDied")
    /// A worker of a pool died over the task; `exitStatus` says how.
    public static let workerDied = Code(rawValue: "workerDied")
    /// The pool has no workers, since its initializer or their starts kept failing; the context has the
    /// cause.
    public static let poolFailed = Code(rawValue: "poolFailed")
    /// The start-up hook did not run in this program, or a child ended before it took its task.
    public static let bootstrapFailed = Code(rawValue: "bootstrapFailed")
    /// A process with more than one thread cannot be forked.
    public static let multipleThreads = Code(rawValue: "multipleThreads")
    /// The barrier is broken: a party died, timed out, was cancelled, or somebody aborted it.
    public static let broken = Code(rawValue: "broken")
    /// What was to be stored does not fit the capacity.
    public static let capacityExceeded = Code(rawValue: "capacityExceeded")
    /// The stream of a queue was ended, and nothing is left in it.
    public static let finished = Code(rawValue: "finished")
    /// Nobody can ever answer: all others that had it are gone, and no handle is on its way to anyone.
    public static let peersGone = Code(rawValue: "peersGone")
    /// The name is taken.
    public static let nameExists = Code(rawValue: "nameExists")
    /// There is nothing of that name.
    public static let nameNotFound = Code(rawValue: "nameNotFound")
    /// Somebody listens at the address already, or a file that no listener left has its path.
    public static let addressInUse = Code(rawValue: "addressInUse")
    /// The address is not one of this machine, or a path or name is too long for a socket's address.
    public static let invalidAddress = Code(rawValue: "invalidAddress")
    /// The name of a host is not known.
    public static let hostNotFound = Code(rawValue: "hostNotFound")
    /// Nobody listens at the address.
    public static let connectionRefused = Code(rawValue: "connectionRefused")
    /// The peer does not have the key, or uses a digest that is not allowed, or refused our answer.
    public static let authenticationFailed = Code(rawValue: "authenticationFailed")
    /// The system does not permit the operation.
    public static let notPermitted = Code(rawValue: "notPermitted")
    /// The operation does not exist for this kind of object.
    public static let unsupported = Code(rawValue: "unsupported")
    /// A system call failed in a way that has no code of its own; see `errno`.
    public static let system = Code(rawValue: "system")
  }
}

extension IPCError: CustomStringConvertible {
  /// The code, the context, the system's number and the element, in one line: what a peer may have said
  /// is escaped.
  public var description: String {
    var text = code.rawValue
    if !context.isEmpty { text += ": " + context.escaped }
    if let errno { text += " (errno \(errno))" }
    if let taskIndex { text += " (element \(taskIndex))" }
    return text
  }
}

extension IPCError {
  /// The error for a negative status of CIPC.
  ///
  /// - Parameters:
  ///   - status: what a function of CIPC returned; negative.
  ///   - subject: what the operation was about; the status's message is added to it.
  package init(status: Int32, _ subject: String) {
    let isErrno = status < 0 && status >= -4095
    // With the field and both values, where that is why something was refused just now.
    let message = unsafe String(cString: cipc_segment_refusal(status))
    self.init(
      Code(status: status),
      errno: isErrno ? -status : nil,
      context: subject.isEmpty ? message : "\(subject): \(message)")
  }

  /// Throws the error for a negative status of CIPC; returns any other.
  @discardableResult
  package static func check(
    _ status: Int32, _ subject: @autoclosure () -> String
  ) throws(IPCError) -> Int32 {
    if status < 0 { throw IPCError(status: status, subject()) }
    return status
  }
}

extension IPCError.Code {
  fileprivate init(status: Int32) {
    self =
      switch cipc_status_t(status) {
      case CIPC_EINVAL, CIPC_EOVERFLOW, CIPC_EEXIST, CIPC_ENOENT: .invalidArgument
      case CIPC_ENOMEM, CIPC_ENOSPC, CIPC_EHUGEPAGES: .outOfMemory
      case CIPC_EAGAIN, CIPC_EMFILE, CIPC_ENFILE: .resourceLimit
      case CIPC_ETIMEDOUT, CIPC_EBUSY: .timedOut
      case CIPC_ECANCELED: .cancelled
      case CIPC_OWNER_DIED: .ownerDied
      case CIPC_EDEADLK: .alreadyLocked
      case CIPC_EPERM: .notOwner
      case CIPC_ENOTRECOVERABLE: .notRecoverable
      case CIPC_ECLOSED: .closed
      case CIPC_EPEERCLOSED: .peerClosed
      case CIPC_ENOTREADABLE: .notReadable
      case CIPC_ENOTWRITABLE: .notWritable
      case CIPC_EMSGSIZE, CIPC_EFRAMETOOLONG: .messageTooLong
      case CIPC_ETRUNCATED, CIPC_EFRAMELENGTH: .malformedFrame
      case CIPC_EDESCRIPTORSLOST, CIPC_EDESCRIPTORCOUNT, CIPC_EDESCRIPTORSREFUSED: .descriptorsLost
      case CIPC_ENOSYS, CIPC_EOPNOTSUPP: .unsupported
      case CIPC_ENOBOOTSTRAP, CIPC_EBOOTSTRAP: .bootstrapFailed
      case CIPC_ETHREADS: .multipleThreads
      case CIPC_EADDRINUSE: .addressInUse
      case CIPC_EADDRNOTAVAIL, CIPC_EADDRESSLONG: .invalidAddress
      case CIPC_EHOST: .hostNotFound
      case CIPC_ECONNREFUSED: .connectionRefused
      case CIPC_EACCES: .notPermitted
      case CIPC_EHANDLES: .malformedMessage
      case CIPC_EBROKEN: .broken
      case CIPC_ECAPACITY: .capacityExceeded
      case CIPC_EFINISHED: .finished
      case CIPC_ENOBODY: .peersGone
      case CIPC_ERINGHEADER, CIPC_ERINGINDEX, CIPC_ERINGRECORD: .segmentMismatch
      default:
        (CIPC_ESEGMENTBOUND.rawValue...CIPC_ESEGMENTSIZE.rawValue).contains(status)
          ? .segmentMismatch : .system
      }
  }
}
