// SPDX-License-Identifier: Apache-2.0
import CIPC

/// What the bytes of an object say: its holders, and a few words.
struct ObjectState {
  /// One holding: by whom, of what. Equal at two looks, it is most likely the same one.
  struct Tenure: Hashable {
    var what: String
    var identity: cipc_participant_t
    var thread: UInt64 = 0
  }
  private(set) var tenures: [Tenure] = []
  private(set) var text: String?
  /// Those inside a region.
  private(set) var objects: [SegmentReport.Object] = []

  init(_ payload: Payload) { self.init(payload, payload.type, at: 0, payload.count) }

  private init(_ payload: Payload, _ type: cipc_segment_type_t, at offset: Int, _ size: Int) {
    switch Int(type.kind) {
    case CIPC_KIND_MUTEX, CIPC_KIND_VALUE, CIPC_KIND_ARRAY, CIPC_KIND_STRING, CIPC_KIND_BYTES:
      // All of these begin with one.
      addMutex(payload, "lock", at: offset)
    case CIPC_KIND_ATOMIC:
      if let value = payload.load(UInt64.self, at: offset) {
        text = "bits \(String(value, radix: 16))"
      }
    case CIPC_KIND_SEMAPHORE: addSemaphore(payload, type, at: offset, size)
    case CIPC_KIND_EVENT:
      if let event = payload.pointer(to: cipc_event_t.self, at: offset) {
        text = cipc_event_is_set(event) != 0 ? "set" : "not set"
      }
    case CIPC_KIND_CONDITION: addCondition(payload, type, at: offset, size)
    case CIPC_KIND_BARRIER: addBarrier(payload, type, at: offset, size)
    case CIPC_KIND_RWLOCK: addReadWriteLock(payload, type, at: offset, size)
    case CIPC_KIND_REGION where offset == 0: addRegion(payload, size)
    default: break
    }
  }

  var holders: [SegmentReport.Holder] {
    tenures.map { tenure in
      let pid = cipc_participant_pid(tenure.identity)
      return .init(
        what: tenure.what, pid: pid, name: ProcessTable.name(pid),
        isAlive: cipc_participant_check(tenure.identity) != CIPC_PARTICIPANT_DEAD.rawValue)
    }
  }

  // MARK: - Kinds

  private mutating func addMutex(_ payload: Payload, _ what: String, at offset: Int) {
    guard let mutex = payload.pointer(to: cipc_mutex_t.self, at: offset) else { return }
    let holder = cipc_mutex_holder(mutex)
    if holder != 0 {
      tenures.append(.init(what: what, identity: holder, thread: mutex.pointee.thread))
    }
    if mutex.pointee.dirty != 0 {
      let casualty = cipc_mutex_casualty(mutex)
      text = "owner \(casualty == 0 ? "" : "\(casualty) ")died, not repaired"
    }
  }

  private mutating func addSemaphore(
    _ payload: Payload, _ type: cipc_segment_type_t, at offset: Int, _ size: Int
  ) {
    guard let semaphore = payload.pointer(to: cipc_semaphore_t.self, at: offset) else { return }
    // As SharedSemaphore.swift has it: the fingerprint tells the two kinds apart.
    if type.fingerprint == 2 {
      text = "\(cipc_semaphore_count(semaphore)) of at most \(cipc_semaphore_bound(semaphore))"
      return
    }
    guard let permits = UInt32(exactly: type.count),
      fits(cipc_semaphore_footprint(permits), size), permits > 0
    else { return }
    for permit in 0..<permits {
      let holder = cipc_semaphore_holder(semaphore, permits, permit)
      if holder != 0 { tenures.append(.init(what: "permit \(permit)", identity: holder)) }
    }
    text = "\(Int(permits) - tenures.count) of \(permits) free"
  }

  private mutating func addCondition(
    _ payload: Payload, _ type: cipc_segment_type_t, at offset: Int, _ size: Int
  ) {
    guard let condition = payload.pointer(to: cipc_condition_t.self, at: offset),
      let slots = UInt32(exactly: type.count), fits(cipc_condition_footprint(slots), size)
    else { return }
    text = "\(cipc_condition_waiting(condition, slots)) not notified"
  }

  private mutating func addBarrier(
    _ payload: Payload, _ type: cipc_segment_type_t, at offset: Int, _ size: Int
  ) {
    guard let barrier = payload.pointer(to: cipc_barrier_t.self, at: offset),
      let parties = UInt32(exactly: type.count), fits(cipc_barrier_footprint(parties), size)
    else { return }
    text =
      cipc_barrier_is_broken(barrier) != 0
      ? "broken" : "\(cipc_barrier_waiting(barrier, parties)) of \(parties) have arrived"
  }

  private mutating func addReadWriteLock(
    _ payload: Payload, _ type: cipc_segment_type_t, at offset: Int, _ size: Int
  ) {
    guard let lock = payload.pointer(to: cipc_rwlock_t.self, at: offset),
      let lines = UInt32(exactly: type.count), fits(cipc_rwlock_footprint(lines), size)
    else { return }
    let writer = cipc_rwlock_writer(lock)
    if writer != 0 { tenures.append(.init(what: "write lock", identity: writer)) }
    let casualty = cipc_rwlock_casualty(lock)
    let readers = cipc_rwlock_readers(lock, lines)
    text = casualty == 0 ? "\(readers) readers" : "writer \(casualty) died, not repaired"
  }

  private mutating func addRegion(_ payload: Payload, _ size: Int) {
    guard let region = payload.pointer(to: cipc_region_t.self),
      cipc_region_check(region, size) == 0
    else { return }
    for index in 0..<cipc_region_count(region, size) {
      var entry = cipc_region_entry_t()
      guard cipc_region_entry(region, size, index, &entry) == 0 else { continue }
      let name = withUnsafeBytes(of: entry.name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      let state = ObjectState(payload, entry.type, at: Int(entry.offset), Int(entry.size))
      tenures += state.tenures.map {
        .init(what: "\(name): \($0.what)", identity: $0.identity, thread: $0.thread)
      }
      objects.append(
        .init(
          name: name, kind: ObjectKind.name(entry.type.kind), type: ElementType.name(entry.type),
          offset: entry.offset, size: entry.size, state: state.text))
    }
    text = "\(objects.count) objects"
  }

  private func fits(_ footprint: Int, _ size: Int) -> Bool { footprint > 0 && footprint <= size }
}
