// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A challenge of this process that has not been answered yet, from its making to the end of its
/// handshake.
///
/// A peer without the key could answer it if this process did: it would send the challenge back over
/// another connection, as its own. So a process answers none that it has issued itself in the same
/// role. (A listener and a client of one process may talk to each other.) There are as many as there are
/// handshakes under way.
final class IssuedChallenge: Sendable {
  private struct Key: Hashable {
    var role: Handshake.Role
    var message: [UInt8]
  }
  private static let pending = Guarded<[Key: Int]>([:])

  let message: [UInt8]
  private let role: Handshake.Role

  init(_ message: [UInt8], _ role: Handshake.Role) {
    (self.message, self.role) = (message, role)
    let key = Key(role: role, message: message)
    Self.pending.withLock { $0[key, default: 0] += 1 }
  }

  deinit {
    let key = Key(role: role, message: message)
    Self.pending.withLock { pending in
      guard let count = pending[key] else { return }
      pending[key] = count > 1 ? count - 1 : nil
    }
  }

  static func isPending(_ message: [UInt8], _ role: Handshake.Role) -> Bool {
    let key = Key(role: role, message: message)
    return pending.withLock { $0[key] != nil }
  }
}
