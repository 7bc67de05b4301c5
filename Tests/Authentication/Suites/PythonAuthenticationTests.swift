// SPDX-License-Identifier: Apache-2.0
import Synchronization
import Testing

@testable import SwiftIPC

/// Real interpreters as judges of the handshake, in both roles.
@Suite struct PythonAuthenticationTests {
  private let folder = SocketFolder()
  private static let key =
    "s\u{e9}cret key, longer than a block of the digest: "
    + String(repeating: "0123456789", count: 10)
  private var path: String { "\(folder.path)/socket" }
  private var key: [UInt8] { Array(Self.key.utf8) }

  static let pythons = PythonInterpreter.all
  static let old = pythons.filter { $0.minor < 12 }
  static let new = pythons.filter { $0.minor >= 12 }

  /// Says what came of it on its descriptor 3.
  private static let program = """
    import sys
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client, Connection, Listener
    control = Connection(3)
    role, address, key = sys.argv[1], sys.argv[2], sys.argv[3].encode()
    try:
        if role == "listen":
            with Listener(address, authkey=key) as listener:
                control.send("listening")
                connection = listener.accept()
        else:
            connection = Client(address, authkey=key)
    except (AuthenticationError, EOFError, OSError) as error:
        control.send(type(error).__name__)
        raise SystemExit(0)
    control.send("welcome")
    while True:
        try:
            connection.send_bytes(connection.recv_bytes())
        except EOFError:
            break
    """

  /// Swift listens, Python connects.
  private func listen(
    _ peer: PythonPeer, allowsMD5: Bool
  ) async throws -> (said: String, accepted: Bool, why: [IPCError]) {
    let refused = Mutex<[IPCError]>([])
    var options = Listener.Options()
    options.refused = { _, error in refused.withLock { $0.append(error) } }
    let listener = try Listener(
      at: folder.address(), authenticationKey: key, allowsMD5: allowsMD5, options: options)
    try await peer.control.send("go")
    let accepting = Task { try await listener.accept() }
    let said = try await peer.control.receive(String.self)
    if said != "welcome" { accepting.cancel() }
    let connection = try? await accepting.value
    if let connection { try await echo(connection) }
    return (said, connection != nil, refused.withLock { $0 })
  }

  private func echo(_ connection: Connection) async throws {
    for size in [0, 1, 16_383, 16_384, 16_385, 1 << 20] {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      async let sent: Void = connection.send(bytes: bytes)
      #expect(try await connection.receiveBytes() == bytes)
      try await sent
    }
    connection.close()
  }

  private static let waiting = "control = Connection(3)\nassert control.recv() == 'go'\n"
  private static var connecting: String {
    program.replacing("control = Connection(3)\n", with: waiting)
  }

  @Test(arguments: pythons)
  func pythonConnects(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.connecting, ["connect", path, Self.key])
    let outcome = try await listen(peer, allowsMD5: python.minor < 12)
    #expect(outcome.said == "welcome" && outcome.accepted, "\(python): \(outcome)")
    try await peer.finish("\(python)")
  }

  @Test(arguments: pythons)
  func pythonConnectsWithAnotherKey(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.connecting, ["connect", path, "other"])
    let outcome = try await listen(peer, allowsMD5: true)
    #expect(outcome.said == "AuthenticationError" && !outcome.accepted, "\(python): \(outcome)")
    #expect(outcome.why.map(\.code) == [.authenticationFailed])
    try await peer.finish("\(python)")
  }

  @Test(arguments: pythons)
  func pythonListens(python: PythonInterpreter) async throws {
    // Closing a listener of an abstract name fails in Python 3.6.
    for address in [path, "\0swift-ipc \(folder.path)"].prefix(python.minor > 6 ? 2 : 1) {
      let place: Connection.Address =
        address == path ? .unix(path) : .abstract(String(address.dropFirst()))
      // An argument has no NUL in it.
      let program = Self.program.replacing(
        "sys.argv[2]", with: "sys.argv[2].replace('@', '\\0')")
      let peer = try PythonPeer(
        python, program: program, ["listen", address.replacing("\0", with: "@"), Self.key])
      #expect(try await peer.control.receive(String.self) == "listening")
      let connection = try await Connection.connect(
        to: place, authenticationKey: key, allowsMD5: python.minor < 12)
      #expect(try await peer.control.receive(String.self) == "welcome")
      try await echo(connection)
      try await peer.finish("\(python)")
    }
  }

  @Test(arguments: pythons)
  func pythonListensWithAnotherKey(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.program, ["listen", path, "other"])
    #expect(try await peer.control.receive(String.self) == "listening")
    await #expect(throws: IPCError.self) {
      try await Connection.connect(
        to: folder.address(), authenticationKey: key, allowsMD5: true)
    }
    #expect(try await peer.control.receive(String.self) == "AuthenticationError")
    try await peer.finish("\(python)")
  }

  @Test(.enabled(if: !old.isEmpty, "no Python up to 3.11"), arguments: old)
  func md5IsRefusedUnlessAllowed(python: PythonInterpreter) async throws {
    let listening = try PythonPeer(python, program: Self.program, ["listen", path, Self.key])
    #expect(try await listening.control.receive(String.self) == "listening")
    do {
      _ = try await Connection.connect(to: folder.address(), authenticationKey: key)
      Issue.record("\(python) was spoken to")
    } catch {
      #expect(error.code == .authenticationFailed && error.context.contains("allowsMD5"))
    }
    #expect(try await listening.control.receive(String.self) == "EOFError")
    try await listening.finish("\(python)")

    let connecting = try PythonPeer(
      python, program: Self.connecting, ["connect", path, Self.key])
    let outcome = try await listen(connecting, allowsMD5: false)
    #expect(outcome.said == "AuthenticationError" && !outcome.accepted, "\(python): \(outcome)")
    #expect(outcome.why.first?.context.contains("allowsMD5") == true)
    try await connecting.finish("\(python)")
  }

  /// Nothing to run on a machine without a new one: counted, and the other dialect is tried below.
  @Test(.enabled(if: !new.isEmpty, "no Python from 3.12 on"), arguments: new)
  func newOnesNeedNoMD5(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.connecting, ["connect", path, Self.key])
    #expect(try await listen(peer, allowsMD5: false).accepted)
    try await peer.finish("\(python)")
  }

  /// Both dialects by a peer of our own, whatever Python there is.
  @Test(arguments: ["old", "new", "sha384"])
  func eitherDialectOnAnyPython(dialect: String) async throws {
    let python = try #require(PythonInterpreter.newest)
    for allowsMD5 in [false, true] {
      let isSpokenTo = allowsMD5 || dialect != "old"
      let peer = try PythonPeer(
        python, script: "handshake.py", ["listen", dialect, path, Self.key])
      #expect(try await peer.control.receive(String.self) == "listening")
      do {
        let connection = try await Connection.connect(
          to: folder.address(), authenticationKey: key, allowsMD5: allowsMD5)
        #expect(isSpokenTo)
        #expect(try await peer.control.receive(String.self) == "welcome")
        try await echo(connection)
      } catch {
        #expect(!isSpokenTo, "\(dialect): \(error)")
        #expect(try await peer.control.receive(String.self).hasPrefix("refused"))
      }
      try await peer.finish(dialect)

      // The script connects at once, so the listener has to be there already.
      let listener = try Listener(
        at: folder.address(), authenticationKey: key, allowsMD5: allowsMD5)
      let client = try PythonPeer(
        python, script: "handshake.py", ["connect", dialect, path, Self.key])
      let accepting = Task { try await listener.accept() }
      let said = try await client.control.receive(String.self)
      #expect((said == "welcome") == isSpokenTo, "\(dialect): \(said)")
      if !isSpokenTo { accepting.cancel() }
      if let connection = try? await accepting.value { try await echo(connection) }
      try await client.finish(dialect)
      listener.close()
    }
  }

  @Test func interpretersOnThisMachine() {
    print("authentication is tried with \(Self.pythons.count) Pythons: \(Self.pythons)")
    #expect(!Self.pythons.isEmpty, "python3 is missing")
  }
}
