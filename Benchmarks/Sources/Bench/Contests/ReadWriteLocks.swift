// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let readWriteLocks = [readLock, readLockOfTwo, nativeReadLock, writeLock]

  private static let readLock = Contest(
    name: "ReadWriteLock.withReadLock, uncontended",
    floorName: "lock, unlock: robust pthread mutex",
    target: .atMost(1.2)
  ) { _ in
    let lock = try ReadWriteLock()
    let mutex = floor_mutex_create()
    return Sides(
      ours: { for _ in 0..<$0 { try lock.withReadLock {} } },
      floor: { floor_mutex_pairs(mutex, $0) })
  }

  /// The floor is alone with its mutex: two readers cost no more than one.
  private static let readLockOfTwo = Contest(
    name: "the same, while another core reads too",
    floorName: "lock, unlock: robust pthread mutex, alone",
    target: .atMost(1.2),
    placement: .twoCores
  ) { cores in
    let lock = try ReadWriteLock()
    let mutex = floor_mutex_create()
    let other = try OtherReader(lock, core: cores.other)
    return Sides(
      ours: { count in
        for _ in 0..<count { try lock.withReadLock {} }
        keep(other)
      },
      floor: { floor_mutex_pairs(mutex, $0) })
  }

  private static let nativeReadLock = Contest(
    name: "ReadWriteLock.withReadLock, by pthread_rwlock",
    floorName: "rdlock, unlock: pthread_rwlock, lost with a dead reader"
  ) { _ in
    let lock = try ReadWriteLock()
    let native = floor_rwlock_create()
    return Sides(
      ours: { for _ in 0..<$0 { try lock.withReadLock {} } },
      floor: { floor_rwlock_pairs(native, $0) })
  }

  private static let writeLock = Contest(
    name: "ReadWriteLock.withWriteLock, uncontended",
    floorName: "lock, unlock: robust pthread mutex"
  ) { _ in
    let lock = try ReadWriteLock()
    let mutex = floor_mutex_create()
    return Sides(
      ours: { for _ in 0..<$0 { try lock.withWriteLock {} } },
      floor: { floor_mutex_pairs(mutex, $0) })
  }
}

/// A child that reads all the time.
private final class OtherReader {
  private let child: ChildProcess<Void>

  init(_ lock: ReadWriteLock, core: Int32) throws {
    let begun = try SharedAtomic(0)
    child = try ChildProcess.start(lock, begun, core) { lock, begun, core in
      floor_pin(core)
      while true {
        for _ in 0..<1000 { try lock.withReadLock {} }
        begun.store(1)
      }
    }
    while begun.load() == 0 && child.isAlive {}
  }

  deinit {
    try? child.kill()
    _ = try? child.join()
  }
}
