// SPDX-License-Identifier: Apache-2.0
import CFloors
@preconcurrency internal import Glibc
import SwiftIPC

extension Contest {
  /// One sweep of a stencil of five points over 1024 by 1024 numbers, by two processes that have
  /// half of the rows each. Both sides run the same function over spans, and wait at a barrier
  /// before and after.
  static let stencil = Contest(
    name: "SharedArray<Float>, 1024 x 1024: stencil by two children, spans of rows",
    floorName: "two threads, memory of one process",
    target: .atMost(1.1),
    placement: .anywhere
  ) { _ in
    let children = try StencilChildren()
    let threads = try StencilThreads()
    return Sides(
      ours: { for _ in 0..<$0 { try children.sweep() } },
      floor: { for _ in 0..<$0 { try threads.sweep() } })
  }
}

private enum Grid {
  static let width = 1024
  static let height = 1024
  /// A row more at each end, which is only read.
  static let count = (height + 2) * width

  /// Those that one of two writes, of `height + 2`.
  static func rows(_ part: Int) -> Range<Int> {
    part == 0 ? 1..<height / 2 + 1 : height / 2 + 1..<height + 1
  }
}

/// The target's rows from the source's, which has a row more at each end.
@inline(never)
private func smooth(_ source: Span<Float>, _ target: inout MutableSpan<Float>) {
  let width = Grid.width
  var place = width
  while place < target.count + width {
    for column in 1..<width - 1 {
      let here = place + column
      let sum =
        source[here - width] + source[here + width] + source[here - 1] + source[here + 1]
      target[here - width] = sum * 0.25
    }
    place += width
  }
}

/// Waits for its turn, and lets the two that sweep go on and come back.
private class StencilTeam {
  let barrier: Barrier

  init() throws { barrier = try Barrier(parties: 3) }

  func sweep() throws {
    try barrier.wait()
    try barrier.wait()
  }

  /// One of the two, until the barrier is broken.
  static func serve(_ barrier: Barrier, _ sweep: () -> Void) throws {
    do {
      while true {
        try barrier.wait()
        sweep()
        try barrier.wait()
      }
    } catch let error where error.code == .broken {}
  }
}

private final class StencilChildren: StencilTeam {
  private var children: [ChildProcess<Void>] = []

  override init() throws {
    try super.init()
    let source = try SharedArray<Float>(shape: Grid.height + 2, Grid.width, repeating: 1)
    let target = try SharedArray<Float>(shape: Grid.height + 2, Grid.width, repeating: 1)
    for part in 0..<2 {
      children.append(
        try ChildProcess.start(barrier, source, target, part) { barrier, source, target, part in
          let rows = Grid.rows(part)
          try StencilTeam.serve(barrier) {
            source.withSpan(rows: rows.lowerBound - 1..<rows.upperBound + 1) { source in
              target.withMutableSpan(rows: rows) { target in smooth(source, &target) }
            }
          }
        })
    }
  }

  deinit {
    try? barrier.abort()
    // One that failed has said so on standard error.
    for child in children { _ = try? child.join() }
  }
}

private final class StencilThreads: StencilTeam {
  private final class Part {
    let barrier: Barrier
    let source: UnsafeBufferPointer<Float>
    let target: UnsafeMutableBufferPointer<Float>

    init(
      _ barrier: Barrier, _ source: UnsafeBufferPointer<Float>,
      _ target: UnsafeMutableBufferPointer<Float>
    ) {
      self.barrier = barrier
      self.source = source
      self.target = target
    }

    func run() {
      try? StencilTeam.serve(barrier) {
        var target = target.mutableSpan
        smooth(source.span, &target)
      }
    }
  }

  private let source = UnsafeMutableBufferPointer<Float>.allocate(capacity: Grid.count)
  private let target = UnsafeMutableBufferPointer<Float>.allocate(capacity: Grid.count)
  private var threads: [pthread_t] = []

  override init() throws {
    try super.init()
    source.initialize(repeating: 1)
    target.initialize(repeating: 1)
    for part in 0..<2 {
      let rows = Grid.rows(part)
      let above = (rows.lowerBound - 1) * Grid.width..<(rows.upperBound + 1) * Grid.width
      let own = rows.lowerBound * Grid.width..<rows.upperBound * Grid.width
      let job = Part(
        barrier, UnsafeBufferPointer(rebasing: source[above]),
        UnsafeMutableBufferPointer(rebasing: target[own]))
      var thread = pthread_t()
      let context = Unmanaged.passRetained(job)
      let status = pthread_create(
        &thread, nil,
        { context in
          Unmanaged<Part>.fromOpaque(context!).takeRetainedValue().run()
          return nil
        }, context.toOpaque())
      precondition(status == 0, "no thread")
      threads.append(thread)
    }
  }

  deinit {
    try? barrier.abort()
    for thread in threads { pthread_join(thread, nil) }
    source.deallocate()
    target.deallocate()
  }
}
