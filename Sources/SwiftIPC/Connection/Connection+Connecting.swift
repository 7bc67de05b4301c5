// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
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
    var attempts = Attempts(address: address, maximum: maximum)
    for var candidate in try address.resolved() {
      var descriptor: Int32 = -1
      let status = unsafe cipc_address_connect(&candidate, &descriptor, deadline)
      if let connection = try attempts.connection(status, descriptor) { return connection }
    }
    throw attempts.error
  }

  static func connectSuspending(
    to address: Address, until deadline: Int64, _ maximum: Int
  ) async throws(IPCError) -> Connection {
    var attempts = Attempts(address: address, maximum: maximum)
    let candidates: [cipc_address_t]
    if let found = try address.resolvedLocally() {
      candidates = found
    } else {
      candidates = try await HostLookup.find(address, until: deadline)
    }
    for var candidate in candidates {
      var descriptor: Int32 = -1
      let status = await step(&candidate, &descriptor, until: deadline)
      if let connection = try attempts.connection(status, descriptor) { return connection }
    }
    throw attempts.error
  }

  /// The addresses of a name, which are tried in turn.
  private struct Attempts {
    let address: Address
    let maximum: Int
    private var first: IPCError?

    init(address: Address, maximum: Int) {
      self.address = address
      self.maximum = maximum
    }

    /// Why there is no connection: the error of the first address.
    var error: IPCError { first ?? IPCError(.hostNotFound, context: address.description) }

    /// The connection over a socket, which is taken over; `nil` where the next address is to be tried.
    mutating func connection(
      _ status: Int32, _ descriptor: Int32
    ) throws(IPCError) -> Connection? {
      do throws(IPCError) {
        if status >= 0 {
          return try Connection(adopting: descriptor, maximumMessageSize: maximum)
        }
      } catch {
        closeDescriptor(descriptor)
        throw error
      }
      if descriptor >= 0 { closeDescriptor(descriptor) }
      let error = connectError(status, address)
      if error.code == .cancelled || error.code == .timedOut { throw error }
      first = first ?? error
      return nil
    }
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
    await statusOfStep(until: deadline) { _, wait in
      unsafe cipc_address_connect_step(&candidate, &descriptor, &wait)
    }
  }
}
