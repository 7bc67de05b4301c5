// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct ServiceManagerTests {
  /// A child that is given a socket as a service manager gives it: by its number, with the variables.
  @Test func aServiceHasItsSocketAndTellsItsManager() async throws {
    let folder = SocketFolder()
    let address = folder.address("service")
    let listening = try socket(SOCK_STREAM, at: folder.file("service"))
    #expect(listen(listening, 8) == 0)
    let manager = try socket(SOCK_DGRAM, at: folder.file("manager"))
    let environment: [String: String?] = [
      "LISTEN_FDS": "1", "LISTEN_FDNAMES": "greeter", "NOTIFY_SOCKET": folder.file("manager"),
    ]
    // Its standard input, since a child of this library gets no other descriptor by a number.
    let options = ChildProcessOptions(
      environment: environment, standardInput: .descriptor(listening))
    let service = try ChildProcess.start(options: options) { () async throws -> Void in
      // What the manager's child does before it executes the service. It takes the place of the
      // connection to the parent, so this child says how it went by its exit code alone.
      guard dup2(0, 3) == 3, unsafe setenv("LISTEN_PID", "\(getpid())", 1) == 0 else { exit(10) }
      let sockets = try ServiceManager.sockets()
      guard sockets == [.init(name: "greeter", descriptor: 3)], fcntl(3, F_GETFD) == FD_CLOEXEC
      else {
        exit(11)
      }
      let listener = try Listener(adopting: sockets[0].descriptor)
      guard try await ServiceManager.notify(.ready, .status("at \(listener.address)")) else {
        exit(12)
      }
      let connection = try await listener.accept()
      try await connection.send("hello \(try await connection.receive(String.self))")
      try await ServiceManager.notify(.stopping)
      exit(13)
    }
    #expect(try await note(manager) == "READY=1\nSTATUS=at \(folder.file("service"))\n")
    let connection = try await Connection.connect(to: address, timeout: patience)
    try await connection.send("you")
    #expect(try await connection.receive(String.self, timeout: patience) == "hello you")
    #expect(try await note(manager) == "STOPPING=1\n")
    #expect(try await service.join() == .exited(13))
    // The path is the manager's.
    #expect(folder.exists("service"))
    close(listening)
    close(manager)
  }

  @Test func withoutAManagerNothingIsSent() async throws {
    let child = try ChildProcess.start(options: .init(environment: ["NOTIFY_SOCKET": nil])) {
      () async throws -> [Int] in
      let sockets = try ServiceManager.sockets()
      return [sockets.count, try await ServiceManager.notify(.ready) ? 1 : 0]
    }
    #expect(try await child.value == [0, 0])
  }

  @Test func nonsenseIsAnError() async throws {
    let child = try ChildProcess.start { () async throws -> [String] in
      var codes: [String] = []
      set("LISTEN_PID", "\(getpid())")
      for count in ["-1", "99999999999999999999", "2147483647"] {
        set("LISTEN_FDS", count)
        codes.append(await code { _ = try ServiceManager.sockets() })
      }
      set("NOTIFY_SOCKET", "@nobody-\(getpid())")
      codes.append(await code { try await ServiceManager.notify(.ready) })
      set("NOTIFY_SOCKET", "nowhere")
      codes.append(await code { try await ServiceManager.notify(.ready) })
      // One that would be two.
      codes.append(await code { try await ServiceManager.notify(.status("fine\nREADY=1")) })
      codes.append(await code { try await ServiceManager.notify(.init("A=B", "")) })
      codes.append(await code { _ = try Listener(adopting: -1) })
      let (reader, writer) = makePipe()
      codes.append(await code { _ = try Listener(adopting: reader) })
      close(reader)
      close(writer)
      return codes
    }
    #expect(
      try await child.value == [
        "invalidArgument", "invalidArgument", "invalidArgument", "connectionRefused",
        "invalidArgument", "invalidArgument", "invalidArgument", "invalidArgument", "unsupported",
      ])
  }

  /// A manager that reads nothing, until it does.
  @Test func tellingAManagerThatIsBehindBlocksNoThread() async throws {
    let folder = SocketFolder()
    let manager = try socket(SOCK_DGRAM, at: folder.file("manager"))
    let environment: [String: String?] = ["NOTIFY_SOCKET": folder.file("manager")]
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs, options: .init(environment: environment)) {
      connection async throws -> Bool in
      var sent = 0
      do {
        while sent < 1_000_000 {
          try await ServiceManager.notify(.watchdog, timeout: .zero)
          sent += 1
        }
      } catch let error as IPCError where error.code == .timedOut {}
      // More that wait than there are threads for tasks, and one that goes on.
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 * CurrentProcess.processorCount {
          group.addTask { try await ServiceManager.notify(.ready) }
        }
        try await connection.send(sent)
        try await group.waitForAll()
      }
      return true
    }
    let sent = try await ours.receive(Int.self, timeout: patience)
    #expect(sent > 0)
    let expected = sent + 4 * CurrentProcess.processorCount
    var notes: [String] = []
    for _ in 0..<expected { notes.append(try await note(manager)) }
    #expect(notes.filter { $0 == "READY=1\n" }.count == expected - sent)
    #expect(try await child.value)
    close(manager)
  }
}

private func set(_ name: String, _ value: String) { _ = unsafe setenv(name, value, 1) }

private func code(_ body: () async throws -> Void) async -> String {
  do {
    try await body()
    return "none"
  } catch {
    return (error as? IPCError)?.code.rawValue ?? "other"
  }
}

private func socket(_ type: __socket_type, at path: String) throws -> Int32 {
  let descriptor = Glibc.socket(AF_UNIX, Int32(type.rawValue), 0)
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
  let status = unsafe withUnsafeBytes(of: &address) { bytes in
    unsafe bind(
      descriptor, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress,
      socklen_t(bytes.count))
  }
  try #require(status == 0)
  return descriptor
}

extension SocketFolder {
  fileprivate func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// The next packet.
private func note(_ descriptor: Int32) async throws -> String {
  try await waitUntil {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 0) == 1
  }
  var bytes = [UInt8](repeating: 0, count: 4096)
  let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
  return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
}
