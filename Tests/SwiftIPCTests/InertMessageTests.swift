// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Objects in messages, as every Python writes them, seen as data.
@Suite struct InertMessageTests {
  /// Answers of a manager, in every protocol: pairs of an expression and its pickle.
  private static let program = """
    import collections, decimal, datetime, pickle, sys
    from multiprocessing.connection import Connection
    from multiprocessing.managers import Token
    class Odd(Exception):
        def __init__(self, code, text):
            super().__init__(code, text)
            self.text = text
    class Keyed(Exception):
        def __init__(self, *, code):
            self.code = code
        def __reduce__(self):
            return (rebuild, (5,))
    def rebuild(code):
        return Keyed(code=code)
    values = [
        ("#ERROR", KeyError("x")), ("#ERROR", ValueError("bad", 3)), ("#ERROR", Odd(7, "seven")),
        ("#ERROR", Keyed(code=5)), ("#ERROR", OSError(2, "no such file")), ("#ERROR", ValueError()),
        ("#ERROR", UnicodeDecodeError("utf-8", b"\\xff", 0, 1, "bad byte")),
        ("#PROXY", (("get", "put"), Token("Queue", ("127.0.0.1", 50000), "7f00aa"))),
        ("#PROXY", (("get",), Token("Queue", "/tmp/x", "7f00aa"))),
        ("#RETURN", {1, 2}), ("#RETURN", frozenset([1])), ("#RETURN", 1 + 2j), ("#RETURN", bytearray(b"ab")),
        ("#RETURN", [bytearray(b"ab"), {"k": (1, {2: complex(0, 1)})}]), ("#RETURN", b"\\xff\\0"),
        ("#RETURN", decimal.Decimal("1.5")), ("#RETURN", collections.OrderedDict(a=1)),
        ("#RETURN", [datetime.date(2020, 1, 2)]), ("#RETURN", list(range(3000))),
        ("#TRACEBACK", "Traceback (most recent call last):\\n  File \\"x\\", line 1\\nKeyError: 'x'\\n"),
    ]
    duplex = Connection(3)
    for value in values:
        duplex.send_bytes(pickle.dumps(value, int(sys.argv[1])))
    """

  private enum Seen: Equatable {
    case value(MessageValue)
    case object(String, String, [String])
    case raised(String, String)
    case refused(IPCError.Code)
  }

  private func see(_ bytes: [UInt8]) throws -> Seen {
    do {
      switch try ManagerLink.answer(bytes) {
      case .value(let value): return .value(value)
      case .object(let identity, let type, let methods): return .object(identity, type, methods)
      }
    } catch let error as RemoteError {
      return .raised(error.typeName, error.message)
    } catch let error as IPCError {
      return .refused(error.code)
    }
  }

  @Test(arguments: PythonInterpreter.all)
  func whatManagersAnswer(python: PythonInterpreter) async throws {
    for version in 3...python.highestProtocol {
      let peer = try PythonPeer(python, program: Self.program, ["\(version)"])
      var seen: [Seen] = []
      do {
        while true { seen.append(try see(try await peer.control.receiveBytes())) }
      } catch let error as IPCError where error.code == .peerClosed {}
      let dictionary: MessageDictionary = [2: .complex(real: 0, imaginary: 1)]
      let expected: [Seen] = [
        .raised("builtins.KeyError", "x"), .raised("builtins.ValueError", "\"bad\", 3"),
        .raised("__main__.Odd", "7, \"seven\""), .raised("__main__.rebuild", "5"),
        .raised("builtins.FileNotFoundError", "2, \"no such file\""),
        .raised("builtins.ValueError", ""),
        .raised("builtins.UnicodeDecodeError", "\"utf-8\", <ff>, 0, 1, \"bad byte\""),
        .object("7f00aa", "Queue", ["get", "put"]), .object("7f00aa", "Queue", ["get"]),
        .value(.set([1, 2])), .value(.frozenSet([1])),
        .value(.complex(real: 1, imaginary: 2)), .value(.bytes([97, 98])),
        .value(.array([.bytes([97, 98]), ["k": .tuple([1, .dictionary(dictionary)])]])),
        .value(.bytes([0xff, 0])), .refused(.notTransferable), .refused(.malformedMessage),
        .refused(.notTransferable), .value(.array((0..<3000).map { .integer($0) })),
        .raised("KeyError", "'x'"),
      ]
      #expect(seen.count == expected.count)
      for (found, wanted) in zip(seen, expected) {
        #expect(found == wanted, "\(python), protocol \(version)")
      }
      try await peer.finish("\(python)")
    }
  }

  /// Nothing that the decoder refuses becomes data by this, but for objects; and whatever is cut or
  /// flipped is an error of this library.
  @Test func hostileBytes() throws {
    let token: [UInt8] =
      [0x80, 4, 0x8c, 6] + Array("#PROXY".utf8) + [0x29, 0x8c, 1, 0x61, 0x8c, 1, 0x62, 0x93]
      + [0x29, 0x81, 0x8c, 1, 0x63, 0x62, 0x86, 0x86, 0x2e]
    for bytes in [token] {
      for place in bytes.indices {
        for value in 0...255 as ClosedRange<UInt8> {
          var changed = bytes
          changed[place] = value
          _ = try see(changed)
        }
        _ = try see(Array(bytes[..<place]))
      }
    }
    // Not even by the mark of an earlier message.
    for opcode: UInt8 in [0x82, 0x51, 0x69, 0x6f, 0x97] {
      #expect(try see([0x80, 4, 0x4e, opcode, 0x2e]) == .refused(.malformedMessage))
    }
    #expect(try see([]) == .refused(.malformedMessage))
    // Depth and doubling are bounded as anywhere.
    let nested =
      [0x80, 4] + [UInt8](repeating: 0x4e, count: 1)
      + [[UInt8]](repeating: [0x8c, 1, 0x61, 0x52], count: 10_000).joined() + [0x2e]
    #expect(try see(nested) == .refused(.malformedMessage))
  }

  @Test func traces() {
    let head = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n"
    func parts(_ text: String) -> [String] {
      let error = RemoteError(traceback: text)
      let trace = error.trace.joined(separator: "\n") + "\n"
      #expect(!text.hasPrefix(head) || trace.hasPrefix(head))
      return [error.typeName, error.message]
    }
    #expect(parts(head + "KeyError: 'x'\n") == ["KeyError", "'x'"])
    #expect(parts(head + "StopIteration\n") == ["StopIteration", ""])
    #expect(parts(head + "queue.Empty\n") == ["queue.Empty", ""])
    #expect(parts(head + "a.b_c.D: one: two\n") == ["a.b_c.D", "one: two"])
    #expect(parts(head + "ValueError: one\n two\n\n") == ["ValueError", "one\n two"])
    #expect(
      parts(
        head
          + "KeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n"
          + head + "ValueError: 2\n") == ["ValueError", "2"])
    #expect(parts("") == ["", ""])
  }
}
