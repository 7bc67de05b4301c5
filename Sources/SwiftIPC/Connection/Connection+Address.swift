// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

extension Connection {
  /// Where a `Listener` is to be found.
  ///
  /// ```swift
  /// let service = try Listener(at: .unix("/run/user/1000/service"))
  /// let python = try await Connection.connect(to: .tcp("localhost", 6000))
  /// ```
  ///
  /// In Python a path is a `str`, an abstract name a `str` that begins with `"\0"`, and a host with a
  /// port a tuple of the two.
  public enum Address: Hashable, Sendable {
    /// A Unix socket with a file, by its path: at most 107 bytes of UTF-8. Who may write to the file
    /// may connect.
    case unix(_ path: String)
    /// A Unix socket in the kernel's abstract namespace: at most 107 bytes of UTF-8. It leaves no
    /// file, and whoever is in the same network namespace may connect, whatever the user.
    case abstract(_ name: String)
    /// TCP: a host by address or name, IPv4 or IPv6, and a port. `localhost` is 127.0.0.1, then ::1.
    case tcp(_ host: String, _ port: Int)
  }
}

extension Connection.Address: CustomStringConvertible {
  /// The path; the abstract name behind an `@`; or `host:port`. On one line: a client's own path may
  /// have any characters, and they are escaped here.
  public var description: String {
    let text =
      switch self {
      case .unix(let path): path
      case .abstract(let name): "@" + name
      case .tcp(let host, let port):
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
      }
    return text.escaped
  }
}

extension Connection.Address {
  /// How many addresses of one host are tried.
  static let mostCandidates = 16

  /// What to bind or connect to; `nil` for a name that has to be looked up.
  func resolvedLocally() throws(IPCError) -> [cipc_address_t]? {
    var address = cipc_address_t()
    let status: Int32
    switch self {
    case .unix(let path):
      let bytes = path.utf8.map(CChar.init(bitPattern:))
      status = unsafe cipc_address_path(&address, bytes, bytes.count)
    case .abstract(let name):
      let bytes = Array(name.utf8)
      status = unsafe cipc_address_abstract(&address, bytes, bytes.count)
    case .tcp(let host, _):
      let (status, found) = unsafe try lookUp(host) { list, capacity, count, host, port in
        unsafe cipc_address_numeric(list, capacity, count, host, port)
      }
      if status == CIPC_EHOST.rawValue { return nil }
      try IPCError.check(status, description)
      return found
    }
    try IPCError.check(status, description)
    return [address]
  }

  /// The same, and asks the system's resolver, which may block.
  func resolved() throws(IPCError) -> [cipc_address_t] {
    if let found = try resolvedLocally() { return found }
    guard case .tcp(let host, _) = self else { return [] }
    let (status, found) = unsafe try lookUp(host) { list, capacity, count, host, port in
      unsafe cipc_address_resolve(list, capacity, count, host, port)
    }
    try IPCError.check(status, description)
    return found
  }

  private func lookUp(
    _ host: String,
    _ ask: (
      UnsafeMutablePointer<cipc_address_t>?, Int, UnsafeMutablePointer<Int>,
      UnsafePointer<CChar>, UInt16
    ) -> Int32
  ) throws(IPCError) -> (status: Int32, found: [cipc_address_t]) {
    guard case .tcp(_, let given) = self, let port = UInt16(exactly: given) else {
      throw IPCError(.invalidArgument, context: "\(self): a port is 0 to 65535")
    }
    if host.utf8.contains(0) {
      throw IPCError(.invalidArgument, context: "a host with a NUL in its name")
    }
    var list = [cipc_address_t](repeating: cipc_address_t(), count: Self.mostCandidates)
    var count = 0
    let status = unsafe ask(&list, list.count, &count, host, port)
    return (status, Array(list.prefix(count)))
  }

  /// What the kernel calls an address; `nil` for one that has no name.
  init?(_ address: cipc_address_t) {
    var address = address
    var port: UInt16 = 0
    var text = [CChar](repeating: 0, count: Int(CIPC_ADDRESS_TEXT))
    let length = unsafe cipc_address_text(&address, &text, &port)
    guard length >= 0 else { return nil }
    let string = String(
      decoding: text.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    switch unsafe cipc_address_kind(&address) {
    case 1: self = .unix(string)
    case 2: self = .abstract(string)
    default: self = .tcp(string, Int(port))
    }
  }
}
