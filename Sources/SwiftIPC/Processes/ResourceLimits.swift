// SPDX-License-Identifier: Apache-2.0

/// What a child may use at most; `nil` for this process's own limit.
///
/// ```swift
/// let frugal = ChildProcessOptions(limits: .init(dataBytes: 1 << 30, cpuSeconds: 60))
/// ```
///
/// A limit above this process's own needs a privilege: `notOwner`.
public struct ResourceLimits: Hashable, Sendable {
  /// Memory that the child allocates, in bytes: more is refused to it, which ends a Swift program by
  /// SIGABRT, or another signal where there is not even enough to say so. Shared memory does not count.
  ///
  /// The error of its end names the limit then. For that the child has handlers of its own for the
  /// signals of crashes, which do what was done before.
  public var dataBytes: Int?
  /// Processor time, in seconds: then the child is ended by SIGXCPU, and a second later by SIGKILL.
  public var cpuSeconds: Int?
  /// Open descriptors, by the highest number that one may have.
  public var openFiles: Int?

  /// Makes limits.
  public init(dataBytes: Int? = nil, cpuSeconds: Int? = nil, openFiles: Int? = nil) {
    self.dataBytes = dataBytes
    self.cpuSeconds = cpuSeconds
    self.openFiles = openFiles
  }
}
