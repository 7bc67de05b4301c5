// SPDX-License-Identifier: Apache-2.0
import CIPC
import MessageCoding
import SwiftIPC
import Testing

@Suite struct IPCErrorTests {
  @Test func aSystemErrorKeepsItsNumber() {
    let error = IPCError(status: CIPC_ETIMEDOUT.rawValue, "lock")
    #expect(error.code == .timedOut)
    #expect(error.errno == -CIPC_ETIMEDOUT.rawValue)
    #expect(error.description == "timedOut: lock: the deadline passed (errno 110)")
  }

  @Test func theEndsOfAQueue() {
    #expect(IPCError(status: CIPC_EFINISHED.rawValue, "").code == .finished)
    #expect(IPCError(status: CIPC_ENOBODY.rawValue, "").code == .peersGone)
    for status in [CIPC_ERINGHEADER, CIPC_ERINGINDEX, CIPC_ERINGRECORD] {
      let error = IPCError(status: status.rawValue, "queue")
      #expect(error.code == .segmentMismatch)
      #expect(error.context.hasPrefix("queue: ring "))
    }
  }

  @Test func everySegmentFieldIsAMismatchThatNamesIt() {
    for status in CIPC_ESEGMENTOWNER.rawValue...CIPC_ESEGMENTSIZE.rawValue {
      let error = IPCError(status: status, "segment")
      #expect(error.code == .segmentMismatch)
      #expect(error.errno == nil)
      #expect(error.context.hasPrefix("segment: segment "))
    }
  }
}
