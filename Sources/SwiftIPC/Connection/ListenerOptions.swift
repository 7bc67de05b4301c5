// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension Listener {
  /// A client that asks to be accepted.
  public struct Client: Hashable, Sendable {
    /// The process, over a Unix socket; `nil` over TCP.
    public var credentials: PeerCredentials?
    /// Where it connects from, over TCP; `nil` over a Unix socket.
    public var address: Connection.Address?

    /// Makes a client, for tests of a policy.
    public init(credentials: PeerCredentials? = nil, address: Connection.Address? = nil) {
      self.credentials = credentials
      self.address = address
    }
  }

  /// How to listen.
  ///
  /// ```swift
  /// var options = Listener.Options()
  /// options.admits = { $0.credentials?.userID == geteuid() }
  /// options.refused = { client, error in log("\(client): \(error)") }
  /// ```
  public struct Options: Sendable {
    /// How many clients may wait to be accepted; the kernel has a limit of its own
    /// (`net.core.somaxconn`).
    public var backlog = 128
    /// The permission bits of the file of a Unix socket, less the process's umask: who may write to it
    /// may connect.
    public var permissions: UInt32 = 0o600
    /// The longest message of an accepted connection, in bytes.
    public var maximumMessageSize = Connection.defaultMaximumMessageSize
    /// Decides about each client, before it is authenticated; `nil` admits all. Called by whoever
    /// accepts, so it should not block. A client that is not admitted finds its connection closed; so
    /// does one that the kernel does not name, since it is gone.
    public var admits: (@Sendable (Client) -> Bool)?
    /// How long a client may take for each message with which it authenticates itself: there are three.
    public var authenticationTimeout: Duration = HandshakeProgress.patience
    /// How many clients may be authenticating themselves at the same time. One more, and the one that
    /// is at it for longest is dropped, so that those which stall never shut others out.
    public var maximumAuthenticating = 64
    /// Told of each client that was not admitted or did not authenticate itself, and why. Called by
    /// whoever accepts.
    public var refused: (@Sendable (Client, IPCError) -> Void)?

    /// Makes the options that a listener has unless told otherwise.
    public init() {}
  }
}
