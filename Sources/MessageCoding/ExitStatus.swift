// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// How a child process ended.
///
/// ```swift
/// let status = try await child.join()
/// if !status.isSuccess { print("the child \(status)") }  // the child was killed by signal 9 (SIGKILL)
/// ```
public enum ExitStatus: Hashable, Sendable {
  /// The process ended of its own accord, with this code; 0 means success.
  ///
  /// A child whose task threw an error ends with code 1.
  case exited(Int32)
  /// The process was killed by the signal with this number, its own crash included.
  case signalled(Int32)
  /// The process has ended, and somebody else took its status: a `wait` for any child, or an
  /// ignored SIGCHLD.
  case unknown

  /// Whether the process ended with the code 0.
  public var isSuccess: Bool { self == .exited(0) }
}

extension ExitStatus: CustomStringConvertible {
  /// The status as the end of a sentence about the process: "exited with code 0".
  public var description: String {
    switch self {
    case .exited(let code): "exited with code \(code)"
    case .signalled(let signal):
      if let name = Self.signalNames[signal] {
        "was killed by signal \(signal) (\(name))"
      } else {
        "was killed by signal \(signal)"
      }
    case .unknown: "ended with an unknown status"
    }
  }

  private static let signalNames: [Int32: String] = [
    SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGQUIT: "SIGQUIT", SIGILL: "SIGILL", SIGTRAP: "SIGTRAP",
    SIGABRT: "SIGABRT", SIGBUS: "SIGBUS", SIGFPE: "SIGFPE", SIGKILL: "SIGKILL",
    SIGUSR1: "SIGUSR1", SIGSEGV: "SIGSEGV", SIGUSR2: "SIGUSR2", SIGPIPE: "SIGPIPE",
    SIGALRM: "SIGALRM", SIGTERM: "SIGTERM", SIGXCPU: "SIGXCPU", SIGXFSZ: "SIGXFSZ",
    SIGSYS: "SIGSYS",
  ]

  /// Whether the signal is one by which a trap or a bad memory access ends a Swift program.
  package var isCrash: Bool {
    switch self {
    case .signalled(let signal): [SIGILL, SIGTRAP, SIGSEGV, SIGBUS].contains(signal)
    case .exited, .unknown: false
    }
  }
}
