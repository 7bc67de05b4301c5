// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

/// The programs of Documentation/Python.md, run with real Pythons; and that they are what stands there.
@Suite struct RecipeTests {
  private let folder = SocketFolder()

  private static let package =
    "/"
    + #filePath.split(separator: "/").dropLast(2).joined(separator: "/")

  /// The Swift program of a recipe: it stands where the tests do.
  private static func program(_ name: String) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(
      decoding: buffer.prefix(max(0, length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    return "/" + own.split(separator: "/").dropLast().joined(separator: "/") + "/" + name
  }

  private static func recipe(_ name: String) -> String { "\(package)/Recipes/\(name)" }

  private static func text(_ path: String) throws -> String {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    try #require(file >= 0, "\(path)")
    defer { close(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe read(file, &buffer, buffer.count)
      if count <= 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }

  /// Every program that is run here stands in the documentation, word for word, and no other.
  @Test func theDocumentationSaysWhatIsRun() throws {
    let documentation = try Self.text("\(Self.package)/../../Documentation/Python.md")
    var names: [String] = []
    for part in documentation.components(after: "<!-- Recipes/") {
      let name = String(part.prefix { $0 != " " })
      names.append(name)
      let body = part.drop { $0 != "`" }.drop { $0 != "\n" }.dropFirst()
      let file = try Self.text(Self.recipe(name))
      #expect(body.hasPrefix(file + "```\n"), "\(name) differs from the documentation")
    }
    #expect(
      names.sorted() == [
        "Imaging/Imaging.swift", "Parent/Parent.swift", "Scores/Scores.swift",
        "Worker/Worker.swift", "imaging.py", "parent.py", "scores.py", "worker.py",
      ])
  }

  /// On a thread of its own.
  private func run(
    _ program: String, _ arguments: [String]
  ) async throws -> PythonProcess.Result {
    try await withCheckedThrowingContinuation { continuation in
      _ = InThread {
        continuation.resume(with: Result { try PythonProcess.run(program, arguments) })
      }
    }
  }

  static let pythons = PythonInterpreter.all
  /// With the assignment expression that a recipe has.
  static let walrus = pythons.filter { $0.minor >= 8 }
  static let withNumpy = pythons.filter {
    (try? PythonProcess.run($0.path, ["-c", "import numpy"]))?.exitCode == 0
  }

  @Test(arguments: walrus)
  func aSwiftParent(python: PythonInterpreter) async throws {
    // The recipe calls python3 by its name.
    let bin = python.path.split(separator: "/").dropLast().joined(separator: "/")
    let result = try await run(
      "/usr/bin/env",
      [
        "PATH=/\(bin):/usr/bin:/bin", Self.program("Parent"), Self.recipe("worker.py"),
      ])
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
    #expect(
      [
        #"["sum": 7.5, "colours": Set(["red", "blue"]), "raw": <00 01>]"# + "\n",
        #"["sum": 7.5, "colours": Set(["blue", "red"]), "raw": <00 01>]"# + "\n",
      ].contains(result.text), "\(python): \(result.text)")
  }

  @Test(arguments: pythons)
  func aPythonParent(python: PythonInterpreter) async throws {
    let result = try await run(
      python.path, ["-B", Self.recipe("parent.py"), Self.program("Worker")])
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
    #expect(result.text == "[1.0, 6.25, 16.0]\n", "\(python)")
  }

  @Test(.enabled(if: !withNumpy.isEmpty, "no Python with numpy"), arguments: withNumpy)
  func numpy(python: PythonInterpreter) async throws {
    let result = try await run(
      python.path, ["-B", Self.recipe("imaging.py"), Self.program("Imaging")])
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
    let lines = Set(result.text.split(separator: "\n"))
    // Both write to the same output; 480 * 640 / 2 + 6.5.
    #expect(lines == ["7.0 153606.5", "14.0 1.0"], "\(python): \(result.text)")
  }

  @Test(arguments: pythons)
  func aManager(python: PythonInterpreter) async throws {
    let path = "\(folder.path)/m"
    // The client starts when the manager says that it listens.
    let both = #""$1" -B "$2" "$3" | { read -r line && exec "$4" "$3"; }"#
    let result = try await run(
      "/bin/sh",
      ["-c", both, "sh", python.path, Self.recipe("scores.py"), path, Self.program("Scores")])
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
    #expect(
      result.text
        == #"["anna": 42]"# + "\nbuiltins.KeyError nobody\n" + #"["from Swift"]"# + "\n",
      "\(python)")
  }
}

extension String {
  /// What is behind each occurrence of a text.
  fileprivate func components(after mark: String) -> [Substring] {
    var parts: [Substring] = []
    var rest = self[...]
    while let found = rest.firstRange(of: mark) {
      rest = rest[found.upperBound...]
      parts.append(rest)
    }
    return parts
  }
}
