// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

@Suite struct MessageValueTests {
  @Test func printsAsItsLiteral() {
    #expect("\([42, nil, "hello"] as MessageValue)" == #"[42, nil, "hello"]"#)
    #expect("\(["a": 1, 2: [true, 2.5]] as MessageValue)" == #"["a": 1, 2: [true, 2.5]]"#)
    #expect("\([:] as MessageValue)" == "[:]")
    #expect("\(MessageValue.tuple([1]))" == "(1,)")
    #expect("\(MessageValue.tuple([1, "b"]))" == #"(1, "b")"#)
    #expect("\(MessageValue.bytes([1, 255]))" == "<01 ff>")
    #expect("\(MessageValue.set([7]))" == "Set([7])")
    #expect("\(MessageValue.complex(real: 1, imaginary: -2))" == "(1.0 + -2.0i)")
    #expect("\(MessageValue.integer(Int128(1) << 100))" == "1267650600228229401496703205376")
  }

  @Test func bigIntegersHoldWhatTheyWereGiven() {
    for shift in 0..<127 {
      for value: Int128 in [
        Int128(1) << Int128(shift), -(Int128(1) << Int128(shift)), (1 << Int128(shift)) - 1,
      ] {
        let big = BigInteger(value)
        #expect(Int128(exactly: big) == value)
        #expect(big.description == value.description)
        #expect(big.isNegative == (value < 0))
        #expect(Int64(exactly: big) == Int64(exactly: value))
        #expect(UInt64(exactly: big) == UInt64(exactly: value))
        #expect(UInt8(exactly: big) == UInt8(exactly: value))
        #expect(Int8(exactly: big) == Int8(exactly: value))
      }
    }
    #expect(UInt128(exactly: BigInteger(UInt128.max)) == .max)
    #expect(Int128(exactly: BigInteger(UInt128.max)) == nil)
    #expect(BigInteger(littleEndian: [5, 0, 0]) == BigInteger(5))
    #expect(BigInteger(littleEndian: [0xff, 0xff]) == BigInteger(-1))
    #expect(BigInteger(littleEndian: [0x80, 0xff]) == BigInteger(-128))
    #expect(BigInteger(littleEndian: [0x80, 0x00]) == BigInteger(128))
    #expect(BigInteger(0).littleEndianBytes == [])
    #expect(
      "\(BigInteger(littleEndian: [UInt8](repeating: 0, count: 300) + [1]))".hasPrefix("0x10000"))
  }

  @Test func dictionariesKeepOrderAndCompareWithout() {
    var dictionary: MessageDictionary = ["a": 1, "b": 2, "a": 3]
    #expect(dictionary.keys == ["a", "b"])
    #expect(dictionary["a"] == 3)
    #expect(dictionary == ["b": 2, "a": 3])
    #expect(dictionary.hashValue == (["b": 2, "a": 3] as MessageDictionary).hashValue)
    #expect(dictionary != ["b": 2, "a": 4])
    for number in 0..<100 { dictionary[.integer(Int64(number))] = .null }
    #expect(dictionary.count == 102)
    #expect(dictionary[50] == .some(.null))
    dictionary[50] = nil
    #expect((dictionary[50] ?? "absent") == "absent")
    #expect(dictionary[99] == .some(.null))
    #expect(dictionary.count == 101)
    #expect(dictionary.keys[2...3] == [0, 1])
    #expect(dictionary[dictionary.startIndex].key == "a")
  }

  @Test func elementsAreFoundByKeyAndIndex() {
    let value: MessageValue = ["list": [1, "two"], 3: "three"]
    #expect(value["list"]?[1] == "two")
    // `== nil` would mean `.null` here.
    #expect((value["list"]?[2] ?? "absent") == "absent")
    #expect(value[3] == "three")
    #expect((value["none"] ?? "absent") == "absent")
    #expect((MessageValue.null["a"] ?? "absent") == "absent")
  }
}
