// SPDX-License-Identifier: Apache-2.0

/// A list that is taken from at its front, in constant time.
struct PoolDeque<Element> {
  private var elements: [Element?] = []
  private var head = 0

  var count: Int { elements.count - head }
  var isEmpty: Bool { count == 0 }
  var first: Element? { isEmpty ? nil : elements[head] }
  var last: Element? { isEmpty ? nil : elements[elements.count - 1] }

  subscript(_ place: Int) -> Element {
    get {
      guard let element = elements[head + place] else { preconditionFailure("beyond the front") }
      return element
    }
    set { elements[head + place] = newValue }
  }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func prepend(_ element: Element) {
    if head > 0 {
      head -= 1
      elements[head] = element
    } else {
      elements.insert(element, at: 0)
    }
  }

  @discardableResult mutating func removeFirst() -> Element {
    guard let element = elements[head] else { preconditionFailure("nothing at the front") }
    elements[head] = nil
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: head <= 64)
      head = 0
    } else if head > 32 && head > elements.count / 2 {
      elements.removeSubrange(..<head)
      head = 0
    }
    return element
  }

  mutating func removeAll(where isOut: (Element) -> Bool) {
    elements = elements[head...].filter { element in element.map { !isOut($0) } ?? false }
    head = 0
  }

  /// All of them, in order; leaves none.
  mutating func removeAll() -> [Element] {
    defer { (elements, head) = ([], 0) }
    return elements[head...].compactMap { $0 }
  }
}
