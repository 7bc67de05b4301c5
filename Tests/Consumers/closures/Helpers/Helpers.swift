// SPDX-License-Identifier: Apache-2.0
// What a library on top of this one writes first: helpers that are generic.
import SwiftIPC

public protocol Scaling: Sendable {
  static func scaled(_ number: Int) -> Int
}

/// A literal in a generic function, over any collection.
public func doubled<C: Collection & Sendable>(
  _ pool: ProcessPool, _ elements: C
) async throws -> [[C.Element]] where C.Element: Codable & Sendable {
  try await pool.map(Array(elements)) { [$0, $0] }
}

/// A function of the caller's, handed on.
public func handedOn<A: Codable & Sendable, B: Codable & Sendable>(
  _ pool: ProcessPool, _ elements: [A], _ body: @escaping @Sendable (A) throws -> B
) async throws -> [B] {
  try await pool.map(elements, body)
}

/// A function of the caller's, in a literal of one's own.
public func wrapped<A: Codable & Sendable, B: Codable & Sendable>(
  _ pool: ProcessPool, _ elements: [A], _ body: @escaping @Sendable (A) throws -> B
) async throws -> [[B]] {
  try await pool.map(elements) { [try body($0)] }
}

public func inChild<A: Codable & Sendable>(_ value: A) async throws -> [A] {
  try await ChildProcess.start(value, value) { [$0, $1] }.value
}

public func scaled<S: Scaling>(_ pool: ProcessPool, by type: S.Type) async throws -> [Int] {
  try await pool.map([1, 2, 3]) { S.scaled($0) }
}

public struct Batch<Element: Codable & Sendable>: Sendable {
  public var elements: [Element]
  public init(_ elements: [Element]) { self.elements = elements }

  public func paired<Other: Codable & Sendable>(
    _ pool: ProcessPool, _ other: Other
  ) async throws -> [[String]] {
    try await pool.starmap(elements.map { ($0, other) }) { ["\($0)", "\($1)"] }
  }
}

/// Generic over what cannot be named: packs.
public func packed<each A: Codable & Sendable>(_ values: repeat each A) async throws -> Int {
  try await ChildProcess.start(repeat each values) { (values: repeat each A) in
    var count = 0
    for _ in repeat each values { count += 1 }
    return count
  }.value
}
