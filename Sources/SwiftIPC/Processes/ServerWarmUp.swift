// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// Runs two tasks in the fork server, the way its children do, so that they find the types made,
/// the conformances looked up and the functions bound that each would spend its first half
/// millisecond on. Called by the server, which has one thread, between two requests.
///
/// In a preforked child of the server it runs one task, for the pages that this needs.
///
/// What it does has no other effect: where a task fails, some of that is left to the children.
@_cdecl("swiftipc_server_warm_up")
func serverWarmUp(_ isPreforked: Int32) {
  let action: ActionFunction<> = ActionFunction(body: {})
  if let work = try? TaskHeader.Work(action, arguments: [], output: nil) {
    runTask(TaskHeader(name: "", returnsValue: false, work: work), [])
  }
  if isPreforked != 0 { return }
  let function = ValueFunction<Int, String, [Double], Int>(body: { number, text, list in
    number + text.utf8.count + list.count
  })
  let types: [any Any.Type] = [Int.self, String.self, [Double].self]
  if let work = try? TaskHeader.Work(function, arguments: types, output: Int.self),
    let arguments = try? MessageEncoder(isPeerSwift: true).encodeWithDescriptors(
      OutgoingArguments(1, "two", [3]))
  {
    runTask(TaskHeader(name: "", returnsValue: true, work: work), arguments.0)
  }
}

/// Runs a task as a child does, but for the end of the process.
private func runTask(_ header: TaskHeader, _ arguments: [UInt8]) {
  var ends: [Int32] = [-1, -1]
  #if canImport(Glibc)
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  #else
    let type = SOCK_STREAM | SOCK_CLOEXEC
  #endif
  guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else { return }
  defer { closeDescriptor(ends[0]) }
  // All of it fits in the socket's buffer: it has no reader yet.
  let frames = header.hasArguments ? [header.bytes, arguments] : [header.bytes]
  for frame in frames {
    guard unsafe cipc_frame_write(ends[0], frame, frame.count, nil, 0, 0) == 0 else {
      closeDescriptor(ends[1])
      return
    }
  }
  _ = childMain(ends[1])
}
