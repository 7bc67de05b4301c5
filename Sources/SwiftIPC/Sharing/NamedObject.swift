// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// A shared object that processes which are not related can find by a name.
///
/// ```swift
/// // In one program, which makes it or finds what is there:
/// let total = try Value(0.0, named: "total")
/// defer { if total.wasCreated { try? total.unlink() } }
/// // In another, which finds it or fails:
/// try Value<Double>(named: "total").withLock { $0 += 1 }
/// ```
///
/// The object appears under its name whole or not at all, also when its creator is killed at any
/// moment. It stays, with what is in it, until `unlink()`, or until a process of the same user
/// removes the name by `SharedMemory.removeName(_:)`, which takes the name of any object away:
/// neither releasing the last reference nor the end of a process removes a name. So the name of a
/// program that was killed stays as well, and the next one that asks for it with `openOrCreate`
/// takes it over.
///
/// A name is 1 to 250 bytes without a slash among them. One before them does not count: "/total" is
/// "total". It stands for a file in /dev/shm that its user alone can open. What belongs to another user
/// than the caller or root, a symbolic link, and an object of another type are refused. Memory with a
/// name cannot be sealed against shrinking, so a process that opens it trusts all programs of its owner.
///
/// Element types are compared by name: `Double` is the same in all programs, a type of your own where
/// all of them import it from one module, or where it says by what name they know it: see `NamedType`.
/// The error for something else names the field that differs and both values.
///
/// The other program need not be in Swift: what has a name here is opened in C by
/// `cipc_mutex_open_named`, `cipc_cell_open_named`, `cipc_ring_open_named` and so on, each beside the
/// functions of its type, and by any language that can call these.
public protocol NamedObject: Sendable {
  /// How the object is known by name. For the library.
  var naming: ObjectNaming { get }
}

extension NamedObject {
  /// The name that this handle was asked for by, without a slash before it.
  ///
  /// `nil` for an object without one, and for a handle that came from another process.
  public var name: String? { naming.name }

  /// Whether this handle made the object: not where it found it by name, or came from another process.
  public var wasCreated: Bool { naming.wasCreated }

  /// Removes the name. The object lives on in the processes that have it.
  ///
  /// This is for the handle that made the object, in the process that did. It is never done unasked:
  /// Swift may release a reference as soon as it is not used any more, long before the end of its
  /// scope. Does not block.
  ///
  /// - Throws: `IPCError` with `notOwner` when this handle found the object, came from another process,
  ///   or is used in a forked child; `nameNotFound` when the name is gone, or another object's by now;
  ///   `unsupported` when there never was one.
  public func unlink() throws(IPCError) { try naming.unlink("\(Self.self)") }
}
