// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Glibc
import SwiftIPC

enum PoolTroubles: Stop {
  static let title =
    "A task that throws, one that takes too long and one that crashes, among good ones"

  struct Burnt: Error { var loaf: Int }

  static func run() async throws {
    let pool = try ProcessPool(workers: 2)
    let results = try await pool.mapResults(
      0..<6, options: .init(timeout: .milliseconds(200))
    ) { number in
      switch number {
      case 1: throw Burnt(loaf: number)
      case 3: while true { pause() }
      case 4: raise(SIGKILL)
      default: break
      }
      return number * number
    }
    for (number, result) in results.enumerated() {
      switch result {
      case .success(let square): say("\(number): \(square)")
      case .failure(let error as RemoteError): say("\(number): threw \(error.message)")
      case .failure(let error): say("\(number): \(error)")
      }
    }
    await pool.terminate()
  }
}
