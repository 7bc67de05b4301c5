// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

/// `close(2)`, where a method named `close` hides it.
func closeDescriptor(_ descriptor: Int32) {
  _ = close(descriptor)
}

/// `read(2)`, where a method named `read` hides it.
func readDescriptor(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  unsafe read(descriptor, buffer, count)
}
