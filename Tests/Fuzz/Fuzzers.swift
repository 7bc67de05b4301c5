// SPDX-License-Identifier: Apache-2.0
// What libFuzzer calls. One program for all fuzzers in Swift, since they are built together with the
// library, which takes a while: it is the fuzzer that it is called by the name of. See
// Make/sanitize.mk.

private let fuzzer: @Sendable ([UInt8]) -> Void = {
  let program = CommandLine.arguments.first ?? ""
  return switch program.split(separator: "/").last {
  case "message": fuzzMessageDecoder
  case "handshake": fuzzHandshake
  default: fatalError("no fuzzer is called \(program)")
  }
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  fuzzer(unsafe Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}
