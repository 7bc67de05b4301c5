// SPDX-License-Identifier: Apache-2.0
@preconcurrency internal import Glibc

/// The command line.
struct Options {
  var filters: [String] = []
  /// nil for as many as each line wants.
  var rounds: Int?
  var core = Cores.count > 1 ? 1 : 0
  var asJSON = false
  var withPython = true
  var listing = false

  private static let usage = """
    usage: Bench [--filter TEXT]... [--rounds N] [--core N] [--json] [--no-python] [--list]

      --filter TEXT  only lines whose name contains TEXT, in any case
      --rounds N     turns per side and line (61, of streams 9)
      --core N       the core to run on (1, or 0 where there is only one)
      --json         a line of JSON per benchmark instead of the table
      --no-python    leave CPython out
      --list         the names, nothing measured
    """

  /// Ends the program when the arguments make no sense, or ask for help.
  init(_ arguments: some Sequence<String>) {
    var rest = arguments.makeIterator()
    while let argument = rest.next() {
      switch argument {
      case "--filter": filters.append(Self.text(after: argument, &rest).lowercased())
      case "--rounds": rounds = Self.number(after: argument, &rest, in: 3...10_000)
      case "--core": core = Self.number(after: argument, &rest, in: 0...(Cores.count - 1))
      case "--json": asJSON = true
      case "--no-python": withPython = false
      case "--list": listing = true
      case "--help", "-h":
        print(Self.usage)
        exit(0)
      default: Self.fail("no such option: \(argument)")
      }
    }
  }

  func wants(_ contest: Contest) -> Bool {
    let name = contest.name.lowercased()
    return filters.isEmpty || filters.contains { name.contains($0) }
  }

  private static func text(
    after option: String, _ rest: inout some IteratorProtocol<String>
  ) -> String {
    guard let text = rest.next() else { fail("\(option) needs a value") }
    return text
  }

  private static func number(
    after option: String, _ rest: inout some IteratorProtocol<String>, in range: ClosedRange<Int>
  ) -> Int {
    guard let number = Int(text(after: option, &rest)), range.contains(number) else {
      fail("\(option) needs a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private static func fail(_ message: String) -> Never {
    fputs("\(message)\n\(usage)\n", stderr)
    exit(64)
  }
}
