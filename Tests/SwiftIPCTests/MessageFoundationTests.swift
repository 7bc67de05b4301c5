// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageCoding
import SwiftIPC
import Testing

/// Foundation's types, which encode themselves in their own ways. The library knows none of them.
@Suite struct MessageFoundationTests {
  private struct Everything: Codable, Equatable {
    var date = Date(timeIntervalSinceReferenceDate: 700_000_000.125)
    var past = Date.distantPast
    var dates = [Date(timeIntervalSince1970: 0)]
    var identifier = UUID(uuidString: "E621E1F8-C36C-495A-93FC-0C247A3E6E5F")!
    var link = URL(string: "https://example.org/a?b=c")!
    var data = Data([0, 1, 255])
    var price = Decimal(string: "12345678901234567890.123456789")!
    var interval = DateInterval(start: Date(timeIntervalSince1970: 5), duration: 7)
    var indices = IndexSet([1, 2, 3, 9])
    var byDate: [Date: Int] = [Date(timeIntervalSince1970: 1): 2]
    var byIdentifier: [UUID: [Date]] = [UUID(): [.distantFuture]]
    var place = CGRect(x: 1, y: 2, width: 3, height: 4)
    var components = DateComponents(year: 2024, month: 2)
    var length = Foundation.Measurement(value: 2, unit: UnitLength.meters)
    var optional: Date?
    var set: Set<Date> = [Date(timeIntervalSince1970: 1)]
  }

  @Test func comeBackEqual() throws {
    let value = Everything()
    for arrays: MessageEncoder.NumberArrays in [.lists, .memory] {
      var encoder = MessageEncoder()
      encoder.numberArrays = arrays
      let bytes = try encoder.encode([value])
      #expect(try MessageDecoder().decode([Everything].self, from: bytes) == [value])
    }
  }

  @Test func aDateIsANumberOfSeconds() throws {
    let date = Date(timeIntervalSinceReferenceDate: 1.5)
    #expect(
      try MessageDecoder().decode(MessageValue.self, from: MessageEncoder().encode(date)) == 1.5)
    #expect(try MessageDecoder().decode(Date.self, from: MessageEncoder().encode(1.5)) == date)
  }
}
