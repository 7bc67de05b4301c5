// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

extension Connection {
  /// Connects to a listener: a `Listener`, or one of Python's without a key.
  ///
  /// Blocks until the listener's kernel has taken the connection, which is before anybody accepts it.
  ///
  /// ```swift
  /// let service = try Connection.connect(to: .unix("/run/user/1000/service"), timeout: .seconds(1))
  /// ```
  ///
  /// With TCP the addresses of a name are tried in turn, messages go out without delay, and shared
  /// objects and descriptors do not travel.
  ///
  /// - Parameters:
  ///   - timeout: how long to wait; zero or less does not wait. The system's resolver, for names of
  ///     hosts, takes the time that it wants.
  ///   - maximumMessageSize: the longest message, in bytes.
  /// - Throws: `IPCError` with `connectionRefused` when nobody listens there, `nameNotFound` for a path
  ///   that does not exist, `timedOut`, `notPermitted`, `invalidAddress`, `hostNotFound`,
  ///   `resourceLimit`, `outOfMemory`, `invalidArgument` for no port or a maximum below 1, `system` for
  ///   errors of the network.
  @available(
    *, noasync,
    message:
      "use 'try await connect(to:)'; at top level: func run() async throws { … }; try await run()"
  )
  public static func connect(
    to address: Address, timeout: Duration? = nil,
    maximumMessageSize: Int = defaultMaximumMessageSize
  ) throws(IPCError) -> Connection {
    try connectBlocking(to: address, until: Deadline.after(timeout), maximumMessageSize)
  }

  /// Connects to a listener; suspends until the connection is there.
  ///
  /// As the blocking form; also throws `cancelled`. The name of a host is looked up on a thread of its
  /// own, which ends with that.
  public static func connect(
    to address: Address, timeout: Duration? = nil,
    maximumMessageSize: Int = defaultMaximumMessageSize
  ) async throws(IPCError) -> Connection {
    try await connectSuspending(to: address, until: Deadline.after(timeout), maximumMessageSize)
  }

  static func connectBlocking(
    to address: Address, until deadline: Int64, _ maximum: Int
  ) throws(IPCError) -> Connection {
    let candidates = try address.resolved()
    return try first(of: candidates, address) { candidate, descriptor throws(IPCError) in
      unsafe cipc_address_connect(&candidate, &descriptor, deadline)
    }.connection(maximum)
  }

  static func connectSuspending(
    to address: Address, until deadline: Int64, _ maximum: Int
  ) async throws(IPCError) -> Connection {
    let candidates: [cipc_address_t]
    if let found = try address.resolvedLocally() {
      candidates = found
    } else {
      candidates = try await Lookup.find(address, until: deadline)
    }
    var failure: IPCError?
    for candidate in candidates {
      var candidate = candidate
      var descriptor: Int32 = -1
      let status = await step(&candidate, &descriptor, until: deadline)
      if status >= 0 { return try Connected(descriptor: descriptor).connection(maximum) }
      if descriptor >= 0 { closeDescriptor(descriptor) }
      let error = connectError(status, address)
      if error.code == .cancelled || error.code == .timedOut { throw error }
      failure = failure ?? error
    }
    throw failure ?? IPCError(.hostNotFound, context: address.description)
  }

  /// A socket that was connected.
  private struct Connected {
    var descriptor: Int32

    func connection(_ maximum: Int) throws(IPCError) -> Connection {
      do throws(IPCError) {
        return try Connection(adopting: descriptor, maximumMessageSize: maximum)
      } catch {
        closeDescriptor(descriptor)
        throw error
      }
    }
  }

  /// The first address that takes a connection; otherwise the error of the first of all.
  private static func first(
    of candidates: [cipc_address_t], _ address: Address,
    _ connect: (inout cipc_address_t, inout Int32) throws(IPCError) -> Int32
  ) throws(IPCError) -> Connected {
    var failure: IPCError?
    for candidate in candidates {
      var candidate = candidate
      var descriptor: Int32 = -1
      let status = try connect(&candidate, &descriptor)
      if status >= 0 { return Connected(descriptor: descriptor) }
      let error = connectError(status, address)
      if error.code == .timedOut { throw error }
      failure = failure ?? error
    }
    throw failure ?? IPCError(.hostNotFound, context: address.description)
  }

  private static func connectError(_ status: Int32, _ address: Address) -> IPCError {
    var error = IPCError(status: status, "connecting to \(address)")
    // The kernel's word for a path that does not exist.
    if status == CIPC_ENOENT.rawValue { error.code = .nameNotFound }
    return error
  }

  private static func step(
    _ candidate: inout cipc_address_t, _ descriptor: inout Int32, until deadline: Int64
  ) async -> Int32 {
    var pause: Int64 = 1_000_000
    while true {
      if Task.isCancelled { return CIPC_ECANCELED.rawValue }
      let status = unsafe cipc_address_connect_step(&candidate, &descriptor)
      if status != CIPC_EAGAIN.rawValue { return status }
      if deadline != .max && cipc_clock_now() >= deadline { return CIPC_ETIMEDOUT.rawValue }
      var condition = Suspension.Condition(deadline: deadline)
      if descriptor >= 0 {
        condition.isOwned = false
        (condition.descriptor, condition.direction) = (descriptor, CIPC_POLLER_WRITABLE)
      } else {
        // Nothing tells when a listener has room again.
        condition.deadline = min(deadline, cipc_clock_deadline(pause))
        pause = min(pause * 2, 50_000_000)
      }
      let wait = await Suspension().wait(for: condition)
      if wait < 0 && !(wait == CIPC_ETIMEDOUT.rawValue && descriptor < 0) { return wait }
    }
  }
}

/// The lookup of a host's name on a thread of its own: the resolver knows no other way than to block.
private final class Lookup: Sendable {
  private let address: Connection.Address
  private let suspension = Suspension()
  private let result = Guarded<Result<[cipc_address_t], IPCError>?>(nil)

  private init(_ address: Connection.Address) { self.address = address }

  static func find(
    _ address: Connection.Address, until deadline: Int64
  ) async throws(IPCError) -> [cipc_address_t] {
    let lookup = Lookup(address)
    var thread = pthread_t()
    // Balanced on the thread.
    let context = unsafe Unmanaged.passRetained(lookup)
    let status = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<Lookup>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    if status != 0 {
      unsafe context.release()
      throw IPCError(status: -status, "looking up \(address)")
    }
    pthread_detach(thread)
    let wait = await lookup.suspension.wait(for: .init(deadline: deadline))
    try IPCError.check(wait, "looking up \(address)")
    return try lookup.result.withLock { result throws(IPCError) in try result?.get() ?? [] }
  }

  private func run() {
    let found: Result<[cipc_address_t], IPCError>
    do throws(IPCError) { found = .success(try address.resolved()) } catch {
      found = .failure(error)
    }
    result.withLock { $0 = found }
    suspension.resume(0)
  }
}
