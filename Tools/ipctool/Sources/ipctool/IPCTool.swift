// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CIPC

@main
struct IPCTool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ipctool",
    abstract: "Shows the shared memory of SwiftIPC on this machine, and removes what is stale.",
    discussion: """
      Named segments are found in /dev/shm, anonymous ones through the descriptors of those \
      processes that you may look into: your own, or everybody's as root.
      """,
    version: String(cString: cipc_version()),
    subcommands: [List.self, Show.self, Remove.self],
    defaultSubcommand: List.self)
}
