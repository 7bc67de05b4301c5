// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// The descriptors that arrived with one message. Those that were not taken are closed with it.
package final class DescriptorInbox: Sendable {
  /// The longest message of a connection unless another maximum is asked for.
  package static let defaultMaximumMessageSize = 64 << 20

  /// The longest message, in bytes, of a connection in this one, whatever its sender says.
  package let maximumMessageSize: UInt64
  private let descriptors: Guarded<[Int32]>
  private let shared = Guarded<[Int: any Sendable & AnyObject]>([:])

  /// Takes over the descriptors given.
  package init(
    _ descriptors: [Int32], maximumMessageSize: Int = DescriptorInbox.defaultMaximumMessageSize
  ) {
    self.descriptors = Guarded(descriptors)
    self.maximumMessageSize = UInt64(maximumMessageSize)
  }

  deinit {
    descriptors.withLock { for descriptor in $0 { cipc_descriptor_drop(descriptor) } }
  }

  /// Hands out the descriptor at an index that came from the message's bytes; the caller owns it.
  ///
  /// - Throws: `malformedMessage` for an index out of bounds or taken already.
  package func take(_ index: Int) throws(IPCError) -> Int32 {
    let descriptor = descriptors.withLock { descriptors -> Int32? in
      guard descriptors.indices.contains(index), descriptors[index] >= 0 else { return nil }
      defer { descriptors[index] = -1 }
      return descriptors[index]
    }
    guard let descriptor else {
      throw IPCError(
        .malformedMessage, context: "descriptor index \(index): none of that index came along")
    }
    return descriptor
  }

  /// The object that several others in the message share: made of the descriptor at an index when it is
  /// first asked for.
  ///
  /// - Throws: what `make` throws; `malformedMessage` for an index out of bounds, or of something else.
  package func shared<T: Sendable & AnyObject>(
    _ index: Int, _ make: (Int32) throws -> T
  ) throws -> T {
    if let object = shared.withLock({ $0[index] }) as? T { return object }
    let object = try make(take(index))
    shared.withLock { $0[index] = object }
    return object
  }
}

extension Decoder {
  /// The inbox of the message being decoded.
  ///
  /// - Throws: `notTransferable` when this decoder does not read a message between processes.
  package func descriptorInbox(for type: Any.Type) throws(IPCError) -> DescriptorInbox {
    guard let inbox = userInfo[.descriptorInbox] as? DescriptorInbox else {
      throw IPCError(
        .notTransferable,
        context: "\(type) travels only as an argument of a child or over a Connection")
    }
    return inbox
  }
}
