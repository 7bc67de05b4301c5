// SPDX-License-Identifier: Apache-2.0
import CIPC
import Testing

@testable import SwiftIPC

/// By what number programs in all languages know a type.
@Suite struct TypeFingerprintTests {
  private struct Own: NamedType, BitwiseCopyable {
    static let sharedName = "com.example.own"
    var x = 0
  }

  private struct Private: BitwiseCopyable { var x = 0 }

  /// What C has in its list, and the layout here.
  private func isListed<T>(_ type: T.Type, _ name: String) -> Bool {
    guard let listed = unsafe cipc_element(name) else { return false }
    let own = cipc_element_t(of: type)
    return unsafe listed.pointee.fingerprint == own.fingerprint
      && listed.pointee.size == own.size && listed.pointee.stride == own.stride
      && listed.pointee.alignment == own.alignment
  }

  @Test func numbersAndTruthValuesAreThoseOfC() {
    #expect(isListed(Int8.self, "int8") && isListed(UInt8.self, "uint8"))
    #expect(isListed(Int16.self, "int16") && isListed(UInt16.self, "uint16"))
    #expect(isListed(Int32.self, "int32") && isListed(UInt32.self, "uint32"))
    #expect(isListed(Int64.self, "int64") && isListed(UInt64.self, "uint64"))
    #expect(isListed(Int128.self, "int128") && isListed(UInt128.self, "uint128"))
    #expect(isListed(Int.self, "int64") && isListed(UInt.self, "uint64"))
    #expect(isListed(Float16.self, "float16") && isListed(Float.self, "float32"))
    #expect(isListed(Double.self, "float64") && isListed(Bool.self, "bool"))
    #if arch(x86_64)
      #expect(isListed(Float80.self, "float80"))
    #endif
  }

  private func hash(_ name: String) -> UInt64 { unsafe cipc_fingerprint_of(name) }

  @Test func aTypeMayNameItself() {
    #expect(TypeFingerprint.of(Own.self) == hash("com.example.own"))
    #expect(QueueFormat.coding(of: [UInt8].self).fingerprint == hash("bytes"))
    #expect(QueueFormat.coding(of: String.self).fingerprint == hash("text"))
  }

  @Test func anyOtherHasItsQualifiedName() {
    #expect(TypeFingerprint.of(SIMD4<Float>.self) == hash("Swift.SIMD4<Swift.Float>"))
    let name = TypeFingerprint.sharedName(of: Private.self)
    #expect(name.hasPrefix("SwiftIPCTests.") && name.hasSuffix(".Private") && !name.contains("$"))
  }

  @Test func aQueueOfBytesIsOneOfAnyLanguage() throws {
    let name = "swift-ipc-test-bytes-\(cipc_clock_now())"
    let queue = try Queue<[UInt8]>(named: name, .create)
    defer { try? queue.unlink() }
    var ring: OpaquePointer?
    var options = unsafe cipc_ring_options_t()
    unsafe options.fingerprint = unsafe cipc_fingerprint_of("bytes")
    // Without a slash, as in Swift.
    try #require(unsafe cipc_ring_open_named(&ring, name, &options) == 0)
    defer { unsafe cipc_ring_close(ring) }
    #expect(unsafe cipc_ring_put(ring, "abc", 3, .max) == 0)
    #expect(try queue.get() == Array("abc".utf8))
  }
}
