// SPDX-License-Identifier: Apache-2.0
@testable import SwiftIPC

extension Handshake.Secret {
  /// A secret whose codes are no cryptography but differ by key, digest and message: what is tested
  /// with it is the handshake. The HMAC of the trait is tested with real Pythons (Tests/Authentication).
  static func toy(_ key: String, allowsMD5: Bool = false) -> Handshake.Secret {
    .init(
      authenticate: { digest, message in
        var state: UInt64 = 0xcbf2_9ce4_8422_2325
        func mix(_ byte: UInt8) { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
        (Array(key.utf8) + Array(digest.rawValue.utf8) + message).forEach(mix)
        return (0..<digest.length).map { index in
          mix(UInt8(index))
          return UInt8(truncatingIfNeeded: state >> 32)
        }
      }, allowsMD5: allowsMD5)
  }
}
