// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// An environment as C takes it: owned strings and a null at the end.
@safe final class CStringList {
  let pointer: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  /// This process's environment with changes; `nil` where there are none.
  ///
  /// - Throws: `invalidArgument` for a name or a value that no environment can hold.
  init?(changing changes: [String: String?]) throws(IPCError) {
    if changes.isEmpty { return nil }
    var entries: [String] = []
    for (name, value) in changes {
      guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "=")), !name.utf8.contains(0),
        !(value ?? "").utf8.contains(0)
      else {
        throw IPCError(.invalidArgument, context: "the environment variable \"\(name)\"")
      }
      if let value { entries.append("\(name)=\(value)") }
    }
    var strings: [UnsafeMutablePointer<CChar>?] = unsafe []
    var next = unsafe environ
    while let entry = unsafe next.pointee {
      let text = unsafe String(cString: entry)
      let name = text.prefix { $0 != "=" }
      if !changes.keys.contains(String(name)) { unsafe strings.append(strdup(entry)) }
      unsafe next += 1
    }
    for entry in entries { unsafe strings.append(strdup(entry)) }
    count = unsafe strings.count
    unsafe pointer = .allocate(capacity: count + 1)
    for index in 0..<count { unsafe pointer[index] = strings[index] }
    unsafe pointer[count] = nil
  }

  deinit {
    for index in 0..<count { unsafe free(pointer[index]) }
    unsafe pointer.deallocate()
  }
}
