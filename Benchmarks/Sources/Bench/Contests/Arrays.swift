// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  /// Elements of 4 bytes: in the first-level cache, in the second-level cache, and in neither.
  static let negations =
    [("16 KiB", 4096), ("512 KiB", 131_072), ("64 MiB", 16 << 20)].flatMap { size, count in
      [negation(size, count), checkedNegation(size, count)]
    }

  /// `-x` in Swift never wraps: it traps where C's is undefined. The C loop that a compiler may
  /// vectorise wraps around, so `&-` is what stands against it.
  private static func negation(_ size: String, _ count: Int) -> Contest {
    Contest(
      name: "SharedArray<Int32>, \(size): a[i] = 0 &- a[i]",
      floorName: "C loop, clang -O3",
      target: .atMost(1.05)
    ) { _ in
      let array = try SharedArray<Int32>(0..<Int32(count))
      let memory = try address(of: array)
      return Sides(
        ours: { for _ in 0..<$0 { for i in array.indices { array[i] = 0 &- array[i] } } },
        floor: { for _ in 0..<$0 { floor_negate(memory, count) } })
    }
  }

  private static func checkedNegation(_ size: String, _ count: Int) -> Contest {
    Contest(
      name: "SharedArray<Int32>, \(size): a[i] = -a[i]",
      floorName: "C loop that traps on INT32_MIN, clang -O3",
      target: .atMost(1.05),
      pythonJob: count == 4096 ? "negate-4096" : nil
    ) { _ in
      let array = try SharedArray<Int32>(0..<Int32(count))
      let memory = try address(of: array)
      return Sides(
        ours: { for _ in 0..<$0 { for i in array.indices { array[i] = -array[i] } } },
        floor: { for _ in 0..<$0 { floor_negate_checked(memory, count) } })
    }
  }

  /// The span that `withLock` gives, lock included.
  static let spanNegation = Contest(
    name: "SharedArray<Int32>, 16 KiB: withLock { s[i] = 0 &- s[i] }",
    floorName: "C loop, clang -O3"
  ) { _ in
    let count = 4096
    let array = try SharedArray<Int32>(0..<Int32(count))
    let memory = try address(of: array)
    return Sides(
      ours: {
        for _ in 0..<$0 {
          try array.withLock { span in for i in span.indices { span[i] = 0 &- span[i] } }
        }
      },
      floor: { for _ in 0..<$0 { floor_negate(memory, count) } })
  }

  static let copyOut = Contest(
    name: "SharedArray<Int32>, 64 KiB: copy(into:)",
    floorName: "memcpy",
    pythonJob: "copy-out-16384"
  ) { _ in
    let count = 16384
    let array = try SharedArray<Int32>(0..<Int32(count))
    let memory = try address(of: array)
    // One destination for both: its position relative to the source matters more than which side
    // copies.
    let destination = UnsafeMutableBufferPointer<Int32>.allocate(capacity: count)
    destination.initialize(repeating: 0)
    return Sides(
      ours: {
        for _ in 0..<$0 {
          var span = destination.mutableSpan
          array.copy(into: &span)
        }
      },
      floor: { for _ in 0..<$0 { floor_copy(destination.baseAddress, memory, count * 4) } })
  }

  /// Where the elements are, so that both sides work on the same pages. The array outlives its use:
  /// `ours` of the same contest keeps it.
  private static func address(of array: SharedArray<Int32>) throws -> UnsafeMutablePointer<Int32> {
    try array.withLock { span in span.withUnsafeMutableBufferPointer { $0.baseAddress! } }
  }
}
