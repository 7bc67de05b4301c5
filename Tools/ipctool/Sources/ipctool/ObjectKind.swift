// SPDX-License-Identifier: Apache-2.0
import CIPC

/// What the numbers of kinds are called here.
enum ObjectKind {
  static let plain = "plain"

  static func name(_ kind: UInt32) -> String {
    switch Int(kind) {
    case CIPC_KIND_MUTEX: "lock"
    case CIPC_KIND_VALUE: "value"
    case CIPC_KIND_ATOMIC: "atomic"
    case CIPC_KIND_ARRAY: "array"
    case CIPC_KIND_STRING: "string"
    case CIPC_KIND_SEMAPHORE: "semaphore"
    case CIPC_KIND_EVENT: "event"
    case CIPC_KIND_CONDITION: "condition"
    case CIPC_KIND_BARRIER: "barrier"
    case CIPC_KIND_RWLOCK: "rwlock"
    case CIPC_KIND_BYTES: "bytes"
    case CIPC_KIND_REGION: "region"
    case CIPC_KIND_RING: "queue"
    case CIPC_KIND_USER...: "user"
    default: "kind \(kind)"
    }
  }
}
