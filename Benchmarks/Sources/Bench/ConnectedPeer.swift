// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

/// A child at the other end of a connection, as a program would have one.
final class ConnectedPeer {
  enum Job: String, Codable {
    case echo, arrayEcho, messageEcho, numbersEcho, sink, arraySink
  }

  let connection: Connection
  private let child: ChildProcess<Void>

  init(_ job: Job, size: Int = 0, core: Int32) throws {
    let (ours, theirs) = try Connection.pair()
    child = try ChildProcess.start(theirs, job, size, core) { connection, job, size, core in
      floor_pin(core)
      do {
        try ConnectedPeer.serve(job, connection, size)
      } catch let error as IPCError where error.code == .peerClosed {}
    }
    connection = ours
  }

  deinit {
    connection.close()
    // A peer that failed has said so on standard error, and ended the contest with it.
    _ = try? child.join()
  }

  private static func serve(_ job: Job, _ connection: Connection, _ size: Int) throws {
    let buffer = UnsafeMutableRawBufferPointer(
      start: floor_memory_create(max(size, 1)), count: size)
    switch job {
    case .echo:
      while true {
        let length = try connection.receiveBytes(into: buffer)
        try connection.send(bytes: UnsafeRawBufferPointer(rebasing: buffer[..<length]).bytes)
      }
    case .arrayEcho: while true { try connection.send(bytes: connection.receiveBytes()) }
    case .messageEcho: while true { try connection.send(connection.receive()) }
    case .numbersEcho:
      let numbers = UnsafeMutableBufferPointer<Double>.allocate(capacity: 1000)
      numbers.initialize(repeating: 0)
      while true {
        var span = numbers.mutableSpan
        let count = try connection.receive(into: &span)
        try connection.send(numbers: numbers.span.extracting(first: count))
      }
    case .sink:
      while true {
        _ = try connection.receiveBytes(into: buffer)
        try connection.send(bytes: [1])
      }
    case .arraySink:
      while true {
        _ = try connection.receiveBytes()
        try connection.send(bytes: [1])
      }
    }
  }
}
