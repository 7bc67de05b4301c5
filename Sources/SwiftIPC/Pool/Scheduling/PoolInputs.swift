// SPDX-License-Identifier: Apache-2.0

/// The elements of a job, which can be written into orders in any order, also twice.
protocol PoolInputs: Sendable {
  var count: Int { get }
  /// How many bytes elements will take, where that is quickly found; 0 otherwise.
  func size(_ elements: Range<Int>) -> Int
  /// Writes elements; an empty place for one that cannot be written, which is reported to `failing`.
  func write(_ elements: Range<Int>, to frame: FrameBuffer, failing: (Int, any Error) -> Void)
}

extension PoolInputs {
  func size(_ elements: Range<Int>) -> Int { 0 }
}

/// Elements that are one argument each.
struct ListInputs<A: Sendable>: PoolInputs {
  let elements: [A]
  private let coder = ElementCoder<A>()

  init(_ elements: [A]) { self.elements = elements }

  /// The elements of any sequence. Ranges of integers are usual, and going through one costs a call
  /// for each element where its type is not known.
  init(from inputs: some Sequence<A>) {
    // A conditional cast would go through an array too. The types were compared, and they are the same.
    if type(of: inputs) == [A].self {
      elements = unsafe unsafeBitCast(inputs, to: [A].self)
    } else if A.self == Int.self, let range = inputs as? Range<Int> {
      elements = unsafe unsafeBitCast(Array(range), to: [A].self)
    } else if A.self == Int.self, let range = inputs as? ClosedRange<Int> {
      elements = unsafe unsafeBitCast(Array(range), to: [A].self)
    } else {
      elements = Array(inputs)
    }
  }

  var count: Int { elements.count }

  func size(_ range: Range<Int>) -> Int {
    switch coder.coding {
    case .number(let size): return size * range.count
    case .numbers:
      return elements[range].reduce(0) { $0 + (($1 as? any RawNumberArray)?.rawSize ?? 0) + 8 }
    case .nothing, .message: return 0
    }
  }

  func write(_ range: Range<Int>, to frame: FrameBuffer, failing: (Int, any Error) -> Void) {
    if coder.fixedSize != nil { return coder.append(contentsOf: elements[range], to: frame) }
    for element in range {
      frame.append(to: element, failing) { try coder.append(elements[element], to: frame) }
    }
  }
}

/// Elements that are any number of arguments each.
struct TupleInputs<each A: Codable & Sendable>: PoolInputs {
  let elements: [(repeat each A)]

  init(_ elements: [(repeat each A)]) { self.elements = elements }

  var count: Int { elements.count }

  func write(_ range: Range<Int>, to frame: FrameBuffer, failing: (Int, any Error) -> Void) {
    for element in range {
      frame.append(to: element, failing) {
        let tuple = elements[element]
        if Arguments<repeat each A>.isOne {
          for argument in repeat each tuple { try frame.append(argument: argument) }
        } else {
          try frame.append(message: OutgoingArguments(repeat each tuple))
        }
      }
    }
  }
}

extension FrameBuffer {
  fileprivate func append<A>(argument: A) throws {
    try ElementCoder<A>().append(argument, to: self)
  }

  /// Appends an element, or in its place nothing.
  func append(
    to element: Int, _ failing: (Int, any Error) -> Void, _ write: () throws -> Void
  ) {
    let start = count
    do {
      try write()
    } catch {
      truncate(to: start)
      append(UInt64(0))
      failing(element, error)
    }
  }
}
