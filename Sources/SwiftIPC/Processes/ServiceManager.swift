// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// The service manager that started this process: systemd, or another that speaks its protocol.
///
/// ```swift
/// let sockets = try ServiceManager.sockets()
/// let listeners = try sockets.map { try Listener(adopting: $0.descriptor) }
/// try await ServiceManager.notify(.ready, .status("\(listeners.count) sockets"))
/// ```
///
/// Nothing of systemd is needed for it, and where no manager started this process there are no sockets
/// and no error says so. What is used are the variables of the environment that the manager has set;
/// children of this process inherit them and know by `LISTEN_PID` that they are not meant. The
/// corresponding C functions are `cipc_service_sockets` and `cipc_service_notify`.
public enum ServiceManager {
  /// A socket that the manager has handed to this process.
  public struct Socket: Hashable, Sendable {
    /// What the manager calls it: in systemd `FileDescriptorName=`, or else the name of the socket
    /// unit; "unknown" where the manager says nothing.
    public var name: String
    /// Its descriptor, for `Listener(adopting:)`; the caller's to close.
    public var descriptor: Int32

    /// Makes a socket of a name and a descriptor.
    public init(name: String, descriptor: Int32) {
      self.name = name
      self.descriptor = descriptor
    }
  }

  /// The sockets that were handed over, in the manager's order; none where none were. All are made
  /// close-on-exec.
  ///
  /// They are the caller's, and each call tells of the same ones: adopt them once. Does not block.
  ///
  /// - Throws: `IPCError` with `invalidArgument` when the variables `LISTEN_PID`, `LISTEN_FDS` and
  ///   `LISTEN_FDNAMES` make no sense or not all of the descriptors are open.
  public static func sockets() throws(IPCError) -> [Socket] {
    var count = 0
    try check(unsafe cipc_service_sockets(nil, 0, &count))
    if count == 0 { return [] }
    var found = [cipc_service_socket_t](repeating: cipc_service_socket_t(), count: count)
    try check(unsafe cipc_service_sockets(&found, found.count, &count))
    return found.prefix(count).map { socket in
      let name = unsafe withUnsafeBytes(of: socket.name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      return Socket(name: name, descriptor: socket.descriptor)
    }
  }

  private static func check(_ status: Int32) throws(IPCError) {
    if status >= 0 { return }
    var error = IPCError(
      status: status, "the sockets of a service, by LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES")
    if status == CIPC_EBADF.rawValue { error.code = .invalidArgument }
    throw error
  }

  /// Something to tell the manager.
  public struct Notice: Hashable, Sendable {
    fileprivate var name: String
    fileprivate var value: String

    /// The service has begun: what was started after it may rely on it.
    public static let ready = Notice("READY", "1")
    /// The service is about to end.
    public static let stopping = Notice("STOPPING", "1")
    /// The service is alive, where the manager watches that (`WatchdogSec=`).
    public static let watchdog = Notice("WATCHDOG", "1")
    /// What the service is doing, in a line for people.
    public static func status(_ text: String) -> Notice { Notice("STATUS", text) }

    /// A notice of another kind: see sd_notify(3).
    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }

    /// Its line.
    fileprivate func line() throws(IPCError) -> String {
      // A second line would be another notice.
      let isName = !name.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3d }
      guard isName, !value.utf8.contains(where: { $0 == 0x0a || $0 == 0 }) else {
        throw IPCError(.invalidArgument, context: "a notice for the service manager: one line each")
      }
      return "\(name)=\(value)\n"
    }
  }

  /// Tells the manager something about this process, all of it at once. Blocks while the manager is
  /// behind.
  ///
  /// ```swift
  /// try ServiceManager.notify(.ready, .status("listening"))
  /// ```
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Returns: whether it was sent: `false` where no manager has asked to be told (`NOTIFY_SOCKET`).
  /// - Throws: `IPCError` with `timedOut`; `invalidArgument` for a notice of more than one line and
  ///   where the variable is no path and no abstract name; `invalidAddress` where it is too long;
  ///   `messageTooLong`; `connectionRefused` when the manager is gone; `notPermitted`, `resourceLimit`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public static func notify(
    _ notices: Notice..., timeout: Duration? = nil
  ) throws(IPCError) -> Bool {
    let text = try lines(notices)
    return try wasSent(unsafe cipc_service_notify(text, text.count, Deadline.after(timeout)))
  }

  /// Tells the manager something about this process, all of it at once; suspends while the manager is
  /// behind.
  ///
  /// As the blocking form; also throws `cancelled`.
  @discardableResult
  public static func notify(
    _ notices: Notice..., timeout: Duration? = nil
  ) async throws(IPCError) -> Bool {
    let text = try lines(notices)
    let status = await statusOfStep(until: Deadline.after(timeout)) { _, wait in
      unsafe cipc_service_notify_step(text, text.count, &wait)
    }
    return try wasSent(status)
  }

  private static let subject = "telling the service manager"

  private static func lines(_ notices: [Notice]) throws(IPCError) -> [CChar] {
    var text = ""
    for notice in notices { text += try notice.line() }
    return text.utf8.map(CChar.init(bitPattern:))
  }

  private static func wasSent(_ status: Int32) throws(IPCError) -> Bool {
    if status == CIPC_ENOENT.rawValue { return false }
    try IPCError.check(status, subject)
    return true
  }
}
