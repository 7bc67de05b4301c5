// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding
internal import Synchronization

/// The function of tasks, as the pool names it to its workers.
final class PoolFunction: Sendable {
  /// What stands for it in orders to run, once a worker knows it. Another function may have the name
  /// later.
  let name: UInt32
  /// Unlike the name, never another function's.
  let identity: UInt64
  /// What names it to a worker: a `TaskHeader`.
  let definition: [UInt8]
  /// Where the name is given back; `nil` for a function that keeps it.
  private let names: PoolFunctionNames?

  init(
    _ identity: UInt64, of names: PoolFunctionNames, keepsName: Bool, _ work: TaskHeader.Work,
    returnsValue: Bool
  ) {
    name = names.next()
    self.identity = identity
    self.names = keepsName ? nil : names
    definition = TaskHeader(name: "", returnsValue: returnsValue, work: work).bytes
  }

  deinit { names?.giveBack(name) }
}

/// The names of functions. Each worker keeps a function by its name, so the names of functions that no job
/// has any more are used again.
final class PoolFunctionNames: Sendable {
  private let state = Guarded<(free: [UInt32], last: UInt32)>(([], 0))  // 0 is the initializer's

  func next() -> UInt32 {
    state.withLock { state in
      if let name = state.free.popLast() { return name }
      state.last += 1
      return state.last
    }
  }

  func giveBack(_ name: UInt32) { state.withLock { $0.free.append(name) } }
}

/// What makes two functions the same to a worker.
enum FunctionKey: Hashable {
  /// Where the code is, and the type of the struct that holds the closure: thus its signature.
  case closure(UInt, ObjectIdentifier)
  case task(ObjectIdentifier)
}

/// The functions that a pool knows. Naming one anew would cost some microseconds each time.
final class PoolFunctions: Sendable {
  private let known = Guarded<[FunctionKey: PoolFunction]>([:])
  private let names = PoolFunctionNames()
  private let count = Atomic<UInt64>(0)

  /// - Throws: `notTransferable` for a closure that captures what cannot be sent, and for a type that
  ///   has no name.
  func function(
    _ function: some SendableFunction, arguments: [any Any.Type], output: Any.Type?
  ) throws(IPCError) -> PoolFunction {
    let key = function.key
    if let key, let known = known.withLock({ $0[key] }) { return known }
    return add(
      key, try TaskHeader.Work(function, arguments: arguments, output: output),
      returnsValue: output != nil)
  }

  func function<T: ProcessTask>(of task: T.Type) throws(IPCError) -> PoolFunction {
    let key = FunctionKey.task(ObjectIdentifier(task))
    if let known = known.withLock({ $0[key] }) { return known }
    return add(key, .task(try TypeName(of: task)), returnsValue: T.Output.self != Void.self)
  }

  /// - Parameter key: `nil` for a function that is of this call alone.
  private func add(
    _ key: FunctionKey?, _ work: TaskHeader.Work, returnsValue: Bool
  ) -> PoolFunction {
    let made = PoolFunction(
      count.add(1, ordering: .relaxed).newValue, of: names, keepsName: key != nil, work,
      returnsValue: returnsValue)
    guard let key else { return made }
    return known.withLock { known in
      if let found = known[key] { return found }
      known[key] = made
      return made
    }
  }
}
