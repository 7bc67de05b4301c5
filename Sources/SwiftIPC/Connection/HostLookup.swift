// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// The lookup of a host's name on a thread of its own: the resolver knows no other way than to block.
final class HostLookup: Sendable {
  private let address: Connection.Address
  private let suspension = Suspension()
  private let result = Guarded<Result<[cipc_address_t], IPCError>?>(nil)

  private init(_ address: Connection.Address) { self.address = address }

  static func find(
    _ address: Connection.Address, until deadline: Int64
  ) async throws(IPCError) -> [cipc_address_t] {
    let lookup = HostLookup(address)
    var thread = pthread_t()
    // Balanced on the thread.
    let context = unsafe Unmanaged.passRetained(lookup)
    let status = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<HostLookup>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    if status != 0 {
      unsafe context.release()
      throw IPCError(status: -status, "looking up \(address)")
    }
    pthread_detach(thread)
    let wait = await lookup.suspension.wait(for: .init(deadline: deadline))
    try IPCError.check(wait, "looking up \(address)")
    return try lookup.result.withLock { result throws(IPCError) in try result?.get() ?? [] }
  }

  private func run() {
    let found: Result<[cipc_address_t], IPCError>
    do throws(IPCError) { found = .success(try address.resolved()) } catch {
      found = .failure(error)
    }
    result.withLock { $0 = found }
    suspension.resume(0)
  }
}
