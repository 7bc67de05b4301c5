// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// An error that code in another process threw, as it is told here: by the task of a child, by a task
/// of a pool in its worker, or by a method of an object in a Python manager.
///
/// ```swift
/// do {
///   _ = try await pool.apply("no such file") { try parse($0) }
/// } catch let error as RemoteError where error.typeName == "Parser.SyntaxError" {
///   print(error.message)
/// }
/// ```
///
/// The error itself stays where it was thrown, so its type need not be `Codable`, and nothing of it is
/// run here.
public struct RemoteError: Error, Hashable, Sendable {
  /// The error's type, with its module: "Parser.SyntaxError", "builtins.KeyError". Of a Python
  /// exception that is known by its trace alone it is what that ends with: "KeyError", and for classes
  /// of other modules with the module.
  public var typeName: String
  /// What the error says of itself. Of a Python exception its only argument when that is text,
  /// otherwise all of them.
  public var message: String
  /// Where it was thrown, in lines. Empty where the other process could not tell, or did not.
  ///
  /// From a child or a worker: a call in each line, the innermost first, as "Parser.parse(_:) + 84 in program".
  /// Functions that the linker knows no name of are addresses in their file, which `llvm-symbolizer`
  /// makes lines of. From a manager: as Python prints it, the innermost last; there is none for an
  /// exception that a method raised.
  public var trace: [String]
  /// The arguments of a Python exception, where they are plain data.
  public var arguments: [MessageValue]
  /// The name of the child, or of the pool's worker; empty for a manager.
  public var worker: String
  /// Which element of the inputs of a pool's call it was thrown for, counted from 0; `nil` for a call
  /// with a single task, and for a manager.
  public var taskIndex: Int?

  /// Makes an error, for tests of one's own.
  public init(
    typeName: String, message: String, trace: [String] = [], arguments: [MessageValue] = [],
    worker: String = ""
  ) {
    self.typeName = typeName
    self.message = message
    self.trace = trace
    self.arguments = arguments
    self.worker = worker
  }
}

extension RemoteError: CustomStringConvertible {
  /// The type and what the error said, in one line. Line feeds and other control characters, which an
  /// error from elsewhere may have in it, are written as "\n" and "\u{1B}".
  public var description: String {
    var text = message.isEmpty ? typeName : "\(typeName): \(message)"
    if !worker.isEmpty {
      let element = taskIndex.map { " for element \($0)" } ?? ""
      text += " (thrown in \(worker)\(element))"
    }
    return text.escaped
  }
}

extension RemoteError: CustomDebugStringConvertible {
  /// The description, and the trace in the lines below it.
  public var debugDescription: String {
    trace.reduce(description) { text, line in text + "\n  " + line.escaped }
  }
}
