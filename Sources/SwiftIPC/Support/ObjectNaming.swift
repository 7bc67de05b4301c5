// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// How an object is known by name: what `NamedObject` says of it. For the library.
public struct ObjectNaming: Sendable {
  let name: String?
  let wasCreated: Bool
  /// What this process may take back.
  let claim: cipc_segment_claim_t
  var isInRegion = false

  func unlink(_ subject: String) throws(IPCError) {
    if isInRegion {
      throw IPCError(
        .unsupported, context: "\(subject): objects of a region stay as long as the region")
    }
    guard let name else {
      throw IPCError(.unsupported, context: "\(subject): there is no name to remove")
    }
    var claim = claim
    let status = unsafe cipc_segment_withdraw(&claim)
    if status == CIPC_EPERM.rawValue {
      throw IPCError(
        .notOwner,
        context: "\(subject) named \(name): the process that created it removes the name; "
          + "SharedMemory.removeName(_:) does so for one that was killed")
    }
    if status < 0 { throw ObjectName(name, .open).failure(status, subject) }
  }
}
