// SPDX-License-Identifier: Apache-2.0

/// The function of tasks, as the pool names it to its workers.
final class PoolFunction: Sendable {
  /// What stands for it in orders to run, once a worker knows it.
  let name: UInt32
  /// What tells a worker what it is: the order to define it.
  let definition: [UInt8]

  init(name: UInt32, takesState: Bool, _ work: TaskHeader.Work, returnsValue: Bool) {
    self.name = name
    let frame = FrameBuffer(capacity: 256)
    frame.append(WorkerOrder.define.rawValue)
    frame.append(name)
    frame.append(takesState ? 1 : 0 as UInt8)
    frame.append(TaskHeader(name: "", returnsValue: returnsValue, work: work).bytes)
    definition = unsafe Array(frame.bytes)
  }
}

/// What makes two functions the same to a worker.
enum FunctionKey: Hashable {
  /// Where the code is, and the type of the struct that holds the closure: thus its signature.
  case closure(UInt, ObjectIdentifier)
  case task(ObjectIdentifier)
}

/// The functions that a pool has been given. Naming one anew would cost some microseconds each time.
final class PoolFunctions: Sendable {
  private let known = Guarded<[FunctionKey: PoolFunction]>([:])

  /// - Throws: `notTransferable` for a closure that captures something, and for a type that has no
  ///   name.
  func function(
    _ function: some SendableFunction, takesState: Bool = false, arguments: [any Any.Type],
    output: Any.Type?
  ) throws(IPCError) -> PoolFunction {
    let key = try function.key()
    if let known = known.withLock({ $0[key] }) { return known }
    var names: [TypeName] = []
    for argument in arguments { names.append(try TypeName(of: argument)) }
    var outputName: TypeName?
    if let output { outputName = try TypeName(of: output) }
    let work = TaskHeader.Work.closure(
      try function.location(), type(of: function).call, arguments: names, output: outputName)
    return add(key, takesState, work, returnsValue: output != nil)
  }

  func function<T: ProcessTask>(of task: T.Type) throws(IPCError) -> PoolFunction {
    let key = FunctionKey.task(ObjectIdentifier(task))
    if let known = known.withLock({ $0[key] }) { return known }
    return add(key, false, .task(try TypeName(of: task)), returnsValue: T.Output.self != Void.self)
  }

  private func add(
    _ key: FunctionKey, _ takesState: Bool, _ work: TaskHeader.Work, returnsValue: Bool
  ) -> PoolFunction {
    known.withLock { known in
      if let found = known[key] { return found }
      // 0 is the initializer's.
      let function = PoolFunction(
        name: UInt32(known.count + 1), takesState: takesState, work, returnsValue: returnsValue)
      known[key] = function
      return function
    }
  }
}
