// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The Swift side of Tests/Python/named_test.py: does with objects what it reads from its standard
/// input, a line each, and says what came of it.
///
/// A line is a noun, a name, how the name is asked for (`create`, `open`, `any`), and what to do.
@main struct ForeignPeer {
  static func main() {
    var peer = ForeignPeer()
    while let line = readLine() {
      let words = line.split(separator: " ").map(String.init)
      do {
        print(try peer.run(words[0], words[1], words[2], Array(words[3...])))
      } catch {
        print("error: \(error)")
      }
      // All there are: Swift does not let a variable of C, as stdout is, be named here.
      fflush(nil)
    }
  }

  /// What stays open, and what is held, until the end of the process.
  private var kept: [any Sendable] = []

  private mutating func run(
    _ noun: String, _ name: String, _ how: String, _ words: [String]
  ) throws -> String {
    let mode: NameMode = how == "create" ? .create : how == "open" ? .open : .openOrCreate
    switch noun {
    case "lock": return try use(keep(Lock(named: name, mode)), words)
    case "recursive": return try use(keep(RecursiveLock(named: name, mode)))
    case "rwlock": return try use(keep(ReadWriteLock(readers: 8, named: name, mode)), words)
    case "semaphore": return try use(keep(SharedSemaphore(value: 2, named: name, mode)), words)
    case "unowned":
      return try use(
        keep(SharedSemaphore.Unowned(value: 0, bound: 5, named: name, mode)), words)
    case "event": return try use(keep(Event(named: name, mode)), words)
    case "condition":
      let lock = try keep(Lock(named: name + "-lock", mode))
      return try use(keep(Condition(lock, waiters: 4, named: name, mode)), words)
    case "barrier": return try "\(keep(Barrier(parties: 2, named: name, mode)).wait())"
    case "double": return try use(keep(Value(1.5, named: name, mode))) { $0 += 1 }
    case "integer": return try use(keep(Value(7, named: name, mode))) { $0 += 1 }
    case "truth": return try use(keep(Value(false, named: name, mode))) { $0.toggle() }
    case "reading":
      let first = Reading(celsius: 21.5, station: 4)
      return try use(keep(Value(first, named: name, mode))) { $0.station += 1 }
    case "atomic":
      return try "\(keep(SharedAtomic(UInt16(7), named: name, mode)).add(1).oldValue)"
    case "array":
      return try use(
        keep(SharedArray(shape: [2, 3], repeating: Float(0.5), named: name, mode)), words)
    case "journal":
      let array = try SharedArray(
        shape: [4], repeating: Int32(1), named: name, mode, transactional: true)
      return try use(keep(array))
    case "string":
      let text = try keep(SharedString("grüße", capacity: 32, named: name, mode))
      if let new = words.first { try text.store(new) }
      return text.value
    case "bytes":
      let bytes = try keep(SharedBytes([1, 2, 3], capacity: 32, named: name, mode))
      if let new = words.first { try bytes.store(Array(new.utf8)) }
      return "\(bytes.value)"
    case "region":
      let region = try keep(SharedRegion(size: 8192, named: name, mode))
      return try "\(region.value("total", 1.5).value) \(region.names)"
    case "memory":
      let memory = try keep(SharedMemory(openingOrCreating: name, size: 64))
      return "\(memory.size)"
    case "queue": return try queue(name, mode, words)
    default: return "error: what is \(noun)?"
    }
  }

  private mutating func keep<T: Sendable>(_ object: T) -> T {
    kept.append(object)
    return object
  }

  private func die() -> Never {
    kill(getpid(), SIGKILL)
    fatalError("killed")
  }
}

/// What C knows as "com.example.reading", of 12 bytes aligned to 8.
struct Reading: NamedType, BitwiseCopyable, Codable {
  static let sharedName = "com.example.reading"
  var celsius: Double
  var station: UInt32
}

/// Not plain: it goes through queues as messages.
struct Note: NamedType, Codable {
  static let sharedName = "com.example.note"
  var text: String
}

extension ForeignPeer {
  private func use(_ lock: Lock, _ words: [String]) throws -> String {
    do {
      if words == ["die"] { try lock.withLock { die() } }
      if words == ["repair"] {
        return try lock.withLock {
          "held"
        } recovering: {
        }
      }
      return try lock.withLockIfAvailable { "free" } ?? "busy"
    } catch let error as IPCError where error.code == .ownerDied {
      return error.context
    }
  }

  private func use(_ lock: RecursiveLock) throws -> String {
    try lock.withLock { try lock.withLock { "twice" } }
  }

  private func use(_ lock: ReadWriteLock, _ words: [String]) throws -> String {
    do {
      if words == ["die"] { try lock.withWriteLock { die() } }
      if words == ["write"] { return try lock.withWriteLockIfAvailable { "written" } ?? "busy" }
      return try lock.withReadLockIfAvailable { "read" } ?? "busy"
    } catch let error as IPCError where error.code == .ownerDied {
      return error.context
    }
  }

  private mutating func use(_ semaphore: SharedSemaphore, _ words: [String]) throws -> String {
    if words == ["take"] {
      guard let permit = try semaphore.acquireIfAvailable() else { return "none" }
      _ = keep(permit)
    }
    return "\(semaphore.value) of \(semaphore.capacity)"
  }

  private func use(_ semaphore: SharedSemaphore.Unowned, _ words: [String]) throws -> String {
    if words == ["release"] { try semaphore.release(2) }
    if words == ["take"] { try semaphore.acquire() }
    return "\(semaphore.value) of \(semaphore.bound)"
  }

  private func use(_ event: Event, _ words: [String]) throws -> String {
    switch words {
    case ["set"]: event.set()
    case ["clear"]: event.clear()
    case ["wait"]: try event.wait()
    default: break
    }
    return "\(event.isSet)"
  }

  private func use(_ condition: Condition, _ words: [String]) throws -> String {
    switch words {
    case ["wait"]:
      try condition.withLock { try condition.wait() }
      return "notified"
    case ["notify"]: return try "\(condition.withLock { try condition.notify() })"
    default: return "made"
    }
  }

  /// The value before the change.
  private func use<T>(_ value: Value<T>, _ change: (inout T) -> Void) throws -> String {
    let before = value.value
    try value.withLock { change(&$0) }
    return "\(before)"
  }

  private func use(_ array: SharedArray<Float>, _ words: [String]) throws -> String {
    if words == ["die"] { try array.withLock { _ in die() } }
    do {
      let sum = try array.withLock { span in
        span[5] += 1
        return span.indices.reduce(0) { $0 + span[$1] }
      }
      return "\(array.shape) \(sum)"
    } catch let error as IPCError where error.code == .ownerDied {
      return error.context
    }
  }

  private func use(_ array: SharedArray<Int32>) throws -> String {
    try array.update(1..<3) { span in
      span[0] += 1
      span[1] += 1
    }
    return "\(Array(array))"
  }

  private mutating func queue(
    _ name: String, _ mode: NameMode, _ words: [String]
  ) throws -> String {
    switch words[0] {
    case "bytes":
      return try pass(Array("bytes".utf8), keep(Queue<[UInt8]>(named: name, mode)), words[1])
    case "text": return try pass("grüße", keep(Queue<String>(named: name, mode)), words[1])
    case "int32": return try pass(Int32(-5), keep(Queue<Int32>(named: name, mode)), words[1])
    case "floats": return try pass([0.5, 1], keep(Queue<[Double]>(named: name, mode)), words[1])
    case "reading":
      return try pass(
        Reading(celsius: 21.5, station: 4), keep(Queue<Reading>(named: name, mode)), words[1])
    case "note":
      return try pass(Note(text: "hello"), keep(Queue<Note>(named: name, mode)), words[1])
    default: return "error: a queue of what?"
    }
  }

  private func pass<T>(_ element: T, _ queue: Queue<T>, _ what: String) throws -> String {
    if what == "get" { return try "\(queue.get())" }
    try queue.put(element)
    return "put"
  }
}
