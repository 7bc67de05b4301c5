// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

/// A directory for sockets with short names, gone at the end.
final class SocketFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/swift-ipc-XXXXXX".utf8CString)
    path = unsafe String(cString: mkdtemp(&template))
  }

  deinit {
    if let directory = unsafe opendir(path) {
      while let entry = unsafe readdir(directory) {
        let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
          unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        unsafe unlink("\(path)/\(name)")
      }
      unsafe closedir(directory)
    }
    unsafe rmdir(path)
  }

  func address(_ name: String = "socket") -> Connection.Address { .unix("\(path)/\(name)") }

  func exists(_ name: String = "socket") -> Bool { unsafe access("\(path)/\(name)", F_OK) == 0 }
}
