// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

/// Another process that starts children and joins them, one for each byte that it is sent: a parent
/// that has touched memory, or opened files, as this process should not.
final class StartingParent {
  /// The first argument of such a process.
  static let word = "parent"

  private let process: pid_t
  private let descriptor: Int32

  init(_ method: StartMethod, mebibytes: Int = 0, files: Int = 0, core: Int32) {
    var ends: [Int32] = [-1, -1]
    floor_socketpair(&ends)
    process = RawPeer.start(
      [Self.word, "\(method)", "\(mebibytes)", "\(files)", "\(core)"], descriptor: ends[1])
    close(ends[1])
    descriptor = ends[0]
  }

  deinit {
    close(descriptor)
    floor_wait(process)
  }

  /// Has it start a child and join it, as often as told.
  func start(_ count: Int) {
    var byte: UInt8 = 0
    floor_round_trips(descriptor, &byte, 1, count)
  }

  /// What that process does. Ends when the other end is closed.
  static func serve(_ arguments: some Sequence<String>) throws {
    let arguments = Array(arguments)
    guard arguments.count == 4,
      let method = StartMethod.allCases.first(where: { "\($0)" == arguments[0] }),
      let mebibytes = Int(arguments[1]), let files = Int(arguments[2]),
      let core = Int32(arguments[3])
    else { fatalError("parent: \(arguments)") }
    floor_pin(core)
    floor_memory_touch(mebibytes << 20)
    floor_files_open(files)
    var byte: UInt8 = 0
    while read(RawPeer.descriptorInPeer, &byte, 1) == 1 {
      try ChildProcess.start(options: .init(method: method)) {}.join()
      if write(RawPeer.descriptorInPeer, &byte, 1) != 1 { break }
    }
  }
}
