// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension Listener {
  /// Listens at a socket that listens already, such as one that a service manager has handed over.
  ///
  /// ```swift
  /// // Under systemd, with a socket unit:
  /// guard let socket = try ServiceManager.sockets().first else { return }
  /// let listener = try Listener(adopting: socket.descriptor)
  /// try await ServiceManager.notify(.ready)
  /// for try await connection in listener.connections { Task { try await serve(connection) } }
  /// ```
  ///
  /// Takes the descriptor over and makes it close-on-exec. The socket becomes non-blocking, for all
  /// that have it. Closing the listener closes the descriptor alone: whoever else has the socket goes
  /// on, and a path stays, since it is its maker's. The corresponding C function is
  /// `cipc_listener_adopt`.
  ///
  /// - Parameter options: all but `backlog` and `permissions`, which are the socket's already.
  /// - Throws: `IPCError` with `unsupported` for what is no stream socket, or one of another family than
  ///   Unix, IPv4 and IPv6; `invalidArgument` for one that does not listen, a descriptor that is not
  ///   open, and options out of range; `resourceLimit`, `outOfMemory`. The descriptor is then still the
  ///   caller's.
  public convenience init(
    adopting descriptor: Int32, options: Options = .init()
  ) throws(IPCError) {
    try self.init(adopting: descriptor, secret: nil, options: options)
  }
}
