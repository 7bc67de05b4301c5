// SPDX-License-Identifier: Apache-2.0
import Glibc
import Tasks

/// Replaces the library that it is running with another one.
@main struct Program {
  static func main() {
    show("the server", double(21, fromServer: true))
    guard rename(CommandLine.arguments[1], CommandLine.arguments[2]) == 0 else { exit(2) }
    show("spawned after the change", double(21, fromServer: false))
    show("from the server of before", double(21, fromServer: true))
    killServer()
    show("from a server of now", double(21, fromServer: true))
  }

  static func show(_ what: String, _ results: [String]) {
    print("\(what):")
    for result in results { print("  \(result)") }
  }
}
