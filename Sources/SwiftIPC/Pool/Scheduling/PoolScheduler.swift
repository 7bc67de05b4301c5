// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// Decides which worker gets which elements of which job, and what becomes of them when it dies.
///
/// A pure value: each call reports what happened, and `commands` lists what is to be done. So it is
/// tested without any process.
struct PoolScheduler {
  struct Settings {
    var workers: Int
    var maxTasksPerWorker: Int?
    /// Nanoseconds without a task after which a worker is ended.
    var idleTime: Int64?
    /// Bytes by which a worker's memory may grow.
    var memoryGrowth: Int?
    var name: String
    /// How many times in a row the initializer may throw.
    var mostInitializerFailures = 3
    /// How many times in a row a worker may die before it is ready, or fail to start.
    var mostFailedStarts = 8
    /// Nanoseconds until the next try after a failed start; they double with each failure.
    var pause: Int64 = 20_000_000
    /// Nanoseconds that the initializer may take; `nil` for as long as it takes.
    var initializerTime: Int64?
    /// Whether there is one.
    var hasInitializer = false
    var grace = Grace()

    /// How many nanoseconds a worker may take for what takes no time unless it is stopped. Tests shorten
    /// them.
    struct Grace {
      /// To begin a task that it has, after the time limit of the task before it; and the same where tasks
      /// have no limit and another worker is idle.
      var toBegin: Int64 = 2_000_000_000
      var toBeginWithoutTimeout: Int64 = 30_000_000_000
      /// To report that it is ready, without an initializer.
      var toBeReady: Int64 = 60_000_000_000
      /// To end, while tasks wait for its place.
      var toEnd: Int64 = 60_000_000_000
      /// How long tasks with a time limit wait while no worker is ready, where initializers have none.
      var forInitializers: Int64 = 60_000_000_000
    }
  }

  /// What is to be done, in the order of the list.
  enum Command {
    case start(Int, index: Int)
    case stop(Int)
    case kill(Int)
    case fail(PoolJob, Int, any Error)
    /// Several elements that were given up.
    case failMany(PoolJob, Range<Int>, any Error)
    case failAll(PoolJob, any Error)
    case log(PoolEvent)
    /// The last worker has ended, and no other will be started.
    case ended
  }

  /// Elements that a worker has.
  struct Assignment {
    let job: PoolJob
    let elements: Range<Int>
    /// Where the first is that has no result.
    var next: Int
  }

  enum Phase: Equatable {
    case starting, ready
    /// It gets no more orders.
    case stopping
  }

  struct Worker {
    let number: Int
    let name: String
    /// Which of the pool's places it has; no other worker has it before this one has ended.
    let index: Int
    var phase = Phase.starting
    var queue = PoolDeque<Assignment>()
    /// How many elements it may still be given.
    var quota: Int
    /// How many elements it has been through.
    var completed: UInt64 = 0
    /// How much memory it used when it was ready, and when its memory was last measured.
    var memory: Int?
    var measuredAt: Int64 = 0
    /// Since when, at the earliest, it has been in the element at the front; or since when it has had
    /// none, or has been starting.
    var since: Int64 = 0
    /// When it was found not to have begun what it should have, or to be ending; 0 otherwise.
    var lateSince: Int64 = 0
    /// How long the chunk at the front had taken at the last report.
    var heard: UInt64 = 0
    /// The error for which the pool killed it, and the element that gets it, counted from its start.
    var verdict: (element: UInt64, error: IPCError)?
    /// Why the pool killed it although it was in no task: what it had runs elsewhere then.
    var failure: String?
    /// Why it gets no more tasks, where that is not their number.
    var retirement: PoolEvent.Retirement?
    /// Functions that it knows.
    var functions: [UInt32: UInt64] = [:]

    /// Whether the pool has killed it.
    var isKilled: Bool { verdict != nil || failure != nil }
    /// Whether it runs tasks or is about to.
    var isOfUse: Bool { phase != .stopping && !isKilled }
    var isIdle: Bool { phase == .ready && queue.isEmpty && !isKilled }
  }

  enum State {
    case open, closed
    case failed(IPCError)
  }

  let settings: Settings
  private(set) var state = State.open
  private(set) var workers: [Worker] = []
  private var listed = PoolDeque<PoolJob>()
  /// Elements that have neither result nor error.
  private(set) var outstanding = 0
  private(set) var commands: [Command] = []
  private var lastNumber = 0
  private var initializerFailures = 0
  private var failedStarts = 0
  private var noStartBefore: Int64 = 0
  private var plannedDeadline: Int64 = .max
  /// Since when no worker has been ready while tasks waited.
  private var unservedSince: Int64?
  private var isEnded = false
  private(set) var lastStartError: IPCError?

  // For progress.
  private(set) var done = 0
  private(set) var failed = 0
  /// Elements that were given up before a worker had them.
  private(set) var cancelled = 0
  /// Elements that are to come, as far as jobs know.
  private(set) var announced = 0
  /// Jobs to which more elements may be added.
  private var streams = 0
  /// When the present period of work began, and when it ended.
  private(set) var busySince: Int64?
  private(set) var idleSince: Int64?
  private(set) var finishedBefore = 0

  init(_ settings: Settings) { self.settings = settings }

  mutating func takeCommands() -> [Command] {
    if commands.isEmpty { return [] }
    defer { commands = [] }
    return commands
  }

  private func place(of number: Int) -> Int? { workers.firstIndex { $0.number == number } }

  // MARK: Work

  /// - Throws: `closed`, or why the pool failed.
  mutating func add(_ job: PoolJob) throws(IPCError) {
    switch state {
    case .open: break
    case .closed: throw IPCError(.closed, context: "the pool \"\(settings.name)\"")
    case .failed(let error): throw error
    }
    outstanding += job.schedule.available
    if job.isStream { streams += 1 }
    list(job)
  }

  /// Says how many elements more a job will have, as far as is known.
  mutating func announce(_ job: PoolJob, _ count: Int) {
    if job.schedule.isCancelled { return }
    if case .failed = state { return }
    announced -= job.announced
    // So that the sum of many fits.
    job.announced = max(0, min(count, 1 << 48))
    announced += job.announced
  }

  /// Adds elements to a job that was added before.
  mutating func extend(_ job: PoolJob, by more: Int) {
    if job.schedule.isCancelled { return }
    switch state {
    case .failed(let error): return commands.append(.failAll(job, error))
    case .closed where isEnded:
      let error = IPCError(.closed, context: "the pool \"\(settings.name)\"")
      return commands.append(.failAll(job, error))
    case .open, .closed: break
    }
    job.schedule.extend(by: more)
    outstanding += more
    announce(job, job.announced - more)
    list(job)
  }

  private mutating func list(_ job: PoolJob, first: Bool = false) {
    if job.schedule.isListed || job.schedule.available == 0 { return }
    job.schedule.isListed = true
    if first { listed.prepend(job) } else { listed.append(job) }
  }

  /// Gives out no more of a job, and kills the workers that are in it where its options say so.
  ///
  /// - Returns: how many of its elements were given up before a worker had them, now or earlier.
  @discardableResult
  mutating func cancel(_ job: PoolJob, _ error: IPCError, _ now: Int64) -> Int {
    if job.schedule.isCancelled { return job.givenUp }
    let unused = job.schedule.available
    outstanding -= unused
    cancelled += unused + job.announced
    job.givenUp += unused
    announce(job, 0)
    job.schedule.cancel()
    if job.isStream { streams -= 1 }
    noteIdle(now)
    if job.options.killsWhenCancelled && job.given > 0 {
      for place in workers.indices where workers[place].queue.first?.job === job {
        kill(place, in: workers[place].completed, error)
      }
    }
    checkEnd()
    return job.givenUp
  }

  /// Gives up all elements that no worker has.
  ///
  /// - Returns: how many elements that were.
  mutating func cancelWaiting(_ error: IPCError, _ now: Int64) -> Int {
    var all = 0
    for job in listed.removeAll() {
      job.schedule.isListed = false
      let ranges = job.schedule.giveUp()
      let count = ranges.reduce(0) { $0 + $1.count }
      all += count
      job.givenUp += count
      if job.given == 0 && !job.isStream {
        // These are all that have no result.
        commands.append(.failAll(job, error))
      } else {
        for range in ranges { commands.append(.failMany(job, range, error)) }
      }
    }
    outstanding -= all
    cancelled += all
    noteIdle(now)
    checkEnd()
    return all
  }

  /// Kills a worker for the error of an element, counted from the worker's start.
  private mutating func kill(_ place: Int, in element: UInt64, _ error: IPCError) {
    if workers[place].isKilled { return }
    workers[place].verdict = (element, error)
    commands.append(.kill(workers[place].number))
  }

  /// Kills a worker that is of no use, although it is in no task.
  private mutating func giveUp(_ place: Int, _ failure: String) {
    workers[place].failure = failure
    commands.append(.kill(workers[place].number))
  }

  // MARK: Giving out

  /// The next chunk to send, and the worker that gets it; `nil` when no worker is free or nothing waits.
  mutating func assign(_ now: Int64) -> (worker: Int, Assignment, isNew: Bool)? {
    while let job = listed.first {
      guard let place = freest(for: job) else { return nil }
      guard
        let chunk = job.schedule.take(workers: workers.count, most: workers[place].quota)
      else {
        job.schedule.isListed = false
        listed.removeFirst()
        continue
      }
      if job.schedule.available == 0 {
        job.schedule.isListed = false
        listed.removeFirst()
      }
      let assignment = Assignment(job: job, elements: chunk, next: chunk.lowerBound)
      job.given += chunk.count
      workers[place].quota -= chunk.count
      if workers[place].queue.isEmpty {
        workers[place].since = now
        workers[place].lateSince = 0
        workers[place].heard = 0
      }
      if busySince == nil || idleSince != nil {
        (busySince, idleSince, finishedBefore) = (now, nil, done + failed)
      }
      workers[place].queue.append(assignment)
      let function = job.function
      let isNew =
        workers[place].functions.updateValue(function.identity, forKey: function.name)
        != function.identity
      return (workers[place].number, assignment, isNew)
    }
    return nil
  }

  private func freest(for job: PoolJob) -> Int? {
    var best: Int?
    var least = job.schedule.depth
    for place in workers.indices {
      let worker = workers[place]
      guard case .ready = worker.phase, worker.quota > 0, !worker.isKilled else { continue }
      // Never behind a task of another call, which may take forever.
      if let last = worker.queue.last, last.job !== job { continue }
      let count = worker.queue.count
      if count < least {
        least = count
        best = place
        if count == 0 { break }
      }
    }
    return best
  }

  // MARK: Reports

  mutating func ready(_ number: Int, _ now: Int64) {
    guard let place = place(of: number), case .starting = workers[place].phase,
      !workers[place].isKilled
    else { return }
    workers[place].phase = .ready
    workers[place].since = now
    initializerFailures = 0
  }

  mutating func initializerFailed(_ number: Int, _ description: String) {
    guard let place = place(of: number) else { return }
    // One that was killed for taking too long has been counted.
    if workers[place].isKilled { return }
    workers[place].phase = .stopping
    commands.append(
      .log(.initializerFailed(name: workers[place].name, description: description)))
    // Now and not when the worker has ended: another would be started in between.
    initializerHasFailed(description)
  }

  /// A worker has been through this many more elements of the chunk that it is in, which has taken this
  /// long so far.
  ///
  /// - Returns: which elements; `nil` when the worker has no such.
  mutating func progressed(
    _ number: Int, _ count: Int, _ nanoseconds: UInt64, _ now: Int64
  ) -> (job: PoolJob, Range<Int>)? {
    guard let place = place(of: number), count > 0, !workers[place].queue.isEmpty else {
      return nil
    }
    let assignment = workers[place].queue[0]
    guard count <= assignment.elements.upperBound - assignment.next else { return nil }
    let elements = assignment.next..<assignment.next + count
    let job = assignment.job
    failedStarts = 0
    workers[place].completed += UInt64(count)
    workers[place].since = now
    workers[place].lateSince = 0
    job.given -= count
    outstanding -= count
    if elements.upperBound == assignment.elements.upperBound {
      workers[place].queue.removeFirst()
      workers[place].heard = 0
      job.schedule.learn(assignment.elements.count, nanoseconds)
      retire(place)
    } else {
      workers[place].queue[0].next = elements.upperBound
      if nanoseconds > workers[place].heard {
        // A long chunk adjusts the pace before it is over.
        let soFar = elements.upperBound - assignment.elements.lowerBound
        if nanoseconds > UInt64(JobSchedule.queueTime) { job.schedule.learn(soFar, nanoseconds) }
        workers[place].heard = nanoseconds
      }
    }
    noteIdle(now)
    checkEnd()
    return (job, elements)
  }

  /// Ends the period of work, unless a stream may bring more.
  private mutating func noteIdle(_ now: Int64) {
    if outstanding == 0 && streams == 0 && idleSince == nil { idleSince = now }
  }

  /// Counts how elements went, for progress.
  mutating func count(done: Int, failed: Int) {
    self.done += done
    self.failed += failed
  }

  private mutating func retire(_ place: Int) {
    guard workers[place].quota == 0, workers[place].queue.isEmpty,
      case .ready = workers[place].phase
    else { return }
    workers[place].phase = .stopping
    commands.append(
      .log(.workerRetired(name: workers[place].name, workers[place].retirement ?? .tasks)))
    commands.append(.stop(workers[place].number))
  }

  /// How often the memory of a worker is measured at most, in nanoseconds.
  static let measuringInterval: Int64 = 10_000_000

  /// Whether it is time to measure the memory of a worker: then `measured` is called with it.
  mutating func mustMeasure(_ number: Int, _ now: Int64) -> Bool {
    guard settings.memoryGrowth != nil, let place = place(of: number),
      now - workers[place].measuredAt >= Self.measuringInterval || workers[place].memory == nil
    else { return false }
    workers[place].measuredAt = now
    return true
  }

  /// Makes the next measurement due at once, for tests.
  mutating func forgetMeasuring() { for place in workers.indices { workers[place].measuredAt = 0 } }

  /// A worker, ready or between tasks, uses this much memory.
  mutating func measured(_ number: Int, _ memory: Int) {
    guard let growth = settings.memoryGrowth, let place = place(of: number) else { return }
    guard let before = workers[place].memory else {
      workers[place].memory = memory
      return
    }
    if memory - before < growth || workers[place].quota == 0 { return }
    // It finishes what it has and gets no more.
    workers[place].quota = 0
    workers[place].retirement = .memory
    retire(place)
  }

  mutating func ended(_ number: Int, _ end: WorkerEnd, _ activity: WorkerActivity, _ now: Int64) {
    guard let place = place(of: number) else { return }
    var worker = workers.remove(at: place)
    commands.append(.log(.workerEnded(name: worker.name, end.status)))
    var isFirst = true
    for assignment in worker.queue.removeAll() {
      let job = assignment.job
      var rest = assignment.next..<assignment.elements.upperBound
      job.given -= rest.count
      outstanding -= rest.count
      if isFirst && activity.begun > worker.completed, let victim = rest.first {
        rest = rest.dropFirst()
        lose(job, victim, worker, end)
      }
      isFirst = false
      if job.schedule.isCancelled {
        cancelled += rest.count
        continue
      }
      job.schedule.giveBack(rest)
      outstanding += rest.count
      list(job, first: true)
    }
    if worker.phase != .stopping, worker.verdict == nil,
      activity.begun == 0 || worker.failure != nil
    {
      // It ended before it did anything. That may happen; if it happens every time, the pool must fail.
      // After the above, so that what this worker had then fails with the rest.
      startFailed(now, end, worker)
    }
    checkEnd()
  }

  private mutating func lose(_ job: PoolJob, _ element: Int, _ worker: Worker, _ end: WorkerEnd) {
    var error: IPCError
    var mayRetry = true
    if let verdict = worker.verdict, verdict.element == worker.completed {
      error = verdict.error
      mayRetry = false
    } else {
      error = IPCError(
        .workerDied, context: "\(worker.name) \(end.description(" in the middle of the task"))")
    }
    error.exitStatus = end.status
    commands.append(.log(.taskLost(name: worker.name, error)))
    if mayRetry && job.schedule.triesAgain(element, retries: job.options.retries) {
      commands.append(.log(.taskRetried(name: worker.name)))
      outstanding += 1
      list(job, first: true)
      return
    }
    commands.append(.fail(job, element, error))
  }

  // MARK: Starting

  /// How many workers are missing.
  private var missing: Int {
    if case .failed = state { return 0 }
    // A worker that is about to end keeps its place until then: tasks rely on having their index alone.
    let places = settings.workers - workers.count
    if case .open = state, settings.idleTime == nil || lastNumber == 0 { return places }
    // No worker is started to be idle.
    let live = workers.count { $0.phase != .stopping }
    return min(places, outstanding - live)
  }

  /// Starts the workers that are missing.
  mutating func staff(_ now: Int64) {
    let isServed = workers.contains { $0.phase == .ready && !$0.isKilled }
    unservedSince = isServed ? nil : unservedSince ?? now
    for place in workers.indices
    where workers[place].phase == .stopping && workers[place].lateSince == 0 {
      workers[place].lateSince = now
    }
    if now < noStartBefore { return }
    var missing = missing
    while missing > 0 {
      missing -= 1
      lastNumber += 1
      guard let index = (0..<settings.workers).first(where: isFree) else { return }
      let name = Self.name(lastNumber, settings)
      workers.append(
        Worker(
          number: lastNumber, name: name, index: index,
          quota: settings.maxTasksPerWorker.map { max(1, $0) } ?? .max, since: now))
      commands.append(.start(lastNumber, index: index))
      commands.append(.log(.workerStarted(name: name)))
    }
  }

  private func isFree(_ index: Int) -> Bool { !workers.contains { $0.index == index } }

  static func name(_ number: Int, _ settings: Settings) -> String { "\(settings.name)-\(number)" }

  /// The engine could not start a worker.
  mutating func notStarted(_ number: Int, _ error: IPCError, _ now: Int64) {
    guard let place = place(of: number) else { return }
    workers.remove(at: place)
    commands.append(.log(.startFailed(error)))
    lastStartError = error
    failedStarts += 1
    postpone(now)
    // While others work, the missing one does no harm. One that is ending works no more.
    let hasOthers = workers.contains { $0.isOfUse }
    if failedStarts >= settings.mostFailedStarts && !hasOthers { fail(error) }
    checkEnd()
  }

  private mutating func startFailed(_ now: Int64, _ end: WorkerEnd, _ worker: Worker) {
    failedStarts += 1
    if failedStarts < settings.mostFailedStarts { return postpone(now) }
    let cause = worker.failure.map { "\($0) and was ended" } ?? end.description()
    var error = IPCError(
      .poolFailed,
      context:
        "\(failedStarts) workers in a row ended before they began a task; \(worker.name) \(cause)")
    error.exitStatus = end.status
    fail(error)
  }

  private mutating func initializerHasFailed(_ description: String) {
    initializerFailures += 1
    if initializerFailures < settings.mostInitializerFailures { return }
    fail(
      IPCError(
        .poolFailed,
        context: "the initializer failed in \(initializerFailures) workers in a row: \(description)"
      ))
  }

  private mutating func postpone(_ now: Int64) {
    noStartBefore = now + settings.pause << Int64(min(failedStarts - 1, 6))
  }

  // MARK: Time

  private static func sum(_ time: Int64, _ more: Int64) -> Int64 {
    let (sum, isLate) = time.addingReportingOverflow(more)
    return isLate ? .max : sum
  }

  /// When `due` is to be called at the latest.
  var nextDeadline: Int64 {
    var deadline = Int64.max
    let hasIdle = hasIdleWorker
    for worker in workers {
      if let idleTime = settings.idleTime, listed.isEmpty, worker.isIdle {
        deadline = min(deadline, Self.sum(worker.since, idleTime))
      }
      deadline = min(deadline, dueTime(of: worker, hasIdle))
    }
    if missing > 0 && outstanding > 0 { deadline = min(deadline, noStartBefore) }
    if let (_, time) = unservedJob { deadline = min(deadline, time) }
    return deadline
  }

  /// Retires workers that have been idle for too long.
  private mutating func retireIdle(_ now: Int64) {
    // Where elements wait, these workers are about to have them.
    guard let idleTime = settings.idleTime, listed.isEmpty else { return }
    for place in workers.indices
    where workers[place].isIdle && Self.sum(workers[place].since, idleTime) <= now {
      // It is given nothing from here on: what came earlier is in its queue.
      workers[place].quota = 0
      workers[place].retirement = .idle
      retire(place)
    }
  }

  /// Until when the thread that runs the loop will sleep.
  mutating func planDeadline() -> Int64 {
    plannedDeadline = nextDeadline
    return plannedDeadline
  }

  /// Whether `due` is to be called before the thread that runs the loop will wake.
  var isDueBeforePlanned: Bool { nextDeadline < plannedDeadline }

  /// When a worker is to be checked.
  private func dueTime(of worker: Worker, _ hasIdle: Bool) -> Int64 {
    if worker.isKilled { return .max }
    let grace = settings.grace
    switch worker.phase {
    case .starting:
      guard settings.hasInitializer else { return Self.sum(worker.since, grace.toBeReady) }
      return settings.initializerTime.map { Self.sum(worker.since, $0) } ?? .max
    case .stopping:
      // Where nothing waits, exit handlers and finalizers may take any time.
      if outstanding == 0 || worker.lateSince == 0 { return .max }
      return Self.sum(worker.lateSince, grace.toEnd)
    case .ready:
      guard let first = worker.queue.first else { return .max }
      if worker.lateSince != 0 { return Self.sum(worker.lateSince, grace.toBegin) }
      if let timeout = first.job.timeout { return Self.sum(worker.since, timeout) }
      return hasIdle ? Self.sum(worker.since, grace.toBeginWithoutTimeout) : .max
    }
  }

  private var hasIdleWorker: Bool { workers.contains { $0.isIdle } }

  /// Kills workers and fails jobs that take too long.
  mutating func due(_ now: Int64, _ activity: (Int) -> WorkerActivity) {
    retireIdle(now)
    let hasIdle = hasIdleWorker
    for place in workers.indices where dueTime(of: workers[place], hasIdle) <= now {
      switch workers[place].phase {
      case .starting:
        if let time = settings.initializerTime, settings.hasInitializer {
          let failure = "took longer than \(Duration.nanoseconds(time)) in the initializer"
          giveUp(place, failure)
          commands.append(
            .log(.initializerFailed(name: workers[place].name, description: failure)))
          initializerHasFailed("\(workers[place].name) \(failure)")
        } else {
          giveUp(place, "did not begin")
        }
      case .stopping: giveUp(place, "did not end")
      case .ready: isDue(place, now, activity(workers[place].number))
      }
    }
    while let (job, time) = unservedJob, time <= now {
      let error = IPCError(
        .timedOut,
        context: "no worker of the pool \"\(settings.name)\" was ready for the task: their "
          + "initializers have not returned")
      cancel(job, error, now)
      job.schedule.isListed = false
      listed.removeAll { $0 === job }
      commands.append(.failAll(job, error))
    }
    staff(now)
  }

  /// A worker should be through with the element at the front, or in it.
  private mutating func isDue(_ place: Int, _ now: Int64, _ said: WorkerActivity) {
    let worker = workers[place]
    guard said.begun > worker.completed else {
      // Earlier results or the order itself may be on their way, and this process may have been stopped,
      // as by a Ctrl-Z. So there is a second look, some time after the first.
      if worker.lateSince == 0 {
        workers[place].lateSince = now
      } else {
        giveUp(place, "began nothing of what it had")
      }
      return
    }
    workers[place].lateSince = 0
    guard let timeout = worker.queue.first?.job.timeout else {
      // It is in a task without a time limit.
      workers[place].since = now
      return
    }
    // Results before that element may be on their way, or in the worker's slot until the chunk is over:
    // what counts is the element that the worker is in.
    if said.begunAt > now - timeout {
      workers[place].since = max(worker.since, min(said.begunAt, now))
      if Self.sum(workers[place].since, timeout) <= now { workers[place].since = now }
      return
    }
    kill(
      place, in: said.begun - 1,
      IPCError(.timedOut, context: "the task took longer than \(Duration.nanoseconds(timeout))"))
  }

  /// The job with a time limit that gives up first waiting for any worker, and when it does; `nil` where a
  /// worker is ready, or initializers have a time limit.
  private var unservedJob: (PoolJob, Int64)? {
    guard settings.hasInitializer, settings.initializerTime == nil, let unservedSince else {
      return nil
    }
    var first: (PoolJob, Int64)?
    for place in 0..<listed.count {
      let job = listed[place]
      guard let timeout = job.timeout else { continue }
      let time = Self.sum(
        max(unservedSince, job.madeAt), max(timeout, settings.grace.forInitializers))
      if time < first?.1 ?? .max { first = (job, time) }
    }
    return first
  }

  // MARK: The end

  mutating func close() {
    if case .open = state { state = .closed }
    checkEnd()
  }

  /// Gives up all work and all workers.
  mutating func fail(_ error: IPCError) {
    if case .failed = state { return }
    state = .failed(error)
    if error.code == .poolFailed { commands.append(.log(.poolFailed(error))) }
    var jobs: [PoolJob] = listed.removeAll()
    for place in workers.indices {
      for assignment in workers[place].queue.removeAll() {
        assignment.job.given -= assignment.elements.upperBound - assignment.next
        jobs.append(assignment.job)
      }
      if !workers[place].isKilled { commands.append(.kill(workers[place].number)) }
    }
    cancelled += outstanding + announced
    (outstanding, announced, streams) = (0, 0, 0)
    for job in jobs {
      job.schedule.isListed = false
      job.schedule.cancel()
      commands.append(.failAll(job, error))
    }
    checkEnd()
  }

  private mutating func checkEnd() {
    if isEnded || outstanding > 0 { return }
    if case .open = state { return }
    if case .closed = state {
      for place in workers.indices where workers[place].queue.isEmpty {
        if case .stopping = workers[place].phase { continue }
        workers[place].phase = .stopping
        commands.append(.stop(workers[place].number))
      }
    }
    if workers.isEmpty {
      isEnded = true
      commands.append(.ended)
    }
  }

  var hasEnded: Bool { isEnded }
}
