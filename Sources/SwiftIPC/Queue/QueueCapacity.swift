// SPDX-License-Identifier: Apache-2.0

/// How much a `Queue` takes before its producers have to wait.
///
/// ```swift
/// let frames = try Queue<[Float]>(capacity: .elements(64))
/// let log = try Queue<String>(capacity: .bytes(1 << 20))
/// ```
public enum QueueCapacity: Hashable, Sendable {
  /// Up to 1 GiB: `.bytes(1 << 30)`. Memory is taken as it is needed, and returned when the queue is
  /// drained.
  case standard
  /// So many bytes, of which an element takes its own, rounded up to a multiple of 8, and 8 more (16
  /// where delivery is tracked or leased): 64 to 16 GiB.
  case bytes(Int)
  /// So many elements, and 1 GiB: 1 to 268,435,455.
  case elements(Int)
}
