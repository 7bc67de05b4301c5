// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Deep messages on threads with little stack: a value or an error, and what was read can be compared,
/// hashed, printed, encoded and freed there.
@Suite struct MessageStackTests {
  /// A type that nests itself, with some properties as types have them.
  struct Node: Codable {
    var id: Int?
    var name: String?
    var values: [Double]?
    var ratio: Float?
    var next: [Node]?
  }

  /// A class whose superclass is written as a part.
  final class Link: Codable {
    private enum Keys: CodingKey { case number }
    let number: Int
    let inner: Link?

    init(_ number: Int, _ inner: Link?) {
      self.number = number
      self.inner = inner
    }
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Keys.self)
      number = try container.decode(Int.self, forKey: .number)
      inner = number == 0 ? nil : try Link(from: container.superDecoder())
    }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Keys.self)
      try container.encode(number, forKey: .number)
      try inner?.encode(to: container.superEncoder())
    }
  }

  /// Runs a body in a thread with a stack of some size: of four times the size under a sanitizer, whose
  /// frames are several times as large.
  private static func onStack(of size: Int, _ body: @escaping @Sendable () -> Void) {
    final class Work: Sendable {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var attributes = pthread_attr_t()
    #expect(unsafe pthread_attr_init(&attributes) == 0)
    let size = ChildWork.keepsMemory ? size * 4 : size
    #expect(unsafe pthread_attr_setstacksize(&attributes, size) == 0)
    var thread = pthread_t()
    let status = unsafe pthread_create(
      &thread, &attributes,
      { work in
        unsafe Unmanaged<Work>.fromOpaque(work!).takeRetainedValue().body()
        return nil
      }, Unmanaged.passRetained(Work(body)).toOpaque())
    #expect(status == 0)
    #expect(pthread_join(thread, nil) == 0)
    _ = unsafe pthread_attr_destroy(&attributes)
  }

  /// What each level of a message begins and ends with; in the middle there is None.
  enum Shape: String, CaseIterable {
    case lists, tuples, dictionaries, sets, keys, nodes, objects
    var level: (before: [UInt8], after: [UInt8]) {
      switch self {
      case .lists: ([0x5d], [0x61])
      case .tuples, .keys: ([], [0x85])
      case .dictionaries: ([0x7d, 0x4e], [0x73])
      case .sets: ([0x28], [0x91])
      case .nodes: ([0x7d, 0x8c, 4] + Array("next".utf8) + [0x5d], [0x61, 0x73])
      case .objects: ([0x63] + Array("m\nc\n".utf8), [0x85, 0x52])
      }
    }
    func message(_ depth: Int) -> [UInt8] {
      let (before, after) = level
      let middle: [UInt8] = self == .nodes ? [0x7d] : [0x4e]
      // Bytes that are dropped, so that hashing sets in sets is not too much for the message.
      let dropped: [UInt8] =
        self == .sets ? [0x42, 0, 0, 2, 0] + [UInt8](repeating: 0, count: 0x20000) + [0x30] : []
      if self == .keys {
        return [0x80, 4, 0x28] + middle + [UInt8](repeating: 0x85, count: depth) + [0x91, 0x2e]
      }
      return [0x80, 4] + dropped + [[UInt8]](repeating: before, count: depth).joined() + middle
        + [[UInt8]](repeating: after, count: depth).joined() + [0x2e]
    }
  }

  /// Whether it could be read; if so, all else can be done with it.
  private static func reads(_ shape: Shape, _ depth: Int) -> Bool {
    let message = shape.message(depth)
    do {
      switch shape {
      case .nodes: _ = try MessageDecoder().decode(Node.self, from: message)
      case .objects: _ = try InertMessage(message).description.utf8.count
      default:
        let value = try MessageDecoder().decode(MessageValue.self, from: message)
        let again = try MessageDecoder().decode(MessageValue.self, from: message)
        guard value == again, value.hashValue == again.hashValue, !value.description.isEmpty
        else {
          Issue.record("\(shape) \(depth) deep is another the second time")
          return false
        }
        _ = try? MessageEncoder().encode(value)
      }
      return true
    } catch { return false }
  }

  @Test(arguments: [64, 128, 256, 512, 8192], Shape.allCases)
  func whatIsTooDeepForTheStackIsRefused(_ kibibytes: Int, _ shape: Shape) {
    Self.onStack(of: kibibytes << 10) {
      var deepest = 0
      for depth in [1, 4, 16, 64, 100, 150, 200, 255, 300, 400, 500] where Self.reads(shape, depth)
      {
        deepest = depth
      }
      // Types take what they take: a level of these is some 10 KiB without optimisation.
      let least =
        switch shape {
        case .lists, .tuples, .dictionaries, .keys:
          kibibytes == 64 ? 4 : kibibytes == 8192 ? 500 : 16
        case .sets, .objects: kibibytes == 64 ? 1 : kibibytes < 256 ? 4 : 16
        case .nodes: kibibytes == 8192 ? 200 : 1
        }
      // A sanitizer makes frames several times as large.
      #expect(deepest >= (ChildWork.keepsMemory ? 1 : least))
    }
  }

  @Test func theErrorSaysThatItIsTheStack() {
    Self.onStack(of: 64 << 10) {
      let error = #expect(throws: IPCError.self) {
        try MessageDecoder().decode(Node.self, from: Shape.nodes.message(255))
      }
      #expect(error?.code == .malformedMessage)
      #expect(error?.context.contains("too deep for the stack of this thread") == true)
    }
  }

  @Test(arguments: [64, 128, 256, 512])
  func whatIsTooDeepForTheStackIsNotEncoded(_ kibibytes: Int) throws {
    var value = MessageValue.null
    var node = Node()
    var link = Link(0, nil)
    for level in 1...500 {
      value = level % 2 == 0 ? [value] : ["a": value]
      if level <= 250 { node = Node(id: level, next: [node]) }
      link = Link(level, link)
    }
    let all = (value, node, link)
    nonisolated(unsafe) let shared = all
    Self.onStack(of: kibibytes << 10) {
      for encode: () throws -> [UInt8] in [
        { try MessageEncoder().encode(unsafe shared.0) },
        { try MessageEncoder().encode(unsafe shared.1) },
      ] {
        do {
          _ = try encode()
        } catch let error as IPCError {
          #expect(error.code == .invalidArgument)
          #expect(error.context.contains("too deep for the stack"))
        } catch { Issue.record("\(error)") }
      }
    }
    // A key that is made where there is much stack.
    var key = MessageValue.null
    for _ in 1...2000 { key = .tuple([key]) }
    let deep = key
    let keyed = MessageValue.set([deep])
    Self.onStack(of: 64 << 10) {
      #expect(throws: IPCError.self) { try MessageEncoder().encode(keyed) }
      #expect(keyed == .set([deep]))
    }
    // Freed here, too.
    withExtendedLifetime((key, deep, keyed)) {}
    // Here there is stack enough, in the usual threads.
    let bytes = try MessageEncoder().encode(value)
    #expect(try MessageDecoder().decode(MessageValue.self, from: bytes) == value)
    #expect(throws: IPCError.self) {
      try MessageEncoder().encode(Link(500, Link(0, nil)).deepened(600))
    }
  }
}

extension MessageStackTests.Link {
  /// With so many levels around it.
  func deepened(_ levels: Int) -> MessageStackTests.Link {
    var link = self
    for level in 1...levels { link = MessageStackTests.Link(level, link) }
    return link
  }
}
