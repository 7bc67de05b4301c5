// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A Python on this machine.
struct PythonInterpreter: Sendable, CustomStringConvertible {
  var path: String
  var major: Int
  var minor: Int

  var description: String { "Python \(major).\(minor) (\(path))" }

  /// The highest pickle protocol that it writes.
  var highestProtocol: Int { minor >= 8 ? 5 : 4 }

  /// Every Python 3.6 or later: pyenv's, and `python3` of the PATH where it is of another version.
  static let all: [PythonInterpreter] = {
    var found: [PythonInterpreter] = []
    for path in candidates() {
      guard
        let result = try? PythonProcess.run(
          path, ["-c", "import sys; print(sys.version_info[0], sys.version_info[1])"]),
        result.exitCode == 0
      else { continue }
      let numbers = result.text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
      guard numbers.count == 2, numbers[0] == 3, numbers[1] >= 6 else { continue }
      if found.contains(where: { $0.major == numbers[0] && $0.minor == numbers[1] }) { continue }
      found.append(PythonInterpreter(path: path, major: numbers[0], minor: numbers[1]))
    }
    return found.sorted { ($0.major, $0.minor) < ($1.major, $1.minor) }
  }()

  /// The newest one, for tests that need any.
  static var newest: PythonInterpreter? { all.last }

  private static func candidates() -> [String] {
    var paths: [String] = []
    let versions =
      environment("PYENV_ROOT").map { "\($0)/versions" }
      ?? "\(environment("HOME") ?? "")/.pyenv/versions"
    if let directory = unsafe opendir(versions) {
      while let entry = unsafe readdir(directory) {
        let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
          unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
        }
        if name.hasPrefix("3.") { paths.append("\(versions)/\(name)/bin/python3") }
      }
      unsafe closedir(directory)
    }
    for directory in (environment("PATH") ?? "").split(separator: ":") {
      paths.append("\(directory)/python3")
    }
    return paths.filter { unsafe access($0, X_OK) == 0 }
  }

  private static func environment(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }
}

/// Another program, usually Python, with its standard streams and whatever descriptors it is given.
///
/// ```swift
/// let result = try python.run(script: "message_corpus.py", ["dump", "4"])
/// let child = try PythonProcess(python.path, ["-c", program, "5"], inheriting: [5: theirs])
/// close(theirs)
/// let result = try child.finish(stdin: bytes)
/// ```
final class PythonProcess {
  struct Failure: Error { var what: String }

  struct Result: Sendable {
    var stdout: [UInt8]
    var stderr: [UInt8]
    /// The exit code; `nil` when a signal ended it.
    var exitCode: Int32?
    var signal: Int32?
    /// What was written to standard output, as text.
    var text: String { String(decoding: stdout, as: UTF8.self) }
    var errorText: String { String(decoding: stderr, as: UTF8.self) }
  }

  let pid: pid_t
  private var input: Int32
  private var output: Int32
  private var errors: Int32
  private var isReaped = false

  /// Starts a program.
  ///
  /// - Parameter inheriting: descriptors for the child: the number there, and the one here. They stay
  ///   open here. Numbers in the child are 3 or higher.
  init(_ path: String, _ arguments: [String], inheriting: [Int32: Int32] = [:]) throws {
    var ends: [Int32] = []
    func fail(_ what: String) -> Failure {
      for end in ends { close(end) }
      return Failure(what: "\(what): errno \(errno)")
    }
    // Sockets, since a write to one without a reader can be told not to raise SIGPIPE.
    for _ in 0..<3 {
      var pair: [Int32] = [-1, -1]
      guard
        unsafe socketpair(
          AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0
      else { throw fail("socketpair") }
      ends += pair
    }
    // Above every number in the child, so that one dup2 does not overwrite the source of the next.
    let floor = (inheriting.keys.max() ?? 2) + 1
    var sources: [(source: Int32, target: Int32)] = []
    var wanted = inheriting
    (wanted[0], wanted[1], wanted[2]) = (ends[1], ends[3], ends[5])
    for (target, source) in wanted {
      let copy = fcntl(source, F_DUPFD_CLOEXEC, max(floor, 10))
      guard copy >= 0 else { throw fail("dup of descriptor \(source)") }
      ends.append(copy)
      sources.append((copy, target))
    }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    for (source, target) in sources {
      unsafe posix_spawn_file_actions_adddup2(&actions, source, target)
    }
    var argv: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) }
    unsafe argv.append(nil)
    defer { for index in unsafe argv.indices { unsafe free(argv[index]) } }
    var pid: pid_t = 0
    let status = unsafe posix_spawn(&pid, path, &actions, nil, argv, environ)
    guard status == 0 else {
      errno = status
      throw fail("posix_spawn \(path)")
    }
    self.pid = pid
    (input, output, errors) = (ends[0], ends[2], ends[4])
    for end in [ends[1], ends[3], ends[5]] + ends[6...] { close(end) }
  }

  deinit {
    if !isReaped {
      kill(pid, SIGKILL)
      var status: Int32 = 0
      unsafe _ = waitpid(pid, &status, 0)
    }
    for end in [input, output, errors] where end >= 0 { close(end) }
  }

  /// Feeds standard input, closes it, reads what comes until the program ends. A program that takes
  /// longer than `seconds` is killed, which shows in the result's signal.
  func finish(stdin: [UInt8] = [], seconds: Int = 120) throws -> Result {
    var collected: [[UInt8]] = [[], []]
    var written = 0
    var chunk = [UInt8](repeating: 0, count: 65_536)
    var now = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &now)
    let deadline = now.tv_sec + seconds
    while output >= 0 || errors >= 0 {
      if input >= 0 && written == stdin.count {
        close(input)
        input = -1
      }
      // A negative descriptor is skipped by poll.
      var waits = [
        pollfd(fd: input, events: Int16(POLLOUT), revents: 0),
        pollfd(fd: output, events: Int16(POLLIN), revents: 0),
        pollfd(fd: errors, events: Int16(POLLIN), revents: 0),
      ]
      unsafe clock_gettime(CLOCK_MONOTONIC, &now)
      if now.tv_sec >= deadline {
        kill(pid, SIGKILL)
        break
      }
      let ready = unsafe poll(&waits, 3, Int32(clamping: (deadline - now.tv_sec) * 1000))
      if ready < 0 && errno != EINTR { throw Failure(what: "poll: errno \(errno)") }
      if ready <= 0 { continue }
      if waits[0].revents != 0 {
        let sent = unsafe stdin.withUnsafeBytes {
          unsafe send(
            input, $0.baseAddress! + written, $0.count - written,
            Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
        if sent > 0 {
          written += sent
        } else if errno != EAGAIN && errno != EINTR {
          written = stdin.count  // It does not read any more, which is its right.
        }
      }
      for (index, end) in [(0, output), (1, errors)] where waits[index + 1].revents != 0 {
        let count = unsafe read(end, &chunk, chunk.count)
        if count > 0 {
          collected[index] += chunk[..<count]
        } else if count == 0 || errno != EINTR {
          close(end)
          if index == 0 { output = -1 } else { errors = -1 }
        }
      }
    }
    var status: Int32 = 0
    while unsafe waitpid(pid, &status, 0) < 0 {
      guard errno == EINTR else { throw Failure(what: "waitpid: errno \(errno)") }
    }
    isReaped = true
    let signal = status & 0x7f
    return Result(
      stdout: collected[0], stderr: collected[1],
      exitCode: signal == 0 ? (status >> 8) & 0xff : nil, signal: signal == 0 ? nil : signal)
  }

  /// Starts a program, feeds it and waits for its end.
  static func run(
    _ path: String, _ arguments: [String], stdin: [UInt8] = [], inheriting: [Int32: Int32] = [:],
    seconds: Int = 120
  ) throws -> Result {
    try PythonProcess(path, arguments, inheriting: inheriting).finish(
      stdin: stdin, seconds: seconds)
  }
}

extension PythonInterpreter {
  /// The path of a script of `Tests/Python`.
  static func script(_ name: String, file: String = #filePath) -> String {
    let tests = file.split(separator: "/").dropLast(3).joined(separator: "/")
    return "/\(tests)/Python/\(name)"
  }

  /// Runs a script of `Tests/Python` to its end.
  func run(
    script: String, _ arguments: [String] = [], stdin: [UInt8] = [],
    inheriting: [Int32: Int32] = [:], seconds: Int = 120
  ) throws -> PythonProcess.Result {
    try PythonProcess.run(
      path, ["-B", Self.script(script)] + arguments, stdin: stdin, inheriting: inheriting,
      seconds: seconds)
  }
}
