// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

struct Show: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows all that can be told about one segment.")

  @Argument(help: "A name such as /jobs, or memfd:INODE as 'ls' prints it.")
  var name: String
  @Flag(help: "One JSON object.")
  var json = false

  func run() throws {
    guard let segment = SegmentScan().segment(named: name) else {
      throw ValidationError("no segment '\(name)' that this user can see")
    }
    print(json ? try JSONOutput.text(segment) : segment.description)
  }
}
