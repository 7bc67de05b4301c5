// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// How a child process comes into being.
///
/// ```swift
/// StartMethod.standard = .forkServer  // for children whose options name none
/// try ChildProcess.start("bob", options: .init(method: .spawn)) { print("hello \($0)") }
/// ```
///
/// What a task is and how its arguments travel is the same with all three; only with `fork` may a
/// closure capture.
public enum StartMethod: Hashable, Sendable, CaseIterable {
  /// The program's file is executed again: a few milliseconds. The child is a direct child of this
  /// process and inherits none of its memory.
  case spawn
  /// The child is forked from a fork server: less than a millisecond, however much memory this
  /// process has.
  ///
  /// The server is a process of this program that the first such start spawns. It ends with this
  /// process, however that ends. The child's environment, directory, umask, limits and standard
  /// streams are this process's at the time of the start.
  case forkServer
  /// The child is a copy of this process, with all its memory: closures may capture anything.
  ///
  /// Refused while this process has more than one thread, since a lock that another thread holds
  /// would stay locked in the child for ever. There are more threads than one after any `await` of
  /// an asynchronous program.
  case fork

  /// What is used where the options of a child name none: `spawn` unless set. Any thread may set it.
  public static var standard: StartMethod {
    get { standardMethod.withLock { $0 } }
    set { standardMethod.withLock { $0 = newValue } }
  }

  private static let standardMethod = Guarded(StartMethod.spawn)
}
