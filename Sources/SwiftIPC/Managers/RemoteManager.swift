// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// A client of a Python manager: a `multiprocessing.managers.BaseManager` or `SyncManager` that runs
/// somewhere.
///
/// ```python
/// class Scores(BaseManager): pass
/// Scores.register("board", callable=lambda: board)
/// Scores(("localhost", 50000), authkey=b"secret").get_server().serve_forever()
/// ```
///
/// ```swift
/// let manager = try await RemoteManager.connect(
///   to: .tcp("localhost", 50000), authenticationKey: Array("secret".utf8))
/// let board = try await manager.create("board")
/// try await board.call("append", [["anna", 12]])
/// print(try await board.call("__len__"))
/// ```
///
/// Arguments and results are plain data (`MessageValue`); results that are objects of the manager's are
/// `RemoteObject`s. Nothing that the manager sends is run here: an exception arrives as a `RemoteError`.
/// But the manager runs what it reads, as Python does: whoever has its key can do anything with it.
///
/// Any number of threads and tasks may use it; each call in progress has a connection of its own. The
/// manager has no name for a timeout: a call that is given up here goes on there.
///
/// Connecting needs the trait `Authentication`, since no manager is without a key.
public final class RemoteManager: Sendable {
  let link: ManagerLink

  init(_ link: ManagerLink) { self.link = link }

  // MARK: - Objects

  /// Has the manager make an object of a registered type, or look one up where a function is registered.
  ///
  /// Blocks until the manager has answered.
  ///
  /// - Parameters:
  ///   - typeName: as it was registered: `"list"`, `"Queue"`, `"get_queue"`.
  ///   - arguments: what the type, or function, is called with.
  ///   - keywords: and by name.
  ///   - timeout: how long to wait; zero or less does not wait.
  /// - Throws: `RemoteError` for what the manager raises, `KeyError` for a type that is not registered;
  ///   `IPCError` with `connectionRefused`, `authenticationFailed`, `peerClosed`, `timedOut`,
  ///   `malformedMessage`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func create(
    _ typeName: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) throws -> RemoteObject {
    let answer = try link.ask(
      Self.creation(typeName, arguments, keywords), until: Deadline.after(timeout))
    return try created(typeName, answer)
  }

  /// Has the manager make an object of a registered type; suspends until it has answered.
  ///
  /// As the blocking form; also throws `cancelled`.
  public func create(
    _ typeName: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) async throws -> RemoteObject {
    let answer = try await link.ask(
      Self.creation(typeName, arguments, keywords), until: Deadline.after(timeout))
    return try created(typeName, answer)
  }

  private static func creation(
    _ typeName: String, _ arguments: [MessageValue], _ keywords: [String: MessageValue]
  ) -> ManagerLink.Request {
    .init(method: "create", arguments: [.string(typeName)] + arguments, keywords: keywords)
  }

  private func created(_ typeName: String, _ answer: ManagerLink.Answer) throws -> RemoteObject {
    guard case .value(.tuple(let parts)) = answer, parts.count == 2,
      case .string(let identity) = parts[0], case .tuple(let names) = parts[1]
    else { throw ManagerLink.malformed("no identity of an object: \(answer.excerpt)") }
    return RemoteObject(
      link, identity: identity, typeName: typeName,
      methods: names.compactMap { ManagerLink.string(.plain($0)) })
  }

  // MARK: - The manager itself

  /// How many objects of the manager are referred to. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func objectCount(timeout: Duration? = nil) throws -> Int {
    try Self.count(
      link.ask(.init(method: "number_of_objects"), until: Deadline.after(timeout)))
  }

  /// How many objects of the manager are referred to.
  public func objectCount(timeout: Duration? = nil) async throws -> Int {
    try Self.count(
      await link.ask(.init(method: "number_of_objects"), until: Deadline.after(timeout)))
  }

  private static func count(_ answer: ManagerLink.Answer) throws -> Int {
    guard case .value(.integer(let number)) = answer else {
      throw ManagerLink.malformed("no number of objects: \(answer.excerpt)")
    }
    return Int(number)
  }

  /// Ends the manager's process, with all its objects. Blocks until it has agreed.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func shutDown(timeout: Duration? = nil) throws {
    _ = try link.ask(.init(method: "shutdown"), until: Deadline.after(timeout))
  }

  /// Ends the manager's process, with all its objects; suspends until it has agreed.
  public func shutDown(timeout: Duration? = nil) async throws {
    _ = try await link.ask(.init(method: "shutdown"), until: Deadline.after(timeout))
  }
}

#if Authentication
  extension RemoteManager {
    /// Connects to a manager, and sees that it answers. Blocks.
    ///
    /// - Parameters:
    ///   - address: the manager's: Python's `("localhost", 50000)` is `.tcp("localhost", 50000)`.
    ///   - authenticationKey: its `authkey`.
    ///   - allowsMD5: for managers of Python up to 3.11.
    ///   - timeout: how long to wait; zero or less does not wait.
    ///   - maximumMessageSize: the longest result, in bytes.
    /// - Throws: `IPCError`, as `Connection.connect(to:authenticationKey:)` does.
    @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
    public static func connect(
      to address: Connection.Address, authenticationKey: [UInt8], allowsMD5: Bool = false,
      timeout: Duration? = nil, maximumMessageSize: Int = Connection.defaultMaximumMessageSize
    ) throws -> RemoteManager {
      let manager = RemoteManager(
        link(address, authenticationKey, allowsMD5, maximumMessageSize))
      _ = try manager.link.ask(.init(method: "dummy"), until: Deadline.after(timeout))
      return manager
    }

    /// Connects to a manager, and sees that it answers; suspends until it does.
    ///
    /// As the blocking form; also throws `cancelled`.
    public static func connect(
      to address: Connection.Address, authenticationKey: [UInt8], allowsMD5: Bool = false,
      timeout: Duration? = nil, maximumMessageSize: Int = Connection.defaultMaximumMessageSize
    ) async throws -> RemoteManager {
      let manager = RemoteManager(
        link(address, authenticationKey, allowsMD5, maximumMessageSize))
      _ = try await manager.link.ask(.init(method: "dummy"), until: Deadline.after(timeout))
      return manager
    }

    private static func link(
      _ address: Connection.Address, _ key: [UInt8], _ allowsMD5: Bool, _ maximum: Int
    ) -> ManagerLink {
      @Sendable func handshake() -> Handshake {
        Handshake(.client, .init(key: key, allowsMD5: allowsMD5))
      }
      return ManagerLink(
        .init(
          blocking: { deadline throws(IPCError) in
            let connection = try Connection.connectBlocking(to: address, until: deadline, maximum)
            try connection.shakeHands(handshake(), until: deadline)
            return connection
          },
          suspending: { deadline async throws(IPCError) in
            let connection = try await Connection.connectSuspending(
              to: address, until: deadline, maximum)
            try await connection.shakeHands(handshake(), until: deadline)
            return connection
          }))
    }
  }
#endif
