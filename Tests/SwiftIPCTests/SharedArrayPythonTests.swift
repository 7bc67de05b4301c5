// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// The elements of a `SharedArray`, found by Python through the descriptor and the offset that are told.
/// With numpy: Documentation/Python.md, which Tests/Authentication runs.
@Suite struct SharedArrayPythonTests {
  private static let program = """
    import mmap, sys
    from multiprocessing.connection import Connection
    from multiprocessing import reduction
    duplex = Connection(3)
    duplex.send(sys.version_info >= (3, 14))
    while True:
        try:
            name, offset, count = duplex.recv()
        except EOFError:
            break
        if name is None:
            memory = mmap.mmap(reduction.recv_handle(duplex), 0)
        else:
            with open("/dev/shm/" + name, "r+b") as file:
                memory = mmap.mmap(file.fileno(), 0)
        elements = memoryview(memory)[offset:offset + 4 * count].cast("i")
        assert list(elements) == list(range(count)), list(elements)
        for i in range(count):
            elements[i] = -elements[i]
        duplex.send("done")
    """

  @Test(arguments: PythonInterpreter.all)
  func pythonFindsTheElements(python: PythonInterpreter) async throws {
    let peer = try PythonPeer(python, program: Self.program)
    let isNew = try await peer.control.receive(Bool.self)
    let region = try SharedRegion(size: 1 << 16)
    _ = try region.array("first", repeating: UInt8(0), count: 3)
    let named = try SharedArray<Int32>(shape: [4, 25], repeating: 0, named: nameOfTest())
    defer { try? named.unlink() }
    let arrays = [
      try SharedArray<Int32>(0..<100), try SharedArray<Int32>(shape: 2, 5, 10, repeating: 0),
      try SharedArray<Int32>(0..<100, transactional: true),
      try region.array("second", repeating: Int32(0), count: 100), named,
    ]
    for (place, array) in arrays.enumerated() {
      let isNamed = place == arrays.count - 1
      for index in array.indices { array[index] = Int32(index) }
      let name: MessageValue = isNamed ? .string(try #require(named.name)) : nil
      try await peer.control.send(
        .tuple([name, .integer(Int64(array.memoryOffset)), 100]) as MessageValue)
      if !isNamed {
        let descriptor = try array.memoryDescriptor()
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
        try await peer.control.sendHandles([descriptor], dialect: isNew ? .acknowledged : .plain)
        close(descriptor)
      }
      #expect(try await peer.control.receive(String.self) == "done")
      #expect(array.indices.allSatisfy { array[$0] == -Int32($0) })
    }
    try await peer.finish("\(python)")
  }
}
