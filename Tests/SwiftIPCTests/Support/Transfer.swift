// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import SwiftIPC
import Testing

/// A shared object as another process gets it: through a descriptor that was duplicated on the
/// way.
func transfer<T: Codable>(_ value: T) throws -> T {
  try receive(T.self, descriptor: dup(descriptor(of: value)))
}

/// The descriptor that a shared object would send; the object's own.
func descriptor(of value: some Encodable) throws -> Int32 {
  let outbox = DescriptorOutbox()
  try value.encode(to: IndexEncoder(userInfo: [.descriptorOutbox: outbox]))
  return try #require(outbox.descriptors.first)
}

/// Decodes a shared object of a descriptor, which is taken over.
func receive<T: Decodable>(_ type: T.Type, descriptor: Int32) throws -> T {
  try T(from: IndexDecoder(userInfo: [.descriptorInbox: DescriptorInbox([descriptor])]))
}

/// The shared bytes of an object, mapped once more: what a child in C gets.
func payload(of value: some Encodable) throws -> UnsafeMutableRawPointer {
  try unsafe #require(unsafe test_map_payload(descriptor(of: value)))
}

func mutex(of value: some Encodable) throws -> UnsafeMutablePointer<cipc_mutex_t> {
  try unsafe payload(of: value).assumingMemoryBound(to: cipc_mutex_t.self)
}

func cell(of value: some Encodable) throws -> UnsafeMutablePointer<cipc_cell_t> {
  try unsafe payload(of: value).assumingMemoryBound(to: cipc_cell_t.self)
}

/// Both ends of a pipe, closed at the end.
final class Pipe {
  let reading: Int32
  let writing: Int32

  init() {
    var ends: [Int32] = [0, 0]
    precondition(unsafe test_pipe(&ends) == 0)
    reading = ends[0]
    writing = ends[1]
  }

  deinit {
    close(reading)
    close(writing)
  }

  func put() {
    var byte: UInt8 = 0
    precondition(unsafe write(writing, &byte, 1) == 1)
  }

  func take() {
    var byte: UInt8 = 0
    precondition(unsafe read(reading, &byte, 1) == 1)
  }
}

/// Runs `body` while another process holds a mutex.
func whileAnotherProcessHolds(
  _ mutex: UnsafeMutablePointer<cipc_mutex_t>, _ body: () throws -> Void
) throws {
  let ready = Pipe()
  let go = Pipe()
  let child = unsafe test_fork_holding(mutex, ready.writing, go.reading)
  ready.take()
  try body()
  go.put()
  #expect(test_wait(child) == 0)
}

/// Has a child take a mutex and die by SIGKILL while it holds it; its pid.
@discardableResult
func killHolder(
  of mutex: UnsafeMutablePointer<cipc_mutex_t>, depth: Int32 = 1,
  mark: UnsafeMutablePointer<Int32>? = nil
) -> pid_t {
  let child = unsafe test_fork_killed_holding(mutex, depth, mark)
  #expect(test_wait(child) == -SIGKILL)
  return child
}

/// The code of the error that `body` throws.
func errorCode(_ body: () throws -> Void) -> IPCError.Code? {
  do { try body() } catch { return (error as? IPCError)?.code }
  return nil
}

// Coders that know an integer and nothing else: the bytes of a handle.

struct IndexEncoder: Encoder, SingleValueEncodingContainer {
  var userInfo: [CodingUserInfoKey: Any]
  var codingPath: [any CodingKey] { [] }
  func container<Key>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> { fatalError() }
  func unkeyedContainer() -> any UnkeyedEncodingContainer { fatalError() }
  func singleValueContainer() -> any SingleValueEncodingContainer { self }
  func encodeNil() throws { fatalError() }
  func encode<T: Encodable>(_ value: T) throws { #expect(value as? Int == 0) }
}

struct IndexDecoder: Decoder, SingleValueDecodingContainer {
  var userInfo: [CodingUserInfoKey: Any]
  var codingPath: [any CodingKey] { [] }
  func container<Key>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> { fatalError() }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { fatalError() }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }
  func decodeNil() -> Bool { false }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try #require(0 as? T) }
}

func duplicate(_ descriptor: Int32) -> Int32 { dup(descriptor) }

/// Runs one closure on a thread of its own while another runs here, and waits for both.
func withThread(_ body: @Sendable () -> Void, while other: () throws -> Void) throws {
  try withoutActuallyEscaping(body) { body in
    let box = unsafe Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let status = unsafe pthread_create(
      &thread, nil,
      { argument in
        unsafe Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
      }, box.toOpaque())
    precondition(status == 0)
    defer { pthread_join(thread, nil) }
    try other()
  }
}

private final class ThreadBody {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}
