// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// Sends a child of this program to its task; does nothing in any other process.
///
/// Few programs need it: a hook in front of `main` does the same. Where the hook cannot run, since
/// the library was loaded into a program that is not linked with it, starting a child throws
/// `bootstrapFailed`, or the child would run the program again. Such a program calls this first in
/// `main`:
///
/// ```swift
/// @main struct Program {
///   static func main() throws {
///     bootstrap()
///     try ChildProcess.start { print("hello") }.join()
///   }
/// }
/// ```
///
/// Does not return in a child, which ends when its task has ended. Call it before any thread is
/// started; calling it again does nothing. The corresponding C function is
/// `cipc_process_bootstrap`.
public func bootstrap() {
  // Fails for a missing argument list alone, and a Swift program has one. The closure, since a
  // reference to a function that is exported to C would define its symbol twice (6.3.1).
  _ = unsafe cipc_process_bootstrap(CommandLine.argc, CommandLine.unsafeArgv) { childMain($0) }
}
