import Glibc
import SwiftIPC

@main struct Parent {
  static func main() async throws {
    // Two ends of a stream: ours, and one that Python finds as its descriptor 3.
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { fatalError("socketpair: \(errno)") }
    let worker = try Connection(adopting: ends[0])

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3)
    var arguments = [strdup("python3"), strdup(CommandLine.arguments[1]), nil]
    var pid: pid_t = 0
    let status = posix_spawnp(&pid, "python3", &actions, nil, &arguments, environ)
    guard status == 0 else { fatalError("python3 does not start: \(status)") }
    // With this the last copy here is gone: when Python ends, receiving ends.
    close(ends[1])

    try await worker.send(["colour": "red", "sizes": [1, 2.5, 4]] as MessageValue)
    print(try await worker.receive())
    try await worker.send(nil as MessageValue)
    var result: Int32 = 0
    waitpid(pid, &result, 0)
  }
}
