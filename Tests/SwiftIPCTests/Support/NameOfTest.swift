// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A name that no other test and no other run has.
func nameOfTest(_ function: String = #function) -> String {
  "swift-ipc-\(getpid())-\(function.prefix { $0 != "(" })-\(UInt32.random(in: 0...UInt32.max))"
}
