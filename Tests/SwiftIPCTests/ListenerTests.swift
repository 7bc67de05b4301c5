// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// The code of the error that an asynchronous body throws.
func code<R>(_ body: () async throws -> R) async -> IPCError.Code? {
  do {
    _ = try await body()
    return nil
  } catch {
    return (error as? IPCError)?.code
  }
}

/// An address of each kind that no other test uses.
func addresses(_ folder: SocketFolder) -> [Connection.Address] {
  [
    folder.address(), .abstract(nameOfTest()), .tcp("127.0.0.1", 0), .tcp("localhost", 0),
    .tcp("::1", 0),
  ]
}

/// A port of 127.0.0.1 that is taken and has no listener, as long as the socket is open.
private func unlistenedPort() throws -> (socket: Int32, address: Connection.Address) {
  let socket = Glibc.socket(
    AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let status = unsafe withUnsafeMutablePointer(to: &address) { address in
    unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
      unsafe bind(socket, generic, length) == 0 && getsockname(socket, generic, &length) == 0
    }
  }
  try #require(status)
  return (socket, .tcp("127.0.0.1", Int(UInt16(bigEndian: address.sin_port))))
}

@Suite struct ListenerTests {
  let folder = SocketFolder()

  /// `nil` where this machine has no IPv6.
  private func listener(at address: Connection.Address) throws(IPCError) -> Listener? {
    do throws(IPCError) {
      return try Listener(at: address)
    } catch  where address == .tcp("::1", 0) && error.errno != EADDRINUSE {
      return nil
    }
  }

  @Test func conversesAtEveryAddress() async throws {
    for address in addresses(folder) {
      guard let listener = try listener(at: address) else { continue }
      async let accepted = listener.accept()
      let client = try await Connection.connect(to: listener.address)
      let server = try await accepted
      try await client.send(SampleReading(sensor: "a", values: [1]))
      #expect(
        try await server.receive(SampleReading.self) == SampleReading(sensor: "a", values: [1]))
      try await server.send("and back")
      #expect(try await client.receive(String.self) == "and back")
      client.close()
      #expect(await code { try await server.receive() } == .peerClosed)
      listener.close()
      #expect(listener.isClosed)
    }
    #expect(!folder.exists())
  }

  @Test func blockingForms() throws {
    let listener = try Listener(at: folder.address(), options: .init())
    #expect(code { try listener.accept(timeout: .zero) } == .timedOut)
    #expect(code { try listener.accept(timeout: .milliseconds(1)) } == .timedOut)
    let accepting = InThread { try listener.accept(timeout: patience) }
    let client = try Connection.connect(to: listener.address, timeout: patience)
    let server = try accepting.join()
    try server.send(1)
    #expect(try client.receive(Int.self) == 1)
    let closing = InThread { code { try listener.accept() } }
    listener.close()
    #expect(try closing.join() == .closed)
  }

  @Test func everyErrorHasItsCode() async throws {
    let listener = try Listener(at: folder.address())
    #expect(code { try Listener(at: folder.address()) } == .addressInUse)
    let port = try Listener(at: .tcp("127.0.0.1", 0))
    #expect(code { try Listener(at: port.address) } == .addressInUse)
    let long = String(repeating: "x", count: 108)
    for address in [.unix(long), .abstract(long), .tcp("192.0.2.1", 0)] as [Connection.Address] {
      #expect(code { try Listener(at: address) } == .invalidAddress, "\(address)")
    }
    #expect(code { try Listener(at: .unix("/no/such/directory")) } == .nameNotFound)
    #expect(await code { try await Connection.connect(to: .unix(long)) } == .invalidAddress)
    for address in [.unix(""), .unix("a\0b"), .abstract(""), .tcp("::1", 65_536), .tcp("::1", -1)]
      as [Connection.Address]
    {
      #expect(await code { try await Connection.connect(to: address) } == .invalidArgument)
    }
    #expect(
      await code { try await Connection.connect(to: folder.address("none")) } == .nameNotFound)
    // A name that is never one (RFC 6761): known at once, or after asking a resolver.
    #expect(
      await code { try await Connection.connect(to: .tcp("no-such-host.invalid", 1)) }
        == .hostNotFound)
    #expect(code { try Listener(at: .tcp("no-such-host.invalid", 1)) } == .hostNotFound)
    listener.close()
    port.close()
    // One that no other program can get meanwhile.
    let (deaf, address) = try unlistenedPort()
    defer { Glibc.close(deaf) }
    #expect(await code { try await Connection.connect(to: address) } == .connectionRefused)
    #expect(code { try Connection.connect(to: address) } == .connectionRefused)
    #expect(
      code { try Connection.connect(to: .abstract(nameOfTest())) } == .connectionRefused)
    #expect(await code { try await listener.accept() } == .closed)
    var options = Listener.Options()
    options.permissions = 0o1000
    #expect(code { try Listener(at: folder.address(), options: options) } == .invalidArgument)
    options = .init()
    options.backlog = 0
    #expect(code { try Listener(at: folder.address(), options: options) } == .invalidArgument)
    #expect(code { try Connection.connect(to: .unix("x"), maximumMessageSize: 0) } != nil)
  }

  @Test func aFullBacklogIsWaitedFor() async throws {
    var options = Listener.Options()
    options.backlog = 1
    let listener = try Listener(at: folder.address(), options: options)
    // The kernel lets one more wait than it was told.
    let waiting = try (0..<2).map { _ in
      try Connection.connect(to: folder.address(), timeout: .zero)
    }
    #expect(
      await code { try await Connection.connect(to: folder.address(), timeout: .zero) }
        == .timedOut)
    #expect(
      await code { try await Connection.connect(to: folder.address(), timeout: .milliseconds(5)) }
        == .timedOut)
    let connecting = Task { try await Connection.connect(to: folder.address()) }
    let cancelled = Task { try await Connection.connect(to: folder.address()) }
    cancelled.cancel()
    #expect(await code { try await cancelled.value } == .cancelled)
    for _ in 0..<3 { _ = try await listener.accept() }
    _ = try await connecting.value
    withExtendedLifetime(waiting) {}
  }

  /// Without a descriptor left the loop over clients waits, and goes on when there are some again.
  ///
  /// The child keeps away from Dispatch's threads. Once a second Dispatch opens files to count its busy
  /// threads, if there is work for them, and ends the process where it cannot.
  @Test(.timeLimit(.minutes(60))) func acceptingSurvivesAShortageOfDescriptors() async throws {
    let path = "\(folder.path)/short"
    let child = try ChildProcess.start(path, options: .init(limits: .init(openFiles: 64))) { path in
      try ListenerTests.serveWithoutDescriptors(path)
    }
    try await child.value
  }

  private static func serveWithoutDescriptors(_ path: String) throws {
    let listener = try Listener(at: .unix(path))
    let accepted = Mutex<[Connection]>([])
    let serving = InThread {
      try WorkerExecutor().run {
        for try await connection in listener.connections {
          accepted.withLock { $0.append(connection) }
        }
      }
    }
    // One that is accepted before, so that all is there that waiting needs.
    let first = try Connection.connect(to: .unix(path))
    while accepted.withLock(\.count) < 1 { usleep(1000) }
    // More than the descriptors that waiting takes, and gives back when it ends.
    let sockets = (0..<8).map { _ in
      socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }
    var taken: [Int32] = []
    while case let descriptor = dup(0), descriptor >= 0 { taken.append(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    for socket in sockets {
      let status = unsafe withUnsafePointer(to: &address) { address in
        unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
          unsafe connect(socket, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      if status != 0 { throw ChildWork.Refusal(reason: "connect: \(errno)") }
    }
    // Long enough for many looks, none of which ends it.
    let (before, until) = (clock(), cipc_clock_now() + 500_000_000)
    while cipc_clock_now() < until { usleep(10_000) }
    // And it does not spin meanwhile.
    let used = clock() - before
    if used > 300_000 { throw ChildWork.Refusal(reason: "used \(used) µs") }
    let count = accepted.withLock(\.count)
    if count > sockets.count { throw ChildWork.Refusal(reason: "accepted all") }
    for descriptor in taken { Glibc.close(descriptor) }
    while accepted.withLock(\.count) <= sockets.count { usleep(1000) }
    listener.close()
    try serving.join()
    for socket in sockets { Glibc.close(socket) }
    withExtendedLifetime(first) {}
  }

  /// Those that connect all the time do not keep others from being accepted.
  @Test func aClientThatIsNotAdmittedHoldsUpNoOther() async throws {
    var options = Listener.Options()
    let seen = Mutex(0)
    options.admits = { _ in
      seen.withLock {
        $0 += 1
        return $0 > 40
      }
    }
    let listener = try Listener(at: folder.address(), options: options)
    let strangers = try (0..<40).map { _ in
      try Connection.connect(to: folder.address(), timeout: .seconds(1))
    }
    async let accepted = listener.accept()
    let client = try await Connection.connect(to: folder.address())
    try await client.send(1)
    #expect(try await accepted.receive(Int.self) == 1)
    for stranger in strangers {
      #expect(await code { try await stranger.receiveBytes() } == .peerClosed)
    }
  }

  @Test func manyClientsAtOnce() async throws {
    let listener = try Listener(at: folder.address())
    let serving = Task {
      try await withThrowingDiscardingTaskGroup { group in
        for try await connection in listener.connections {
          group.addTask {
            for try await number in connection.messages(of: Int.self) {
              try await connection.send(number * number)
            }
          }
        }
      }
    }
    try await withThrowingDiscardingTaskGroup { group in
      for number in 0..<100 {
        group.addTask {
          let client = try await Connection.connect(to: listener.address)
          try await client.send(number)
          #expect(try await client.receive(Int.self) == number * number)
        }
      }
    }
    listener.close()
    // The loop ends when the listener is closed, and the group when the clients have gone.
    try await serving.value
  }

  @Test func severalAcceptAtOnce() async throws {
    let listener = try Listener(at: folder.address())
    let accepting = (0..<8).map { _ in Task { try await listener.accept() } }
    let threads = (0..<4).map { _ in InThread { try listener.accept() } }
    let clients = try (0..<12).map { _ in try Connection.connect(to: listener.address) }
    var accepted: [Connection] = []
    for task in accepting { accepted.append(try await task.value) }
    for thread in threads { accepted.append(try thread.join()) }
    for (number, connection) in accepted.enumerated() { try await connection.send(number) }
    var received: Set<Int> = []
    for client in clients { received.insert(try await client.receive(Int.self)) }
    #expect(received == Set(0..<12))
  }

  @Test func cancellingLosesNoClient() async throws {
    let listener = try Listener(at: folder.address())
    for _ in 0..<20 {
      let accepting = Task { try await listener.accept() }
      accepting.cancel()
      #expect(await code { try await accepting.value } == .cancelled)
      let client = try await Connection.connect(to: listener.address)
      let server = try await listener.accept()
      try await client.send(1)
      #expect(try await server.receive(Int.self) == 1)
    }
  }

  @Test func thePolicyDecides() async throws {
    let refused = Mutex<[IPCError.Code]>([])
    let asked = Mutex<[Listener.Client]>([])
    var options = Listener.Options()
    options.admits = { client in
      asked.withLock {
        $0.append(client)
        return $0.count % 2 == 0
      }
    }
    options.refused = { _, error in refused.withLock { $0.append(error.code) } }
    let listener = try Listener(at: folder.address(), options: options)
    let first = try await Connection.connect(to: listener.address)
    let second = try await Connection.connect(to: listener.address)
    let server = try await listener.accept()
    try await server.send("welcome")
    #expect(await code { try await first.receive() } == .peerClosed)
    #expect(try await second.receive(String.self) == "welcome")
    #expect(refused.withLock { $0 } == [.notPermitted])
    let client = Listener.Client(
      credentials: PeerCredentials(
        processID: getpid(), userID: geteuid(), groupID: getegid()))
    #expect(asked.withLock { $0 } == [client, client])
    #expect(try server.peerCredentials() == client.credentials)
    #expect(try second.peerCredentials() == client.credentials)
    #expect(try server.peerAddress() == nil)
    #expect(try second.peerAddress() == folder.address())

    options.admits = { $0.credentials == nil && $0.address != nil }
    let port = try Listener(at: .tcp("127.0.0.1", 0), options: options)
    let remote = try await Connection.connect(to: port.address)
    let local = try await port.accept()
    #expect(try local.peerCredentials() == nil)
    #expect(try remote.peerAddress() == port.address)
  }

  @Test func credentialsAreTheChilds() async throws {
    let listener = try Listener(at: folder.address())
    let path = "\(folder.path)/socket"
    let child = try ChildProcess.start(path) { path in
      let connection = try await Connection.connect(to: .unix(path))
      try await connection.send(Int(getpid()))
      _ = try await connection.receive()
    }
    let connection = try await listener.accept()
    let pid = try await connection.receive(Int.self)
    #expect(try connection.peerCredentials()?.processID == Int32(pid))
    #expect(pid != Int(getpid()))
    try await connection.send(nil as MessageValue)
    #expect(try await child.join() == .exited(0))
  }

  @Test func overTCPNoDescriptorsTravel() async throws {
    let listener = try Listener(at: .tcp("127.0.0.1", 0))
    let client = try await Connection.connect(to: listener.address)
    let server = try await listener.accept()
    let lock = try Lock()
    #expect(await code { try await client.send(lock) } == .unsupported)
    #expect(await code { try await client.send(bytes: [1], descriptors: [0]) } == .unsupported)
    // Nothing has changed.
    try await client.send("still here")
    #expect(try await server.receive(String.self) == "still here")
  }

  @Test func sharedObjectsTravelOverAPath() async throws {
    let listener = try Listener(at: folder.address())
    let client = try await Connection.connect(to: listener.address)
    let server = try await listener.accept()
    let value = try Value(1)
    try await client.send(value)
    let same = try await server.receive(Value<Int>.self)
    try same.withLock { $0 = 2 }
    #expect(value.value == 2)
  }

  @Test func firstReadyTakesListeners() async throws {
    let quiet = try Listener(at: folder.address("quiet"))
    let listener = try Listener(at: folder.address())
    #expect(try await firstReady(quiet, listener, timeout: .milliseconds(1)) == [])
    let client = try await Connection.connect(to: listener.address)
    #expect(try await firstReady(quiet, listener) == [1])
    // Told again, until a caller accepts; a task that waits all the while is told too.
    #expect(try await firstReady(quiet, listener) == [1])
    let server = try await listener.accept(timeout: .zero)
    #expect(try await firstReady(quiet, listener, timeout: .zero) == [])
    try await server.send(1)
    #expect(try await client.receive(Int.self) == 1)
    quiet.close()
    #expect(try await firstReady(quiet, listener) == [0])
  }

  /// A caller that sleeps in `accept` gets the client that `readiness` found and no caller took.
  @Test(.timeLimit(.minutes(5))) func aClientThatWasFoundIsNotForgotten() async throws {
    let accepting = Mutex<InThread<Connection>?>(nil)
    let listener = Mutex<Listener?>(nil)
    var options = Listener.Options()
    // Between taking the client and keeping it for others: another caller comes, finds no client,
    // and sleeps.
    options.admits = { _ in
      let shared = listener.withLock { $0 }
      let thread = Mutex("")
      let accept = InThread {
        var buffer = [CChar](repeating: 0, count: 64)
        let length = unsafe readlink("/proc/thread-self", &buffer, buffer.count)
        let name = String(
          decoding: buffer.prefix(length).map(UInt8.init(bitPattern:)), as: UTF8.self)
        thread.withLock { $0 = "/proc/\(name)/stat" }
        return try shared!.accept()
      }
      accepting.withLock { $0 = accept }
      while true {
        let file = unsafe open(thread.withLock { $0 }, O_RDONLY | O_CLOEXEC)
        if file >= 0, ChildWork.readAll(file).contains(") S ") { return true }
        sched_yield()
      }
    }
    let made = try Listener(at: folder.address(), options: options)
    listener.withLock { $0 = made }
    let client = try await Connection.connect(to: made.address)
    #expect(try made.readiness() == .ready)
    let server = try accepting.withLock { try $0!.join() }
    try await server.send(1)
    #expect(try await client.receive(Int.self) == 1)
    // The listener has the closure, which has these.
    accepting.withLock { $0 = nil }
    listener.withLock { $0 = nil }
  }

  @Test func aKilledListenersPathIsTakenOver() async throws {
    let path = "\(folder.path)/socket"
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(path, theirs) { path, connection in
      let listener = try Listener(at: .unix(path))
      try await connection.send("listening")
      let client = try await listener.accept()
      try await connection.send("accepted")
      _ = try await client.receive()
    }
    #expect(try await ours.receive(String.self) == "listening")
    #expect(code { try Listener(at: .unix(path)) } == .addressInUse)
    let client = try await Connection.connect(to: .unix(path))
    #expect(try await ours.receive(String.self) == "accepted")
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL))
    #expect(await code { try await client.receive() } == .peerClosed)
    #expect(folder.exists())
    #expect(await code { try await Connection.connect(to: .unix(path)) } == .connectionRefused)
    let listener = try Listener(at: .unix(path))
    _ = try await Connection.connect(to: .unix(path))
    _ = try await listener.accept()
  }

  @Test func withoutDescriptorsAcceptingFailsAndDoesNotSpin() async throws {
    let path = "\(folder.path)/socket"
    let child = try ChildProcess.start(path) { path -> [String] in
      let listener = try Listener(at: .unix(path))
      let client = try await Connection.connect(to: .unix(path))
      // So that what waiting needs is there.
      _ = try await firstReady(listener)
      let first = try await listener.accept()
      let second = try await Connection.connect(to: .unix(path))
      var limit = rlimit()
      unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let before = limit.rlim_cur
      let lowest = dup(0)
      close(lowest)
      limit.rlim_cur = rlim_t(lowest)
      unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      var codes: [String] = []
      for _ in 0..<3 {
        do {
          _ = try await listener.accept()
        } catch {
          codes.append((error as? IPCError)?.code.rawValue ?? "\(error)")
        }
      }
      limit.rlim_cur = before
      unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let third = try await listener.accept()
      try await third.send("served")
      codes.append(try await second.receive(String.self))
      withExtendedLifetime((client, first)) {}
      return codes
    }
    #expect(
      try await child.value == ["resourceLimit", "resourceLimit", "resourceLimit", "served"])
  }
}
