// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// How much memory a process uses, as the kernel counts it.
enum ProcessMemory {
  /// The bytes of memory that are the process's own: resident, neither shared nor of files. `nil` where
  /// there is no such process, or no `/proc`.
  static func own(of process: Int32) -> Int? {
    let file = unsafe open("/proc/\(process)/statm", O_RDONLY | O_CLOEXEC)
    if file < 0 { return nil }
    defer { close(file) }
    var text = [UInt8](repeating: 0, count: 256)
    let count = unsafe read(file, &text, text.count)
    return count > 0
      ? own(in: text.prefix(count), pageSize: Int(sysconf(Int32(_SC_PAGESIZE)))) : nil
  }

  /// Of the text of `statm`: "size resident shared …", in pages.
  static func own(in text: some Collection<UInt8>, pageSize: Int) -> Int? {
    let numbers = text.split(separator: UInt8(ascii: " "), maxSplits: 3).prefix(3).map { digits in
      Int(String(decoding: digits, as: UTF8.self))
    }
    guard numbers.count == 3, let resident = numbers[1], let shared = numbers[2] else { return nil }
    return max(0, resident - shared) * pageSize
  }
}
