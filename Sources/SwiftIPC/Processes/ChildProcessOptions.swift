// SPDX-License-Identifier: Apache-2.0

/// How to start a child process.
///
/// ```swift
/// try ChildProcess.start("bob", options: .init(name: "greeter", environment: ["LANG": "C"])) {
///   print("hello \($0)")
/// }
/// ```
///
/// All of it is in force when the child's task begins. What cannot be had is an error of the start,
/// and no child is left.
public struct ChildProcessOptions: Hashable, Sendable {
  /// The child's name, for messages and for `ps`; `nil` for "ChildProcess-1" and so on.
  public var name: String?
  /// Whether the child is ended when this process ends, rather than waited for.
  ///
  /// At this process's `exit` a daemon gets SIGTERM, and SIGKILL where that does not end it. When
  /// this process is killed, the kernel kills its daemons.
  public var daemon: Bool
  /// How the child is started; `nil` for `StartMethod.standard`.
  public var method: StartMethod?
  /// What is different in the child's environment: a new value, or `nil` for a variable to leave out.
  ///
  /// The loader, the libc and the Swift runtime read some variables when a program begins:
  /// `SWIFT_BACKTRACE`, say, which with "enable=no" keeps a trapping child from printing a backtrace for a
  /// second. A child of the fork server has what the server began with. So one that is to have another
  /// value is spawned, unless `method` asks for the server.
  public var environment: [String: String?]
  /// The child's working directory; `nil` for this process's.
  public var directory: String?
  /// Where the child's standard input comes from.
  public var standardInput: ChildInput
  /// Where the child's standard output goes.
  public var standardOutput: ChildOutput
  /// Where the child's standard error goes.
  public var standardError: ChildOutput
  /// The processors that the child may run on, by number; `nil` for those of this process.
  public var processors: Set<Int>?
  /// What the child may use at most.
  public var limits: ResourceLimits
  /// The child's priority, from -20 to 19, the least important; `nil` for this process's.
  ///
  /// One below this process's own needs a privilege.
  public var nice: Int?
  /// Whether the child leads a process group of its own, which a Ctrl-C on the terminal does not reach.
  public var newProcessGroup: Bool
  /// The file to execute; `nil` for this program's own, also when that was replaced on disk.
  ///
  /// It has to be this program under another path, as under valgrind. Another program does not know
  /// the task: the child's `value` then throws. With `spawn` alone.
  public var executable: String?

  /// Makes options; what is not given is as with a child started without any.
  public init(
    name: String? = nil, daemon: Bool = false, method: StartMethod? = nil,
    executable: String? = nil, environment: [String: String?] = [:], directory: String? = nil,
    standardInput: ChildInput = .inherit, standardOutput: ChildOutput = .inherit,
    standardError: ChildOutput = .inherit, processors: Set<Int>? = nil,
    limits: ResourceLimits = .init(), nice: Int? = nil, newProcessGroup: Bool = false
  ) {
    self.name = name
    self.daemon = daemon
    self.method = method
    self.environment = environment
    self.directory = directory
    self.standardInput = standardInput
    self.standardOutput = standardOutput
    self.standardError = standardError
    self.processors = processors
    self.limits = limits
    self.nice = nice
    self.newProcessGroup = newProcessGroup
    self.executable = executable
  }
}
