// SPDX-License-Identifier: Apache-2.0
public import SwiftIPC

/// A count that any process adds to.
public struct Tally: Sendable {
  public let count: SharedAtomic<Int>

  public init() throws { count = try SharedAtomic(0) }

  public func add(_ number: Int) { count.add(number) }
}
