// SPDX-License-Identifier: Apache-2.0
// A worker's death in a program with an @main type. Its global variables are initialised when they
// are first read, in a worker too.
import Glibc
import Helpers
import SwiftIPC

let names = ["a", String(CommandLine.argc)]

@main struct Marked {
  static let more = ["b", String(CommandLine.argc)]

  static func main() throws {
    print(names.count, more.count)
    try Death.report { number in
      if names.count + more.count == number { raise(SIGSEGV) }
      return number
    }
  }
}
