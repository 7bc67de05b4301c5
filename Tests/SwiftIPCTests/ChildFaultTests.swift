// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import SwiftIPC

/// Many children, and too few descriptors. What happens when one is killed at any system call of a
/// start is in Tests/C/start_fault_test.c.
@Suite struct ChildFaultTests {
  @Test(.enabled(if: ChildWork.canFork)) func manyStartsLeaveNeitherDescriptorsNorZombies()
    async throws
  {
    // In a child of its own, in which nothing else opens descriptors.
    let child = try ChildProcess.start {
      func startOne() throws -> Int {
        let other = try ChildProcess.start(1, options: .init(method: .forkServer)) { $0 }
        let forked = try ChildProcess.start(2, options: .init(method: .fork)) { $0 }
        return try other.value(timeout: nil) + forked.value(timeout: nil)
      }
      var sum = try startOne()
      // Those whose value came before their end; asking again reaps them.
      for other in CurrentProcess.activeChildren { _ = try other.join() }
      _ = CurrentProcess.activeChildren
      let before = ChildWork.openDescriptors().count
      for _ in 0..<50 { sum += try startOne() }
      let pages = ChildWork.residentPages()
      for _ in 0..<150 { sum += try startOne() }
      let grown = ChildWork.residentPages() - pages
      for other in CurrentProcess.activeChildren { _ = try other.join() }
      _ = CurrentProcess.activeChildren
      let after = ChildWork.openDescriptors().count
      return [sum, after - before, Int(waitpid(-1, nil, WNOHANG)), grown]
    }
    let found = try await child.value
    #expect(found[..<3] == [603, 0, 0])
    // Less than one for two starts, so that none can have been kept for each.
    #expect(ChildWork.keepsMemory || found[3] < 150)
  }

  @Test func twoHundredChildrenAtOnce() async throws {
    let child = try ChildProcess.start {
      let children = try (0..<200).map { number in
        try ChildProcess.start(number, options: .init(method: .forkServer)) { number in
          (number, CurrentProcess.parent?.pid ?? 0).0
        }
      }
      var sum = 0
      for child in children { sum += try child.value(timeout: nil) }
      return sum
    }
    #expect(try await child.value == 19900)
  }

  @Test(.enabled(if: ChildWork.canFork)) func aStartWithoutDescriptorsIsAnErrorAndLeavesNone()
    async throws
  {
    let child = try ChildProcess.start {
      var report: [Int] = []
      for method in StartMethod.allCases {
        let options = ChildProcessOptions(daemon: true, method: method, standardOutput: .pipe)
        _ = try ChildProcess.start(options: options) {}.join()
        let before = ChildWork.openDescriptors()
        let next = dup(0)
        close(next)
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        _ = unsafe getrlimit(resource, &limit)
        var failures = 0
        for room in 0..<16 {
          var few = limit
          few.rlim_cur = rlim_t(Int(next) + room)
          _ = unsafe setrlimit(resource, &few)
          var started: ChildProcess<Void>?
          do { started = try ChildProcess.start(options: options) {} } catch { failures += 1 }
          _ = unsafe setrlimit(resource, &limit)
          _ = try started?.join()
        }
        let isClean = ChildWork.openDescriptors() == before
        report.append(failures > 3 && failures < 16 && isClean ? 1 : -failures)
      }
      return report
    }
    #expect(try await child.value == [1, 1, 1])
  }
}
