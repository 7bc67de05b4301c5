// SPDX-License-Identifier: Apache-2.0

/// A dictionary of a message: any hashable keys, in the order in which they were added.
///
/// Like Python's: a key that is set again keeps its place, and two dictionaries are equal when they
/// have the same keys and values in whatever order.
///
/// ```swift
/// var settings: MessageDictionary = ["depth": 3, 7: "seven"]
/// settings["name"] = "bob"
/// for (key, value) in settings { print(key, value) }
/// ```
///
/// Complexity: looking up and setting a key take constant time on average.
public struct MessageDictionary: Sendable {
  private var entries: [Entry] = []
  /// Made when there are too many entries to look through one by one.
  private var index: [MessageValue: Int]?

  private struct Entry: Sendable {
    var key: MessageValue
    var value: MessageValue
  }

  private static let scanned = 8

  /// Makes an empty dictionary.
  public init() {}

  /// Makes a dictionary of keys and values; of a key that occurs twice, the last value stays.
  public init(_ pairs: some Sequence<(MessageValue, MessageValue)>) {
    for (key, value) in pairs { self[key] = value }
  }

  /// The keys, in order.
  public var keys: [MessageValue] { entries.map(\.key) }
  /// The values, in the order of their keys.
  public var values: [MessageValue] { entries.map(\.value) }

  /// The value of a key, or `nil` when there is none. Setting `nil` takes the key out, in linear
  /// time; to set Python's `None` write `.null`.
  public subscript(key: MessageValue) -> MessageValue? {
    get { find(key).map { entries[$0].value } }
    set {
      if let place = find(key) {
        if let newValue {
          entries[place].value = newValue
        } else {
          entries.remove(at: place)
          index = nil
          makeIndexIfWorthwhile()
        }
      } else if let newValue {
        entries.append(Entry(key: key, value: newValue))
        if index != nil {
          index![key] = entries.count - 1
        } else {
          makeIndexIfWorthwhile()
        }
      }
    }
  }

  mutating func reserveCapacity(_ count: Int) { entries.reserveCapacity(count) }

  private func find(_ key: MessageValue) -> Int? {
    if let index { return index[key] }
    return entries.firstIndex { $0.key == key }
  }

  private mutating func makeIndexIfWorthwhile() {
    guard entries.count > Self.scanned else { return }
    var made: [MessageValue: Int] = [:]
    for (place, entry) in entries.enumerated() { made[entry.key] = place }
    index = made
  }
}

extension MessageDictionary: RandomAccessCollection {
  /// The place of an entry: not an `Int`, so that `dictionary[7]` always means the key 7.
  public struct Index: Comparable, Hashable, Sendable {
    fileprivate var place: Int
    public static func < (left: Index, right: Index) -> Bool { left.place < right.place }
  }

  public var startIndex: Index { Index(place: 0) }
  public var endIndex: Index { Index(place: entries.count) }
  public subscript(position: Index) -> (key: MessageValue, value: MessageValue) {
    (entries[position.place].key, entries[position.place].value)
  }
  public func index(after index: Index) -> Index { Index(place: index.place + 1) }
  public func index(before index: Index) -> Index { Index(place: index.place - 1) }
  public func index(_ index: Index, offsetBy distance: Int) -> Index {
    Index(place: index.place + distance)
  }
  public func distance(from start: Index, to end: Index) -> Int { end.place - start.place }
}

extension MessageDictionary: Hashable {
  public static func == (left: MessageDictionary, right: MessageDictionary) -> Bool {
    left.count == right.count && left.entries.allSatisfy { right[$0.key] == $0.value }
  }

  public func hash(into hasher: inout Hasher) {
    // Equal whatever the order, so the entries' hashes are added up.
    var sum = 0
    for entry in entries {
      var hasher = Hasher()
      hasher.combine(entry.key)
      hasher.combine(entry.value)
      sum = sum &+ hasher.finalize()
    }
    hasher.combine(entries.count)
    hasher.combine(sum)
  }
}

extension MessageDictionary: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (MessageValue, MessageValue)...) { self.init(elements) }
}
