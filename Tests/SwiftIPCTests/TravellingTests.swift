// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC
import Testing

/// Shared objects on their way to other processes, wherever they stand.
@Suite struct TravellingTests {
  @Test(arguments: ChildWork.methods) func objectsTravelInsideAnything(
    _ method: StartMethod
  ) async throws {
    // In a child with one thread, since one method is fork.
    let parent = try ChildProcess.start(Ordinal(of: method)) { ordinal in
      let office = try Office()
      let options = ChildProcessOptions(method: ordinal.method)
      let child = try ChildProcess.start(office, [office.maybe, nil], options: options) {
        office, others in
        try office.work()
        others[0]?.add(1000)
        return others[1] == nil ? office : nil
      }
      // And back again, as the value.
      let back = try child.value(timeout: nil)
      try back?.work()
      return try office.report()
    }
    #expect(try await parent.value == "2 2 2 1020 nil")
  }

  @Test(arguments: StartMethodTests.fromHere) func objectsTravelToAProcessThatRuns(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs, options: .init(method: method)) { connection in
      for _ in 0..<2 { try connection.receive(Office.self).work() }
      let (mine, its) = try Connection.pair()
      try connection.send(["answers": its])
      try mine.send(try connection.receive(Int.self) + 1)
    }
    let office = try Office()
    try await ours.send(office)
    try await ours.send(office)
    let answers = try await ours.receive([String: Connection].self)
    try await ours.send(1)
    #expect(try await answers["answers"]?.receive(Int.self) == 2)
    #expect(try await child.join().isSuccess)
    #expect(try office.report() == "2 2 2 20 nil")
  }

  /// A message of the kernel carries 253 descriptors.
  @Test(arguments: ChildWork.methods) func manyObjectsTravelAtOnce(
    _ method: StartMethod
  ) async throws {
    // In a child, whose limit of open files is its own.
    let parent = try ChildProcess.start(Ordinal(of: method)) { ordinal in
      let numbers = try (0..<300).map { try SharedAtomic($0) }
      let child = try ChildProcess.start(numbers, options: .init(method: ordinal.method)) {
        numbers in
        for number in numbers { number.add(1) }
        return numbers
      }
      for number in try child.value(timeout: nil) { number.add(1) }
      return numbers.enumerated().allSatisfy { $1.load() == $0 + 2 }
    }
    #expect(try await parent.value)
  }
}

/// Shared objects in places where they can stand.
struct Office: Codable, Sendable {
  var value: Value<Int>
  var list: [SharedArray<Int32>]
  var byName: [String: SharedAtomic<Int>]
  var maybe: SharedAtomic<Int>?
  var none: Lock?
  var nested: Drawer

  struct Drawer: Codable, Sendable { var locks: [Lock] }

  init() throws {
    value = try Value(0)
    list = [try SharedArray<Int32>([0]), try SharedArray<Int32>([0])]
    byName = ["one": try SharedAtomic(0)]
    maybe = try SharedAtomic(0)
    nested = Drawer(locks: [try Lock(), try Lock()])
  }

  func work() throws {
    try nested.locks[1].withLock {
      try value.withLock { $0 += 1 }
      list[1][0] += 1
      byName["one"]?.add(1)
      maybe?.add(10)
    }
  }

  func report() throws -> String {
    """
    \(value.value) \(list[1][0]) \(byName["one"]?.load() ?? -1) \(maybe?.load() ?? -1) \
    \(none == nil ? "nil" : "?")
    """
  }
}
