// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import SwiftIPC

/// What children do in the tests of start methods, and what they find out about themselves.
enum ChildWork {
  /// ThreadSanitizer has a thread of its own, with which no process can be forked.
  static let canFork = unsafe dlsym(nil, "__tsan_init") == nil

  /// The methods that can be tried in a child with one thread.
  static let methods = canFork ? StartMethod.allCases : [.spawn, .forkServer]

  /// Sanitizers keep what was freed.
  static let keepsMemory = unsafe dlsym(nil, "__asan_init") != nil || !canFork

  /// The memory of this process, in pages.
  static func residentPages() -> Int {
    let file = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    let fields = readAll(file).split(separator: " ")
    return fields.count > 1 ? Int(fields[1]) ?? 0 : 0
  }

  struct Refusal: Error { var reason: String }

  struct Square: ProcessTask {
    var number: Int
    func run() -> Int { number * number }
  }

  @MainActor static func onMainActor(_ number: Int) -> Int { number }

  static func leave(_ code: Int32) -> Int { exit(code) }

  static func variable(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  static func threadCount() -> Int {
    var tasks = stat()
    return unsafe stat("/proc/self/task", &tasks) == 0 ? Int(tasks.st_nlink) - 2 : 0
  }

  static func openDescriptors() -> [Int32] {
    guard let directory = unsafe opendir("/proc/self/fd") else { return [] }
    defer { unsafe closedir(directory) }
    var found: [Int32] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      let own = unsafe dirfd(directory)
      if let number = Int32(name), number != own { found.append(number) }
    }
    return found.sorted()
  }

  /// Those that are open and are no eventfds: a connection makes one where a caller has to wait, so
  /// whether there is one depends on which side was faster.
  static func descriptorsGiven() -> [Int32] {
    openDescriptors().filter { descriptor in
      var target = [CChar](repeating: 0, count: 64)
      let length = unsafe readlink("/proc/self/fd/\(descriptor)", &target, target.count)
      return unsafe length <= 0 || strncmp(target, "anon_inode:[eventfd]", 20) != 0
    }
  }

  /// Reads to the end and closes.
  static func readAll(_ file: Int32) -> String {
    defer { close(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe read(file, &buffer, buffer.count)
      if count <= 0 { return String(decoding: text, as: UTF8.self) }
      text += buffer[..<count]
    }
  }
}
