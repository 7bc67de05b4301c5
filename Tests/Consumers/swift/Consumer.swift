// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

@main struct Consumer {
  static func main() {
    print(IPCError(.timedOut, errno: 110, context: "lock"))
  }
}
