// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Python's `SharedMemory` and ours are the same bytes, with real interpreters and numpy where one has it.
@Suite struct SharedMemoryPythonTests {
  /// Those that have `multiprocessing.shared_memory`.
  static let pythons = PythonInterpreter.all.filter { $0.minor >= 8 }

  static let pythonsWithNumpy = pythons.filter {
    (try? PythonProcess.run($0.path, ["-c", "import numpy"]))?.exitCode == 0
  }

  /// Attaching such that the name stays: what the documentation of `SharedMemory` says.
  private static let attach = """
    import sys
    from multiprocessing import shared_memory, resource_tracker
    def attach(name):
        if sys.version_info >= (3, 13):
            return shared_memory.SharedMemory(name, track=False)
        memory = shared_memory.SharedMemory(name)
        resource_tracker.unregister(memory._name, "shared_memory")
        return memory

    """

  private func exists(_ name: String) -> Bool { unsafe access("/dev/shm/\(name)", F_OK) == 0 }

  /// Which interpreters there are, said once: the tests with arguments would pass with none.
  @Test func interpretersOnThisMachine() {
    print(
      "shared memory is tried with \(Self.pythons.count) Pythons, numpy: \(Self.pythonsWithNumpy)")
    #expect(!Self.pythons.isEmpty, "no Python 3.8 or later")
    withKnownIssue("no Python with numpy: 1 test has nothing to run") {
      #expect(!Self.pythonsWithNumpy.isEmpty)
    } when: {
      Self.pythonsWithNumpy.isEmpty
    }
  }

  @Test(arguments: pythons)
  func pythonReadsAndWritesWhatSwiftMade(python: PythonInterpreter) throws {
    let memory = try SharedMemory(creating: nil, size: 8 * 1000 + 3)
    try memory.withMutableSpan(of: Double.self) { span in
      for index in span.indices { span[index] = Double(index) / 2 }
    }
    let program =
      Self.attach + """
        memory = attach(sys.argv[1])
        assert memory.name == sys.argv[1] and memory.size == 8003, (memory.name, memory.size)
        numbers = memory.buf[:8000].cast("d")
        assert list(numbers) == [i / 2 for i in range(1000)]
        for i in range(1000):
            numbers[i] = -numbers[i]
        memory.buf[8002] = 7
        numbers.release()
        memory.close()
        """
    let result = try PythonProcess.run(python.path, ["-B", "-c", program, memory.name!])
    #expect(result.exitCode == 0, "\(result.errorText)")
    #expect(
      try memory.withSpan(of: Double.self) { span in
        span.indices.allSatisfy { span[$0] == -Double($0) / 2 }
      })
    #expect(try memory.withSpan(of: UInt8.self) { $0[8002] } == 7)
    // It attached and went, and the name is still there.
    #expect(exists(memory.name!))
    #expect(try SharedMemory(attachingTo: memory.name!).size == 8003)
    try memory.unlink()
  }

  @Test(arguments: pythonsWithNumpy)
  func numpySharesItsArraysWithSpans(python: PythonInterpreter) throws {
    let memory = try SharedMemory(creating: nil, size: 480 * 640 * 4)
    defer { try? memory.unlink() }
    try memory.withMutableSpan(of: Float.self) { pixels in
      for index in pixels.indices { pixels[index] = Float(index % 640) }
    }
    let program =
      Self.attach + """
        import numpy
        from multiprocessing.connection import Connection
        duplex = Connection(3)
        memory = attach(sys.argv[1])
        image = numpy.ndarray((480, 640), dtype=numpy.float32, buffer=memory.buf)
        assert (image == numpy.arange(640, dtype=numpy.float32)).all()
        image *= 2
        image[479, 639] = -1
        del image
        memory.close()
        made = shared_memory.SharedMemory(create=True, size=8 * 12)
        numbers = numpy.ndarray((3, 4), dtype=numpy.int64, buffer=made.buf)
        numbers[:] = numpy.arange(12).reshape(3, 4) ** 2
        duplex.send(made.name)
        duplex.recv()
        assert numbers[2, 3] == -5, numbers
        del numbers
        made.close()
        made.unlink()
        """
    let (connection, socket) = try connectionWithRawPeer(maximum: 1 << 10)
    let child = try PythonProcess(
      python.path, ["-B", "-c", program, memory.name!],
      inheriting: [3: socket])
    close(socket)
    guard case .string(let name) = try connection.receive() else {
      let result = try child.finish()
      Issue.record("\(result.errorText)")
      return
    }
    #expect(
      try memory.withSpan(of: Float.self) { pixels in
        pixels[1] == 2 && pixels[640 * 479 + 638] == 1276 && pixels[640 * 480 - 1] == -1
      })
    let numbers = try SharedMemory(attachingTo: name)
    try numbers.withMutableSpan(of: Int64.self) { span in
      #expect(span.indices.allSatisfy { span[$0] == Int64($0 * $0) })
      span[11] = -5
    }
    try connection.send(nil as MessageValue)
    let result = try child.finish()
    #expect(result.exitCode == 0, "\(result.errorText)")
    #expect(!exists(name))
  }

  @Test(arguments: pythons)
  func swiftReadsAndWritesWhatPythonMade(python: PythonInterpreter) throws {
    let program = """
      from multiprocessing import shared_memory
      from multiprocessing.connection import Connection
      duplex = Connection(3)
      for size in [1, 100, 4096, 4097, 3 << 20]:
          memory = shared_memory.SharedMemory(create=True, size=size)
          memory.buf[0] = 42
          memory.buf[size - 1] += 1
          duplex.send((memory.name, memory.size))
          assert duplex.recv() == "written"
          assert memory.buf[0] == 43 + (size == 1), memory.buf[0]
          assert memory.buf[size // 2] == (44 if size == 1 else 9), memory.buf[size // 2]
          memory.close()
          memory.unlink()
      """
    let (connection, socket) = try connectionWithRawPeer(maximum: 1 << 10)
    let child = try PythonProcess(
      python.path, ["-B", "-c", program], inheriting: [3: socket])
    close(socket)
    for size in [1, 100, 4096, 4097, 3 << 20] {
      guard case .tuple(let said) = try connection.receive(), case .string(let name) = said[0]
      else {
        Issue.record("no name from Python")
        return
      }
      let memory = try SharedMemory(attachingTo: name)
      #expect(memory.size == size && said[1] == .integer(Int64(size)) && memory.name == name)
      try memory.withMutableSpan(of: UInt8.self) { span in
        #expect(span[0] == (size == 1 ? 43 : 42))
        span[size / 2] = 9
        span[0] = size == 1 ? 44 : 43
      }
      #expect(errorCode { try memory.unlink() } == .notOwner)
      try connection.send("written" as MessageValue)
    }
    let result = try child.finish()
    #expect(result.exitCode == 0, "\(result.errorText)")
  }

  /// What the documentation warns of: without its measures a Python that attaches takes the name away.
  @Test(arguments: pythons)
  func aPythonThatTracksTakesTheNameAndNotTheMemory(python: PythonInterpreter) throws {
    let memory = try SharedMemory(creating: nil, size: 8)
    let program = """
      import sys
      from multiprocessing import shared_memory
      memory = shared_memory.SharedMemory(sys.argv[1])
      memory.buf[0] = 5
      """
    // Its tracker has standard error open as well, so it has ended, too.
    let result = try PythonProcess.run(python.path, ["-B", "-c", program, memory.name!])
    #expect(result.exitCode == 0, "\(result.errorText)")
    #expect(!exists(memory.name!), "\(python) no longer does what the documentation says")
    #expect(errorCode { try memory.unlink() } == .nameNotFound)
    #expect(try memory.withSpan(of: UInt8.self) { $0[0] } == 5)
  }

  @Test(arguments: pythons)
  func memoryOfOneWriterIsReadInPython(python: PythonInterpreter) throws {
    // Without a name it is a descriptor.
    let anonymous = try SharedMemory(size: 4096, options: .init(receiversWrite: false))
    try anonymous.withMutableSpan(of: UInt8.self) { $0[0] = 4 }
    let program = """
      import mmap
      with mmap.mmap(3, 0, prot=mmap.PROT_READ) as bytes:
          assert len(bytes) == 4096 and bytes[0] == 4
      try:
          mmap.mmap(3, 0)
          raise SystemExit("mapped for writing")
      except PermissionError:
          pass
      """
    let (_, enclosed) = try MessageEncoder().encodeWithDescriptors(anonymous)
    let descriptor = try #require(enclosed?.descriptors.first)
    let child = try PythonProcess(
      python.path, ["-B", "-c", program], inheriting: [3: descriptor])
    let result = try child.finish()
    #expect(result.exitCode == 0, "\(result.errorText)")
  }
}
