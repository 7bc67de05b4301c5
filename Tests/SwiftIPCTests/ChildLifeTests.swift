// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Names, parents, children of children, and what becomes of them at the end.
@Suite struct ChildLifeTests {
  @Test(arguments: StartMethodTests.fromHere) func aChildKnowsItsIdentity(
    _ method: StartMethod
  ) async throws {
    #expect(CurrentProcess.pid == getpid())
    let child = try ChildProcess.start(options: .init(name: "clerk", method: method)) {
      "\(CurrentProcess.name) \(CurrentProcess.pid == getpid()) \(CurrentProcess.parent?.isAlive ?? false)"
    }
    #expect(try await child.value == "clerk true true")
  }

  @Test(arguments: StartMethodTests.fromHere) func aChildLearnsThatItsParentIsGone(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs, method == .spawn) { connection, isSpawned in
      let options = ChildProcessOptions(method: isSpawned ? .spawn : .forkServer)
      let (mine, childs) = try Connection.pair()
      try ChildProcess.start(connection, childs, options: options) { connection, toParent in
        let parent = test_pidfd(CurrentProcess.parent?.pid ?? 0)
        try toParent.send(1)
        var end = pollfd(fd: parent, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&end, 1, 30_000)
        try connection.send(CurrentProcess.parent?.isAlive == false)
      }
      _ = try mine.receive(Int.self)
      raise(SIGKILL)
    }
    #expect(try await ours.receive(Bool.self))
    #expect(try await parent.join() == .signalled(SIGKILL))
  }

  @Test func signalsHaveNames() async throws {
    let waiting = { try ChildProcess.start { while true { pause() } } }
    let interrupted = try waiting()
    try interrupted.interrupt()
    #expect(try await interrupted.join() == .signalled(SIGINT))
    let signalled = try waiting()
    try signalled.signal(SIGUSR1)
    #expect(try await signalled.join() == .signalled(SIGUSR1))
    try signalled.signal(SIGUSR1)
    let other = try waiting()
    #expect(throws: IPCError.self) { try other.signal(4711) }
    try other.kill()
    #expect(try await other.join() == .signalled(SIGKILL))
  }

  @Test func aClosedChildHasNoValueAndGoesOn() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      [Int](repeating: try connection.receive(Int.self), count: 1_000_000)
    }
    child.close()
    let error = await #expect(throws: IPCError.self) { try await child.value }
    #expect(error?.code == .closed)
    #expect(child.isAlive)
    try await ours.send(1)
    // It cannot send its value, which must not keep it.
    #expect(try await child.join() == .exited(0))
  }

  @Test func activeChildrenAreThoseThatRun() async throws {
    let child = try ChildProcess.start {
      var lines: [String] = []
      let (ours, theirs) = try Connection.pair()
      func list() { lines.append(CurrentProcess.activeChildren.map(\.name).joined(separator: " ")) }
      list()
      try ChildProcess.start(theirs, options: .init(name: "dropped")) { connection in
        _ = try? connection.receive(Int.self)
      }
      let kept = try ChildProcess.start(options: .init(name: "kept", method: .forkServer)) {
        while true { pause() }
      }
      list()
      try kept.kill()
      _ = try kept.join()
      list()
      let dropped = CurrentProcess.activeChildren[0]
      ours.close()
      _ = try dropped.join()
      list()
      // Nothing is left for a wait but the fork server, which runs.
      lines.append("\(waitpid(-1, nil, WNOHANG)) \(dropped.isAlive)")
      return lines
    }
    #expect(try await child.value == ["", "dropped kept", "dropped", "", "0 false"])
  }

  @Test func droppedChildrenAreReapedAsSoonAsTheyEnd() async throws {
    var connections: [Connection] = []
    var descriptors: [Int32] = []
    defer { for descriptor in descriptors { close(descriptor) } }
    for number in 0..<100 {
      let (ours, theirs) = try Connection.pair()
      let method: StartMethod = number < 80 ? .spawn : .forkServer
      // Kept until the descriptor is there, then dropped while it runs.
      let child = try ChildProcess.start(theirs, options: .init(method: method)) { connection in
        _ = try? connection.receive(Int.self)
      }
      descriptors.append(try child.readinessDescriptor())
      connections.append(ours)
    }
    for connection in connections { connection.close() }
    for descriptor in descriptors {
      _ = await Suspension().wait(
        for: .init(
          descriptor: descriptor, isOwned: false, direction: CIPC_POLLER_READABLE, deadline: .max))
    }
    // The kernel tells of an end under a lock that a start needs too: behind it, all those ends have
    // reached the poller's thread, which takes what is ready in order.
    try await ChildProcess.start {}.join()
    let ready = Pipe()
    ready.put()
    _ = await Suspension().wait(
      for: .init(
        descriptor: ready.reading, isOwned: false, direction: CIPC_POLLER_READABLE, deadline: .max))
    let waiting = idtype_t(3)  // P_PIDFD
    for descriptor in descriptors {
      var info = unsafe siginfo_t()
      let options = WEXITED | WNOHANG | WNOWAIT
      #expect(unsafe waitid(waiting, id_t(descriptor), &info, options) == -1 && errno == ECHILD)
    }
  }

  @Test(arguments: ChildWork.methods) func childrenAreWaitedForAtTheEnd(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let number = try Value(0)
    let parent = try ChildProcess.start(theirs, number, Ordinal(of: method)) {
      connection, number, ordinal in
      let options = ChildProcessOptions(method: ordinal.method)
      try ChildProcess.start(connection, number, options: options) { connection, number in
        try number.store(try connection.receive(Int.self))
      }
      return 1
    }
    #expect(try await parent.value == 1)
    #expect(parent.isAlive)
    try await ours.send(5)
    #expect(try await parent.join().isSuccess)
    #expect(number.value == 5)
  }

  @Test(arguments: ChildWork.methods) func daemonsAreEndedAtTheEnd(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs, Ordinal(of: method)) { connection, ordinal in
      let options = ChildProcessOptions(daemon: true, method: ordinal.method)
      try startDaemon(connection, options)
    }
    #expect(try await ours.receive(String.self) == "ready")
    #expect(try await parent.join().isSuccess)
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
  }

  @Test(arguments: ChildWork.methods) func daemonsDieWithAKilledParent(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs, Ordinal(of: method)) { connection, ordinal in
      let options = ChildProcessOptions(daemon: true, method: ordinal.method)
      try startDaemon(connection, options)
      while true { pause() }
    }
    #expect(try await ours.receive(String.self) == "ready")
    try parent.kill()
    #expect(try await parent.join() == .signalled(SIGKILL))
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
  }

  @Test(arguments: ChildWork.methods) func daemonsOfDaemonsDieWithTheFirst(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs, Ordinal(of: method)) { connection, ordinal in
      let options = ChildProcessOptions(daemon: true, method: ordinal.method)
      let (mine, its) = try Connection.pair()
      try ChildProcess.start(connection, its, ordinal, options: options) {
        connection, toParent, ordinal in
        try startDaemon(connection, .init(daemon: true, method: ordinal.method))
        try toParent.send(1)
        while true { pause() }
      }
      _ = try mine.receive(Int.self)
      while true { pause() }
    }
    #expect(try await ours.receive(String.self) == "ready")
    try parent.kill()
    try await parent.join()
    // The last of them has the other end.
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
  }

  @Test func processorsAreCountedByAffinity() async throws {
    #expect(CurrentProcess.processorCount >= 1)
    let child = try ChildProcess.start(options: .init(processors: [0])) {
      CurrentProcess.processorCount
    }
    #expect(try await child.value == 1)
  }
}

/// A start method as an argument.
struct Ordinal: Codable, Sendable {
  var number: Int
  init(of method: StartMethod) { number = StartMethod.allCases.firstIndex(of: method) ?? 0 }
  var method: StartMethod { StartMethod.allCases[number] }
}

/// Starts one that holds the connection and waits for ever, deaf to SIGTERM; returns when it does.
func startDaemon(_ connection: Connection, _ options: ChildProcessOptions) throws {
  let (mine, its) = try Connection.pair()
  try ChildProcess.start(connection, its, options: options) { connection, toParent in
    signal(SIGTERM, SIG_IGN)
    try connection.send("ready")
    try toParent.send(1)
    while true { pause() }
  }
  _ = try mine.receive(Int.self)
}
