// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Listeners and clients of real Pythons, without a key. With one: Tests/Authentication.
@Suite struct ListenerPythonTests {
  private let folder = SocketFolder()

  /// The sizes at which CPython frames differently, and large ones.
  private static let sizes = [
    0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20, 100 << 20,
  ]

  /// Checks what it gets and sends as much back.
  private static let program = """
    import sys
    from multiprocessing.connection import Client, Connection, Listener
    control = Connection(3)
    role, address, sizes = control.recv()
    if role == "listen":
        with Listener(address) as listener:
            control.send(listener.address)
            duplex = listener.accept()
    else:
        duplex = Client(address)
    for size in sizes:
        data = duplex.recv_bytes()
        pattern = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        assert data == pattern, size
        duplex.send_bytes(data)
    assert duplex.recv() == ("tuple", None)
    duplex.send({"key": [1, 2.5]})
    """

  private static let block = Array(0...255 as ClosedRange<UInt8>)

  private static func pattern(_ size: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size)
    for _ in 0..<size / 256 { bytes.append(contentsOf: block) }
    return bytes + block[..<(size % 256)]
  }

  /// The largest size only once for each Python and direction, since it takes its time.
  private func converse(_ connection: Connection, _ sizes: ArraySlice<Int>) async throws {
    for size in sizes {
      let bytes = Self.pattern(size)
      try await connection.send(bytes: bytes)
      #expect(try same(await connection.receiveBytes(), bytes), "\(size)")
    }
    try await connection.send(.tuple(["tuple", nil]) as MessageValue)
    #expect(try await connection.receive() == ["key": [1, 2.5]])
  }

  private static func value(_ sizes: ArraySlice<Int>) -> MessageValue {
    .array(sizes.map { .integer(Int64($0)) })
  }

  private func address(_ value: MessageValue) -> Connection.Address {
    if case .string(let path) = value { return .unix(path) }
    guard case .string(let host)? = value[0], case .integer(let port)? = value[1] else {
      return .unix("")
    }
    return .tcp(host, Int(port))
  }

  @Test(arguments: PythonInterpreter.all)
  func pythonConnects(python: PythonInterpreter) async throws {
    let places: [(Connection.Address, MessageValue)] = [
      (folder.address(), .string("\(folder.path)/socket")), (.tcp("127.0.0.1", 0), nil),
    ]
    for (place, name) in places {
      let sizes = place == folder.address() ? Self.sizes[...] : Self.sizes.dropLast()
      let listener = try Listener(at: place, options: Self.options)
      let peer = try PythonPeer(python, program: Self.program)
      var name = name
      if case .tcp(let host, let port) = listener.address {
        name = .tuple([.string(host), .integer(Int64(port))])
      }
      try await peer.control.send(.tuple(["connect", name, Self.value(sizes)]) as MessageValue)
      let connection = try await listener.accept()
      if place == folder.address() {
        #expect(try connection.peerCredentials()?.processID == peer.process.pid)
      }
      try await converse(connection, sizes)
      try await peer.finish("\(python) at \(place)")
    }
  }

  private static var options: Listener.Options {
    var options = Listener.Options()
    options.maximumMessageSize = 128 << 20
    return options
  }

  @Test(arguments: PythonInterpreter.all)
  func pythonListens(python: PythonInterpreter) async throws {
    for place in [.string("\(folder.path)/socket"), .tuple(["localhost", 0])] as [MessageValue] {
      var sizes = Self.sizes.dropLast()
      if case .string = place { sizes = Self.sizes[...] }
      let peer = try PythonPeer(python, program: Self.program)
      try await peer.control.send(.tuple(["listen", place, Self.value(sizes)]) as MessageValue)
      let said = try await peer.control.receive()
      let connection = try await Connection.connect(
        to: address(said), maximumMessageSize: 128 << 20)
      try await converse(connection, sizes)
      try await peer.finish("\(python) at \(said)")
    }
  }

  // MARK: Descriptors

  private static let handles = """
    import os, socket, sys
    from multiprocessing import reduction
    from multiprocessing.connection import Connection
    duplex = Connection(3)
    duplex.send(sys.version_info >= (3, 14))
    for _ in range(3):
        reading, writing = os.pipe()
        os.write(writing, b"from Python")
        os.close(writing)
        duplex.send("before")
        reduction.send_handle(duplex, reading, None)
        os.close(reading)
        duplex.send("between")
        assert duplex.recv() == "yours"
        descriptor = reduction.recv_handle(duplex)
        assert os.read(descriptor, 100) == b"from Swift"
        os.close(descriptor)
    with socket.socket(fileno=os.dup(3)) as stream:
        reduction.sendfds(stream, [0, 1, 2])
        assert len(reduction.recvfds(stream, 2)) == 2
    duplex.send("done")
    """

  /// A pipe with something in it: its reading end.
  private func filledPipe() -> Int32 {
    let ends = makePipe()
    let text = Array("from Swift".utf8)
    precondition(unsafe write(ends.write, text, text.count) == text.count)
    close(ends.write)
    return ends.read
  }

  @Test(arguments: PythonInterpreter.all)
  func descriptorsBothWays(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.handles)
    let control = peer.control
    let isNew = try await control.receive(Bool.self)
    #expect(isNew == (python.minor >= 14))
    let dialect: Connection.HandleDialect = isNew ? .acknowledged : .plain
    for _ in 0..<3 {
      #expect(try await control.receive(String.self) == "before")
      let descriptor = try await control.receiveHandles(count: 1, dialect: dialect)[0]
      #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
      #expect(ChildWork.readAll(descriptor) == "from Python")
      #expect(try await control.receive(String.self) == "between")
      try await control.send("yours")
      let pipe = filledPipe()
      try await control.sendHandles([pipe], dialect: dialect)
      close(pipe)
    }
    let three = try await control.receiveHandles(count: 3, dialect: dialect)
    #expect(three.count == 3)
    try await control.sendHandles(Array(three[..<2]), dialect: dialect)
    for descriptor in three { close(descriptor) }
    #expect(try await control.receive(String.self) == "done")
    try await peer.finish("\(python)")
  }

  /// Both dialects by a peer of our own, with the blocking forms, whatever Python there is.
  @Test(arguments: [Connection.HandleDialect.plain, .acknowledged])
  func descriptorsInEitherDialect(dialect: Connection.HandleDialect) throws {
    let python = try #require(PythonInterpreter.newest)
    let peer = try PythonPeer(
      python, script: "handshake.py", ["handles", dialect == .plain ? "plain" : "acknowledged"])
    let control = peer.control
    for _ in 0..<3 {
      #expect(try control.receive(String.self) == "sending")
      let descriptor = try control.receiveHandles(
        count: 1, dialect: dialect, timeout: patience)[0]
      #expect(ChildWork.readAll(descriptor) == "from Python")
      try control.send("sending")
      let pipe = filledPipe()
      try control.sendHandles([pipe], dialect: dialect, timeout: patience)
      close(pipe)
    }
    #expect(try control.receive(String.self) == "done")
    try peer.finishBlocking()
  }

  /// The wrong dialect is an error, and ends the connection.
  @Test func aMissingAcknowledgement() async throws {
    let (ours, theirs) = try Connection.pair()
    #expect(
      await code {
        try await ours.sendHandles([0], dialect: .acknowledged, timeout: .milliseconds(10))
      } == .timedOut)
    #expect(ours.isClosed)
    // What was sent before is there all the same.
    close(try await theirs.receiveHandles(count: 1, dialect: .plain)[0])
    #expect(
      await code { try await theirs.receiveHandles(count: 1, dialect: .plain) } == .peerClosed)
    let (first, second) = try Connection.pair()
    try await first.send("a message")
    #expect(
      await code { try await second.receiveHandles(count: 1, dialect: .plain) }
        == .malformedMessage)
    #expect(second.isClosed)
    let (waiting, _) = try Connection.pair()
    let task = Task { try await waiting.receiveHandles(count: 1, dialect: .plain) }
    task.cancel()
    let ended = await code { try await task.value }
    #expect(ended == .cancelled || ended == .peerClosed)
  }
}
