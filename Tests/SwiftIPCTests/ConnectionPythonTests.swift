// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct ConnectionPythonTests {
  /// Raises at the first difference, so that the exit code tells.
  private static let program = """
    import sys
    from multiprocessing.connection import Connection
    duplex = Connection(3)
    assert duplex.recv() == [42, None, "hello"]
    duplex.send([42, None, "hello"])
    for size in [0, 1, 16383, 16384, 16385, 65535, 65536, 1 << 20, 5 << 20]:
        data = duplex.recv_bytes()
        assert data == bytes(i & 0xff for i in range(256)) * (size // 256) + b"x" * (size % 256), size
        duplex.send_bytes(data)
    record = duplex.recv()
    assert record == {"sensor": "a", "values": [1.0, 2.5]}, record
    duplex.send({"sensor": "b", "values": [0.5]})
    reader = Connection(4, writable=False)
    writer = Connection(5, readable=False)
    assert reader.recv() == "over a pipe"
    writer.send("and back")
    writer.send_bytes(b"raw")
    try:
        reader.recv()
        raise SystemExit("no end of the pipe")
    except EOFError:
        pass
    try:
        duplex.recv()
        raise SystemExit("no end of the stream")
    except EOFError:
        pass
    """

  @Test func thereAreSome() {
    print("connections are tried with \(PythonInterpreter.all.count) Pythons")
    // The tests with arguments would pass with none.
    #expect(!PythonInterpreter.all.isEmpty, "python3 is missing")
  }

  @Test(arguments: PythonInterpreter.all)
  func bothDirections(python: PythonInterpreter) throws {
    let (duplex, socket) = try connectionWithRawPeer(maximum: 10 << 20)
    let down = makePipe()
    let up = makePipe()
    let child = try PythonProcess(
      python.path, ["-B", "-c", Self.program],
      inheriting: [3: socket, 4: down.read, 5: up.write])
    for descriptor in [socket, down.read, up.write] { close(descriptor) }
    let writer = try Connection(adopting: down.write)
    let reader = try Connection(adopting: up.read)
    let block = Array(0...255 as ClosedRange<UInt8>)
    do {
      try duplex.send([42, nil, "hello"] as MessageValue)
      #expect(try duplex.receive() == [42, nil, "hello"])
      for size in [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20, 5 << 20] {
        var data: [UInt8] = []
        for _ in 0..<size / 256 { data.append(contentsOf: block) }
        data += [UInt8](repeating: UInt8(ascii: "x"), count: size % 256)
        try duplex.send(bytes: data)
        #expect(try same(duplex.receiveBytes(), data))
      }
      try duplex.send(SampleReading(sensor: "a", values: [1, 2.5]))
      #expect(try duplex.receive(SampleReading.self) == SampleReading(sensor: "b", values: [0.5]))
      try writer.send("over a pipe")
      #expect(try reader.receive(String.self) == "and back")
      #expect(try reader.receiveBytes() == Array("raw".utf8))
      writer.close()
      duplex.close()
      #expect(code { try reader.receiveBytes() } == .peerClosed)
    } catch {
      Issue.record("\(python): \(error)")
    }
    let result = try child.finish()
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
  }

  /// A Python that is killed in the middle of a message of 100 MB.
  @Test func killedInTheMiddle() throws {
    let python = try #require(PythonInterpreter.newest)
    let (ours, theirs) = try connectionWithRawPeer(maximum: 200 << 20)
    let child = try PythonProcess(
      python.path,
      [
        "-c",
        "from multiprocessing.connection import Connection as C; C(3).send_bytes(bytes(10**8))",
      ],
      inheriting: [3: theirs])
    close(theirs)
    #expect(try ours.poll())
    kill(child.pid, SIGKILL)
    #expect(try child.finish().signal == SIGKILL)
    #expect(code { try ours.receiveBytes() } == .malformedFrame)
    #expect(code { try ours.receiveBytes() } == .closed)
  }
}
