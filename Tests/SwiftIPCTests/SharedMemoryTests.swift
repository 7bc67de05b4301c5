// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Plain bytes: named, anonymous, for one writer; in children and in real Pythons.
@Suite struct SharedMemoryTests {
  private func exists(_ name: String) -> Bool { unsafe access("/dev/shm/\(name)", F_OK) == 0 }

  private func fill(_ memory: SharedMemory, _ text: String) throws {
    try memory.withMutableBytes { bytes in
      for (index, byte) in text.utf8.enumerated() {
        bytes.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
      }
    }
  }

  private func text(_ memory: SharedMemory, _ count: Int) throws -> String {
    try memory.withSpan(of: UInt8.self) { span in
      String(decoding: (0..<count).map { span[$0] }, as: UTF8.self)
    }
  }

  @Test func whatIsMadeUnderANameIsAttachedTo() throws {
    let name = nameOfTest()
    let made = try SharedMemory(creating: name, size: 100)
    #expect(made.size == 100 && made.name == name && made.wasCreated && made.isWritable)
    #expect(try made.withBytes { bytes in bytes.byteCount } == 100)
    #expect(try made.withSpan(of: UInt64.self) { $0.count } == 12)
    try fill(made, "hello")
    // With a slash or without.
    for spelling in [name, "/" + name] {
      let attached = try SharedMemory(attachingTo: spelling)
      #expect(attached.size == 100 && attached.name == name && !attached.wasCreated)
      #expect(try text(attached, 6) == "hello\0")
      try fill(attached, "H")
      #expect(try text(made, 5) == "Hello")
      try fill(made, "h")
      #expect(errorCode { try attached.unlink() } == .notOwner)
    }
    #expect(errorCode { _ = try SharedMemory(creating: name, size: 1) } == .nameExists)
    try made.unlink()
    #expect(!exists(name))
    #expect(errorCode { try made.unlink() } == .nameNotFound)
    #expect(errorCode { _ = try SharedMemory(attachingTo: name) } == .nameNotFound)
    // It lives on with the processes that have it.
    #expect(try text(made, 5) == "hello")
  }

  @Test func aNameCanBeDrawn() throws {
    let first = try SharedMemory(creating: nil, size: 1)
    let second = try SharedMemory(creating: nil, size: 1)
    let name = try #require(first.name)
    #expect(name != second.name && name.hasPrefix("sipc_") && name.utf8.count == 21)
    #expect(exists(name))
    try first.unlink()
    try second.unlink()
    #expect(!exists(name))
  }

  @Test func openOrCreateSaysWhichHappened() throws {
    let name = nameOfTest()
    let first = try SharedMemory(openingOrCreating: name, size: 64)
    let second = try SharedMemory(openingOrCreating: name, size: 32)
    #expect(first.wasCreated && !second.wasCreated && second.size == 64)
    #expect(
      errorCode { _ = try SharedMemory(openingOrCreating: name, size: 65) } == .segmentMismatch)
    try first.unlink()
  }

  @Test func neitherClosingNorDroppingTakesTheNameAway() throws {
    let name = nameOfTest()
    do {
      let made = try SharedMemory(creating: name, size: 8)
      try fill(made, "stays")
      withExtendedLifetime(made) {}
    }
    #expect(exists(name))
    let attached = try SharedMemory(attachingTo: name)
    #expect(try text(attached, 5) == "stays")
    attached.close()
    attached.close()
    #expect(errorCode { try attached.withBytes { _ in } } == .closed)
    #expect(errorCode { try attached.withMutableBytes { _ in } } == .closed)
    #expect(exists(name))
    // Of a program that was killed, say.
    try SharedMemory.removeName(name)
    #expect(!exists(name))
    #expect(errorCode { try SharedMemory.removeName(name) } == .nameNotFound)

    // The creator removes the name after it has closed, too.
    let again = try SharedMemory(creating: name, size: 8)
    again.close()
    try again.unlink()
    #expect(!exists(name))
  }

  @Test func closingUnmapsOnceNoCallIsInside() throws {
    let memory = try SharedMemory(creating: nil, size: 8)
    defer { try? memory.unlink() }
    let descriptor = unsafe open("/dev/shm/\(memory.name!)", O_RDONLY)
    let inode = test_inode(descriptor)
    close(descriptor)
    try memory.withMutableBytes { bytes in
      memory.close()
      #expect(test_count_mappings(inode) == 1)
      bytes.storeBytes(of: 1, as: UInt8.self)
    }
    #expect(test_count_mappings(inode) == 0)
    #expect(test_count_descriptors(inode) == 0)
  }

  @Test func sizesAndNamesThatMakeNoSenseAreRefused() throws {
    for size in [0, -1, Int.min] {
      #expect(errorCode { _ = try SharedMemory(size: size) } == .invalidArgument)
      #expect(
        errorCode { _ = try SharedMemory(creating: nil, size: size) } == .invalidArgument)
    }
    for size in [Int.max, 1 << 60] {
      let code = errorCode { _ = try SharedMemory(size: size) }
      #expect(code == .outOfMemory || code == .invalidArgument)
    }
    let long = String(repeating: "n", count: 251)
    for name in ["", "/", "a/b", "//a", ".", "..", "a\0b", long] {
      #expect(errorCode { _ = try SharedMemory(creating: name, size: 1) } == .invalidArgument)
      #expect(
        errorCode { _ = try SharedMemory(openingOrCreating: name, size: 1) } == .invalidArgument)
      #expect(errorCode { _ = try SharedMemory(attachingTo: name) } == .invalidArgument)
      #expect(errorCode { try SharedMemory.removeName(name) } == .invalidArgument)
    }
  }

  @Test func symbolicLinksAndEmptyFilesAreRefused() throws {
    let name = nameOfTest()
    #expect(unsafe symlink("/dev/zero", "/dev/shm/\(name)") == 0)
    #expect(errorCode { _ = try SharedMemory(attachingTo: name) } == .system)
    #expect(errorCode { _ = try SharedMemory(openingOrCreating: name, size: 1) } == .system)
    #expect(errorCode { _ = try SharedMemory(creating: name, size: 1) } == .nameExists)
    try SharedMemory.removeName(name)
    let file = unsafe creat("/dev/shm/\(name)", 0o600)
    #expect(errorCode { _ = try SharedMemory(attachingTo: name) } == .segmentMismatch)
    close(file)
    try SharedMemory.removeName(name)
  }

  @Test func readOnlyHandlesDoNotWrite() throws {
    let made = try SharedMemory(creating: nil, size: 4096)
    defer { try? made.unlink() }
    try fill(made, "ours")
    let reader = try SharedMemory(attachingTo: made.name!, access: .readOnly, prefault: true)
    #expect(!reader.isWritable)
    #expect(try text(reader, 4) == "ours")
    #expect(errorCode { try reader.withMutableBytes { _ in } } == .notWritable)
    #expect(errorCode { try reader.withMutableSpan(of: Int.self) { _ in } } == .notWritable)
    try reader.withBytes { bytes in
      try unsafe bytes.withUnsafeBytes { bytes in
        let address = try unsafe #require(UnsafeMutableRawPointer(mutating: bytes.baseAddress))
        #expect(unsafe mprotect(address, 4096, PROT_READ | PROT_WRITE) == -1)
      }
    }
  }

  @Test func optionsAreTaken() throws {
    for hugePages in [SharedMemory.HugePages.no, .ifAvailable] {
      for prefault in [false, true] {
        let options = SharedMemory.Options(hugePages: hugePages, prefault: prefault)
        let anonymous = try SharedMemory(size: 3 << 20, options: options)
        #expect(anonymous.size >= 3 << 20 && anonymous.name == nil && anonymous.wasCreated)
        let named = try SharedMemory(creating: nil, size: 3 << 20, options: options)
        #expect(named.size == 3 << 20)
        try named.unlink()
      }
    }
    let huge = SharedMemory.Options(hugePages: .required)
    let error = #expect(throws: IPCError.self) { try SharedMemory(size: 1 << 45, options: huge) }
    #expect(error?.code == .outOfMemory)
    #expect(error?.context.contains("huge pages (vm.nr_hugepages)") == true)
    #expect(
      errorCode { _ = try SharedMemory(creating: nil, size: 1, options: huge) } == .unsupported)
    let oneWriter = SharedMemory.Options(receiversWrite: false)
    #expect(
      errorCode { _ = try SharedMemory(creating: nil, size: 1, options: oneWriter) }
        == .invalidArgument)
    let forAll = SharedMemory.Options(otherUsersRead: true)
    #expect(errorCode { _ = try SharedMemory(size: 1, options: forAll) } == .invalidArgument)
    let readable = try SharedMemory(creating: nil, size: 1, options: forAll)
    var status = stat()
    #expect(unsafe stat("/dev/shm/\(readable.name!)", &status) == 0)
    #expect(status.st_mode & 0o7777 == 0o644)
    try readable.unlink()
    #expect(errorCode { try SharedMemory(size: 1).unlink() } == .unsupported)
  }

  @Test func memoryTravelsToChildren() async throws {
    let anonymous = try SharedMemory(size: 64)
    let named = try SharedMemory(creating: nil, size: 64)
    defer { try? named.unlink() }
    try fill(anonymous, "anonymous")
    try fill(named, "named")
    let child = try ChildProcess.start(anonymous, named) { anonymous, named in
      try named.withMutableSpan(of: UInt8.self) { span in span[0] = UInt8(ascii: "N") }
      try anonymous.withMutableSpan(of: UInt8.self) { span in span[0] = UInt8(ascii: "A") }
      let refused = errorCode { try named.unlink() } == .notOwner
      return [anonymous.size == 64, anonymous.name == nil, named.name != nil, refused]
    }
    #expect(try await child.value == [true, true, true, true])
    #expect(try text(anonymous, 9) == "Anonymous")
    #expect(try text(named, 5) == "Named")
    // Also when no process finds it any more, and from a handle that reads.
    let reader = try SharedMemory(attachingTo: named.name!, access: .readOnly)
    try named.unlink()
    let second = try ChildProcess.start(named, reader) { named, reader in
      try named.withMutableSpan(of: UInt8.self) { span in span[0] = UInt8(ascii: "n") }
      return [named.isWritable, reader.isWritable]
    }
    #expect(try await second.value == [true, false])
    #expect(try text(reader, 5) == "named")
  }

  @Test func receiversOfMemoryOfOneWriterReadAndCannotWrite() async throws {
    let memory = try SharedMemory(size: 4096, options: .init(receiversWrite: false))
    #expect(memory.isWritable)
    try fill(memory, "ours")
    let child = try ChildProcess.start(memory) { memory in
      var outcomes = [!memory.isWritable]
      outcomes.append(errorCode { try memory.withMutableBytes { _ in } } == .notWritable)
      try memory.withBytes { bytes in
        unsafe outcomes.append(bytes.unsafeLoad(as: UInt8.self) == UInt8(ascii: "o"))
        unsafe bytes.withUnsafeBytes { bytes in
          let address = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress!)
          unsafe outcomes.append(mprotect(address, 4096, PROT_READ | PROT_WRITE) == -1)
        }
      }
      return outcomes
    }
    #expect(try await child.value == [true, true, true, true])
    #expect(try text(memory, 4) == "ours")
  }

  /// What a hostile process may send in place of memory.
  @Test func whatCouldEndThisProcessIsRefused() throws {
    let (bytes, _) = try MessageEncoder().encodeWithDescriptors(SharedMemory(size: 1))
    func outcome(
      _ descriptor: Int32, isMemory: Bool = true
    ) throws -> (code: IPCError.Code?, isWritable: Bool?) {
      try #require(descriptor >= 0)
      defer { close(descriptor) }
      let inode = test_inode(descriptor)
      var memory: SharedMemory?
      let code = errorCode {
        let inbox = DescriptorInbox([duplicate(descriptor)])
        memory = try MessageDecoder().decode(SharedMemory.self, from: bytes, inbox: inbox)
      }
      let isWritable = memory?.isWritable
      memory?.close()
      // Numbers are unique among those of memory alone.
      if isMemory {
        #expect(test_count_descriptors(inode) == 1)
        #expect(test_count_mappings(inode) == 0)
      }
      return (code, isWritable)
    }
    let pipe = Pipe()
    #expect(try outcome(duplicate(pipe.reading), isMemory: false).code == .segmentMismatch)
    #expect(
      try outcome(unsafe open("/etc/passwd", O_RDONLY), isMemory: false).code == .segmentMismatch)
    #expect(
      try outcome(unsafe open("/dev/shm", O_RDONLY), isMemory: false).code == .segmentMismatch)
    #expect(try outcome(unsafe open("/dev/zero", O_RDWR), isMemory: false).code == .segmentMismatch)
    #expect(try outcome(unsafe test_memfd([1], 1, 0, 1)).code == .segmentMismatch)
    #expect(try outcome(unsafe test_memfd([1], 0, 1, 1)).code == .segmentMismatch)
    #expect(try outcome(unsafe test_memfd([1], 1, 1, 0)).isWritable == false)
    #expect(try outcome(unsafe test_memfd([1], 1, 1, 1)).isWritable == true)
    let named = try SharedMemory(creating: nil, size: 1)
    defer { try? named.unlink() }
    named.close()
    let path = "/dev/shm/\(named.name!)"
    #expect(try outcome(unsafe open(path, O_RDWR)).isWritable == true)
    #expect(try outcome(unsafe open(path, O_RDONLY)).isWritable == false)
    // Another process might shrink it.
    #expect(unsafe chmod(path, 0o666) == 0)
    #expect(try outcome(unsafe open(path, O_RDWR)).code == .segmentMismatch)
    // And a message that says something else.
    for text in ["", "\u{0}", "a/b"] {
      let said = try MessageEncoder().encode(["memory": .string(text)] as MessageValue)
      #expect(
        errorCode {
          let inbox = DescriptorInbox([])
          _ = try MessageDecoder().decode(SharedMemory.self, from: said, inbox: inbox)
        } == .malformedMessage)
    }
  }

  @Test func anotherEncoderIsRefused() throws {
    let memory = try SharedMemory(size: 1)
    #expect(errorCode { _ = try MessageEncoder().encode(memory) } == .notTransferable)
    memory.close()
    let outbox = DescriptorOutbox()
    #expect(
      errorCode { try memory.encode(to: IndexEncoder(userInfo: [.descriptorOutbox: outbox])) }
        == .closed)
  }
}
