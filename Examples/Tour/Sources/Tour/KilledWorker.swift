// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum KilledWorker: Stop {
  static let title = "A killed worker's permit comes back, and its barrier breaks"

  static func run() async throws {
    let desks = try SharedSemaphore(value: 2)
    let lunch = try Barrier(parties: 2)
    let (ours, theirs) = try Connection.pair()

    let worker = try ChildProcess.start(desks, lunch, theirs) { desks, _, connection in
      try desks.withPermit {
        try connection.send("at my desk")
        _ = try connection.receive()  // and never comes to lunch
      }
    }
    say("worker: \(try await ours.receive(String.self))")
    say("parent: \(desks.value) of \(desks.capacity) desks are free")
    try worker.kill()
    say("parent: the worker \(try await worker.join())")

    let (mine, theirDesk) = (try await desks.acquire(), try await desks.acquire())
    say("parent: now I have both, the dead worker's too: \(desks.value) are free")
    try mine.release()
    try theirDesk.release()
    do {
      try await lunch.wait()
    } catch {
      say("parent: not everyone can come to lunch: \(error)")
    }
  }
}
