// SPDX-License-Identifier: Apache-2.0
import CTestSupport

/// A pipe, close-on-exec from the beginning, so that no child of another test inherits it.
func makePipe() -> (read: Int32, write: Int32) {
  var ends: [Int32] = [-1, -1]
  precondition(unsafe test_pipe(&ends) == 0)
  return (ends[0], ends[1])
}
