// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// The process at the other end of a Unix socket, as the kernel says, whatever the process itself
/// claims.
///
/// It is who made the connection, or listened. The process may have given its end to another one, or
/// may have ended, and its number be another's by now.
public struct PeerCredentials: Hashable, Sendable {
  /// The process's number here; 0 where its pid namespace cannot be seen from here.
  public var processID: Int32
  /// The user that it ran as.
  public var userID: UInt32
  /// Its group.
  public var groupID: UInt32

  /// Makes credentials, for tests of a policy.
  public init(processID: Int32, userID: UInt32, groupID: UInt32) {
    self.processID = processID
    self.userID = userID
    self.groupID = groupID
  }
}

extension Connection {
  /// The process at the other end; `nil` where the kernel does not say: TCP and pipes.
  ///
  /// Of `Connection.pair()`, the process that made the pair. Does not block.
  ///
  /// - Throws: `IPCError` with `closed`, `resourceLimit`.
  public func peerCredentials() throws(IPCError) -> PeerCredentials? {
    var found = cipc_credentials_t()
    let status = unsafe cipc_connection_credentials(handle, &found)
    if status == CIPC_EOPNOTSUPP.rawValue { return nil }
    try IPCError.check(status, "connection")
    return PeerCredentials(processID: found.process, userID: found.user, groupID: found.group)
  }

  /// The address of the other end; `nil` where it has none, as a client's Unix socket.
  ///
  /// Does not block.
  ///
  /// - Throws: `IPCError` with `closed`, `resourceLimit`, and `system` when the peer is gone.
  public func peerAddress() throws(IPCError) -> Address? {
    var found = cipc_address_t()
    let status = unsafe cipc_connection_peer_address(handle, &found)
    if status == CIPC_EOPNOTSUPP.rawValue { return nil }
    try IPCError.check(status, "connection")
    return Address(found)
  }
}
