// SPDX-License-Identifier: Apache-2.0
import CIPC
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// How elements become bytes, and what bytes are refused.
@Suite struct QueueElementTests {
  struct Point: Codable, Equatable {
    var x: Double
    var y: Float
    var tag: Int8
  }
  struct Line: Codable, Equatable {
    var from: Point
    var to: Point
  }
  struct Pair: Codable, Equatable {
    var point: Point
    var isOn: Bool
  }
  struct Perhaps: Codable, Equatable { var number: Int? }
  enum Colour: UInt8, Codable { case red, green }
  enum Wide: Codable, Equatable {
    case number(Int)
    case a
    case b
  }
  struct Named: Codable, Equatable {
    var name: String
    var values: [Double]
  }
  struct Nothing: Codable, Equatable {}
  struct Interval: Codable, Equatable { var range: Range<Int> }

  /// 1: as its bytes; 2: an array of such; 3: text; 4: a message.
  private func format<T: Codable & Sendable>(_ type: T.Type) -> Int {
    switch String(describing: Swift.type(of: QueueFormat.coding(of: type))).prefix(5) {
    case "Plain": 1
    case "Array": 2
    case "Strin": 3
    default: 4
    }
  }

  @Test func whichTypesGoAsTheirBytes() {
    #expect(format(Int.self) == 1 && format(UInt8.self) == 1 && format(Double.self) == 1)
    #expect(format(Int128.self) == 1 && format(SIMD4<Float>.self) == 1)
    #expect(format(Point.self) == 1 && format(Line.self) == 1)
    #expect(format([UInt8].self) == 2 && format([Line].self) == 2 && format([Float].self) == 2)
    #expect(format(String.self) == 3)
  }

  /// Types of which not all bytes are a value, or that are not all in their bytes.
  @Test func whichTypesGoAsMessages() {
    #expect(format(Bool.self) == 4 && format([Bool].self) == 4 && format(Pair.self) == 4)
    #expect(format(Int?.self) == 4 && format(Int??.self) == 4 && format(Perhaps.self) == 4)
    #expect(format(Colour.self) == 4 && format(Wide.self) == 4)
    #expect(format(Range<Int>.self) == 4 && format(Interval.self) == 4)
    #expect(format([String].self) == 4 && format([[Int]].self) == 4 && format(Named.self) == 4)
    #expect(format(MessageValue.self) == 4 && format(Nothing.self) == 4)
    #expect(format([String: Int].self) == 4 && format(Duration.self) == 4)
  }

  private func roundTrip<T: Codable & Sendable & Equatable>(_ elements: T...) async throws {
    for delivery in QueueDelivery.allCases {
      let queue = try Queue<T>(delivery: delivery)
      try await queue.putMany(elements)
      for element in elements { #expect(try await queue.get() == element) }
      for element in elements {
        try await queue.put(element)
        #expect(try queue.getIfAvailable() == element)
      }
      try await queue.putMany(elements)
      #expect(try await queue.getMany(upTo: elements.count + 1) == elements)
    }
  }

  @Test func elementsOfAllKindsComeOutAsTheyWerePutIn() async throws {
    try await roundTrip(Int.min, 0, .max)
    try await roundTrip(1.5, -Double.infinity)
    try await roundTrip(Int128.max, 1)
    try await roundTrip(SIMD4<Float>(1, 2, 3, 4))
    try await roundTrip(Point(x: 1, y: 2, tag: 3))
    try await roundTrip(Line(from: Point(x: 1, y: 2, tag: 3), to: Point(x: 4, y: 5, tag: 6)))
    try await roundTrip([Point(x: 1, y: 2, tag: 3), Point(x: 4, y: 5, tag: 6)], [])
    try await roundTrip([UInt8](0...255), [], [1])
    try await roundTrip("", "a", "äöü 🙂", String(repeating: "long ", count: 10_000))
    try await roundTrip(true, false)
    try await roundTrip(Int?.none, 3)
    try await roundTrip(Colour.green, .red)
    try await roundTrip(Wide.number(3), .a, .b)
    try await roundTrip(Nothing())
    try await roundTrip(Named(name: "a", values: [1, 2]))
    try await roundTrip([42, nil, "hello"] as MessageValue, nil, ["a": [1, 2]])
    try await roundTrip(["a": 1])
    try await roundTrip(0..<7)
  }

  // MARK: What cannot be an element

  @Test func aHandleIsAnErrorThatSaysWhatToUse() async throws {
    struct Box: Codable { var lock: Lock }
    func complaint<T: Codable & Sendable>(_ element: T) async throws -> String? {
      let queue = try Queue<T>()
      do {
        try await queue.put(element)
      } catch let error as IPCError where error.code == .notTransferable {
        #expect(queue.isEmpty)
        return error.context
      }
      return nil
    }
    let (ours, _) = try Connection.pair()
    #expect(try await complaint(Lock())?.contains("send it over a Connection") == true)
    #expect(try await complaint(Box(lock: Lock()))?.contains("over a Connection") == true)
    #expect(try await complaint([try Value(1)])?.contains("over a Connection") == true)
    #expect(try await complaint(ours)?.contains("over a Connection") == true)
    #expect(try await complaint(Queue<Int>())?.contains("over a Connection") == true)
    #expect(!ours.isClosed)
    let queue = try Queue<Int>()
    #expect(errorCode { try queue.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
  }

  // MARK: Hostile bytes

  private func put<T>(_ bytes: [UInt8], into queue: Queue<T>) {
    #expect(unsafe cipc_ring_put(queue.ring, bytes, bytes.count, .max) == 0)
  }

  /// Bytes that are no element are refused, and gone: what is behind them comes next.
  private func refuse<T: Codable & Sendable & Equatable>(
    _ bytes: [UInt8], before good: T, saying words: String
  ) throws {
    for delivery in QueueDelivery.allCases {
      let queue = try Queue<T>(delivery: delivery)
      let takings: [(Queue<T>) throws -> T] = [
        { try $0.get() }, { try #require(try $0.getIfAvailable()) },
        { try $0.getMany(upTo: 1)[0] },
        { queue in
          guard delivery == .leased else { return try queue.get(timeout: .seconds(1)) }
          let lease = try queue.lease()
          try lease.acknowledge()
          return lease.element
        },
      ]
      for take in takings {
        put(bytes, into: queue)
        try queue.put(good)
        do {
          _ = try take(queue)
          Issue.record("taken: \(bytes) as \(T.self)")
        } catch let error as IPCError {
          #expect(error.code == .malformedMessage)
          #expect(error.context.contains(words), "\(error)")
        }
        #expect(try take(queue) == good)
        if delivery == .tracked { try queue.taskDone() }
        #expect(queue.unfinishedCount == 0)
      }
    }
  }

  @Test func bytesThatAreNoElementAreRefused() throws {
    try refuse([], before: 7, saying: "length")
    try refuse([1, 2, 3, 4, 5, 6, 7], before: 7, saying: "length")
    try refuse([UInt8](repeating: 1, count: 9), before: 7, saying: "length")
    try refuse([UInt8](repeating: 1, count: 4000), before: 7, saying: "length")
    try refuse([1, 2, 3], before: [Float(1)], saying: "length")
    try refuse([0xff], before: "a", saying: "UTF-8")
    try refuse([0xed, 0xa0, 0x80], before: "a", saying: "UTF-8")
    try refuse([0xc3], before: "", saying: "UTF-8")
    try refuse([2], before: true, saying: "")
    try refuse([], before: [42, nil, "hello"] as MessageValue, saying: "")
    try refuse(MessageEncoder().encode("text"), before: Colour.red, saying: "")
    try refuse(MessageEncoder().encode(7), before: Colour.red, saying: "")
  }

  @Test func oneBadElementOfABatch() throws {
    let queue = try Queue<Int>()
    try queue.put(1)
    put([1, 2, 3], into: queue)
    try queue.put(2)
    #expect(errorCode { _ = try queue.getMany(upTo: 10) } == .malformedMessage)
    #expect(try queue.getMany(upTo: 10) == [2])
  }

  @Test func badBytesInPlace() throws {
    let queue = try Queue<[Float]>()
    put([1, 2, 3], into: queue)
    try queue.put([5])
    #expect(errorCode { try queue.withElement { _ in } } == .malformedMessage)
    #expect(try queue.withElement { $0[0] } == 5)
  }

  // MARK: Travelling

  struct Ticket: Codable {
    var descriptor = 0
    var delivery: UInt8 = 0
    var whenAlone: UInt8 = 0
    var offer: UInt32 = 0
  }

  private func open<T: Codable & Sendable>(
    _ descriptor: Int32, as type: T.Type, _ ticket: Ticket = Ticket()
  ) throws -> Queue<T> {
    let bytes = try MessageEncoder().encode(ticket)
    return try MessageDecoder().decode(
      Queue<T>.self, from: bytes, inbox: DescriptorInbox([duplicate(descriptor)]))
  }

  @Test func whatIsNotSuchAQueueIsRefused() throws {
    let queue = try Queue<Int>()
    let descriptor = unsafe cipc_segment_descriptor(cipc_ring_segment(queue.ring))
    let same = try open(descriptor, as: Int.self)
    try queue.put(5)
    #expect(try same.get() == 5)
    #expect(errorCode { _ = try open(descriptor, as: UInt.self) } == .segmentMismatch)
    #expect(errorCode { _ = try open(descriptor, as: String.self) } == .segmentMismatch)
    for delivery in UInt8(1)...3 {
      let code = errorCode {
        _ = try open(descriptor, as: Int.self, Ticket(delivery: delivery))
      }
      #expect(code == (delivery < 3 ? .segmentMismatch : .malformedMessage))
    }
    #expect(
      errorCode { _ = try open(descriptor, as: Int.self, Ticket(whenAlone: 3)) }
        == .malformedMessage)
    #expect(
      errorCode { _ = try open(descriptor, as: Int.self, Ticket(descriptor: 1)) }
        == .malformedMessage)
    // A ticket that was never given out.
    _ = try open(descriptor, as: Int.self, Ticket(offer: .max))
    let value = try SwiftIPC.Value(1)
    let other = try SwiftIPCTests.descriptor(of: value)
    #expect(errorCode { _ = try open(other, as: Int.self) } == .segmentMismatch)
    #expect(errorCode { _ = try Queue<Int>(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
  }

  /// Words that make no sense are errors, not crashes.
  @Test func aScribbledQueueSaysSo() throws {
    let queue = try Queue<Int>()
    try queue.put(1)
    let address = unsafe cipc_segment_address(cipc_ring_segment(queue.ring))!
    // The tail, behind the producers' mutex (ring.h).
    unsafe address.storeBytes(of: 0x7fff_ffff_ffff_0000, toByteOffset: 192, as: UInt64.self)
    #expect(errorCode { try queue.put(2) } == .segmentMismatch)
    _ = errorCode { for _ in 0..<3 { _ = try queue.getIfAvailable() } }
    _ = (queue.count, queue.isFull)
  }
}
