// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// What the bytes of a connection in a message look like, to forge them.
private struct ForgedTicket: Codable {
  var descriptor = 0
  var flags: UInt32 = 3
  var maximum: UInt64 = 100
  var isPeerSwift = false
  var unread: [UInt8] = []
  var arrived: [Int] = []
  var offsets: [UInt64] = []
}

@Suite struct ConnectionMovingTests {
  struct Parcel: Codable {
    var name: String
    var connections: [Connection]
  }

  @Test func aConnectionMovesWithWhatItHasRead() throws {
    let (carrier, receiver) = try Connection.pair()
    let (a, b) = try Connection.pair(maximumMessageSize: 5000)
    for byte in 1...4 as ClosedRange<UInt8> { try a.send(bytes: [byte]) }
    #expect(try b.receiveBytes() == [1])
    let (reader, writer) = try Connection.pipe()
    try carrier.send(Parcel(name: "two", connections: [b, writer]))
    #expect(b.isClosed && writer.isClosed && !reader.isClosed)
    #expect(code { try b.receiveBytes() } == .closed)
    let parcel = try receiver.receive(Parcel.self)
    #expect(parcel.name == "two" && parcel.connections.count == 2)
    let moved = parcel.connections[0]
    #expect(moved.maximumMessageSize == 5000 && moved.isReadable && moved.isWritable)
    for byte in 2...4 as ClosedRange<UInt8> { #expect(try moved.receiveBytes() == [byte]) }
    try a.send("after")
    #expect(try moved.receive(String.self) == "after")
    try moved.send("back")
    #expect(try a.receive(String.self) == "back")
    #expect(!parcel.connections[1].isReadable)
    try parcel.connections[1].send("one way")
    #expect(try reader.receive(String.self) == "one way")
    // The end of the stream means what it says: no other process holds the moved end.
    moved.close()
    parcel.connections[1].close()
    #expect(code { try a.receiveBytes() } == .peerClosed)
    #expect(code { try reader.receiveBytes() } == .peerClosed)
  }

  /// What the carrying connection allows is what its owner wants to take from the peer.
  @Test func aConnectionInAMessageHasTheLimitOfItsCarrier() async throws {
    let (carrier, receiver) = try Connection.pair(maximumMessageSize: 5000)
    let (_, large) = try Connection.pair(maximumMessageSize: 400 << 20)
    let (_, small) = try Connection.pair(maximumMessageSize: 100)
    try await carrier.send(Parcel(name: "two", connections: [large, small]))
    let parcel = try await receiver.receive(Parcel.self)
    #expect(parcel.connections.map(\.maximumMessageSize) == [5000, 100])
    // What a child returns; and what it is given, which it takes from its own program.
    let (_, given) = try Connection.pair(maximumMessageSize: 400 << 20)
    let child = try ChildProcess.start(given) { given in
      let (_, made) = try Connection.pair(maximumMessageSize: 300 << 20)
      return Limited(seen: given.maximumMessageSize, made: made)
    }
    let limited = try await child.value
    #expect(limited.seen == 400 << 20)
    #expect(limited.made.maximumMessageSize == Connection.defaultMaximumMessageSize)
  }

  struct Limited: Codable, Sendable {
    var seen: Int
    var made: Connection
  }

  @Test func descriptorsReadAheadMoveToo() throws {
    let (carrier, receiver) = try Connection.pair()
    let (a, b) = try Connection.pair()
    let (reader, writer) = try Connection.pipe()
    try a.send(1)
    try a.send(writer)
    try a.send(3)
    #expect(try b.receive(Int.self) == 1)
    #expect(try b.poll())
    try carrier.send(b)
    let moved = try receiver.receive(Connection.self)
    let inner = try moved.receive(Connection.self)
    try inner.send("through two")
    #expect(try reader.receive(String.self) == "through two")
    inner.close()
    #expect(code { try reader.receiveBytes() } == .peerClosed)
    #expect(try moved.receive(Int.self) == 3)
  }

  @Test func aFailedSendMovesNothing() throws {
    let (carrier, receiver) = try Connection.pair(maximumMessageSize: 100)
    let (a, b) = try Connection.pair()
    let long = Parcel(name: String(repeating: "x", count: 200), connections: [b])
    #expect(code { try carrier.send(long) } == .messageTooLong)
    receiver.close()
    #expect(codeOfSending(carrier) == .peerClosed)
    #expect(code { try carrier.send(b) } == .peerClosed)
    try b.send(1)
    #expect(try a.receive(Int.self) == 1)
    #expect(code { try MessageEncoder().encode(b) } == .notTransferable)
    // It can be in one place only.
    let (one, _one) = try Connection.pair()
    #expect(code { try one.send([b, b]) } == .notTransferable)
    withExtendedLifetime(_one) {}
    let ends = makePipe()
    let writer = try Connection(adopting: ends.write)
    #expect(code { try writer.send(b) } == .unsupported)
    #expect(!b.isClosed)
    close(ends.read)
    b.close()
    let (c, _d) = try Connection.pair()
    #expect(code { try c.send(b) } == .closed)
    withExtendedLifetime(_d) {}
  }

  @Test func aConnectionThatIsNotTakenIsClosed() throws {
    let (carrier, receiver) = try Connection.pair()
    let (a, b) = try Connection.pair()
    try carrier.send(b)
    #expect(code { try receiver.receive(Int.self) } == .malformedMessage)
    #expect(code { try a.receiveBytes() } == .peerClosed)
  }

  @Test func duplicateKeepsOne() throws {
    let (carrier, receiver) = try Connection.pair()
    let (a, b) = try Connection.pair()
    try carrier.send(b.duplicate())
    let other = try receiver.receive(Connection.self)
    try a.send(1)
    #expect(try other.receive(Int.self) == 1)
    try a.send(2)
    #expect(try b.receive(Int.self) == 2)
  }

  @Test func forgedOnes() throws {
    let (carrier, receiver) = try Connection.pair()
    let ends = makePipe()
    let null = makeOther()
    let forged: [(ForgedTicket, [Int32])] = [
      (.init(), []),
      (.init(descriptor: -1), [ends.write]),
      (.init(descriptor: 1), [ends.write]),
      (.init(descriptor: .max), [ends.write]),
      (.init(), [null]),
      // A pipe is not for both directions.
      (.init(), [ends.write]),
      (.init(flags: 1 << 31), [ends.write]),
      (.init(flags: 2, maximum: 0), [ends.write]),
      (.init(flags: 2, unread: [1], arrived: [1], offsets: [1]), [ends.write, null]),
      (.init(flags: 2, unread: [1], arrived: [0], offsets: [0]), [ends.write, null]),
      (.init(flags: 2, unread: [1], arrived: [1], offsets: []), [ends.write, null]),
      (
        .init(flags: 2, unread: [1, 2], arrived: [1, 2], offsets: [1, 0]), [ends.write, null, null]
      ),
    ]
    for (ticket, descriptors) in forged {
      let bytes = try MessageEncoder().encode(ticket)
      try carrier.send(bytes: bytes, descriptors: descriptors)
      #expect(code { try receiver.receive(Connection.self) } == .malformedMessage, "\(ticket)")
    }
    let good = try MessageEncoder().encode(ForgedTicket(flags: 2, maximum: .max))
    try carrier.send(bytes: good, descriptors: [ends.write])
    try receiver.receive(Connection.self).send(bytes: [1])
    close(ends.write)
    close(null)
    // All copies of the writing end are closed: after five bytes the pipe is at its end.
    var buffer = [UInt8](repeating: 0, count: 10)
    #expect(unsafe read(ends.read, &buffer, 10) == 5)
    #expect(unsafe read(ends.read, &buffer, 10) == 0)
    close(ends.read)
  }
}
