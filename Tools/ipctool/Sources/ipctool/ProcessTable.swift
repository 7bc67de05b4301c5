// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The processes that this user may look into.
enum ProcessTable {
  /// The number of the system call, which Swift does not see.
  #if arch(x86_64)
    private static let futex = 202
  #elseif arch(arm64) || arch(riscv64)
    private static let futex = 98
  #else
    private static let futex = -1
  #endif

  static var pids: [Int32] { Directory.names("/proc").compactMap { Int32($0) }.sorted() }

  static func name(_ pid: Int32) -> String? {
    TextFile.read("/proc/\(pid)/comm").map { String($0.prefix { $0 != "\n" }) }
  }

  /// Its descriptors of memory: links such as "/memfd:swift-ipc (deleted)" and "/dev/shm/jobs".
  static func memoryDescriptors(of pid: Int32) -> [String] {
    let directory = "/proc/\(pid)/fd"
    return Directory.names(directory).compactMap { number in
      let path = directory + "/" + number
      guard let target = TextFile.link(path) else { return nil }
      return target.hasPrefix("/memfd:") || target.hasPrefix("/dev/shm/") ? path : nil
    }
  }

  /// A range of addresses that a process maps of a file.
  struct Mapping {
    var start: UInt64
    var end: UInt64
    /// Where in the file it begins.
    var offset: UInt64
    var device: dev_t
    var inode: ino_t
  }

  static func sharedMappings(of pid: Int32) -> [Mapping] {
    guard let text = TextFile.read("/proc/\(pid)/maps") else { return [] }
    return text.split(separator: "\n").compactMap { line -> Mapping? in
      // "7f0-7f1 rw-s 00000000 00:01 1234 /memfd:swift-ipc (deleted)", as in proc(5).
      let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
      let device =
        fields.count > 3 ? fields[3].split(separator: ":").compactMap { UInt32($0, radix: 16) } : []
      guard fields.count >= 5, fields[1].hasSuffix("s"), device.count == 2,
        let inode = ino_t(fields[4])
      else { return nil }
      let ends = fields[0].split(separator: "-").compactMap { UInt64($0, radix: 16) }
      guard ends.count == 2, let offset = UInt64(fields[2], radix: 16) else { return nil }
      return Mapping(
        start: ends[0], end: ends[1], offset: offset,
        device: dev_t(major: device[0], minor: device[1]), inode: inode)
    }
  }

  /// A thread and an address of a word that it sleeps on.
  struct Sleeper {
    var tid: Int32
    var address: UInt64
  }

  /// The threads that sleep on futex words; `nil` where this user may not know.
  static func sleepers(of pid: Int32) -> [Sleeper]? {
    var found: [Sleeper] = []
    for tid in Directory.names("/proc/\(pid)/task").compactMap({ Int32($0) }) {
      guard let text = TextFile.read("/proc/\(pid)/task/\(tid)/syscall") else {
        // The thread may have ended; a process of another user's says EPERM.
        if access("/proc/\(pid)/task/\(tid)", F_OK) == 0 { return nil }
        continue
      }
      let fields = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
      guard fields.count > 2, let number = Int(fields[0]) else { continue }
      let first = UInt64(fields[1].dropFirst(2), radix: 16) ?? 0
      let second = UInt64(fields[2].dropFirst(2), radix: 16) ?? 0
      switch number {
      case futex: found.append(Sleeper(tid: tid, address: first))
      case 449:  // futex_waitv, on every architecture
        for address in waitVector(of: pid, at: first, count: second) {
          found.append(Sleeper(tid: tid, address: address))
        }
      default: break
      }
    }
    return found
  }

  /// The addresses in an array of struct futex_waitv {u64 value, u64 address, u32 flags, u32}.
  private static func waitVector(of pid: Int32, at address: UInt64, count: UInt64) -> [UInt64] {
    guard count <= 128 else { return [] }
    let file = open("/proc/\(pid)/mem", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var words = [UInt64](repeating: 0, count: Int(count) * 3)
    let bytes = words.count * 8
    guard
      words.withUnsafeMutableBytes({
        pread(file, $0.baseAddress, bytes, off_t(bitPattern: address))
      }) == bytes
    else { return [] }
    return stride(from: 1, to: words.count, by: 3).map { words[$0] }
  }
}

extension dev_t {
  /// As makedev(3), a macro.
  fileprivate init(major: UInt32, minor: UInt32) {
    let (major, minor) = (dev_t(major), dev_t(minor))
    self = (major & 0xfff) << 8 | (major & ~0xfff) << 32 | (minor & 0xff) | (minor & ~0xff) << 12
  }
}

extension off_t {
  fileprivate init(bitPattern: UInt64) { self = off_t(truncatingIfNeeded: bitPattern) }
}

enum Directory {
  static func names(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}

enum TextFile {
  /// The whole of a file of /proc, whose size is not known before it is read.
  static func read(_ path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = Glibc.read(file, &buffer, buffer.count)
      if count < 0 { return nil }
      if count == 0 { return String(decoding: text, as: UTF8.self) }
      text.append(contentsOf: buffer.prefix(count))
    }
  }

  static func link(_ path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes {
      readlink(path, $0.assumingMemoryBound(to: CChar.self).baseAddress!, $0.count)
    }
    return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
  }
}
