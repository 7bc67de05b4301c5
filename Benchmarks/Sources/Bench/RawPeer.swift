// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc

/// The other end of a floor's stream: this program again, started with words that say what to do
/// and with one end of a socketpair. A peer of ours (`ConnectedPeer`) is this program as well, so
/// that a switch from one process to the other costs both the same.
final class RawPeer {
  enum Job: String {
    case echo, sink, forkServer
  }

  /// The first argument of a peer.
  static let word = "peer"
  static let descriptorInPeer: Int32 = 3

  private let process: pid_t
  let descriptor: Int32

  init(_ job: Job, size: Int = 0, core: Int32) {
    var ends: [Int32] = [-1, -1]
    floor_socketpair(&ends)
    process = Self.start([Self.word, job.rawValue, "\(size)", "\(core)"], descriptor: ends[1])
    close(ends[1])
    descriptor = ends[0]
  }

  deinit {
    close(descriptor)
    floor_wait(process)
  }

  /// What the peer does, in its own process. Ends when the other end is closed.
  static func serve(_ arguments: some Sequence<String>) {
    let arguments = Array(arguments)
    guard arguments.count == 3, let job = Job(rawValue: arguments[0]),
      let size = Int(arguments[1]), let core = Int32(arguments[2])
    else { fatalError("peer: \(arguments)") }
    floor_pin(core)
    switch job {
    case .echo: floor_echo(descriptorInPeer, floor_memory_create(size), size)
    case .sink: floor_sink(descriptorInPeer, floor_memory_create(size), size)
    case .forkServer: floor_server_serve(descriptorInPeer)
    }
  }

  /// Starts this program with arguments, and with a descriptor unless it is negative.
  static func start(_ arguments: [String], descriptor: Int32 = -1) -> pid_t {
    start(["Bench"] + arguments, descriptor, floor_spawn)
  }

  /// Starts another program, with a descriptor.
  static func start(program: String, _ arguments: [String], descriptor: Int32) -> pid_t {
    start([program] + arguments, descriptor) { floor_spawn_program(program, $0, $1) }
  }

  private static func start(
    _ words: [String], _ descriptor: Int32,
    _ spawn: (UnsafePointer<UnsafeMutablePointer<CChar>?>, Int32) -> pid_t
  ) -> pid_t {
    var pointers = words.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    return spawn(pointers, descriptor)
  }
}
