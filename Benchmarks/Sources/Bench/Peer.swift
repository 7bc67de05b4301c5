// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

/// The other end of a round trip: this program again, started with a word that says what to do and
/// with one end of a socket. Floor and contestant have the same kind of peer, so that a switch from
/// one process to the other costs both the same.
final class Peer {
  private let process: pid_t
  let descriptor: Int32
  private let closes: Bool

  /// Starts a peer for `job` on a core. The descriptor given to the caller is closed with the peer
  /// unless it is handed to somebody who closes it.
  init(_ job: Job, size: Int = 0, core: Int32, closes: Bool) {
    var ends: [Int32] = [-1, -1]
    floor_socketpair(&ends)
    process = Self.start([Self.word, job.rawValue, "\(size)", "\(core)"], descriptor: ends[1])
    close(ends[1])
    descriptor = ends[0]
    self.closes = closes
  }

  deinit {
    if closes { close(descriptor) }
    floor_wait(process)
  }

  /// The first argument of a peer.
  static let word = "peer"

  enum Job: String {
    case rawEcho, rawSink
  }

  /// What the peer does, in its own process. Ends when its caller closes.
  static func serve(_ arguments: some Sequence<String>) throws {
    let arguments = Array(arguments)
    guard arguments.count == 3, let job = Job(rawValue: arguments[0]),
      let size = Int(arguments[1]), let core = Int32(arguments[2])
    else { fatalError("peer: \(arguments)") }
    floor_pin(core)
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: max(size, 1), alignment: 4096)
    defer { buffer.deallocate() }
    switch job {
    case .rawEcho: floor_echo(descriptorInPeer, buffer, size)
    case .rawSink: floor_sink(descriptorInPeer, buffer, size)
    }
  }

  private static let descriptorInPeer: Int32 = 3

  /// Starts this program with arguments, and a descriptor if it is not negative.
  static func start(_ arguments: [String], descriptor: Int32 = -1) -> pid_t {
    var pointers = (["Bench"] + arguments).map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    return floor_spawn(&pointers, descriptor)
  }
}
