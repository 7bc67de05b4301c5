// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Where other programs connect: Swift ones by `Connection.connect(to:)`, Python ones by
/// `multiprocessing.connection.Client`.
///
/// ```swift
/// let listener = try Listener(at: .unix("/run/user/1000/service"))
/// for try await connection in listener.connections {
///   Task { try await serve(connection) }
/// }
/// ```
///
/// **Names.** A listener of a path removes it when it is closed, in the process that made it, and only
/// while the path leads to its own socket. What a killed process left is taken over once the kernel
/// says that nobody has it bound; otherwise the error is `addressInUse`. An abstract name and a port
/// go with their last holder.
///
/// **Clients.** Any number of threads and tasks may accept at once; each client goes to one of them.
/// With a key (the `Authentication` trait) clients authenticate themselves side by side while somebody
/// accepts, and one that stalls holds up nobody. Who is not admitted, goes away, or fails is passed
/// over and told to `Options.refused`; accepting goes on.
///
/// After a fork the child may accept, too. The corresponding C type is `cipc_listener_t`.
@safe
public final class Listener: Sendable {
  /// Where clients connect: with the port that the kernel chose where 0 was asked for.
  public let address: Connection.Address

  // Owned; the C functions serve any number of threads.
  private nonisolated(unsafe) let handle: OpaquePointer
  private let options: Options
  private let secret: Handshake.Secret?

  /// Clients that are not anybody's yet.
  private struct Reception {
    var authenticating: [(client: Client, progress: HandshakeProgress)] = []
    /// Found by `readiness()`, for the next one who accepts.
    var ready: [Connection] = []
  }
  private let reception = Guarded(Reception())

  /// Listens at an address, for anybody who may connect to it.
  ///
  /// The name of a host is looked up, which may block. `.tcp("127.0.0.1", 0)` has the kernel choose a
  /// port; `.tcp("::", 6000)` takes IPv4 clients as well.
  ///
  /// - Throws: `IPCError` with `addressInUse`, `invalidAddress` for a path or name that is too long or
  ///   an address of another machine, `nameNotFound` for a directory that does not exist,
  ///   `notPermitted`, `hostNotFound`, `resourceLimit`, `outOfMemory`, `invalidArgument` for options out
  ///   of range.
  public convenience init(
    at address: Connection.Address, options: Options = .init()
  ) throws(IPCError) {
    try self.init(at: address, secret: nil, options: options)
  }

  init(
    at address: Connection.Address, secret: Handshake.Secret?, options: Options
  ) throws(IPCError) {
    guard options.maximumMessageSize > 0, options.maximumAuthenticating > 0, options.backlog > 0,
      let backlog = Int32(exactly: options.backlog), options.permissions & ~0o777 == 0
    else {
      throw IPCError(
        .invalidArgument, context: "listener at \(address): an option is out of range")
    }
    let candidates = try address.resolved()
    guard var candidate = candidates.first else {
      throw IPCError(.hostNotFound, context: address.description)
    }
    var settings = cipc_listener_options_t(backlog: backlog, mode: options.permissions)
    var handle: OpaquePointer?
    let status = unsafe cipc_listener_open(&handle, &candidate, &settings)
    guard status >= 0, let handle = unsafe handle else {
      var error = IPCError(status: status, "listening at \(address)")
      if status == CIPC_ENOENT.rawValue { error.code = .nameNotFound }
      throw error
    }
    unsafe cipc_listener_address(handle, &candidate)
    unsafe self.handle = unsafe handle
    self.address = Connection.Address(candidate) ?? address
    self.options = options
    self.secret = secret
  }

  init(
    adopting descriptor: Int32, secret: Handshake.Secret?, options: Options
  ) throws(IPCError) {
    let subject = "a listener on the descriptor \(descriptor)"
    guard options.maximumMessageSize > 0, options.maximumAuthenticating > 0 else {
      throw IPCError(.invalidArgument, context: "\(subject): an option is out of range")
    }
    var handle: OpaquePointer?
    let status = unsafe cipc_listener_adopt(&handle, descriptor)
    guard status >= 0, let handle = unsafe handle else {
      var error = IPCError(status: status, subject)
      if status == CIPC_EBADF.rawValue { error.code = .invalidArgument }
      throw error
    }
    var address = cipc_address_t()
    unsafe cipc_listener_address(handle, &address)
    unsafe self.handle = unsafe handle
    // Of a kind that has one: that was checked.
    self.address = Connection.Address(address) ?? .abstract("")
    self.options = options
    self.secret = secret
  }

  deinit { unsafe cipc_listener_free(handle) }

  /// Stops listening and removes a path that is its own. Whoever accepts gets the error `closed`, and
  /// loops over `connections` end; clients that nobody had accepted find their connections closed.
  ///
  /// Closing twice does nothing. The last reference going away closes too.
  public func close() {
    unsafe cipc_listener_close(handle)
    forgetClients()
  }

  /// Whether the listener was closed.
  public var isClosed: Bool { unsafe cipc_listener_closed(handle) != 0 }

  private func forgetClients() {
    let forgotten = reception.withLock { reception in
      defer { reception = Reception() }
      return reception
    }
    for entry in forgotten.authenticating { entry.progress.connection.close() }
    for connection in forgotten.ready { connection.close() }
  }

  // MARK: - One look, which never waits

  /// The outcome of a look.
  enum Look {
    case client(Connection)
    /// Look again after one of these, and at this time at the latest.
    case nobody([Readiness.Signal], until: Int64)
  }

  func look() throws(IPCError) -> Look {
    if isClosed { throw closedError }
    if let client = takeReady() ?? advance() { return .client(client) }
    // So many in one look: those that come all the time must not keep others from going on.
    for _ in 0..<Self.mostInOneLook {
      guard let connection = try acceptOne() else { break }
      guard let client = admit(connection) else { continue }
      guard let secret else { return .client(connection) }
      authenticate(connection, client, secret)
    }
    if isClosed {
      forgetClients()
      throw closedError
    }
    // Clients that came just now may have sent something already.
    if let client = advance() { return .client(client) }
    return try pending()
  }

  private static let mostInOneLook = 16

  /// The client, or `nil` where it is not admitted and was told so.
  private func admit(_ connection: Connection) -> Client? {
    var client = Client()
    do throws(IPCError) {
      // One whose name cannot be had is not decided about: it is refused.
      client.credentials = try connection.peerCredentials()
      client.address = try connection.peerAddress()
      if let admits = options.admits, !admits(client) {
        throw IPCError(.notPermitted, context: "the client was not admitted")
      }
      return client
    } catch {
      connection.close()
      options.refused?(client, error)
      return nil
    }
  }

  private var closedError: IPCError {
    IPCError(status: CIPC_ECLOSED.rawValue, "listener at \(address)")
  }

  private func takeReady() -> Connection? {
    reception.withLock { reception in
      if reception.ready.isEmpty { return nil }
      let client = reception.ready.removeFirst()
      // In the lock, or a raise and a lowering could change places.
      unsafe cipc_listener_raise(handle, reception.ready.isEmpty ? 0 : 1)
      return client
    }
  }

  private func keepReady(_ client: Connection) {
    reception.withLock { reception in
      reception.ready.append(client)
      unsafe cipc_listener_raise(handle, 1)
    }
  }

  private func acceptOne() throws(IPCError) -> Connection? {
    var accepted: OpaquePointer?
    let status = unsafe cipc_listener_accept(
      handle, &accepted, UInt64(options.maximumMessageSize), 0)
    if status == CIPC_ETIMEDOUT.rawValue { return nil }
    guard status >= 0, let accepted = unsafe accepted else {
      var error = IPCError(status: status, "accepting at \(address)")
      if status == CIPC_ENOMEM.rawValue || status == -ENOBUFS { error.code = .outOfMemory }
      throw error
    }
    return unsafe Connection(handle: accepted)
  }

  private func authenticate(
    _ connection: Connection, _ client: Client, _ secret: Handshake.Secret
  ) {
    do throws(IPCError) {
      let progress = try HandshakeProgress(
        Handshake(.listener, secret), over: connection,
        patience: options.authenticationTimeout)
      let dropped = reception.withLock { reception -> (client: Client, connection: Connection)? in
        reception.authenticating.append((client, progress))
        guard reception.authenticating.count > options.maximumAuthenticating else { return nil }
        let oldest = reception.authenticating.removeFirst()
        return (oldest.client, oldest.progress.connection)
      }
      if let dropped {
        dropped.connection.close()
        options.refused?(
          dropped.client,
          IPCError(.timedOut, context: "authentication: dropped in favour of newer clients"))
      }
    } catch {
      connection.close()
      options.refused?(client, error)
    }
  }

  /// Goes on with the clients that authenticate themselves, until one of them is done.
  private func advance() -> Connection? {
    if secret == nil { return nil }
    var refused: [(client: Client, connection: Connection, error: IPCError)] = []
    let done = reception.withLock { reception -> Connection? in
      var index = 0
      while index < reception.authenticating.count {
        let entry = reception.authenticating[index]
        do throws(IPCError) {
          if try reception.authenticating[index].progress.advance() {
            reception.authenticating.remove(at: index)
            return entry.progress.connection
          }
          index += 1
        } catch {
          reception.authenticating.remove(at: index)
          refused.append((entry.client, entry.progress.connection, error))
        }
      }
      return nil
    }
    for entry in refused {
      entry.connection.close()
      options.refused?(entry.client, entry.error)
    }
    return done
  }

  private func pending() throws(IPCError) -> Look {
    var descriptors: (Int32, Int32, Int32) = (-1, -1, -1)
    let status = unsafe withUnsafeMutableBytes(of: &descriptors) { bytes in
      unsafe cipc_listener_watch(handle, bytes.assumingMemoryBound(to: Int32.self).baseAddress)
    }
    try IPCError.check(status, "listener at \(address)")
    var signals: [Readiness.Signal] = [
      .readable(descriptors.0), .readable(descriptors.1), .readable(descriptors.2),
    ]
    var until = Int64.max
    try reception.withLock { reception throws(IPCError) in
      for entry in reception.authenticating {
        // One that was closed meanwhile is dropped at the next look.
        signals += try entry.progress.connection.signals() ?? []
        until = min(until, entry.progress.deadline)
      }
    }
    return .nobody(signals, until: until)
  }
}

extension Listener: Waitable {
  /// Ready when a client can be had at once, or the listener was closed. What `firstReady` asks; does
  /// not block.
  ///
  /// A client that is found is kept for whoever accepts next, and authenticating goes on by this, too.
  ///
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`.
  public func readiness() throws(IPCError) -> Readiness {
    do throws(IPCError) {
      switch try look() {
      case .client(let client):
        keepReady(client)
        return .ready
      case .nobody(let signals, _): return .pending(signals)
      }
    } catch  where error.code == .closed {
      return .ready
    }
  }
}
