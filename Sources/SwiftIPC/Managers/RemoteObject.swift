// SPDX-License-Identifier: Apache-2.0
public import MessageCoding
internal import Synchronization

/// An object that lives in a Python manager.
///
/// ```swift
/// let queue = try await manager.create("Queue")
/// try await queue.call("put", ["work"])
/// let work = try await queue.call("get", as: String.self)
/// ```
///
/// The manager counts references. The one that this holds is given back by `release()`, or in the
/// background once the last reference to this goes away; a process that ends first leaves it counted,
/// as Python's do when they are killed.
public final class RemoteObject: Sendable {
  /// The registered type that it was made of.
  public let typeName: String
  /// The methods that the manager lets be called.
  public let methods: [String]
  /// What the manager calls it.
  public let identity: String

  private let link: ManagerLink
  private let isReleased = Atomic(false)

  init(_ link: ManagerLink, identity: String, typeName: String, methods: [String]) {
    self.link = link
    self.identity = identity
    self.typeName = typeName
    self.methods = methods
  }

  deinit {
    if isReleased.load(ordering: .relaxed) { return }
    let (link, request) = (link, releasing(identity))
    // The manager may be gone, and its objects with it.
    Task.detached { _ = try? await link.ask(request, until: Deadline.after(.seconds(20))) }
  }

  // MARK: - Calling

  /// Calls a method.
  ///
  /// Blocks until the manager has answered. Of a proxied type, operators are methods, too:
  /// `call("__getitem__", [0])`.
  ///
  /// - Parameters:
  ///   - method: one of `methods`; also `__str__`, `__repr__`.
  ///   - arguments: its arguments.
  ///   - keywords: and by name.
  ///   - timeout: how long to wait; zero or less does not wait. The call goes on in the manager.
  /// - Returns: what the method returned.
  /// - Throws: `RemoteError` with the exception that the method raised, or that says why there was no
  ///   call: no such method, an argument that the manager could not read. `IPCError` with
  ///   `notTransferable` for a result that is not plain data, `unsupported` for one that is an object of
  ///   the manager's (`object(of:)`), `connectionRefused`, `peerClosed`, `timedOut`,
  ///   `malformedMessage`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func call(
    _ method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) throws -> MessageValue {
    try value(
      link.ask(request(method, arguments, keywords), until: Deadline.after(timeout)), method)
  }

  /// Calls a method; suspends until the manager has answered.
  ///
  /// As the blocking form; also throws `cancelled`.
  @discardableResult
  public func call(
    _ method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) async throws -> MessageValue {
    try value(
      await link.ask(request(method, arguments, keywords), until: Deadline.after(timeout)), method)
  }

  /// Calls a method whose result is of a type. Blocks.
  ///
  /// As `call(_:_:keywords:timeout:)`; also throws `malformedMessage` for a result of another type.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func call<T: Decodable>(
    _ method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    as type: T.Type, timeout: Duration? = nil
  ) throws -> T {
    try typed(call(method, arguments, keywords: keywords, timeout: timeout))
  }

  /// Calls a method whose result is of a type; suspends until the manager has answered.
  ///
  /// As the blocking form; also throws `cancelled`.
  public func call<T: Decodable>(
    _ method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    as type: T.Type, timeout: Duration? = nil
  ) async throws -> T {
    try typed(await call(method, arguments, keywords: keywords, timeout: timeout))
  }

  /// Calls a method whose result stays in the manager, as its type was registered
  /// (`method_to_typeid`): the iterator of a dictionary, the result of a pool. Blocks.
  ///
  /// As `call(_:_:keywords:timeout:)`; throws `unsupported` for a result that is data.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func object(
    of method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) throws -> RemoteObject {
    try object(
      link.ask(request(method, arguments, keywords), until: Deadline.after(timeout)), method)
  }

  /// Calls a method whose result stays in the manager; suspends until the manager has answered.
  ///
  /// As the blocking form; also throws `cancelled`.
  public func object(
    of method: String, _ arguments: [MessageValue] = [], keywords: [String: MessageValue] = [:],
    timeout: Duration? = nil
  ) async throws -> RemoteObject {
    try object(
      await link.ask(request(method, arguments, keywords), until: Deadline.after(timeout)), method)
  }

  /// A copy of the object itself, where it is plain data. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func value(timeout: Duration? = nil) throws -> MessageValue {
    try call("#GETVALUE", timeout: timeout)
  }

  /// A copy of the object itself, where it is plain data.
  public func value(timeout: Duration? = nil) async throws -> MessageValue {
    try await call("#GETVALUE", timeout: timeout)
  }

  // MARK: - Releasing

  /// Gives the reference back; with the last one the manager drops the object. Blocks until the manager
  /// has answered. Twice does nothing; the object is not to be used afterwards.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func release(timeout: Duration? = nil) throws {
    if isReleased.exchange(true, ordering: .relaxed) { return }
    _ = try link.ask(releasing(identity), until: Deadline.after(timeout))
  }

  /// Gives the reference back; suspends until the manager has answered.
  public func release(timeout: Duration? = nil) async throws {
    if isReleased.exchange(true, ordering: .relaxed) { return }
    _ = try await link.ask(releasing(identity), until: Deadline.after(timeout))
  }

  // MARK: - Common to both forms

  private func request(
    _ method: String, _ arguments: [MessageValue], _ keywords: [String: MessageValue]
  ) -> ManagerLink.Request {
    .init(identity: identity, method: method, arguments: arguments, keywords: keywords)
  }

  private func value(_ answer: ManagerLink.Answer, _ method: String) throws -> MessageValue {
    switch answer {
    case .value(let value): return value
    case .object(let identity, let typeName, let methods):
      // Made, so that its reference is given back.
      _ = RemoteObject(link, identity: identity, typeName: typeName, methods: methods)
      throw IPCError(
        .unsupported, context: "\(method) returns an object of the manager's: object(of:)")
    }
  }

  private func object(_ answer: ManagerLink.Answer, _ method: String) throws -> RemoteObject {
    guard case .object(let identity, let typeName, let methods) = answer else {
      throw IPCError(.unsupported, context: "\(method) returns data: call()")
    }
    return RemoteObject(link, identity: identity, typeName: typeName, methods: methods)
  }

  private func typed<T: Decodable>(_ value: MessageValue) throws -> T {
    try MessageDecoder().decode(T.self, from: MessageEncoder().encode(value))
  }
}

private func releasing(_ identity: String) -> ManagerLink.Request {
  .init(method: "decref", arguments: [.string(identity)])
}
