// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct HandshakeTests {
  // MARK: The state machine alone

  /// Lets two ends talk until neither has anything to say.
  private func converse(
    _ listener: Handshake, _ client: Handshake
  ) -> (listener: Handshake.Step.Outcome, client: Handshake.Step.Outcome) {
    var ends = [listener, client]
    var outcomes: [Handshake.Step.Outcome] = [.goesOn, .goesOn]
    var mail: [[[UInt8]]] = [client.begin(), listener.begin()]
    var isTalking = true
    while isTalking {
      isTalking = false
      for end in 0..<2 where !mail[end].isEmpty && outcomes[end] == .goesOn {
        isTalking = true
        let step = ends[end].receive(mail[end].removeFirst())
        outcomes[end] = step.outcome
        mail[1 - end] += step.replies
      }
    }
    return (outcomes[0], outcomes[1])
  }

  private func reason(_ outcome: Handshake.Step.Outcome) -> String? {
    guard case .failed(let error) = outcome else { return nil }
    #expect(error.code == .authenticationFailed)
    return error.context
  }

  @Test func theSameKeyIsWelcome() {
    for allowed in [(false, false), (true, false), (false, true), (true, true)] {
      let outcome = converse(
        Handshake(.listener, .toy("k", allowsMD5: allowed.0)),
        Handshake(.client, .toy("k", allowsMD5: allowed.1)))
      #expect(outcome.listener == .done && outcome.client == .done)
    }
  }

  @Test func anotherKeyIsNot() {
    let outcome = converse(
      Handshake(.listener, .toy("k")), Handshake(.client, .toy("K")))
    #expect(reason(outcome.listener)?.contains("another key") == true)
    #expect(reason(outcome.client)?.contains("refused our answer") == true)
  }

  /// A client that would take the listener's word without proof is not enough: both prove.
  @Test func bothEndsProve() {
    var client = Handshake(.client, .toy("k"), nonce: [UInt8](repeating: 7, count: 40))
    let step = client.receive(Array("#CHALLENGE#{sha256}".utf8) + [UInt8](repeating: 1, count: 40))
    #expect(step.outcome == .goesOn && step.replies.count == 1)
    let challenge = client.receive(Array("#WELCOME#".utf8))
    #expect(
      challenge.replies == [Array("#CHALLENGE#{sha256}".utf8) + [UInt8](repeating: 7, count: 40)])
    // What was asked of us is no answer of the other end's.
    let reflected = client.receive(step.replies[0])
    #expect(reason(reflected.outcome) != nil && reflected.replies == [Array("#FAILURE#".utf8)])
  }

  /// A false listener without the key, to which a client connects twice: it asks the one what the other
  /// wants to know.
  @Test func aChallengeOfOursIsNotAnswered() {
    let strange = Array("#CHALLENGE#{sha256}".utf8) + [UInt8](repeating: 1, count: 40)
    var first: Handshake? = Handshake(.client, .toy("k"))
    _ = first?.receive(strange)
    let challenge = first?.receive(Array("#WELCOME#".utf8)).replies[0] ?? []
    #expect(challenge.count == 11 + 8 + 40)
    var second = Handshake(.client, .toy("k"))
    let step = second.receive(challenge)
    #expect(reason(step.outcome)?.contains("challenge of our own") == true)
    #expect(step.replies.isEmpty)
    // Over with its handshake: no peer can answer it any more, so it may be answered.
    first = nil
    var third = Handshake(.client, .toy("k"))
    #expect(third.receive(challenge).outcome == .goesOn)
  }

  @Test func challengesAreNeverTheSame() {
    let challenges = (0..<100).map { _ in Handshake(.listener, .toy("k")).begin() }
    #expect(Set(challenges.map { $0[0] }).count == 100)
    #expect(challenges.allSatisfy { $0.count == 1 && $0[0].count == 11 + 8 + 40 })
    #expect(Handshake(.client, .toy("k")).begin().isEmpty)
  }

  @Test func theOldDialectOnlyWhereItIsAllowed() {
    let secret = Handshake.Secret.toy("k", allowsMD5: true)
    let old = [UInt8](1...20)
    let challenge = Array("#CHALLENGE#".utf8) + old
    for role in [Handshake.Role.client, .listener] {
      for allowed in [false, true] {
        var handshake = Handshake(role, .toy("k", allowsMD5: allowed))
        if role == .listener {
          // An old client answers a new challenge with a bare code of all of it.
          let message = Array(handshake.begin()[0].dropFirst(11))
          let step = handshake.receive(secret.authenticate(.md5, message))
          #expect((step.outcome == .goesOn) == allowed)
          #expect(step.replies == [Array((allowed ? "#WELCOME#" : "#FAILURE#").utf8)])
          if !allowed {
            #expect(reason(step.outcome)?.contains("allowsMD5") == true)
            continue
          }
        }
        let step = handshake.receive(challenge)
        #expect((step.outcome == .goesOn) == allowed)
        #expect(step.replies == (allowed ? [secret.authenticate(.md5, old)] : []))
      }
    }
    // By its name it is the same.
    var named = Handshake(.client, .toy("k"))
    #expect(
      reason(named.receive(Array("#CHALLENGE#{md5}".utf8) + old).outcome)?.contains("allowsMD5")
        == true)
  }

  @Test func aStrongerDigestMayBeAnswered() {
    let secret = Handshake.Secret.toy("k")
    for digest in [Handshake.Digest.sha256, .sha384] {
      var listener = Handshake(.listener, secret)
      let message = Array(listener.begin()[0].dropFirst(11))
      let answer = Array("{\(digest.rawValue)}".utf8) + secret.authenticate(digest, message)
      #expect(listener.receive(answer).outcome == .goesOn)
      var client = Handshake(.client, secret)
      let challenge = Array("{\(digest.rawValue)}".utf8) + [UInt8](repeating: 5, count: 40)
      let step = client.receive(Array("#CHALLENGE#".utf8) + challenge)
      #expect(
        step.replies == [
          Array("{\(digest.rawValue)}".utf8) + secret.authenticate(digest, challenge)
        ])
    }
  }

  @Test func everyOtherWordIsAnError() {
    let secret = Handshake.Secret.toy("k", allowsMD5: true)
    let long = [UInt8](repeating: 0, count: 40)
    let challenges: [[UInt8]] = [
      [], Array("#CHALLENGE#".utf8), Array("#WELCOME#".utf8), Array("#CHALLENGE".utf8) + long,
      Array("#CHALLENGE#".utf8) + long,  // without a digest
      Array("#CHALLENGE#".utf8) + long[..<19], Array("#CHALLENGE#{sha256}".utf8) + long[..<4],
      Array("#CHALLENGE#{sha3_256}".utf8) + long, Array("#CHALLENGE#{}".utf8) + long,
      Array("#CHALLENGE#{sha256".utf8) + long,
      Array("#CHALLENGE#{sha256}".utf8) + long + long
        + long + long + long + long,
    ]
    for challenge in challenges {
      var client = Handshake(.client, secret)
      let step = client.receive(challenge)
      #expect(reason(step.outcome) != nil, "\(challenge)")
      #expect(step.replies.isEmpty)
    }
    for answer in [
      [], Array("{sha256}".utf8), Array("{sha256}".utf8) + long, Array("{md5}".utf8) + long[..<16],
      Array("{whirlpool}".utf8) + long, long, Array(long[..<16]), Array(long[..<20]),
      [UInt8](repeating: 0, count: 257),
    ] {
      var listener = Handshake(.listener, secret)
      let step = listener.receive(answer)
      #expect(reason(step.outcome) != nil, "\(answer)")
    }
    for verdict in ["#FAILURE#", "#WELCOME", "#WELCOME#x", ""] {
      var client = Handshake(.client, secret)
      _ = client.receive(Array("#CHALLENGE#{sha256}".utf8) + long)
      #expect(reason(client.receive(Array(verdict.utf8)).outcome) != nil)
    }
  }

  // MARK: Over connections

  private let folder = SocketFolder()

  private func listener(
    _ configure: (inout Listener.Options) -> Void = { _ in }
  ) throws -> Listener {
    var options = Listener.Options()
    // Others keep the machine busy, and this is not about them.
    options.authenticationTimeout = patience
    configure(&options)
    return try Listener(at: folder.address(), secret: .toy("k"), options: options)
  }

  private func connect(_ key: String = "k") async throws -> Connection {
    let connection = try await Connection.connect(to: folder.address())
    try await connection.shakeHands(
      Handshake(.client, .toy(key)), patience: patience, until: .max)
    return connection
  }

  @Test func theConnectionIsWholeAfterwards() async throws {
    let listener = try listener()
    async let accepted = listener.accept()
    let client = try await connect()
    let server = try await accepted
    // Longer than what a handshake takes.
    let bytes = [UInt8](repeating: 3, count: 100_000)
    try await client.send(bytes: bytes)
    #expect(try await server.receiveBytes() == bytes)
    let blocking = InThread { try listener.accept(timeout: patience) }
    let raw = try await Connection.connect(to: folder.address())
    let shaking = InThread {
      try raw.shakeHands(Handshake(.client, .toy("k")), patience: patience, until: .max)
    }
    let other = try blocking.join()
    try shaking.join()
    try await other.send(1)
    #expect(try await raw.receive(Int.self) == 1)
  }

  /// Descriptors of a client that has not proved anything: the client is dropped, none is opened,
  /// and the next client does not notice.
  @Test func descriptorsBeforeTheProofAreRefused() async throws {
    let refused = Mutex<[IPCError]>([])
    let listener = try listener { options in
      options.refused = { _, error in refused.withLock { $0.append(error) } }
    }
    var ends: [Int32] = [-1, -1]
    #expect(unsafe test_pipe(&ends) == 0)
    defer { for end in ends { Glibc.close(end) } }
    let inode = test_inode(ends[0])
    let before = test_count_descriptors(inode)
    // A task has to accept for it to be challenged.
    async let accepted = listener.accept()
    let hostile = try await Connection.connect(to: folder.address())
    _ = try await hostile.receiveBytes()
    try await hostile.send(bytes: Array("anything".utf8), descriptors: [ends[0], ends[1]])
    let client = try await connect()
    let server = try await accepted
    #expect(refused.withLock { $0.map(\.code) } == [.authenticationFailed])
    #expect(refused.withLock { $0[0].context.contains("descriptors") })
    #expect(test_count_descriptors(inode) == before)
    // Afterwards they are welcome.
    try await client.send(bytes: [1], descriptors: [ends[0]])
    let (_, received) = try await server.receiveBytesAndDescriptors()
    #expect(received.count == 1)
    for descriptor in received { Glibc.close(descriptor) }
  }

  /// A client is as wary of the listener.
  @Test func descriptorsOfAFalseListenerAreRefused() async throws {
    let listener = try Listener(at: folder.address())
    let connecting = Task { try await connect() }
    let server = try await listener.accept()
    let challenge = Handshake(.listener, .toy("other")).begin()[0]
    try await server.send(bytes: challenge, descriptors: [0])
    do {
      _ = try await connecting.value
      Issue.record("connected")
    } catch let error as IPCError {
      #expect(error.code == .authenticationFailed && error.context.contains("descriptors"))
    }
  }

  @Test func aStrangerIsPassedOver() async throws {
    let refused = Mutex<[IPCError]>([])
    let listener = try listener { options in
      options.refused = { _, error in refused.withLock { $0.append(error) } }
    }
    async let accepted = listener.accept()
    #expect(await code { try await connect("other") } == .authenticationFailed)
    // One that goes at once, one that talks nonsense, one that is long-winded, one that is no frame.
    try await Connection.connect(to: folder.address()).close()
    let nonsense = try await Connection.connect(to: folder.address())
    try await nonsense.send("hello")
    let long = try await Connection.connect(to: folder.address())
    try await long.send(bytes: [UInt8](repeating: 0, count: 257))
    let client = try await connect()
    let server = try await accepted
    try await server.send(1)
    #expect(try await client.receive(Int.self) == 1)
    let codes = refused.withLock { $0.map(\.code) }
    #expect(codes.count == 4, "\(codes)")
    #expect(codes.filter { $0 == .authenticationFailed }.count == 3, "\(codes)")
    #expect(codes.contains(.peerClosed))
  }

  @Test func aStallingClientHoldsUpNoOther() async throws {
    let listener = try listener()
    let silent = try (0..<5).map { _ in try Connection.connect(to: folder.address()) }
    // Some begin an answer and do not end it: in its length, and in its body.
    let slow = [[0], [0, 0, 0], [0, 0, 0, 40], [0, 0, 0, 40, 1, 2]].map { rawClient(sending: $0) }
    defer { for descriptor in slow { close(descriptor) } }
    for _ in 0..<5 {
      async let accepted = listener.accept()
      let client = try await connect()
      let server = try await accepted
      try await server.send(1)
      #expect(try await client.receive(Int.self) == 1)
    }
    withExtendedLifetime(silent) {}
  }

  /// A client that says some bytes and no more.
  private func rawClient(sending bytes: [UInt8]) -> Int32 {
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array("\(folder.path)/socket".utf8)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let status = unsafe withUnsafeBytes(of: &address) { raw in
      unsafe Glibc.connect(
        descriptor, raw.assumingMemoryBound(to: sockaddr.self).baseAddress!, socklen_t(raw.count))
    }
    precondition(status == 0)
    precondition(unsafe write(descriptor, bytes, bytes.count) == bytes.count)
    return descriptor
  }

  @Test func aStallingClientIsDroppedInTime() async throws {
    let refused = Mutex<[IPCError.Code]>([])
    let listener = try listener { options in
      options.authenticationTimeout = .milliseconds(20)
      options.refused = { _, error in refused.withLock { $0.append(error.code) } }
    }
    let stalling = try await Connection.connect(to: folder.address())
    let accepting = Task { await code { try await listener.accept() } }
    try await waitUntil { refused.withLock { !$0.isEmpty } }
    accepting.cancel()
    #expect(await accepting.value == .cancelled)
    #expect(refused.withLock { $0 } == [.timedOut])
    #expect(try await stalling.receiveBytes().starts(with: "#CHALLENGE#{sha256}".utf8))
    #expect(await code { try await stalling.receiveBytes() } == .peerClosed)
    // A listener that stalls, likewise.
    let (ours, theirs) = try Connection.pair()
    #expect(
      await code {
        try await ours.shakeHands(
          Handshake(.client, .toy("k")), until: Deadline.after(.milliseconds(20)))
      } == .timedOut)
    #expect(ours.isClosed)
    #expect(
      code {
        try theirs.shakeHands(
          Handshake(.client, .toy("k")), until: Deadline.after(.milliseconds(20)))
      } == .peerClosed)
  }

  @Test func stallingClientsDoNotShutOthersOut() async throws {
    let refused = Mutex<[IPCError.Code]>([])
    let listener = try listener { options in
      options.maximumAuthenticating = 4
      options.refused = { _, error in refused.withLock { $0.append(error.code) } }
    }
    let stalling = try (0..<20).map { _ in try Connection.connect(to: folder.address()) }
    async let accepted = listener.accept()
    let client = try await connect()
    let server = try await accepted
    try await server.send(1)
    #expect(try await client.receive(Int.self) == 1)
    #expect(refused.withLock { $0 } == [IPCError.Code](repeating: .timedOut, count: 17))
    withExtendedLifetime(stalling) {}
  }

  @Test func manyAuthenticateThemselvesAtOnce() async throws {
    let listener = try listener()
    let serving = Task {
      for try await connection in listener.connections { try await connection.send("hello") }
    }
    try await withThrowingDiscardingTaskGroup { group in
      for _ in 0..<50 {
        group.addTask {
          let client = try await connect()
          #expect(try await client.receive(String.self) == "hello")
        }
      }
    }
    listener.close()
    try await serving.value
  }

  @Test func firstReadyGoesOnWithHandshakes() async throws {
    let listener = try listener()
    let client = Task { try await connect() }
    #expect(try await firstReady(listener) == [0])
    let server = try await listener.accept(timeout: .zero)
    try await server.send(1)
    #expect(try await client.value.receive(Int.self) == 1)
  }

  @Test func closingEndsHandshakes() async throws {
    let listener = try listener()
    let client = Task { try await connect() }
    let accepting = Task { try await listener.accept() }
    let stalling = try await Connection.connect(to: folder.address())
    _ = try await stalling.receiveBytes()
    _ = try await client.value
    _ = try await accepting.value
    listener.close()
    #expect(await code { try await stalling.receiveBytes() } == .peerClosed)
  }

  /// A process that is killed in the middle of the handshake.
  @Test func killedInTheMiddle() async throws {
    let refused = Mutex<[IPCError.Code]>([])
    let listener = try listener { options in
      options.refused = { _, error in refused.withLock { $0.append(error.code) } }
    }
    let path = "\(folder.path)/socket"
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(path, theirs) { path, theirs in
      let connection = try await Connection.connect(to: .unix(path))
      _ = try await connection.receiveBytes()
      try await theirs.send("challenged")
      _ = try await theirs.receive()
    }
    let accepting = Task { try await listener.accept() }
    #expect(try await ours.receive(String.self) == "challenged")
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL))
    _ = try await connect()
    _ = try await accepting.value
    #expect(refused.withLock { $0 } == [.peerClosed])
    // And the listener's process.
    let (end, peer) = try Connection.pair()
    try await peer.send(bytes: Array("#CHALLENGE#{sha256}".utf8) + [UInt8](repeating: 1, count: 40))
    let shaking = Task {
      try await end.shakeHands(Handshake(.client, .toy("k")), patience: patience, until: .max)
    }
    _ = try await peer.receiveBytes()
    peer.close()
    #expect(await code { try await shaking.value } == .peerClosed)
  }
}
