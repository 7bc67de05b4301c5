// SPDX-License-Identifier: Apache-2.0

/// The error that a task of a pool threw in its worker, as it is told here.
///
/// ```swift
/// do {
///   _ = try await pool.apply("no such file") { try parse($0) }
/// } catch let error as RemoteError where error.typeName == "Parser.SyntaxError" {
///   print(error.message)
/// }
/// ```
///
/// The error itself stays in the worker: its type need not be `Codable`.
public struct RemoteError: Error, Hashable, Sendable {
  /// The error's type, with its module: "Parser.SyntaxError".
  public var typeName: String
  /// What the error says of itself.
  public var message: String
  /// Where it was thrown, the innermost call first: a line for each, as "Parser.parse(_:) + 84 in
  /// program". Empty where the worker could not tell.
  ///
  /// Functions that the linker knows no name of are addresses in their file, which `llvm-symbolizer`
  /// makes lines of.
  public var trace: [String]
  /// The worker's name.
  public var worker: String

  /// Makes an error, for tests.
  public init(typeName: String, message: String, trace: [String] = [], worker: String = "") {
    self.typeName = typeName
    self.message = message
    self.trace = trace
    self.worker = worker
  }
}

extension RemoteError: CustomStringConvertible {
  /// The type and what the error said, then where: a line for each call.
  public var description: String {
    var text = "\(typeName): \(message) (thrown in \(worker))"
    for line in trace { text += "\n  at \(line)" }
    return text
  }
}
