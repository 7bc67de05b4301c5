// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct IPCTool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ipctool",
    abstract: "Shows the shared memory of SwiftIPC on this machine, and removes what is stale.",
    discussion: """
      Named segments are found in /dev/shm, anonymous ones through the descriptors of those \
      processes that you may look into: your own, or everybody's as root.
      """,
    version: "0.1.0",
    subcommands: [List.self, Show.self, Remove.self],
    defaultSubcommand: List.self)
}
