// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

/// The other end of a stream: this program again, started with words that say what to do and with
/// one end of a socketpair. Floor and contestant have peers of the same kind, so that a switch from
/// one process to the other costs both the same.
struct Peer {
  enum Job: String {
    case rawEcho, rawSink, echo, messageEcho, sink, freshSink
  }

  /// The first argument of a peer.
  static let word = "peer"
  private static let descriptorInPeer: Int32 = 3

  private let process: pid_t
  /// Our end, the caller's to close.
  let descriptor: Int32

  init(_ job: Job, size: Int = 0, core: Int32) {
    var ends: [Int32] = [-1, -1]
    floor_socketpair(&ends)
    process = Self.start([Self.word, job.rawValue, "\(size)", "\(core)"], descriptor: ends[1])
    close(ends[1])
    descriptor = ends[0]
  }

  /// Waits for its end, which comes when our end is closed.
  func wait() { floor_wait(process) }

  /// What the peer does, in its own process.
  static func serve(_ arguments: some Sequence<String>) throws {
    let arguments = Array(arguments)
    guard arguments.count == 3, let job = Job(rawValue: arguments[0]),
      let size = Int(arguments[1]), let core = Int32(arguments[2])
    else { fatalError("peer: \(arguments)") }
    floor_pin(core)
    switch job {
    case .rawEcho: floor_echo(descriptorInPeer, floor_memory_create(size), size)
    case .rawSink: floor_sink(descriptorInPeer, floor_memory_create(size), size)
    case .echo: try untilClosed { try $0.send(bytes: try $0.receiveBytes()) }
    case .messageEcho: try untilClosed { try $0.send(try $0.receive()) }
    case .sink:
      let buffer = UnsafeMutableRawBufferPointer(start: floor_memory_create(size), count: size)
      try untilClosed {
        _ = try $0.receiveBytes(into: buffer)
        try $0.send(bytes: [1])
      }
    case .freshSink:
      try untilClosed {
        _ = try $0.receiveBytes()
        try $0.send(bytes: [1])
      }
    }
  }

  private static func untilClosed(_ body: (Connection) throws -> Void) throws {
    let connection = try Connection(adopting: descriptorInPeer)
    do {
      while true { try body(connection) }
    } catch let error as IPCError where error.code == .peerClosed {}
  }

  /// Starts this program with arguments, and with a descriptor unless it is negative.
  static func start(_ arguments: [String], descriptor: Int32 = -1) -> pid_t {
    var pointers = (["Bench"] + arguments).map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    return floor_spawn(&pointers, descriptor)
  }
}

/// A peer and a bare descriptor.
final class RawPeer {
  private let peer: Peer
  let descriptor: Int32

  init(_ job: Peer.Job, size: Int, core: Int32) {
    peer = Peer(job, size: size, core: core)
    descriptor = peer.descriptor
  }

  deinit {
    close(descriptor)
    peer.wait()
  }
}

/// A peer and a connection of ours.
final class ConnectedPeer {
  private let peer: Peer
  let connection: Connection

  init(_ job: Peer.Job, size: Int = 0, core: Int32) throws {
    peer = Peer(job, size: size, core: core)
    connection = try Connection(adopting: peer.descriptor)
  }

  deinit {
    connection.close()
    peer.wait()
  }
}
