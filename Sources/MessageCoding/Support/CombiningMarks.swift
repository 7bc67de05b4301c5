// SPDX-License-Identifier: Apache-2.0

/// Text that the standard library compares and hashes in more than linear time: it sorts each run of
/// combining characters, by insertion. 64,000 in a row cost a comparison 1.5 s.
///
/// Text of people has a handful of them in a row, and the Unicode standard's stream-safe format at
/// most 30. Text from another process with more than `maximum` is refused.
package enum CombiningMarks {
  package static let maximum = 256

  /// Whether valid UTF-8 has more than `maximum` combining characters in a row.
  ///
  /// Complexity: O(n), and a look at every 512th byte where there are no such characters.
  package static func isTooLong(_ utf8: UnsafeRawBufferPointer) -> Bool {
    // Each has two bytes at least, so that no run that is too long lies between two samples.
    let step = 2 * maximum
    var sample = step
    while sample < utf8.count {
      var place = sample
      sample += step
      while place > 0, unsafe utf8[place] & 0xc0 == 0x80 { place -= 1 }
      guard unsafe isMark(utf8, place) != nil else { continue }
      var count = 0
      var next = place
      while next < utf8.count, let length = unsafe isMark(utf8, next), count <= maximum {
        count += 1
        next += length
      }
      while place > 0, count <= maximum {
        place -= 1
        while place > 0, unsafe utf8[place] & 0xc0 == 0x80 { place -= 1 }
        guard unsafe isMark(utf8, place) != nil else { break }
        count += 1
      }
      if count > maximum { return true }
    }
    return false
  }

  /// The length of the character at a place, where it is a combining one.
  private static func isMark(_ utf8: UnsafeRawBufferPointer, _ place: Int) -> Int? {
    let lead = unsafe utf8[place]
    // The first of them is U+0300.
    guard lead >= 0xcc else { return nil }
    let length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
    guard place + length <= utf8.count else { return nil }
    var value = UInt32(lead & (0xff >> UInt8(length + 1)))
    for offset in 1..<length { value = unsafe value << 6 | UInt32(utf8[place + offset] & 0x3f) }
    guard let scalar = Unicode.Scalar(value) else { return nil }
    return scalar.properties.canonicalCombiningClass == .notReordered ? nil : length
  }
}

extension String {
  /// Text out of memory that another process can write: a copy first, then the copy is made valid.
  /// Checked in place it could become invalid between the check and the copy.
  package init(copying bytes: UnsafeRawBufferPointer) {
    let copy = unsafe [UInt8](bytes)
    self.init(decoding: copy, as: UTF8.self)
  }
}
