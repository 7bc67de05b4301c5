// SPDX-License-Identifier: Apache-2.0

/// What a child process does, as a type: its properties are its arguments.
///
/// The child receives a copy of the task, as `Codable` makes it, and calls `run()` in place of the
/// program's `main`. What `run()` returns is the child's `value`; shared objects among the
/// properties, such as a `Value` or a `Connection`, are the same objects in both processes.
///
/// ```swift
/// struct Greet: ProcessTask {
///   var name: String
///   func run() async throws { print("hello \(name)") }
/// }
/// try ChildProcess.start(task: Greet(name: "bob"))
/// ```
///
/// The child is a new process in which only the task exists. Static properties have their initial
/// values there; the top-level variables of a `main.swift` are never initialised, since that file's
/// code does not run: put what children use into types.
///
/// Structs, enums and final classes can be tasks, also private and nested ones. A generic one can be
/// where its arguments are not private. `run()` is called outside the main actor, while the main
/// queue is served; it may be declared without `async` or `throws`.
public protocol ProcessTask: Codable, Sendable {
  /// What `run()` returns: nothing, or a `Codable` type.
  associatedtype Output: Sendable = Void

  /// Does the work, in the child.
  ///
  /// An error thrown here ends the child with the exit code 1. It reaches the parent as the
  /// `RemoteError` that the child's `value` throws, with its type, its description and where it was
  /// thrown.
  func run() async throws -> Output
}
