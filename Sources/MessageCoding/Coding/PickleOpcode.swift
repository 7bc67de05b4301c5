// SPDX-License-Identifier: Apache-2.0

/// The opcodes of pickle that carry data, and the names of all of them for errors.
enum PickleOpcode {
  static let mark: UInt8 = 0x28
  static let emptyTuple: UInt8 = 0x29
  static let stop: UInt8 = 0x2e
  static let pop: UInt8 = 0x30
  static let popMark: UInt8 = 0x31
  static let binBytes: UInt8 = 0x42
  static let shortBinBytes: UInt8 = 0x43
  static let binFloat: UInt8 = 0x47
  static let binInt: UInt8 = 0x4a
  static let binInt1: UInt8 = 0x4b
  static let binInt2: UInt8 = 0x4d
  static let none: UInt8 = 0x4e
  static let reduce: UInt8 = 0x52
  static let binUnicode: UInt8 = 0x58
  static let emptyList: UInt8 = 0x5d
  static let append: UInt8 = 0x61
  static let global: UInt8 = 0x63
  static let appends: UInt8 = 0x65
  static let binGet: UInt8 = 0x68
  static let longBinGet: UInt8 = 0x6a
  static let binPut: UInt8 = 0x71
  static let longBinPut: UInt8 = 0x72
  static let setItem: UInt8 = 0x73
  static let tuple: UInt8 = 0x74
  static let setItems: UInt8 = 0x75
  static let emptyDictionary: UInt8 = 0x7d
  static let proto: UInt8 = 0x80
  static let tuple1: UInt8 = 0x85
  static let tuple2: UInt8 = 0x86
  static let tuple3: UInt8 = 0x87
  static let newTrue: UInt8 = 0x88
  static let newFalse: UInt8 = 0x89
  static let long1: UInt8 = 0x8a
  static let long4: UInt8 = 0x8b
  static let shortBinUnicode: UInt8 = 0x8c
  static let binUnicode8: UInt8 = 0x8d
  static let binBytes8: UInt8 = 0x8e
  static let emptySet: UInt8 = 0x8f
  static let addItems: UInt8 = 0x90
  static let frozenSet: UInt8 = 0x91
  static let stackGlobal: UInt8 = 0x93
  static let memoize: UInt8 = 0x94
  static let frame: UInt8 = 0x95
  static let byteArray8: UInt8 = 0x96

  // Not Python's, and so that a decoder which does not know it stops at the second byte: "unsupported
  // pickle protocol: 196" there, "protocol 196 at offset 1" here.

  /// The protocol of a message that holds arrays as memory: protocol 4, and `numbers`.
  static let memoryProtocol: UInt8 = 0xc4
  /// An array of numbers as memory: the letter of their type, their number in 64 bits, then the
  /// numbers, all with the least significant byte first.
  static let numbers: UInt8 = 0xf2

  /// The opcode as an error shows it: `0x52 (REDUCE)`.
  static func describe(_ opcode: UInt8) -> String {
    let digits = String(opcode, radix: 16)
    return "0x\(digits.count == 1 ? "0" : "")\(digits) (\(name(opcode)))"
  }

  private static func name(_ opcode: UInt8) -> String {
    switch opcode {
    case mark: "MARK"
    case emptyTuple: "EMPTY_TUPLE"
    case stop: "STOP"
    case pop: "POP"
    case popMark: "POP_MARK"
    case 0x32: "DUP"
    case binBytes: "BINBYTES"
    case shortBinBytes: "SHORT_BINBYTES"
    case 0x46: "FLOAT"
    case binFloat: "BINFLOAT"
    case 0x49: "INT"
    case binInt: "BININT"
    case binInt1: "BININT1"
    case 0x4c: "LONG"
    case binInt2: "BININT2"
    case none: "NONE"
    case 0x50: "PERSID"
    case 0x51: "BINPERSID"
    case reduce: "REDUCE"
    case 0x53: "STRING"
    case 0x54: "BINSTRING"
    case 0x55: "SHORT_BINSTRING"
    case 0x56: "UNICODE"
    case binUnicode: "BINUNICODE"
    case emptyList: "EMPTY_LIST"
    case append: "APPEND"
    case 0x62: "BUILD"
    case global: "GLOBAL"
    case 0x64: "DICT"
    case appends: "APPENDS"
    case 0x67: "GET"
    case binGet: "BINGET"
    case 0x69: "INST"
    case longBinGet: "LONG_BINGET"
    case 0x6c: "LIST"
    case 0x6f: "OBJ"
    case 0x70: "PUT"
    case binPut: "BINPUT"
    case longBinPut: "LONG_BINPUT"
    case setItem: "SETITEM"
    case tuple: "TUPLE"
    case setItems: "SETITEMS"
    case emptyDictionary: "EMPTY_DICT"
    case proto: "PROTO"
    case 0x81: "NEWOBJ"
    case 0x82: "EXT1"
    case 0x83: "EXT2"
    case 0x84: "EXT4"
    case tuple1: "TUPLE1"
    case tuple2: "TUPLE2"
    case tuple3: "TUPLE3"
    case newTrue: "NEWTRUE"
    case newFalse: "NEWFALSE"
    case long1: "LONG1"
    case long4: "LONG4"
    case shortBinUnicode: "SHORT_BINUNICODE"
    case binUnicode8: "BINUNICODE8"
    case binBytes8: "BINBYTES8"
    case emptySet: "EMPTY_SET"
    case addItems: "ADDITEMS"
    case frozenSet: "FROZENSET"
    case 0x92: "NEWOBJ_EX"
    case stackGlobal: "STACK_GLOBAL"
    case memoize: "MEMOIZE"
    case frame: "FRAME"
    case byteArray8: "BYTEARRAY8"
    case numbers: "NUMBERS"
    case 0x97: "NEXT_BUFFER"
    case 0x98: "READONLY_BUFFER"
    default: "not an opcode"
    }
  }
}
