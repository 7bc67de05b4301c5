// SPDX-License-Identifier: Apache-2.0

/// How to start a child process.
///
/// ```swift
/// try ChildProcess.start("bob", options: .init(name: "greeter", environment: ["LANG": "C"])) {
///   print("hello \($0)")
/// }
/// ```
public struct ChildProcessOptions: Hashable, Sendable {
  /// The child's name, for messages and for `ps`; `nil` for "ChildProcess-1" and so on.
  public var name: String?
  /// The file to execute; `nil` for this program's own, also when that was replaced on disk.
  ///
  /// It has to be this program under another path, as under valgrind. Another program does not know
  /// the task: the child's `value` then throws.
  public var executable: String?
  /// What is different in the child's environment: a new value, or `nil` for a variable to leave out.
  public var environment: [String: String?]

  /// Makes options; what is not given is as with a child started without any.
  public init(
    name: String? = nil, executable: String? = nil, environment: [String: String?] = [:]
  ) {
    self.name = name
    self.executable = executable
    self.environment = environment
  }
}
