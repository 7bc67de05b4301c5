// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

/// Text of another process is shown on one line and does nothing to a terminal.
@Suite struct EscapedTextTests {
  /// Line breaks, an escape sequence of terminals, the C1 form of it, overrides and isolates of
  /// direction, separators, and letters that stay.
  private let hostile =
    "a\nb\r\t\u{1b}[31mred\u{9b}0m\u{202e}evil\u{2066}\u{200f}\u{2028}\u{7f}\0é中👩‍🔬"

  private func isHarmless(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { scalar in
      switch scalar.properties.generalCategory {
      case .control, .lineSeparator, .paragraphSeparator: false
      default: !scalar.properties.isBidiControl
      }
    }
  }

  @Test func everythingThatIsNoCharacter() {
    #expect(!isHarmless(hostile))
    #expect(
      hostile.escaped
        == "a\\nb\\r\\t\\u{1B}[31mred\\u{9B}0m\\u{202E}evil\\u{2066}\\u{200F}\\u{2028}\\u{7F}\\u{0}é中👩‍🔬"
    )
    #expect(hostile.escaped.escaped == hostile.escaped)
    #expect("plain \\ text".escaped == "plain \\ text")
    #expect("\u{e0041}tag".escaped == "\\u{E0041}tag")
  }

  @Test func errors() throws {
    #expect(isHarmless("\(IPCError(.malformedMessage, context: hostile))"))
    let remote = RemoteError(
      typeName: hostile, message: hostile, trace: [hostile], worker: "worker 1")
    #expect(isHarmless("\(remote)"))
    #expect(remote.debugDescription.split(separator: "\n").allSatisfy { isHarmless(String($0)) })
    #expect(remote.message == hostile)
    // Quoted from a message: keys, names of classes.
    let message = try MessageEncoder().encode([hostile: 1])
    let error = #expect(throws: IPCError.self) {
      try MessageDecoder().decode([String: String].self, from: message)
    }
    #expect(try isHarmless(#require(error).context))
    #expect(try isHarmless("\(#require(error))"))
  }

  @Test func valuesAndAddresses() throws {
    #expect(isHarmless("\(MessageValue.string(hostile))"))
    #expect(isHarmless("\([.string(hostile): 1] as MessageValue)"))
    #expect(isHarmless("\(Connection.Address.abstract(hostile))"))
    #expect(isHarmless("\(Connection.Address.unix(hostile))"))
  }

  @Test func aChildsError() async throws {
    let child = try ChildProcess.start { () throws -> Int in throw HostileError() }
    let error = await #expect(throws: (any Error).self) { try await child.value }
    #expect(try isHarmless("\(#require(error))"))
  }

  struct HostileError: Error, CustomStringConvertible {
    var description: String { "no\u{1b}[2Jnews\nERROR: all is lost\u{202e}" }
  }
}
