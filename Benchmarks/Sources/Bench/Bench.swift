// SPDX-License-Identifier: Apache-2.0
import CFloors
@preconcurrency internal import Glibc

@main struct Bench {
  /// The word that makes this program end at once: the floor of the spawn benchmark.
  static let nothing = "nothing"

  static func main() throws {
    // Before anything else. A child of ours leaves its way to `main` in the wrapper just before it,
    // with the dynamic linker and all constructors behind it: so does this one, and by `_exit` as
    // well.
    if isAsked(to: nothing) { _exit(0) }
    if isAsked(to: RawPeer.word) { return RawPeer.serve(CommandLine.arguments.dropFirst(2)) }
    if isAsked(to: StartingParent.word) {
      return try StartingParent.serve(CommandLine.arguments.dropFirst(2))
    }
    setlinebuf(stdout)
    let options = Options(CommandLine.arguments.dropFirst())
    let contests = Contest.all.filter { options.wants($0) && $0.canRun }
    if options.listing {
      for contest in contests { print(contest.name) }
    } else {
      try run(contests, options)
    }
  }

  /// Whether the first argument is a word. In C, so that a child that does nothing does little.
  private static func isAsked(to word: String) -> Bool {
    guard CommandLine.argc > 1, let first = CommandLine.unsafeArgv[1] else { return false }
    return strcmp(first, word) == 0
  }

  private static func run(_ contests: [Contest], _ options: Options) throws {
    let cores = Cores(main: options.core)
    let runner = Runner(rounds: options.rounds)
    let python = options.withPython ? Python() : nil
    let loadBefore = Machine.load()
    var table = Table()
    var notes: [String] = []
    for contest in contests {
      fputs("\(contest.name)\n", stderr)
      cores.place(for: contest.placement)
      let measured = try runner.run(contest, cores)
      let inPython = contest.pythonJob.flatMap { python?.run($0, contest.placement, cores) }
      let line = Line(contest: contest, measured: measured, python: inPython)
      if options.asJSON { print(line.json) }
      table.add(line)
      for job in contest.otherPythonJobs {
        guard let summary = python?.run(job, contest.placement, cores) else { continue }
        notes.append(line.note(on: summary, job))
      }
    }
    if options.asJSON { return }
    print("\n\(Machine.describe()); Python \(python?.version ?? "left out")")
    let rounds = runner.rounds ?? Contest.Timing().rounds
    let streams = runner.rounds ?? Contest.Timing.stream.rounds
    print(
      "\(rounds) rounds, \(streams) of streams; load average \(loadBefore) before, \(Machine.load()) after\n"
    )
    table.print()
    for note in notes { print(note) }
  }
}
