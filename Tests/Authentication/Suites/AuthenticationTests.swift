// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SwiftIPC

private func code<R>(_ body: () async throws -> R) async -> IPCError.Code? {
  do {
    _ = try await body()
    return nil
  } catch {
    return (error as? IPCError)?.code
  }
}

/// HMAC by known answers, and the two ends with each other.
@Suite struct AuthenticationTests {
  private let folder = SocketFolder()
  private let key = Array("secret".utf8)

  private func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// RFC 2202 and RFC 4231, test case 2.
  @Test func codesAreTheStandards() {
    let secret = Handshake.Secret(key: Array("Jefe".utf8), allowsMD5: true)
    let message = Array("what do ya want for nothing?".utf8)
    let expected: [(Handshake.Digest, String)] = [
      (.md5, "750c783e6ab0b503eaa86e310a5db738"),
      (.sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
      (
        .sha384,
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
          + "8e2240ca5e69e2c78b3239ecfab21649"
      ),
    ]
    for (digest, code) in expected {
      #expect(hexadecimal(secret.authenticate(digest, message)) == code)
      #expect(code.count == 2 * digest.length)
    }
    // A key longer than a block, and none at all.
    for length in [0, 64, 65, 200] {
      let secret = Handshake.Secret(key: [UInt8](repeating: 0xaa, count: length), allowsMD5: false)
      #expect(secret.authenticate(.sha256, message).count == 32)
    }
  }

  @Test func swiftWithSwift() async throws {
    let listener = try Listener(at: folder.address(), authenticationKey: key)
    async let accepted = listener.accept()
    let client = try await Connection.connect(to: folder.address(), authenticationKey: key)
    let server = try await accepted
    try await client.send("hello")
    #expect(try await server.receive(String.self) == "hello")

    let accepting = InThread { try listener.accept(timeout: .seconds(300)) }
    let address = folder.address()
    let key = key
    #expect(
      await code {
        try await Connection.connect(to: address, authenticationKey: Array("other".utf8))
      } == .authenticationFailed)
    let connecting = InThread { try Connection.connect(to: address, authenticationKey: key) }
    let other = try accepting.join()
    try await other.send(1)
    #expect(try await connecting.join().receive(Int.self) == 1)
  }

  @Test func aListenerWithoutAKeySaysNothing() async throws {
    let listener = try Listener(at: folder.address())
    async let accepted = listener.accept()
    #expect(
      await code {
        try await Connection.connect(
          to: folder.address(), authenticationKey: key, timeout: .milliseconds(50))
      } == .timedOut)
    _ = try await accepted
    #expect(
      await code {
        try await Connection.connect(to: folder.address("none"), authenticationKey: key)
      } == .nameNotFound)
  }
}
