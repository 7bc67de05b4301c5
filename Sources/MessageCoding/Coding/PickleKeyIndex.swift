// SPDX-License-Identifier: Apache-2.0

/// Where the keys of one large dictionary of a message are: for types that ask for keys in another
/// order than the message has them, or for many that it does not have.
struct PickleKeyIndex {
  /// Dictionaries of up to so many entries are always gone through.
  static let scanned = 32
  private static let searchesBefore = 3

  private var searches = 0
  private(set) var isReady = false
  /// By the hash of the key, which no peer can foresee, so that there are no two keys of one hash.
  private var places: [Int: Int] = [:]
  private var integers: [Int64: Int] = [:]

  mutating func prepare(_ container: Int, _ tape: PickleTape) {
    if isReady { return }
    searches += 1
    if searches <= Self.searchesBefore { return }
    isReady = true
    let children = tape.children(of: PickleNode(PickleOpcode.emptyDictionary, container))
    places.reserveCapacity(children.count / 2)
    for place in stride(from: children.lowerBound, to: children.upperBound, by: 2) {
      let key = tape.element(place)
      tape.note(shared: key)
      // Of a key that occurs twice the first stays, as in a search from the front.
      if key.isString {
        let hash = tape.hash(of: key)
        if places[hash] == nil { places[hash] = place + 1 }
      } else if let integer = tape.smallInteger(key), integers[integer] == nil {
        integers[integer] = place + 1
      }
    }
  }

  /// The place of the value of a key that is text.
  func find(_ utf8: UnsafeBufferPointer<UInt8>, _ tape: PickleTape) -> Int? {
    guard let place = places[unsafe Self.hash(UnsafeRawBufferPointer(utf8))],
      unsafe tape.isString(tape.element(place - 1), utf8)
    else { return nil }
    return place
  }

  /// The place of the value of a key that is an integer.
  func find(_ integer: Int64) -> Int? { integers[integer] }

  static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
    var hasher = Hasher()
    unsafe hasher.combine(bytes: bytes)
    return hasher.finalize()
  }
}

extension PickleTape {
  fileprivate func hash(of node: PickleNode) -> Int {
    let span = span(of: node)
    return unsafe bytes.withUnsafeBytes {
      unsafe PickleKeyIndex.hash(UnsafeRawBufferPointer(rebasing: $0[span]))
    }
  }
}
