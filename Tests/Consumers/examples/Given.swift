// SPDX-License-Identifier: Apache-2.0
// What the examples take for granted: names that are the reader's own. A local of the same name in an
// example hides the one here.
public import SwiftIPC

public func given<T>() -> T { fatalError("examples are compiled, not run") }

public struct Reading: Codable, Sendable {
  public var sensor: String
  public var values: [Double]
  public init(sensor: String, values: [Double]) { (self.sensor, self.values) = (sensor, values) }
}
public struct Order: Codable, Sendable {}
public struct Greet: ProcessTask {
  public var name: String
  public init(name: String) { self.name = name }
  public func run() async throws {}
}
public struct Model: Sendable {
  public init(reading name: String) throws {}
  public mutating func label(_ image: String) throws -> String { image }
}
public struct Log: Sendable {
  public init(_ path: String) throws {}
  public func add(_ line: String) {}
  public func flush() throws {}
}
public struct LineReader: Sequence, IteratorProtocol {
  public mutating func next() -> String? { nil }
}
public struct TextFile { public var lines: LineReader { LineReader() } }
public struct Camera { public mutating func next() -> Float { 0 } }
public struct Logger: Sendable { public func info(_ text: String) {} }

public func critical() {}
public func giveUp() {}
public func analyse(_ name: String) throws -> String { name }
public func fetch(_ url: String) -> String { url }
public func fill(_ order: Order) -> Order { order }
public func measure(_ name: String) throws -> Int { name.count }
public func parse(_ name: String) throws -> String { name }
public func read(_ name: String) throws -> String { name }
public func serve(_ connection: Connection) async throws {}
public func show<T>(_ value: T) {}
public func work(_ number: Int) {}
public func work(on job: String) throws {}

public var all: [String] { given() }
public var bytes: [UInt8] { given() }
public var camera: Camera {
  get { given() }
  set {}
}
public var child: ChildProcess<Void> { given() }
public var connection: Connection { given() }
public var decoder: MessageDecoder { given() }
public var descriptor: Int32 { given() }
public var frames: Queue<[Float]> { given() }
public var image: SharedArray<Float> { given() }
public var images: [String] { given() }
public var jobs: Queue<String> { given() }
public var logFile: TextFile { given() }
public func log(_ text: String) {}
public var lines: [String] { given() }
public var listener: Listener { given() }
public var lock: Lock { given() }
public var logger: Logger { given() }
public var names: [String] { given() }
public var numbers: SharedArray<Int> { given() }
public var ours: Connection { given() }
public var part: Int { given() }
public var pool: ProcessPool { given() }
public var python: Connection { given() }
public var queue: Queue<Int> { given() }
public var samples: [Double] { given() }
public var sum: Int {
  get { given() }
  set {}
}
public var theirs: Connection { given() }
public var urls: [String] { given() }
public var manager: RemoteManager { given() }
