// SPDX-License-Identifier: Apache-2.0

/// Reads message bytes into a tape: checks every opcode, bound and reference, and runs nothing.
///
/// Pickle is a program for a stack machine. This one knows the instructions that make data; it
/// follows them once, from front to back, without recursion.
struct PickleReader: ~Copyable {
  private var stack = PickleBuffer<PickleNode>(capacity: 32)
  private var marks = PickleBuffer<Int>(capacity: 8)
  private var memo = PickleBuffer<PickleNode>(capacity: 0)
  /// Memo entries beyond the dense ones, so that an index of 4 billion costs one entry.
  private var sparseMemo: [UInt32: PickleNode] = [:]
  private var elements = PickleBuffer<PickleNode>(capacity: 32)
  private var containers = PickleBuffer<PickleContainer>(capacity: 8)
  private var chunks = PickleBuffer<PickleChunk>(capacity: 0)
  private var chains = PickleBuffer<PickleChain>(capacity: 0)
  /// Texts that were looked through for characters beyond Latin-1, by their offset.
  private var latin1Texts: Set<Int> = []
  private var sawGlobal = false
  private var sharesContainers = false
  private var opcode: UInt8 = 0
  private var opcodeOffset = 0

  /// The classes and functions that a message may name. They are recognised, never looked up.
  private enum Global: Int {
    case set, frozenSet, byteArray, complex, encode
  }

  /// Reads a whole message.
  ///
  /// - Throws: `malformedMessage` with the opcode and the offset.
  mutating func read(_ bytes: [UInt8], _ limits: PickleLimits) throws(IPCError) -> PickleNode {
    var failure: IPCError?
    let root = unsafe bytes.withUnsafeBytes { raw -> PickleNode in
      do throws(IPCError) { return unsafe try run(raw) } catch {
        failure = error
        return PickleNode(PickleOpcode.none, 0)
      }
    }
    if let failure { throw failure }
    // Freed before the next part of the work allocates.
    clearStack()
    try checkShape(root, bytes, limits)
    chunks.clear()
    chains.clear()
    return root
  }

  private mutating func clearStack() {
    stack.clear()
    marks.clear()
    memo.clear()
    if !sparseMemo.isEmpty { sparseMemo = [:] }
    if !latin1Texts.isEmpty { latin1Texts = [] }
  }

  /// Makes it ready for another message.
  mutating func clear() {
    clearStack()
    elements.clear()
    containers.clear()
    chunks.clear()
    chains.clear()
    sawGlobal = false
    sharesContainers = false
  }

  /// After reading: a value in a container, by its place in `PickleContainer`'s.
  @inline(__always)
  func element(_ place: Int) -> PickleNode { elements[place] }

  @inline(__always)
  func container(_ index: Int) -> PickleContainer { containers[index] }

  // The offsets used below are checked against `raw.count` before each load.
  private mutating func run(_ raw: UnsafeRawBufferPointer) throws(IPCError) -> PickleNode {
    let end = raw.count
    guard end >= 2, unsafe raw[0] == PickleOpcode.proto else {
      throw IPCError(
        .malformedMessage,
        context: end == 0
          ? "no bytes" : "offset 0: not a message of Python's: it does not begin with PROTO")
    }
    let hasNumbers = unsafe raw[1] == PickleOpcode.memoryProtocol
    guard unsafe hasNumbers || 3...5 ~= raw[1] else {
      throw unsafe IPCError(
        .malformedMessage, context: "protocol \(raw[1]) at offset 1: 3, 4 and 5 are read")
    }
    guard end <= Int(UInt32.max) else {
      throw IPCError(.malformedMessage, context: "\(end) bytes: more than can be indexed")
    }
    var position = 2
    while position < end {
      opcode = unsafe raw[position]
      opcodeOffset = position
      position += 1
      switch opcode {
      case PickleOpcode.binFloat:
        try need(8, position, end)
        stack.append(PickleNode(opcode, position))
        position += 8
      case PickleOpcode.binInt1:
        try need(1, position, end)
        stack.append(PickleNode(opcode, position))
        position += 1
      case PickleOpcode.binInt2:
        try need(2, position, end)
        stack.append(PickleNode(opcode, position))
        position += 2
      case PickleOpcode.binInt:
        try need(4, position, end)
        stack.append(PickleNode(opcode, position))
        position += 4
      case PickleOpcode.none, PickleOpcode.newTrue, PickleOpcode.newFalse:
        stack.append(PickleNode(opcode, position))

      case PickleOpcode.shortBinUnicode, PickleOpcode.shortBinBytes, PickleOpcode.long1:
        try need(1, position, end)
        let length = unsafe Int(raw[position])
        try need(length, position + 1, end)
        if opcode == PickleOpcode.shortBinUnicode {
          unsafe try checkText(raw, position + 1, length)
        }
        stack.append(PickleNode(opcode, position))
        position += 1 + length
      case PickleOpcode.binUnicode, PickleOpcode.binBytes, PickleOpcode.long4:
        try need(4, position, end)
        let length = unsafe Int(
          raw.loadUnaligned(fromByteOffset: position, as: UInt32.self).littleEndian)
        // LONG4 has a signed length: a negative one is beyond any message here.
        try need(length, position + 4, end)
        if opcode == PickleOpcode.binUnicode { unsafe try checkText(raw, position + 4, length) }
        stack.append(PickleNode(opcode, position))
        position += 4 + length
      case PickleOpcode.binUnicode8, PickleOpcode.binBytes8, PickleOpcode.byteArray8:
        try need(8, position, end)
        let claimed = unsafe raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
          .littleEndian
        let length = Int(clamping: claimed)
        try need(length, position + 8, end)
        if opcode == PickleOpcode.binUnicode8 { unsafe try checkText(raw, position + 8, length) }
        stack.append(PickleNode(opcode, position))
        position += 8 + length

      case PickleOpcode.emptyList, PickleOpcode.emptyDictionary, PickleOpcode.emptySet:
        try pushContainer(opcode, from: stack.count)
      case PickleOpcode.emptyTuple:
        try pushContainer(PickleOpcode.emptyTuple, from: stack.count)
      case PickleOpcode.tuple1, PickleOpcode.tuple2, PickleOpcode.tuple3:
        let count = Int(opcode - PickleOpcode.tuple1) + 1
        try needOnStack(count)
        try pushContainer(PickleOpcode.emptyTuple, from: stack.count - count)
      case PickleOpcode.mark:
        marks.append(stack.count)
      case PickleOpcode.tuple:
        try pushContainer(PickleOpcode.emptyTuple, from: popMark())
      case PickleOpcode.frozenSet:
        try pushContainer(PickleOpcode.frozenSet, from: popMark())

      case PickleOpcode.append:
        try needOnStack(2)
        try add(from: stack.count - 1, to: PickleOpcode.emptyList)
      case PickleOpcode.appends:
        try add(from: popMark(), to: PickleOpcode.emptyList)
      case PickleOpcode.setItem:
        try needOnStack(3)
        try add(from: stack.count - 2, to: PickleOpcode.emptyDictionary)
      case PickleOpcode.setItems:
        let first = try popMark()
        if (stack.count - first) % 2 != 0 { throw malformed("a key without a value") }
        try add(from: first, to: PickleOpcode.emptyDictionary)
      case PickleOpcode.addItems:
        try add(from: popMark(), to: PickleOpcode.emptySet)

      case PickleOpcode.memoize:
        try memoize(UInt32(memo.count + sparseMemo.count))
      case PickleOpcode.binPut:
        try need(1, position, end)
        try memoize(unsafe UInt32(raw[position]))
        position += 1
      case PickleOpcode.longBinPut:
        try need(4, position, end)
        try memoize(
          unsafe raw.loadUnaligned(fromByteOffset: position, as: UInt32.self).littleEndian)
        position += 4
      case PickleOpcode.binGet:
        try need(1, position, end)
        try fetch(unsafe UInt32(raw[position]))
        position += 1
      case PickleOpcode.longBinGet:
        try need(4, position, end)
        try fetch(unsafe raw.loadUnaligned(fromByteOffset: position, as: UInt32.self).littleEndian)
        position += 4

      case PickleOpcode.pop:
        if marks.count > 0, marks[marks.count - 1] == stack.count {
          marks.truncate(to: marks.count - 1)
        } else {
          try needOnStack(1)
          stack.truncate(to: stack.count - 1)
        }
      case PickleOpcode.popMark:
        let mark = try popMark()
        stack.truncate(to: mark)

      case PickleOpcode.frame:
        // Frames say how much to read ahead; here all of it was read. One that claims more than
        // there is means that the message was cut off.
        try need(8, position, end)
        let claimed = unsafe raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
          .littleEndian
        try need(Int(clamping: claimed), position + 8, end)
        position += 8

      case PickleOpcode.numbers where hasNumbers:
        try need(PickleNumbers.headerSize, position, end)
        guard let element = unsafe PickleElement(rawValue: raw[position]) else {
          throw malformed("no such type of number")
        }
        let claimed = unsafe raw.loadUnaligned(fromByteOffset: position + 1, as: UInt64.self)
          .littleEndian
        let start = position + PickleNumbers.headerSize
        // A size that does not fit 64 bits is beyond any message.
        let (size, overflow) = claimed.multipliedReportingOverflow(by: UInt64(element.stride))
        try need(overflow ? .max : Int(clamping: size), start, end)
        stack.append(PickleNode(opcode, position))
        position = start + Int(size)

      case PickleOpcode.global:
        let module = unsafe try line(raw, &position)
        let name = unsafe try line(raw, &position)
        try unsafe pushGlobal(raw, module, name)
      case PickleOpcode.stackGlobal:
        try needOnStack(2)
        let name = pop()
        let module = pop()
        guard module.isString, name.isString else { throw malformed("a name that is not a string") }
        try unsafe pushGlobal(
          raw, PickleTape.span(of: module, in: raw), PickleTape.span(of: name, in: raw))
      case PickleOpcode.reduce:
        unsafe try reduce(raw)

      case PickleOpcode.stop:
        guard position == end else {
          throw malformed("\(end - position) bytes after the end of the message")
        }
        guard marks.count == 0, stack.count == 1 else {
          throw malformed(
            "\(stack.count) values and \(marks.count) marks left, where one value is the message")
        }
        return stack[0]
      default:
        throw malformed("not allowed in a message, which is data only")
      }
    }
    throw IPCError(.malformedMessage, context: "the message ends at offset \(end) without STOP")
  }

  // Mutating, like all that is called for each opcode: borrowing would copy the reader, each time.
  private mutating func malformed(_ problem: String) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "opcode \(PickleOpcode.describe(opcode)) at offset \(opcodeOffset): \(problem)")
  }

  @inline(__always)
  private mutating func need(_ count: Int, _ position: Int, _ end: Int) throws(IPCError) {
    if count > end - position {
      throw malformed("\(count) bytes wanted, \(max(0, end - position)) left")
    }
  }

  /// How many values there were at the last mark.
  private var lastMark: Int {
    @inline(__always) get { marks.count > 0 ? marks[marks.count - 1] : 0 }
  }

  /// Values below the last mark belong to an outer container.
  @inline(__always)
  private mutating func needOnStack(_ count: Int) throws(IPCError) {
    if stack.count - lastMark < count { throw malformed("too few values before it") }
  }

  private mutating func pop() -> PickleNode {
    defer { stack.truncate(to: stack.count - 1) }
    return stack[stack.count - 1]
  }

  private mutating func popMark() throws(IPCError) -> Int {
    guard marks.count > 0 else { throw malformed("no mark before it") }
    let mark = lastMark
    marks.truncate(to: marks.count - 1)
    return mark
  }

  // MARK: Containers

  private mutating func pushContainer(_ tag: UInt8, from first: Int) throws(IPCError) {
    let container = PickleContainer(
      start: UInt32(elements.count), count: UInt32(stack.count - first),
      offset: UInt32(opcodeOffset), tag: tag)
    if container.count > 0 { takeElements(from: first) }
    push(container)
  }

  private mutating func push(_ container: PickleContainer) {
    stack.append(PickleNode(container.tag, containers.count))
    containers.append(container)
  }

  private mutating func takeElements(from first: Int) {
    elements.append(stack, from: first)
    stack.truncate(to: first)
  }

  private mutating func add(from first: Int, to tag: UInt8) throws(IPCError) {
    guard first > lastMark else { throw malformed("nothing before it to add to") }
    let target = stack[first - 1]
    guard target.tag == tag else { throw malformed("adds to a value of another kind") }
    let index = target.payload
    if containers[index].isFrozen { throw malformed("adds to a set made by REDUCE") }
    let count = UInt32(stack.count - first)
    guard count > 0 else { return }
    let start = UInt32(elements.count)
    takeElements(from: first)
    if containers[index].count == 0 {
      containers[index].start = start
    } else if !containers[index].isChained {
      if containers[index].start + containers[index].count != start {
        let first = UInt32(chunks.count)
        chunks.append(
          PickleChunk(
            start: containers[index].start, count: containers[index].count, next: first + 1))
        chunks.append(PickleChunk(start: start, count: count))
        containers[index].start = UInt32(chains.count)
        containers[index].isChained = true
        chains.append(PickleChain(head: first, tail: first + 1))
      }
    } else {
      let chain = Int(containers[index].start)
      let tail = Int(chains[chain].tail)
      if chunks[tail].start + chunks[tail].count == start {
        chunks[tail].count += count
      } else {
        chunks[tail].next = UInt32(chunks.count)
        chains[chain].tail = UInt32(chunks.count)
        chunks.append(PickleChunk(start: start, count: count))
      }
    }
    containers[index].count += count
  }

  // MARK: Memo

  private mutating func memoize(_ index: UInt32) throws(IPCError) {
    try needOnStack(1)
    let node = stack[stack.count - 1]
    if sparseMemo.isEmpty && Int(index) == memo.count {
      memo.append(node)
    } else if Int(index) < memo.count {
      memo[Int(index)] = node
    } else {
      sparseMemo[index] = node
    }
  }

  private mutating func fetch(_ index: UInt32) throws(IPCError) {
    let entry = Int(index) < memo.count ? memo[Int(index)] : sparseMemo[index]
    guard var node = entry else { throw malformed("memo entry \(index) was never made") }
    if node.isContainer {
      containers[node.payload].isShared = true
      sharesContainers = true
    } else {
      node.markShared()
      // As good as a container: it is many values.
      if node.tag == PickleOpcode.numbers { sharesContainers = true }
    }
    stack.append(node)
  }

  // MARK: Names

  private mutating func line(
    _ raw: UnsafeRawBufferPointer, _ position: inout Int
  ) throws(IPCError) -> Range<Int> {
    let start = position
    while position < raw.count, unsafe raw[position] != 0x0a { position += 1 }
    guard position < raw.count else { throw malformed("a name without an end") }
    defer { position += 1 }
    return start..<position
  }

  private mutating func pushGlobal(
    _ raw: UnsafeRawBufferPointer, _ module: Range<Int>, _ name: Range<Int>
  ) throws(IPCError) {
    func text(_ range: Range<Int>) -> String {
      // A name is shown in an error: a hostile one is cut.
      unsafe String(decoding: raw[range.prefix(64)], as: UTF8.self)
    }
    let known: Global? =
      switch (text(module), text(name)) {
      case ("builtins", "set"): .set
      case ("builtins", "frozenset"): .frozenSet
      case ("builtins", "bytearray"): .byteArray
      case ("builtins", "complex"): .complex
      case ("_codecs", "encode"): .encode
      default: nil
      }
    guard let known else {
      throw malformed("names \(text(module)).\(text(name)), and a message is data only")
    }
    sawGlobal = true
    stack.append(PickleNode(PickleOpcode.global, known.rawValue))
  }

  private mutating func reduce(_ raw: UnsafeRawBufferPointer) throws(IPCError) {
    try needOnStack(2)
    let arguments = pop()
    let callee = pop()
    guard callee.tag == PickleOpcode.global, let global = Global(rawValue: callee.payload & 0xff)
    else { throw malformed("calls something, and a message is data only") }
    guard arguments.tag == PickleOpcode.emptyTuple else { throw malformed("no tuple of arguments") }
    let tuple = containers[arguments.payload]
    // Tuples are made in one piece, so they have no chunks.
    func argument(_ index: Int) -> PickleNode { elements[Int(tuple.start) + index] }

    switch (global, tuple.count) {
    case (.set, 0), (.frozenSet, 0):
      try pushContainer(
        global == .set ? PickleOpcode.emptySet : PickleOpcode.frozenSet, from: stack.count)
    case (.set, 1), (.frozenSet, 1):
      guard
        argument(0).tag == PickleOpcode.emptyList || argument(0).tag == PickleOpcode.emptyTuple
      else { throw malformed("a set is made of a list") }
      var container = containers[argument(0).payload]
      container.tag = global == .set ? PickleOpcode.emptySet : PickleOpcode.frozenSet
      container.isFrozen = true
      container.isShared = false
      container.offset = UInt32(opcodeOffset)
      push(container)
    case (.byteArray, 0):
      try pushContainer(PickleNode.latin1, from: stack.count)
    case (.byteArray, 1):
      switch argument(0).tag {
      case PickleOpcode.shortBinBytes, PickleOpcode.binBytes, PickleOpcode.binBytes8,
        PickleOpcode.byteArray8, PickleNode.latin1:
        stack.append(argument(0))
      default: throw malformed("a bytearray is made of bytes")
      }
    case (.complex, 2):
      guard argument(0).tag == PickleOpcode.binFloat, argument(1).tag == PickleOpcode.binFloat
      else { throw malformed("a complex number is made of two floats") }
      push(
        PickleContainer(
          start: tuple.start, count: 2, offset: UInt32(opcodeOffset), tag: PickleNode.complex,
          isFrozen: true))
    case (.encode, 2):
      guard argument(0).isString, argument(1).isString,
        ["latin1", "latin-1"].contains(
          unsafe String(
            decoding: raw[PickleTape.span(of: argument(1), in: raw).prefix(8)], as: UTF8.self))
      else { throw malformed("_codecs.encode is for text in Latin-1") }
      // Once for each text, which a message may name again and again.
      if latin1Texts.insert(argument(0).payload).inserted {
        let text = unsafe raw[PickleTape.span(of: argument(0), in: raw)]
        if unsafe text.contains(where: { $0 > 0xc3 }) {
          throw malformed("a character beyond Latin-1")
        }
      }
      push(
        PickleContainer(
          start: tuple.start, count: 1, offset: UInt32(opcodeOffset), tag: PickleNode.latin1,
          isFrozen: true))
    default:
      throw malformed("\(tuple.count) arguments where a message never has them")
    }
  }

  // MARK: Text

  @inline(__always)
  private mutating func checkText(
    _ raw: UnsafeRawBufferPointer, _ start: Int, _ count: Int
  ) throws(IPCError) {
    unsafe try checkUTF8(raw, start, count)
    if count > 2 * CombiningMarks.maximum,
      unsafe CombiningMarks.isTooLong(
        UnsafeRawBufferPointer(rebasing: raw[start..<start + count]))
    {
      throw malformed("text with more than \(CombiningMarks.maximum) combining characters in a row")
    }
  }

  private mutating func checkUTF8(
    _ raw: UnsafeRawBufferPointer, _ start: Int, _ count: Int
  ) throws(IPCError) {
    var position = start
    let end = start + count
    while end - position >= 8 {
      let word = unsafe raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      if word & 0x8080_8080_8080_8080 != 0 { break }
      position += 8
    }
    while position < end {
      let lead = unsafe raw[position]
      if lead < 0x80 {
        position += 1
        continue
      }
      // The second byte's range rules out overlong forms, surrogates and what is beyond 0x10ffff.
      let (length, second): (Int, ClosedRange<UInt8>) =
        switch lead {
        case 0xc2...0xdf: (2, 0x80...0xbf)
        case 0xe0: (3, 0xa0...0xbf)
        case 0xed: (3, 0x80...0x9f)
        case 0xe1...0xef: (3, 0x80...0xbf)
        case 0xf0: (4, 0x90...0xbf)
        case 0xf1...0xf3: (4, 0x80...0xbf)
        case 0xf4: (4, 0x80...0x8f)
        default: (0, 0x80...0xbf)
        }
      guard length > 0, end - position >= length, unsafe second.contains(raw[position + 1]) else {
        let isSurrogate = lead == 0xed && end - position >= 2
        throw malformed(
          "\(isSurrogate ? "a lone surrogate" : "not UTF-8") at offset \(position)")
      }
      for next in 2..<max(2, length) where unsafe raw[position + next] & 0xc0 != 0x80 {
        throw malformed("not UTF-8 at offset \(position)")
      }
      position += length
    }
  }

  // MARK: The shape of the whole

  private struct Visit {
    var container: Int
    var chunk: UInt32
    /// The next element, and how many are left in this chunk and in all.
    var next: Int
    var leftInChunk: Int
    var left: Int
    var size: Int
    var height: Int
    /// Whether it, or a container that it is in, may occur more than once.
    var isShared: Bool
  }

  /// Refuses cycles, depth, too many values once shared parts are written out, and names left over;
  /// then puts the elements of every container next to each other.
  private mutating func checkShape(
    _ root: PickleNode, _ bytes: [UInt8], _ limits: PickleLimits
  ) throws(IPCError) {
    let byteCount = bytes.count
    if root.tag == PickleOpcode.global { throw leftOver() }
    if root.tag == PickleOpcode.numbers {
      let maximum = limits.values(byteCount: bytes.count)
      if PickleTape.numbers(root, in: bytes).count >= maximum { throw tooMany(maximum) }
    }
    guard root.isContainer else { return }
    // The usual message: without sharing there is no cycle and nothing to write out twice, and so
    // few containers cannot be nested too deep.
    if !sharesContainers && !sawGlobal && containers.count <= limits.depth
      && limits.values(byteCount: byteCount) >= byteCount
    {
      if chunks.count > 0 {
        for index in 0..<containers.count where containers[index].isChained {
          try joinChunks(index)
        }
      }
      return
    }

    let maximum = limits.values(byteCount: byteCount)
    /// 0 for a container not seen yet, -1 for one that is being visited, otherwise its number of values.
    var sizes = [Int](repeating: 0, count: containers.count)
    var heights = [UInt16](repeating: 0, count: containers.count)
    var path: [Visit] = []
    var visited = 0

    func begin(_ index: Int) -> Visit {
      let container = containers[index]
      let chunk =
        container.isChained
        ? chunks[Int(chains[Int(container.start)].head)]
        : PickleChunk(start: container.start, count: container.count)
      return Visit(
        container: index, chunk: chunk.next, next: Int(chunk.start),
        leftInChunk: Int(chunk.count), left: Int(container.count), size: 1, height: 1,
        isShared: container.isShared || path.last?.isShared == true)
    }

    sizes[root.payload] = -1
    path.append(begin(root.payload))
    while var visit = path.popLast() {
      var descended = false
      while visit.left > 0 {
        if visit.leftInChunk == 0 {
          let chunk = chunks[Int(visit.chunk)]
          visit.chunk = chunk.next
          visit.next = Int(chunk.start)
          visit.leftInChunk = Int(chunk.count)
        }
        let node = elements[visit.next]
        visit.next += 1
        visit.leftInChunk -= 1
        visit.left -= 1
        visited += 1
        if !node.isContainer {
          if node.tag == PickleOpcode.global { throw leftOver() }
          // With its container it occurs more than once, and is to be made once.
          if visit.isShared, !node.isShared {
            var shared = node
            shared.markShared()
            elements[visit.next - 1] = shared
          }
          visit.size += 1
          if node.tag == PickleOpcode.numbers {
            // No overflow: a message has fewer numbers than bytes, and no container as many elements.
            visit.size += PickleTape.numbers(node, in: bytes).count
            if visit.size > maximum { throw tooMany(maximum) }
          }
          continue
        }
        let size = sizes[node.payload]
        if size < 0 {
          throw IPCError(
            .malformedMessage,
            context:
              "the container made at offset \(containers[node.payload].offset) contains itself")
        }
        if size == 0 {
          if path.count + 2 > limits.depth {
            throw tooDeep(containers[node.payload].offset, limits)
          }
          sizes[node.payload] = -1
          // This element is counted when its container is finished.
          path.append(visit)
          path.append(begin(node.payload))
          descended = true
          break
        }
        visit.size = visit.size &+ size
        visit.height = max(visit.height, Int(heights[node.payload]) + 1)
        if visit.height + path.count > limits.depth {
          throw tooDeep(containers[node.payload].offset, limits)
        }
        if visit.size > maximum { throw tooMany(maximum) }
      }
      if descended { continue }
      if visit.size > maximum || visited > maximum { throw tooMany(maximum) }
      sizes[visit.container] = visit.size
      heights[visit.container] = UInt16(visit.height)
      if var parent = path.popLast() {
        parent.size += visit.size
        parent.height = max(parent.height, visit.height + 1)
        path.append(parent)
      }
      if containers[visit.container].isChained {
        try joinChunks(visit.container)
      }
    }
  }

  private mutating func joinChunks(_ index: Int) throws(IPCError) {
    let start = elements.count
    guard start + Int(containers[index].count) <= Int(UInt32.max) else {
      throw tooMany(Int(UInt32.max))
    }
    var left = Int(containers[index].count)
    var next = chains[Int(containers[index].start)].head
    while left > 0 {
      let chunk = chunks[Int(next)]
      // The list that a set was made of may have grown since.
      let count = min(left, Int(chunk.count))
      for element in Int(chunk.start)..<Int(chunk.start) + count {
        elements.append(elements[element])
      }
      left -= count
      next = chunk.next
    }
    containers[index].start = UInt32(start)
    containers[index].isChained = false
  }

  private mutating func leftOver() -> IPCError {
    IPCError(
      .malformedMessage, context: "a name stands where a value should, and a message is data only")
  }

  private mutating func tooDeep(_ offset: UInt32, _ limits: PickleLimits) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "nested more than \(limits.depth) deep by the container made at offset \(offset)")
  }

  private mutating func tooMany(_ maximum: Int) -> IPCError {
    IPCError(
      .malformedMessage,
      context: "shared parts written out make more than \(maximum) values")
  }
}

/// How deep and how large the value of a message may be.
struct PickleLimits {
  /// How deep containers may be nested: each level costs stack in the type that is decoded.
  var depth = 512
  /// How many values a message may be once shared parts are written out; `nil` for the rule that
  /// goes with its size.
  var values: Int?

  func values(byteCount: Int) -> Int {
    // Without sharing there are never more values than bytes. 16,384 lets a short message say
    // `[[0] * 100] * 100`. Twice the bytes, so that typed lists that are named again and again take no
    // more memory for each byte than lists that are spelled out.
    //
    // Whatever a caller asks for, the sum of two numbers of values is an Int.
    min(values ?? max(16_384, byteCount * 2), Int.max >> 3)
  }
}
