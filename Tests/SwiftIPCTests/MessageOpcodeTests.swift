// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

/// Each opcode that messages may have, in a message of its own that was written by hand.
@Suite struct MessageOpcodeTests {
  struct Example: Sendable, CustomTestStringConvertible {
    var name: String
    /// Behind PROTO, up to STOP.
    var body: [UInt8]
    var value: MessageValue
    var testDescription: String { name }
  }

  private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
  private static func builtin(_ name: String) -> [UInt8] { text("cbuiltins\n\(name)\n") }
  private static func stackBuiltin(_ module: String, _ name: String) -> [UInt8] {
    [0x8c, UInt8(module.utf8.count)] + text(module) + [0x8c, UInt8(name.utf8.count)] + text(name)
      + [0x93]
  }

  static let examples: [Example] = [
    Example(name: "NONE", body: [0x4e], value: nil),
    Example(name: "NEWTRUE", body: [0x88], value: true),
    Example(name: "NEWFALSE", body: [0x89], value: false),
    Example(name: "BININT1", body: [0x4b, 255], value: 255),
    Example(name: "BININT2", body: [0x4d, 0, 255], value: 65280),
    Example(name: "BININT", body: [0x4a, 0, 0, 0, 128], value: -2_147_483_648),
    Example(name: "LONG1", body: [0x8a, 2, 0, 128], value: -32768),
    Example(name: "LONG1 of nothing", body: [0x8a, 0], value: 0),
    Example(name: "LONG4", body: [0x8b, 3, 0, 0, 0, 255, 255, 0], value: 65535),
    Example(
      name: "LONG1 of 9 bytes", body: [0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 128, 0],
      value: MessageValue.integer(UInt64(1) << 63)),
    Example(
      name: "LONG4 of 17 bytes",
      body: [0x8b, 17, 0, 0, 0] + [UInt8](repeating: 0, count: 16) + [1],
      value: .bigInteger(BigInteger(littleEndian: [UInt8](repeating: 0, count: 16) + [1]))),
    Example(
      name: "BINFLOAT, most significant byte first", body: [0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
      value: 1.5),
    Example(name: "SHORT_BINUNICODE", body: [0x8c, 2, 0xc3, 0xa9], value: "é"),
    Example(name: "BINUNICODE", body: [0x58, 2, 0, 0, 0, 0xc3, 0xa9], value: "é"),
    Example(name: "BINUNICODE8", body: [0x8d, 2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0xa9], value: "é"),
    Example(name: "SHORT_BINBYTES", body: [0x43, 2, 0, 255], value: .bytes([0, 255])),
    Example(name: "BINBYTES", body: [0x42, 2, 0, 0, 0, 0, 255], value: .bytes([0, 255])),
    Example(
      name: "BINBYTES8", body: [0x8e, 2, 0, 0, 0, 0, 0, 0, 0, 0, 255], value: .bytes([0, 255])),
    Example(
      name: "BYTEARRAY8", body: [0x96, 2, 0, 0, 0, 0, 0, 0, 0, 0, 255], value: .bytes([0, 255])),
    Example(name: "EMPTY_LIST", body: [0x5d], value: []),
    Example(name: "APPEND", body: [0x5d, 0x4e, 0x61], value: [nil]),
    Example(name: "MARK, APPENDS", body: [0x5d, 0x28, 0x4e, 0x88, 0x65], value: [nil, true]),
    Example(name: "APPENDS of nothing", body: [0x5d, 0x28, 0x65], value: []),
    Example(name: "EMPTY_DICT", body: [0x7d], value: [:]),
    Example(name: "SETITEM", body: [0x7d, 0x4b, 1, 0x4e, 0x73], value: [1: nil]),
    Example(
      name: "SETITEMS", body: [0x7d, 0x28, 0x4b, 2, 0x4e, 0x4b, 1, 0x88, 0x75],
      value: [2: nil, 1: true]),
    Example(name: "SETITEMS of nothing", body: [0x7d, 0x28, 0x75], value: [:]),
    Example(name: "EMPTY_SET", body: [0x8f], value: .set([])),
    Example(name: "ADDITEMS", body: [0x8f, 0x28, 0x4b, 1, 0x4b, 2, 0x90], value: .set([1, 2])),
    Example(name: "ADDITEMS of nothing", body: [0x8f, 0x28, 0x90], value: .set([])),
    Example(name: "FROZENSET", body: [0x28, 0x4b, 1, 0x91], value: .frozenSet([1])),
    Example(name: "EMPTY_TUPLE", body: [0x29], value: .tuple([])),
    Example(name: "TUPLE1", body: [0x4b, 1, 0x85], value: .tuple([1])),
    Example(name: "TUPLE2", body: [0x4b, 1, 0x4b, 2, 0x86], value: .tuple([1, 2])),
    Example(name: "TUPLE3", body: [0x4b, 1, 0x4b, 2, 0x4b, 3, 0x87], value: .tuple([1, 2, 3])),
    Example(
      name: "TUPLE", body: [0x28, 0x4b, 1, 0x4b, 2, 0x4b, 3, 0x4b, 4, 0x74],
      value: .tuple([1, 2, 3, 4])),
    Example(name: "POP", body: [0x4b, 1, 0x4b, 2, 0x30], value: 1),
    Example(name: "POP of a mark", body: [0x4b, 1, 0x28, 0x30], value: 1),
    Example(name: "POP_MARK", body: [0x4b, 1, 0x28, 0x4b, 2, 0x4b, 3, 0x31], value: 1),
    Example(
      name: "MEMOIZE, BINGET", body: [0x4b, 7, 0x94, 0x68, 0, 0x86], value: .tuple([7, 7])),
    Example(name: "BINPUT", body: [0x4b, 7, 0x71, 9, 0x68, 9, 0x86], value: .tuple([7, 7])),
    Example(
      name: "LONG_BINPUT, LONG_BINGET",
      body: [0x4b, 7, 0x72, 0, 1, 0, 0, 0x6a, 0, 1, 0, 0, 0x86], value: .tuple([7, 7])),
    Example(name: "FRAME", body: [0x95, 2, 0, 0, 0, 0, 0, 0, 0, 0x4e], value: nil),
    Example(
      name: "two of FRAME",
      body: [0x95, 1, 0, 0, 0, 0, 0, 0, 0, 0x5d, 0x95, 3, 0, 0, 0, 0, 0, 0, 0, 0x4e, 0x61],
      value: [nil]),
    Example(name: "GLOBAL set, REDUCE", body: builtin("set") + [0x29, 0x52], value: .set([])),
    Example(
      name: "GLOBAL set of a list", body: builtin("set") + [0x5d, 0x4b, 1, 0x61, 0x85, 0x52],
      value: .set([1])),
    Example(
      name: "GLOBAL frozenset", body: builtin("frozenset") + [0x5d, 0x4b, 1, 0x61, 0x85, 0x52],
      value: .frozenSet([1])),
    Example(
      name: "GLOBAL bytearray", body: builtin("bytearray") + [0x43, 1, 9, 0x85, 0x52],
      value: .bytes([9])),
    Example(
      name: "GLOBAL complex",
      body: builtin("complex") + [0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]
        + [0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0x52], value: .complex(real: 1.5, imaginary: 0)),
    Example(
      name: "GLOBAL _codecs.encode",
      body: text("c_codecs\nencode\n") + [0x58, 2, 0, 0, 0, 0xc3, 0xbf] + [0x58, 6, 0, 0, 0]
        + text("latin1") + [0x86, 0x52], value: .bytes([255])),
    Example(
      name: "bytearray of _codecs.encode",
      body: builtin("bytearray") + text("c_codecs\nencode\n") + [0x8c, 1, 65, 0x8c, 7]
        + text("latin-1") + [0x86, 0x52, 0x85, 0x52], value: .bytes([65])),
    Example(
      name: "STACK_GLOBAL set",
      body: stackBuiltin("builtins", "set") + [0x5d, 0x4b, 1, 0x61, 0x85, 0x52], value: .set([1])),
    Example(
      name: "STACK_GLOBAL complex",
      body: stackBuiltin("builtins", "complex") + [0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]
        + [0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0x52], value: .complex(real: 1.5, imaginary: 0)),
    Example(
      name: "STACK_GLOBAL bytearray",
      body: stackBuiltin("builtins", "bytearray") + [0x43, 1, 9, 0x85, 0x52], value: .bytes([9])),
    Example(
      name: "STACK_GLOBAL _codecs.encode",
      body: stackBuiltin("_codecs", "encode") + [0x8c, 1, 65, 0x8c, 6] + text("latin1")
        + [0x86, 0x52], value: .bytes([65])),
  ]

  @Test(arguments: examples) func isRead(_ example: Example) throws {
    for version: UInt8 in [3, 4, 5, 0xc4] {
      let bytes = [0x80, version] + example.body + [0x2e]
      let value = try MessageDecoder().decode(MessageValue.self, from: bytes)
      #expect(value.isIdentical(to: example.value), "protocol \(version): \(value)")
      let written = try MessageEncoder().encode(value)
      let again = try MessageDecoder().decode(MessageValue.self, from: written)
      #expect(again.isIdentical(to: value))
    }
  }

  /// No message is another one's beginning, and none is read beyond its end.
  @Test(arguments: examples) func isRefusedWhenCut(_ example: Example) {
    let bytes = [0x80, 4] + example.body + [0x2e]
    for count in 0..<bytes.count {
      #expect(throws: IPCError.self, "\(count) bytes") {
        try MessageDecoder().decode(MessageValue.self, from: Array(bytes[..<count]))
      }
    }
    #expect(throws: IPCError.self) {
      try MessageDecoder().decode(MessageValue.self, from: bytes + [0x4e])
    }
  }

  /// What each opcode of pickle that is not data is called, and where it was.
  @Test(arguments: [
    (0x32, "DUP"), (0x46, "FLOAT"), (0x49, "INT"), (0x4c, "LONG"), (0x50, "PERSID"),
    (0x51, "BINPERSID"), (0x53, "STRING"), (0x54, "BINSTRING"), (0x55, "SHORT_BINSTRING"),
    (0x56, "UNICODE"), (0x62, "BUILD"), (0x64, "DICT"), (0x67, "GET"), (0x69, "INST"),
    (0x6c, "LIST"), (0x6f, "OBJ"), (0x70, "PUT"), (0x81, "NEWOBJ"), (0x82, "EXT1"), (0x83, "EXT2"),
    (0x84, "EXT4"), (0x92, "NEWOBJ_EX"), (0x97, "NEXT_BUFFER"), (0x98, "READONLY_BUFFER"),
    (0x80, "PROTO"), (0xf2, "NUMBERS"), (0xff, "not an opcode"),
  ])
  func isRefusedByName(_ opcode: Int, _ name: String) {
    let bytes: [UInt8] = [0x80, 4, 0x5d, 0x4e, UInt8(opcode), 0, 0, 0, 0x2e]
    do {
      let value = try MessageDecoder().decode(MessageValue.self, from: bytes)
      Issue.record("read as \(value)")
    } catch let error as IPCError {
      #expect(error.code == .malformedMessage)
      #expect(
        error.context
          == "opcode 0x\(String(opcode, radix: 16)) (\(name)) at offset 4: "
          + "not allowed in a message, which is data only")
    } catch {
      Issue.record("\(error)")
    }
  }

  /// Names that a hostile peer would like, and the ones of the list under another roof.
  @Test(arguments: [
    ("os", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
    ("builtins", "set "), ("Builtins", "set"), ("", "set"), ("builtins", ""), ("builtins", "list"),
    ("__builtin__", "set"), ("_codecs", "decode"), ("codecs", "encode"), ("builtins.set", ""),
    ("builtins\u{0}", "set"), ("collections", "OrderedDict"), ("copyreg", "_reconstructor"),
  ])
  func namesOutsideTheListAreRefused(_ module: String, _ name: String) {
    for global in [
      Self.text("c\(module)\n\(name)\n"), Self.stackBuiltin(module, name),
    ] {
      do {
        let value = try MessageDecoder().decode(
          MessageValue.self, from: [0x80, 4] + global + [0x29, 0x52, 0x2e])
        Issue.record("read as \(value)")
      } catch let error as IPCError {
        #expect(
          error.context.contains("GLOBAL) at offset")
            && error.context.contains("names \(module).\(name), and a message is data only"))
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  /// Batches of 1000 as Python writes them, the last one empty.
  @Test func batches() throws {
    var list: [UInt8] = [0x80, 4, 0x5d]
    var dictionary: [UInt8] = [0x80, 4, 0x7d]
    var set: [UInt8] = [0x80, 4, 0x8f]
    for batch in 0..<3 {
      list.append(0x28)
      dictionary.append(0x28)
      set.append(0x28)
      for index in 0..<(batch < 2 ? 1000 : 0) {
        let number = batch * 1000 + index
        let spelled: [UInt8] = [0x4d, UInt8(number & 255), UInt8(number >> 8)]
        list += spelled
        dictionary += spelled + [0x4e]
        set += spelled
      }
      list.append(0x65)
      dictionary.append(0x75)
      set.append(0x90)
    }
    #expect(try MessageDecoder().decode([Int].self, from: list + [0x2e]) == Array(0..<2000))
    #expect(
      try MessageDecoder().decode(MessageValue.self, from: list + [0x2e])
        == .array((0..<2000).map { .integer($0) }))
    let read = try MessageDecoder().decode(MessageDictionary.self, from: dictionary + [0x2e])
    #expect(read.keys == (0..<2000).map { .integer($0) })
    #expect(try MessageDecoder().decode([Int: Int?].self, from: dictionary + [0x2e]).count == 2000)
    #expect(try MessageDecoder().decode(Set<Int>.self, from: set + [0x2e]) == Set(0..<2000))
  }
}
