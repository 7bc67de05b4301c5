// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// The code of the error that a closure throws, or nil.
func code<R>(_ body: () throws -> R) -> IPCError.Code? {
  do {
    _ = try body()
    return nil
  } catch {
    return (error as? IPCError)?.code ?? .init(rawValue: "\(type(of: error))")
  }
}

func asyncCode<R>(_ body: () async throws -> R) async -> IPCError.Code? {
  do {
    _ = try await body()
    return nil
  } catch {
    return (error as? IPCError)?.code ?? .init(rawValue: "\(type(of: error))")
  }
}

/// The code of the error with which sending ends once the other end is closed everywhere: a child that
/// another test is starting has a copy of it until it executes. Where that takes long, the stream is
/// full and sending waits.
func codeOfSending(_ connection: Connection) -> IPCError.Code? {
  while true {
    if let code = code({ try connection.send(bytes: [1], timeout: .seconds(30)) }) { return code }
  }
}

/// `==` for many bytes, which without optimisation takes seconds for 100 MB.
func same(_ a: some Collection<UInt8>, _ b: some Collection<UInt8>) -> Bool {
  a.withContiguousStorageIfAvailable { a in
    b.withContiguousStorageIfAvailable { b in
      guard a.count == b.count else { return false }
      guard let first = a.baseAddress, let second = b.baseAddress else { return true }
      return unsafe memcmp(first, second, a.count) == 0
    } ?? false
  } ?? false
}

/// Bytes that differ from place to place.
func pattern(_ count: Int) -> [UInt8] {
  var state: UInt32 = 1
  return (0..<count).map { _ in
    state = state &* 1_664_525 &+ 1_013_904_223
    return UInt8(truncatingIfNeeded: state >> 24)
  }
}

/// A connection and the bare descriptor at the other end of it, to write what no peer should.
func connectionWithRawPeer(maximum: Int = 1 << 20) throws -> (Connection, raw: Int32) {
  var ends: [Int32] = [-1, -1]
  let status = unsafe socketpair(
    AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends)
  try #require(status == 0)
  return (try Connection(adopting: ends[0], maximumMessageSize: maximum), ends[1])
}

/// A descriptor that is neither a pipe nor a socket.
func makeOther() -> Int32 { unsafe open("/dev/null", O_RDWR | O_CLOEXEC) }

func put(_ bytes: [UInt8], to descriptor: Int32) {
  #expect(unsafe write(descriptor, bytes, bytes.count) == bytes.count)
}

struct SampleReading: Codable, Hashable {
  var sensor: String
  var values: [Double]
}

@Suite struct ConnectionTests {
  @Test(arguments: [
    0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20, (1 << 20) + 1, 100 << 20,
  ])
  func bytesOfAllSizes(size: Int) throws {
    let (reader, writer) = try Connection.pipe(maximumMessageSize: 128 << 20)
    #expect(reader.maximumMessageSize == 128 << 20)
    let bytes = size > 1 << 21 ? [UInt8](repeating: 7, count: size) : pattern(size)
    let sending = InThread {
      try writer.send(bytes: bytes)
      try unsafe writer.send(bytes: bytes.span.bytes)
      try writer.send(bytes: bytes[...])
      writer.close()
    }
    #expect(try same(reader.receiveBytes(), bytes))
    #expect(try same(reader.receiveBytes(), bytes))
    var storage = [UInt8](repeating: 0, count: size + 1)
    let count = try unsafe storage.withUnsafeMutableBytes {
      try unsafe reader.receiveBytes(into: $0)
    }
    #expect(count == size && same(storage[..<size], bytes))
    #expect(code { try reader.receiveBytes() } == .peerClosed)
    #expect(code { try reader.receiveBytes() } == .peerClosed)
    try sending.join()
  }

  @Test func directions() throws {
    let (reader, writer) = try Connection.pipe(maximumMessageSize: 10)
    #expect(reader.isReadable && !reader.isWritable && !writer.isReadable && writer.isWritable)
    #expect(code { try reader.send(bytes: [1]) } == .notWritable)
    #expect(code { try writer.receiveBytes() } == .notReadable)
    #expect(code { try writer.poll(timeout: .zero) } == .notReadable)
    #expect(code { try writer.send(bytes: [UInt8](repeating: 0, count: 11)) } == .messageTooLong)
    #expect(code { try Connection.pair(maximumMessageSize: 0) } == .invalidArgument)
    #expect(try !reader.poll(timeout: .milliseconds(1)))
    try writer.send(bytes: [])
    #expect(try reader.poll())
    #expect(try reader.receiveBytes(timeout: .zero) == [])
    #expect(code { try reader.receiveBytes(timeout: .zero) } == .timedOut)
    #expect(code { try reader.receiveBytes(timeout: .milliseconds(2)) } == .timedOut)
    #expect(code { try reader.receiveBytes(timeout: .seconds(-5)) } == .timedOut)
    reader.close()
    reader.close()
    #expect(reader.isClosed && !writer.isClosed)
    #expect(code { try reader.receiveBytes() } == .closed)
    #expect(code { try reader.duplicate() } == .closed)
    #expect(codeOfSending(writer) == .peerClosed)
  }

  @Test func values() throws {
    let (a, b) = try Connection.pair()
    try a.send([42, nil, "hello"] as MessageValue)
    try a.send(SampleReading(sensor: "a", values: [1, 2.5]))
    try a.send("not a reading")
    try a.send(7)
    #expect(try b.receive() == [42, nil, "hello"])
    #expect(try b.receive(SampleReading.self) == SampleReading(sensor: "a", values: [1, 2.5]))
    #expect(code { try b.receive(SampleReading.self) } == .malformedMessage)
    #expect(try b.receive(Int.self) == 7)
    try b.send(bytes: [0xff, 1])
    #expect(code { try a.receive() } == .malformedMessage)
    #expect(!a.isClosed)
  }

  @Test func aBufferThatIsTooSmall() throws {
    let (a, b) = try Connection.pair()
    try a.send(bytes: [1, 2, 3])
    var storage: [UInt8] = [9, 9, 9, 9]
    do {
      _ = try unsafe storage.withUnsafeMutableBytes {
        try unsafe b.receiveBytes(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<2]))
      }
      Issue.record("it fitted")
    } catch let error as IPCError {
      #expect(
        error.description
          == "messageTooLong: connection: the message has 3 bytes, the buffer 2")
    }
    var span = storage.mutableSpan
    var bytes = unsafe span.mutableBytes
    #expect(try b.receiveBytes(into: &bytes) == 3)
    #expect(storage == [1, 2, 3, 9])
  }

  @Test(arguments: [
    ([0, 0, 0, 5, 1, 2], IPCError.Code.malformedFrame),
    ([0, 0], .malformedFrame),
    ([0xff, 0xff, 0xff, 0xff, 0, 0], .malformedFrame),
    ([0xff, 0xff, 0xff, 0xfe], .malformedFrame),
    ([0x80, 0, 0, 0], .malformedFrame),
    ([0x7f, 0xff, 0xff, 0xff], .messageTooLong),
    ([0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0], .messageTooLong),
  ])
  func malformedFrames(bytes: [UInt8], expected: IPCError.Code) throws {
    let (connection, raw) = try connectionWithRawPeer()
    put([0, 0, 0, 1, 8] + bytes, to: raw)
    close(raw)
    #expect(try connection.receiveBytes() == [8])
    #expect(code { try connection.receiveBytes() } == expected)
    #expect(code { try connection.receiveBytes() } == .closed)
    #expect(code { try connection.send(bytes: [1]) } == .closed)
    #expect(code { try connection.poll() } == .closed)
  }

  @Test func aMessageInPieces() throws {
    let (connection, raw) = try connectionWithRawPeer(maximum: 1 << 41)
    let bytes = pattern(3_000_000)
    put([0xff, 0xff], to: raw)
    #expect(code { try connection.receiveBytes(timeout: .milliseconds(1)) } == .timedOut)
    put([0xff, 0xff, 0, 0, 0, 0], to: raw)
    #expect(code { try connection.receiveBytes(timeout: .zero) } == .timedOut)
    put([0, 0x2d, 0xc6, 0xc0] + bytes[..<100_000], to: raw)
    #expect(code { try connection.receiveBytes(timeout: .milliseconds(1)) } == .timedOut)
    let rest = InThread { put(Array(bytes[100_000...]), to: raw) }
    #expect(try same(connection.receiveBytes(), bytes))
    try rest.join()
    // Claims a tebibyte, and is not believed.
    put([0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3], to: raw)
    #expect(code { try connection.receiveBytes(timeout: .milliseconds(1)) } == .timedOut)
    close(raw)
    #expect(code { try connection.receiveBytes() } == .malformedFrame)
  }

  @Test func aTimeoutInTheMiddleOfSending() throws {
    let (a, b) = try Connection.pair()
    let bytes = [UInt8](repeating: 1, count: 8 << 20)
    #expect(code { try a.send(bytes: bytes, timeout: .milliseconds(10)) } == .timedOut)
    #expect(code { try a.send(bytes: [1]) } == .closed)
    #expect(code { try b.receiveBytes() } == .malformedFrame)
    #expect(code { try b.receiveBytes() } == .closed)
  }

  @Test func closeWakesThreads() throws {
    for round in 0..<20 {
      let (a, _peer) = try Connection.pair()
      let threads = [
        InThread { code { try a.receiveBytes() } },
        InThread { code { try a.poll() } },
        InThread { code { try a.send(bytes: [UInt8](repeating: 0, count: 4 << 20)) } },
      ]
      for _ in 0..<round * 10 { sched_yield() }
      a.close()
      for thread in threads { #expect(try thread.join() == .closed) }
      withExtendedLifetime(_peer) {}
    }
  }

  @Test func descriptors() throws {
    let (a, b) = try Connection.pair()
    let ends = makePipe()
    try a.send(bytes: [5], descriptors: [ends.write])
    // No caller asks for this one's, so it is closed.
    try a.send(bytes: [6], descriptors: [ends.write])
    try a.send(bytes: [7], descriptors: [Int32](repeating: ends.write, count: 1000))
    close(ends.write)
    let (bytes, descriptors) = try b.receiveBytesAndDescriptors()
    #expect(bytes == [5] && descriptors.count == 1)
    #expect(fcntl(descriptors[0], F_GETFD) == FD_CLOEXEC)
    put([1], to: descriptors[0])
    close(descriptors[0])
    #expect(try b.receiveBytes() == [6])
    let many = try b.receiveBytesAndDescriptors()
    #expect(many.descriptors.count == 1000)
    for descriptor in many.descriptors { #expect(close(descriptor) == 0) }
    // No copy of the writing end is left, or this would wait.
    var buffer: [UInt8] = [0, 0]
    #expect(unsafe read(ends.read, &buffer, 2) == 1)
    #expect(unsafe read(ends.read, &buffer, 2) == 0)
    close(ends.read)
    #expect(
      code { try a.send(bytes: [], descriptors: [Int32](repeating: 2, count: 1009)) }
        == .descriptorsLost)
    #expect(code { try a.send(bytes: [1], descriptors: [-1]) } == .system)
    #expect(!a.isClosed)
  }

  @Test func aForeignPipe() throws {
    let ends = makePipe()
    let reader = try Connection(adopting: ends.read)
    let writer = try Connection(adopting: ends.write)
    #expect(reader.isReadable && !reader.isWritable && !writer.isReadable && writer.isWritable)
    let bytes = pattern(300_000)
    let sending = InThread { try writer.send(bytes: bytes) }
    #expect(try reader.receiveBytes() == bytes)
    try sending.join()
    #expect(code { try writer.send(bytes: [1], descriptors: [2]) } == .unsupported)
    reader.close()
    // SIGPIPE has its default action here, which would end the tests.
    #expect(codeOfSending(writer) == .peerClosed)
    let null = makeOther()
    #expect(code { try Connection(adopting: null) } == .unsupported)
    close(null)
    #expect(code { try Connection(adopting: -1) } == .system)
  }

  @Test func duplicates() throws {
    let (a, b) = try Connection.pair()
    for byte in 1...3 as ClosedRange<UInt8> { try a.send(bytes: [byte]) }
    #expect(try b.receiveBytes() == [1])
    let copy = try b.duplicate()
    try a.send(bytes: [4])
    #expect(try copy.receiveBytes() == [4])
    #expect(try b.receiveBytes() == [2])
    #expect(try b.receiveBytes() == [3])
    b.close()
    try copy.send(bytes: [9])
    #expect(try a.receiveBytes() == [9])
    copy.close()
    #expect(code { try a.receiveBytes() } == .peerClosed)
  }
}
