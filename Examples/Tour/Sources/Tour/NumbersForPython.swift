// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

enum NumbersForPython: Stop {
  static let title = "The same numbers in Swift and in Python"

  /// numpy.ndarray(8, dtype="f8", buffer=memory.buf) would be an array of the same bytes.
  private static let program = """
    import sys
    from multiprocessing import resource_tracker, shared_memory
    memory = shared_memory.SharedMemory(sys.argv[1])
    resource_tracker.unregister(memory._name, "shared_memory")
    numbers = memory.buf[:64].cast("d")
    print("   python: read", list(numbers))
    for i in range(8): numbers[i] **= 2
    numbers.release()
    memory.close()
    """

  static func run() throws {
    let memory = try SharedMemory(creating: nil, size: 8 * MemoryLayout<Double>.stride)
    defer { try? memory.unlink() }
    try memory.withMutableSpan(of: Double.self) { numbers in
      for i in numbers.indices { numbers[i] = Double(i) }
    }
    guard system("python3 -c '\(program)' \(memory.name!)") == 0 else {
      return say("swift:  there is no Python 3.8 or later here")
    }
    let squares = try memory.withSpan(of: Double.self) { numbers in
      numbers.indices.map { numbers[$0] }
    }
    say("swift:  read \(squares)")
  }
}
