// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// The way to a Python manager: connections to it, and what is said on them.
///
/// Read in CPython's source (`Lib/multiprocessing/managers.py`): a request is a tuple of an object's
/// identity, the name of a method, arguments and keywords, and the answer a tuple of a kind and a
/// result. On a connection of its own, with no identity, it is for the manager itself and the only one;
/// after `accept_connection` the connection is for objects, one call after the other.
final class ManagerLink: Sendable {
  /// Makes a connection that has been authenticated.
  struct Dialer: Sendable {
    var blocking: @Sendable (_ deadline: Int64) throws(IPCError) -> Connection
    var suspending: @Sendable (_ deadline: Int64) async throws(IPCError) -> Connection
  }

  struct Request {
    /// `nil` for the manager itself.
    var identity: String?
    var method: String
    var arguments: [MessageValue] = []
    var keywords: [String: MessageValue] = [:]

    fileprivate var message: MessageValue {
      var named = MessageDictionary()
      for (key, value) in keywords { named[.string(key)] = value }
      return .tuple([
        identity.map { .string($0) } ?? .null, .string(method), .tuple(arguments),
        .dictionary(named),
      ])
    }
  }

  enum Answer {
    case value(MessageValue)
    /// An object that was made for us: we hold a reference to it.
    case object(identity: String, typeName: String, methods: [String])

    /// The beginning of it as text, for errors.
    var excerpt: String {
      switch self {
      case .value(let value): MessageDescription.text(of: value, limit: 256)
      case .object(_, let typeName, _): "an object of the type \(typeName.excerpt())"
      }
    }
  }

  private let dialer: Dialer
  /// Connections that are not in use; each has a thread in the manager.
  private let idle = Guarded<[Connection]>([])
  private static let mostIdle = 8

  init(_ dialer: Dialer) { self.dialer = dialer }

  // MARK: Asking, blocking

  func ask(_ request: Request, until deadline: Int64) throws -> Answer {
    if request.identity == nil {
      let connection = try dialer.blocking(deadline)
      defer { connection.close() }
      return try exchange(request, connection, deadline)
    }
    let connection = try takeIdle() ?? open(deadline)
    let answer = try exchange(request, connection, deadline)
    return answer
  }

  private func open(_ deadline: Int64) throws -> Connection {
    let connection = try dialer.blocking(deadline)
    _ = try exchange(Self.opening, connection, deadline, keeps: false)
    return connection
  }

  private func exchange(
    _ request: Request, _ connection: Connection, _ deadline: Int64, keeps: Bool = true
  ) throws -> Answer {
    let bytes = try MessageEncoder().encode(request.message)
    try connection.sendBlocking(bytes, [], Self.remaining(deadline))
    var message = Connection.Arrival()
    try connection.check(
      connection.take(&message, withDescriptors: false, until: deadline),
      wake: connection.waitingToReceive)
    return try answered(message.bytes, connection, keeps: keeps && request.identity != nil)
  }

  // MARK: Asking, suspending

  func ask(_ request: Request, until deadline: Int64) async throws -> Answer {
    if request.identity == nil {
      let connection = try await dialer.suspending(deadline)
      defer { connection.close() }
      return try await exchange(request, connection, deadline)
    }
    if let connection = takeIdle() { return try await exchange(request, connection, deadline) }
    return try await exchange(request, open(deadline), deadline)
  }

  private func open(_ deadline: Int64) async throws -> Connection {
    let connection = try await dialer.suspending(deadline)
    _ = try await exchange(Self.opening, connection, deadline, keeps: false)
    return connection
  }

  private func exchange(
    _ request: Request, _ connection: Connection, _ deadline: Int64, keeps: Bool = true
  ) async throws -> Answer {
    let bytes = try MessageEncoder().encode(request.message)
    try await connection.send(bytes: bytes, timeout: Self.remaining(deadline))
    let message = try await connection.receive(
      withDescriptors: false, Self.remaining(deadline))
    return try answered(message.bytes, connection, keeps: keeps && request.identity != nil)
  }

  // MARK: Common to both forms

  /// The thread's name in the manager.
  private static let opening = Request(method: "accept_connection", arguments: ["SwiftIPC"])

  private static func remaining(_ deadline: Int64) -> Duration? {
    deadline == .max ? nil : .nanoseconds(max(0, deadline - cipc_clock_now()))
  }

  private func takeIdle() -> Connection? {
    while let connection = idle.withLock({ $0.popLast() }) {
      // The manager has nothing to say unasked: it is gone, or closed it.
      if unsafe cipc_connection_poll(connection.handle, 0) == CIPC_ETIMEDOUT.rawValue {
        return connection
      }
      connection.close()
    }
    return nil
  }

  /// Reads an answer, after which the connection can be used again.
  private func answered(
    _ bytes: [UInt8], _ connection: Connection, keeps: Bool
  ) throws -> Answer {
    if keeps {
      let isKept = idle.withLock { idle -> Bool in
        guard idle.count < Self.mostIdle else { return false }
        idle.append(connection)
        return true
      }
      if !isKept { connection.close() }
    }
    return try Self.answer(bytes)
  }

  static func answer(_ bytes: [UInt8]) throws -> Answer {
    let message = try InertMessage(bytes)
    guard let parts = message.elements, parts.count == 2,
      case .plain(.string(let kind)) = parts[0]
    else {
      throw malformed(
        "an answer that is no pair of a kind and a result: \(message.description(limit: 256))")
    }
    switch kind {
    case "#RETURN":
      guard let value = parts[1].asPlain else {
        throw IPCError(
          .notTransferable,
          context: "a result that is not plain data: \(parts[1].description(limit: 256))")
      }
      return .value(value)
    case "#ERROR": throw RemoteError(exception: parts[1])
    case "#TRACEBACK", "#UNSERIALIZABLE":
      guard case .plain(.string(let text)) = parts[1] else { break }
      throw RemoteError(traceback: text)
    case "#PROXY":
      guard let pair = parts[1].elements, pair.count == 2, let methods = pair[0].elements,
        case .object(let callee, _, let state?) = pair[1],
        callee.typeName == "multiprocessing.managers.Token", let token = state.elements,
        token.count == 3, case .plain(.string(let typeName)) = token[0],
        case .plain(.string(let identity)) = token[2]
      else { break }
      return .object(
        identity: identity, typeName: typeName, methods: methods.compactMap(Self.string))
    default: break
    }
    throw malformed("an answer of kind \(kind.excerpt(64)) that is not understood")
  }

  static func string(_ value: InertMessage) -> String? {
    if case .plain(.string(let text)) = value { return text }
    return nil
  }

  static func malformed(_ problem: String) -> IPCError {
    IPCError(.malformedMessage, context: "manager: \(problem.excerpt(512))")
  }
}
