// SPDX-License-Identifier: Apache-2.0
import Helpers
import SwiftIPC

func free(_ number: Int) -> Int { number + 1 }
func slow(_ number: Int) async -> Int {
  await Task.yield()
  return number + 2
}
func worker(_ number: Int, _ text: String) throws -> String { text + "\(number)" }
func nothing(_ text: String) {}
func generic<T: BinaryInteger>(_ number: T) -> T { number * 2 }
@Sendable func adding(_ state: inout Int, _ number: Int) -> Int {
  state += number
  return state
}

struct Threshold: Sendable {
  var low = 2
  var high = 4
}

struct Named: Codable, Sendable { var name = "a" }

enum Scale: Scaling {
  static func scaled(_ number: Int) -> Int { number * 10 }
}

final class Model: Sendable {
  let weight = 3
  func weighted(_ number: Int) -> Int { number * weight }
}

enum Level: Sendable { case low, high }

@main struct Program {
  static func fixed(_ number: Int) -> Int { number * 7 }

  nonisolated(nonsending) static func report<R>(
    _ label: String, _ body: nonisolated(nonsending) () async throws -> R
  ) async {
    do {
      print("\(label):", try await body())
    } catch {
      print("\(label): refused:", error)
    }
  }

  static func main() async throws {
    let pool = try ProcessPool(workers: 1, arguments: 100) { $0 }
    // Functions by their names.
    await report("map, by name") { try await pool.map(0..<5, free) }
    await report("map, asynchronous, by name") { try await pool.map(0..<5, slow) }
    await report("map, static, by name") { try await pool.map(0..<3, fixed) }
    await report("map, generic, by name") { try await pool.map(0..<3, generic) }
    await report("map, initializer") { try await pool.map(0..<3, Double.init) }
    await report("map, with a state, by name") {
      try await pool.with(Int.self).map(0..<3, adding)
    }
    await report("starmap, operator") { try await pool.starmap([(1, 2), (3, 4)], +) }
    await report("apply, by name") { try await pool.apply(1, "a", body: worker) }
    await report("start, by name") { try await ChildProcess.start(1, "a", body: worker).value }
    await report("start, nothing returned") {
      try await ChildProcess.start("text", body: nothing).join()
    }
    await report("submit, by name") { try await pool.submit(1, body: free).get() }
    let chosen = CommandLine.arguments.count > 5 ? slow : { @Sendable number in number }
    await report("a function that was chosen") { try await pool.map(0..<3, chosen) }

    // What captures a number or a function.
    let constant = 5
    let computed = CommandLine.arguments.count
    let half: Float = 0.5
    let flag = true
    let wait = Duration.seconds(2)
    let range = 1..<4
    let threshold = Threshold()
    await report("a constant") { try await pool.map(0..<3) { $0 + constant } }
    await report("a number") { try await pool.map(0..<3) { $0 + computed } }
    await report("several") {
      try await pool.map(0..<3) { flag ? Float($0 + computed) * half : Float(constant) }
    }
    await report("a duration") { try await pool.map(0..<3) { "\(wait * $0)" } }
    await report("a range") { try await pool.map(0..<5) { range.contains($0) } }
    await report("a struct of numbers") {
      try await pool.map(0..<5) { threshold.low <= $0 && $0 <= threshold.high }
    }
    await report("a child with a number") {
      try await ChildProcess.start(1) { $0 + computed }.value
    }
    await report("a suspended closure with a number") {
      try await pool.map(0..<3) { number in
        await Task.yield()
        return number + computed
      }
    }
    for step in 1...3 {
      await report("step \(step)") { try await pool.map(0..<3) { $0 * step } }
    }
    let triple: @Sendable (Int) -> Int = { $0 * 3 }
    let more: @Sendable (Int) -> Int = { triple($0) + constant + computed }
    await report("functions") { try await pool.map(0..<3) { more(triple($0)) + free($0) } }
    @Sendable func local(_ number: Int) -> Int { number + constant }
    await report("a local function") { try await pool.map(0..<3, local) }

    // In generic functions.
    await report("generic, numbers") { try await doubled(pool, [1, 2]) }
    await report("generic, ranges") { try await doubled(pool, 1...3) }
    await report("generic, nested arrays") { try await doubled(pool, [[1], [2, 3]]) }
    await report("generic, dictionaries") { try await doubled(pool, [["a": [1]]]) }
    await report("generic, own types") { try await doubled(pool, [Named()]).map { $0.map(\.name) } }
    await report("generic, handed on, by name") { try await handedOn(pool, [1, 2], free) }
    await report("generic, handed on, a literal") { try await handedOn(pool, [1, 2]) { "\($0)" } }
    await report("generic, handed on, a number") {
      try await handedOn(pool, [1, 2]) { $0 + computed }
    }
    await report("generic, wrapped, by name") { try await wrapped(pool, [1, 2], free) }
    await report("generic, wrapped, a literal") { try await wrapped(pool, ["a"]) { $0 + "b" } }
    await report("generic, a child") { try await inChild(["a", "b"]) }
    await report("generic, a protocol of one's own") { try await scaled(pool, by: Scale.self) }
    await report("generic, in a generic struct") { try await Batch([1, 2]).paired(pool, "a") }
    await report("generic, packs") { try await packed(1, "a", 2.5) }
    await report("generic, local types") {
      struct Local: Codable, Sendable { var number = 1 }
      return try await doubled(pool, [Local()]).count
    }

    // What is refused.
    let text = "text"
    let list = [1, 2, 3]
    let model = Model()
    let level: Level = computed > 5 ? .low : .high
    let maybe: Int? = 3
    let box: any Sendable = 1
    await report("a text") { try await pool.map(0..<3) { "\($0)" + text } }
    await report("an array") { try await pool.map(0..<3) { list[$0] } }
    await report("an array and a number") { try await pool.map(0..<3) { list[$0] + computed } }
    await report("an object") { try await pool.map(0..<3) { $0 * model.weight } }
    await report("a method") { try await pool.map(0..<3, model.weighted) }
    await report("an enum") { try await pool.map(0..<3) { level == .low ? 1 : $0 } }
    await report("an optional") { try await pool.map(0..<3) { $0 + (maybe ?? 0) } }
    await report("anything") { try await pool.map(0..<3) { "\(box) \($0)" } }
    await report("a child with a text") { try await ChildProcess.start { print(text) }.join() }
    pool.close()
    try await pool.join()
  }
}
