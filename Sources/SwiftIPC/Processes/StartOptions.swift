// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The options of a start as C takes them, with all that they point to, and the pipes of the child's
/// standard streams.
@safe final class StartOptions {
  private var options = unsafe cipc_process_options_t()
  /// This process's ends of the pipes.
  private var input: OpaquePointer?
  private var output: Int32 = -1
  private var error: Int32 = -1
  /// The other ends, which the child gets copies of.
  private var given: [Int32] = []

  private var name: UnsafeMutablePointer<CChar>?
  private var executable: UnsafeMutablePointer<CChar>?
  private var directory: UnsafeMutablePointer<CChar>?
  private let environment: CStringList?
  private var limits: UnsafeMutableBufferPointer<cipc_process_limit_t>
  private var affinity: UnsafeMutableBufferPointer<UInt>
  private let nice: UnsafeMutablePointer<Int32>
  private let deadline: UnsafeMutablePointer<Int64>

  init(_ wishes: ChildProcessOptions, until end: Int64) throws(IPCError) {
    environment = try CStringList(changing: wishes.environment)
    // What can fail comes first: until all properties are there, an error runs no deinit.
    let wanted = try Self.limits(wishes.limits)
    let words = try Self.words(wishes.processors)
    unsafe limits = .allocate(capacity: wanted.count)
    _ = unsafe limits.initialize(from: wanted)
    unsafe affinity = .allocate(capacity: words.count)
    _ = unsafe affinity.initialize(from: words)
    unsafe nice = .allocate(capacity: 1)
    unsafe nice.initialize(to: Int32(clamping: wishes.nice ?? 0))
    unsafe deadline = .allocate(capacity: 1)
    unsafe deadline.initialize(to: end)
    // The kernel's name of a child that was given none is the program's.
    unsafe name = wishes.name.flatMap { unsafe strdup($0) }
    unsafe executable = wishes.executable.flatMap { unsafe strdup($0) }
    unsafe directory = wishes.directory.flatMap { unsafe strdup($0) }

    unsafe options.name = UnsafePointer(name)
    unsafe options.executable = UnsafePointer(executable)
    unsafe options.environment = UnsafePointer(environment?.pointer)
    unsafe options.directory = UnsafePointer(directory)
    unsafe options.limits = UnsafePointer(limits.baseAddress)
    unsafe options.limit_count = limits.count
    if wishes.processors != nil {
      unsafe options.affinity = UnsafeRawPointer(affinity.baseAddress)
      unsafe options.affinity_size = affinity.count * MemoryLayout<UInt>.size
    }
    if wishes.nice != nil { unsafe options.nice = UnsafePointer(nice) }
    unsafe options.deadline = UnsafePointer(deadline)
    unsafe options.is_daemon = wishes.daemon ? 1 : 0
    unsafe options.new_group = wishes.newProcessGroup ? 1 : 0
    unsafe options.streams.0 = try stream(wishes.standardInput)
    unsafe options.streams.1 = try stream(wishes.standardOutput, &output)
    unsafe options.streams.2 = try stream(wishes.standardError, &error)
  }

  deinit {
    closePipes()
    unsafe free(name)
    unsafe free(executable)
    unsafe free(directory)
    unsafe limits.deallocate()
    unsafe affinity.deallocate()
    unsafe nice.deallocate()
    unsafe deadline.deallocate()
  }

  func withPointer<R>(_ body: (UnsafePointer<cipc_process_options_t>) -> R) -> R {
    unsafe withUnsafePointer(to: options) { pointer in unsafe body(pointer) }
  }

  /// This process's ends of the pipes.
  func takePipes() -> (InputWriter?, OutputReader?, OutputReader?) {
    defer {
      unsafe input = nil
      (output, error) = (-1, -1)
    }
    return unsafe (
      input.map { unsafe InputWriter(adopting: $0) },
      output >= 0 ? OutputReader(adopting: output) : nil,
      error >= 0 ? OutputReader(adopting: error) : nil
    )
  }

  /// In a forked child, which has the other ends as its streams.
  func closePipes() {
    for descriptor in given + [output, error] where descriptor >= 0 {
      closeDescriptor(descriptor)
    }
    unsafe cipc_pipe_close(input)
    given = []
    unsafe input = nil
    (output, error) = (-1, -1)
  }

  /// RLIMIT_CPU and so on, whose type differs between libcs.
  private enum Resource {
    static let processor: Int32 = 0
    static let data: Int32 = 2
    static let files: Int32 = 7
  }

  private static func limits(
    _ given: ResourceLimits
  ) throws(IPCError) -> [cipc_process_limit_t] {
    func limit(_ resource: Int32, _ value: Int, slack: UInt64) throws(IPCError)
      -> cipc_process_limit_t
    {
      guard value >= 0 else {
        throw IPCError(.invalidArgument, context: "a resource limit below zero")
      }
      return cipc_process_limit_t(
        resource: resource, soft: UInt64(value), hard: UInt64(value) + slack)
    }
    var limits: [cipc_process_limit_t] = []
    if let bytes = given.dataBytes { limits.append(try limit(Resource.data, bytes, slack: 0)) }
    // A second between SIGXCPU and SIGKILL.
    if let seconds = given.cpuSeconds {
      limits.append(try limit(Resource.processor, seconds, slack: 1))
    }
    if let files = given.openFiles { limits.append(try limit(Resource.files, files, slack: 0)) }
    return limits
  }

  private static func words(_ processors: Set<Int>?) throws(IPCError) -> [UInt] {
    guard let processors else { return [] }
    guard let last = processors.max(), let first = processors.min(), first >= 0, last < 1 << 16
    else {
      throw IPCError(.invalidArgument, context: "the processors of a child: \(processors.sorted())")
    }
    var words = [UInt](repeating: 0, count: last / UInt.bitWidth + 1)
    for number in processors {
      words[number / UInt.bitWidth] |= 1 << UInt(number % UInt.bitWidth)
    }
    return words
  }

  private func stream(_ wish: ChildInput) throws(IPCError) -> cipc_process_stream_t {
    switch wish {
    case .inherit: return cipc_process_stream_t(kind: CIPC_PROCESS_INHERIT, descriptor: 0)
    case .null: return cipc_process_stream_t(kind: CIPC_PROCESS_NULL, descriptor: 0)
    case .descriptor(let descriptor):
      return cipc_process_stream_t(kind: CIPC_PROCESS_DESCRIPTOR, descriptor: descriptor)
    case .pipe:
      var reader: Int32 = -1
      try IPCError.check(unsafe cipc_pipe_open(&input, &reader), "a pipe for the child's input")
      given.append(reader)
      return cipc_process_stream_t(kind: CIPC_PROCESS_DESCRIPTOR, descriptor: reader)
    }
  }

  private func stream(
    _ wish: ChildOutput, _ reader: inout Int32
  ) throws(IPCError) -> cipc_process_stream_t {
    switch wish {
    case .inherit: return cipc_process_stream_t(kind: CIPC_PROCESS_INHERIT, descriptor: 0)
    case .null: return cipc_process_stream_t(kind: CIPC_PROCESS_NULL, descriptor: 0)
    case .descriptor(let descriptor):
      return cipc_process_stream_t(kind: CIPC_PROCESS_DESCRIPTOR, descriptor: descriptor)
    case .pipe:
      var ends: [Int32] = [-1, -1]
      try IPCError.check(unsafe cipc_process_pipe(&ends), "a pipe for the child's output")
      reader = ends[0]
      given.append(ends[1])
      return cipc_process_stream_t(kind: CIPC_PROCESS_DESCRIPTOR, descriptor: ends[1])
    }
  }
}
