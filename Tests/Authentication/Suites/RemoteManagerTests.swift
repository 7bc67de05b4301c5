// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SwiftIPC

/// A client of managers that real Pythons run.
@Suite struct RemoteManagerTests {
  private let folder = SocketFolder()
  private let key = Array("key".utf8)

  private static let program = """
    import queue, sys
    from multiprocessing.connection import Connection
    from multiprocessing.managers import BaseManager, SyncManager
    class Counter:
        def __init__(self, start=0, step=1):
            self.value, self.step = start, step
        def add(self, number=None, *, times=1):
            self.value += (self.step if number is None else number) * times
            return self.value
        def fail(self, text):
            raise LookupError(text, self.value)
        def function(self):
            return Counter
        def child(self):
            return Counter(self.value)
        def unreadable(self):
            return lambda: 0
        def hidden(self):
            return 1
    shared = queue.Queue()
    class Manager(SyncManager):
        pass
    Manager.register("Counter", Counter, exposed=("add", "fail", "function", "child", "unreadable"),
                     method_to_typeid={"child": "Child"})
    Manager.register("Child", exposed=("add",), create_method=False)
    Manager.register("shared", callable=lambda: shared)
    address = ("127.0.0.1", 0) if sys.argv[1] == "tcp" else sys.argv[1]
    server = Manager(address, authkey=b"key").get_server()
    control = Connection(3)
    control.send(server.address)
    server.serve_forever()
    """

  private func manager(
    _ python: PythonInterpreter, over place: String
  ) async throws -> (PythonPeer, RemoteManager) {
    let peer = try PythonPeer(python, program: Self.program, [place])
    let address: Connection.Address
    let said = try await peer.control.receive()
    if case .string(let path) = said {
      address = .unix(path)
    } else if case .string(let host)? = said[0], case .integer(let port)? = said[1] {
      address = .tcp(host, Int(port))
    } else {
      throw IPCError(.malformedMessage, context: "\(said) is no address")
    }
    let manager = try await RemoteManager.connect(
      to: address, authenticationKey: key, allowsMD5: python.minor < 12)
    return (peer, manager)
  }

  private func raised(_ body: () async throws -> MessageValue) async -> RemoteError? {
    do {
      let value = try await body()
      Issue.record("returned \(value)")
    } catch let error as RemoteError {
      return error
    } catch {
      Issue.record("\(error)")
    }
    return nil
  }

  @Test(arguments: PythonInterpreter.all)
  func callsAndErrors(python: PythonInterpreter) async throws {
    let (peer, manager) = try await manager(python, over: "\(folder.path)/m")
    let counter = try await manager.create("Counter", [10], keywords: ["step": 2])
    #expect(Set(counter.methods).isSuperset(of: ["add", "fail", "child"]))
    #expect(try await counter.call("add") == 12)
    #expect(try await counter.call("add", [5], keywords: ["times": 2], as: Int.self) == 22)

    let error = await raised { try await counter.call("fail", ["no such thing"]) }
    #expect(error?.typeName == "builtins.LookupError")
    #expect(error?.arguments == ["no such thing", 22] && error?.trace == [])
    let hidden = await raised { try await counter.call("hidden") }
    #expect(hidden?.description.contains("hidden") == true)
    #expect(hidden?.typeName.isEmpty == false)
    let unknown = await raised {
      _ = try await manager.create("Nothing")
      return nil
    }
    #expect(unknown?.typeName == "KeyError" && unknown?.message == "'Nothing'")
    let unreadable = await raised { try await counter.call("unreadable") }
    // Python 3.13 does not say so in the error itself, but in its trace.
    #expect(unreadable?.debugDescription.contains("ickle") == true)
    await #expect(throws: IPCError.self) { try await counter.call("function") }
    // It goes on after every one of these.
    #expect(try await counter.call("add") == 24)

    let child = try await counter.object(of: "child")
    #expect(
      child.typeName == "Child" && child.methods == ["add"] && child.identity != counter.identity)
    #expect(try await child.call("add") == 25)
    await #expect(throws: IPCError.self) { try await counter.call("child") }
    await #expect(throws: IPCError.self) { try await counter.object(of: "add") }
    try await child.release()
    try await child.release()
    _ = await raised { try await child.call("add") }
    try await manager.shutDown()
    try await peer.finish("\(python)")
  }

  @Test(arguments: PythonInterpreter.all)
  func theTypesOfSyncManager(python: PythonInterpreter) async throws {
    let (peer, manager) = try await manager(python, over: "tcp")
    let before = try await manager.objectCount()
    let list = try await manager.create("list", [[1, 2]])
    try await list.call("append", ["three"])
    try await list.call("__setitem__", [0, nil])
    #expect(try await list.value() == [nil, 2, "three"])
    #expect(try await list.call("__len__") == 3)
    #expect(try await list.call("__str__") == "[None, 2, 'three']")
    let dictionary = try await manager.create("dict", keywords: ["a": 1])
    try await dictionary.call("update", keywords: ["b": .tuple([1, 2])])
    #expect(try await dictionary.value() == ["a": 1, "b": .tuple([1, 2])])
    #expect(try await dictionary.call("get", ["c", "none"]) == "none")
    let error = await raised { try await dictionary.call("__getitem__", ["c"]) }
    #expect(error?.typeName == "builtins.KeyError" && error?.message == "c")
    let space = try await manager.create("Namespace")
    try await space.call("__setattr__", ["x", 1.5])
    #expect(try await space.call("__getattribute__", ["x"]) == 1.5)
    let event = try await manager.create("Event")
    #expect(try await event.call("is_set", as: Bool.self) == false)
    let value = try await manager.create("Value", ["d", 2.5])
    #expect(try await value.call("get") == 2.5)

    // One waits while others are served.
    let queue = try await manager.create("Queue")
    let waiting = Task { try await queue.call("get") }
    let same = try await manager.create("shared")
    try await same.call("put", [1])
    try await event.call("set")
    #expect(try await event.call("wait") == true)
    #expect(try await same.call("get", keywords: ["timeout": 5]) == 1)
    let empty = await raised { try await same.call("get", [false]) }
    #expect(empty?.typeName.hasSuffix("queue.Empty") == true, "\(String(describing: empty))")
    #expect(try await manager.objectCount() == before + 7)
    try await queue.call("put", ["found"])
    #expect(try await waiting.value == "found")

    for object in [list, dictionary, space, event, value, queue, same] {
      try await object.release()
    }
    #expect(try await manager.objectCount() == before)
    try await manager.shutDown()
    try await peer.finish("\(python)")
  }

  @Test func blockingFormsAndReferences() async throws {
    let python = try #require(PythonInterpreter.newest)
    let (peer, manager) = try await manager(python, over: "\(folder.path)/m")
    let counted = InThread {
      let list = try manager.create("list", [[1]])
      try list.call("append", [2])
      let value = try list.value()
      let length = try list.call("__len__", as: Int.self)
      let during = try manager.objectCount()
      try list.release()
      return (value, length, during, try manager.objectCount())
    }
    let (value, length, during, after) = try counted.join()
    #expect(value == [1, 2] && length == 2)
    #expect(during == after + 1)
    // An object without a reference is given back in the background.
    try await manager.create("list").call("append", [1])
    while try await manager.objectCount() > after { await Task.yield() }
    // Killed in the middle of a call.
    let queue = try await manager.create("Queue")
    let waiting = Task { try await queue.call("get") }
    #expect(await timedOut { try await queue.call("get", timeout: .milliseconds(20)) })
    try await queue.call("put", [1])
    try InThread { try manager.shutDown() }.join()
    await #expect(throws: IPCError.self) {
      _ = try await waiting.value
      _ = try await queue.call("get")
    }
    try await peer.finish("\(python)")
  }

  private func timedOut(_ body: () async throws -> MessageValue) async -> Bool {
    do {
      _ = try await body()
      return false
    } catch {
      return (error as? IPCError)?.code == .timedOut
    }
  }

  @Test func thereHasToBeAManager() async throws {
    await #expect(throws: IPCError.self) {
      try await RemoteManager.connect(to: folder.address(), authenticationKey: key)
    }
    let python = try #require(PythonInterpreter.newest)
    let (peer, manager) = try await manager(python, over: "\(folder.path)/m")
    await #expect(throws: IPCError.self) {
      try await RemoteManager.connect(
        to: .unix("\(folder.path)/m"), authenticationKey: Array("other".utf8), allowsMD5: true)
    }
    try await manager.shutDown()
    try await peer.finish("\(python)")
  }
}
