// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// CPython's `multiprocessing` on the same jobs: runs python/jobs.py.
struct Python {
  var interpreter = "python3"
  let version: String

  /// Beside the sources, since benchmarks run from a checkout.
  static let script =
    #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/python/jobs.py"

  init?() {
    guard let answer = Self.run("\(interpreter) \(Self.script) version").first else { return nil }
    version = answer
  }

  /// nil when the job failed; what went wrong is on standard error then.
  func run(_ job: String, _ placement: Contest.Placement, _ cores: Cores) -> Runner.Summary? {
    let place =
      placement == .anywhere
      ? "" : " --core \(cores.main) --peer-core \(cores.peer(for: placement))"
    let numbers = Self.run("\(interpreter) \(Self.script) \(job)\(place)").last?
      .split(separator: " ").compactMap { Double($0) }
    guard let numbers, numbers.count == 2 else { return nil }
    return Runner.Summary(median: numbers[0], p99: numbers[1])
  }

  private static func run(_ command: String) -> [String] {
    guard let pipe = popen(command, "r") else { return [] }
    defer { pclose(pipe) }
    return Machine.lines(of: pipe)
  }
}
