// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Glibc

/// One stop of the tour: a short program with a file of its own.
protocol Stop {
  static var title: String { get }
  static func run() async throws
}

@main struct Tour {
  static var stops: [any Stop.Type] {
    [
      Hello.self,
      NameAndArguments.self,
      ParentGoesOn.self,
      TaskOfItsOwn.self,
      ClassTask.self,
      Forking.self,
      WhoIsThere.self,
      Daemons.self,
      GlobalsAreNotShared.self,
      Talking.self,
      WriterAndReader.self,
      MixedQueue.self,
      JoinBeforeGet.self,
      SharedState.self,
      Race.self,
      SharedText.self,
      NumbersForPython.self,
      KilledOwner.self,
      KilledWorker.self,
      FourWorkers.self,
      PoolCalls.self,
      PoolTroubles.self,
      TwoCores.self,
    ]
  }

  /// Runs all stops, or the ones whose numbers are given: `Tour 1 10`.
  static func main() async throws {
    // Line by line, also into a pipe: parent and children write to the same place.
    setlinebuf(stdout)
    let chosen = CommandLine.arguments.dropFirst().compactMap { Int($0) }
    for (index, stop) in stops.enumerated() where chosen.isEmpty || chosen.contains(index + 1) {
      print("\n\(index + 1). \(stop.title)")
      try await stop.run()
    }
    print("\nEach stop is a file in Examples/Tour/Sources/Tour.")
  }
}

/// Prints one line of a stop, indented.
func say(_ line: String) { print("   \(line)") }
