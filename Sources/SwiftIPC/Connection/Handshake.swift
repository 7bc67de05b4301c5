// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// How two ends that know a key prove it to each other, as Python's `multiprocessing.connection`
/// does: what to send and what to make of what came, without the sending and without the HMAC.
///
/// Each side in turn sends `#CHALLENGE#` and a message, gets an HMAC of that message under the key,
/// and says `#WELCOME#` or `#FAILURE#`; the listener begins. Two dialects, both read in CPython's
/// source (`deliver_challenge`, `answer_challenge`): up to 3.11 the message is 20 bytes and the answer
/// a bare HMAC-MD5; from 3.12 on message and answer begin with the name of a digest in braces, and
/// the HMAC is over the whole message with that name in it. An older Python answers the new kind of
/// challenge with a bare HMAC-MD5 of it.
struct Handshake {
  /// Who accepted the connection challenges first.
  enum Role: Hashable, Sendable { case listener, client }

  /// The digests that both this library and Python have.
  enum Digest: String, CaseIterable, Sendable {
    case md5, sha256, sha384

    /// The length of its HMAC, in bytes.
    var length: Int {
      switch self {
      case .md5: 16
      case .sha256: 32
      case .sha384: 48
      }
    }
  }

  /// The key that both ends know, and the digests that this end accepts.
  struct Secret: Sendable {
    /// The HMAC of a message under the key.
    var authenticate: @Sendable (Digest, [UInt8]) -> [UInt8]
    /// Whether Pythons up to 3.11 are spoken to.
    var allowsMD5: Bool
  }

  /// The outcome of a step.
  struct Step {
    enum Outcome: Hashable {
      case goesOn, done
      case failed(IPCError)
    }
    /// To be sent, also after a failure.
    var replies: [[UInt8]] = []
    var outcome = Outcome.goesOn
  }

  /// The longest message of a handshake, in bytes: what Python reads at most.
  static let maximumLength = 256
  /// How many random bytes a challenge has.
  static let nonceLength = 40

  private enum Stage { case answer, verdict, response }

  private let role: Role
  private let secret: Secret
  private var stage: Stage
  /// What we challenge with: the name of the digest that we prefer, and random bytes.
  private let issued: IssuedChallenge
  private var challenge: [UInt8] { issued.message }
  /// Whether the peer has proved that it knows the key. From then on it may send descriptors, too.
  private(set) var hasProof = false

  private static let challengeMark = Array("#CHALLENGE#".utf8)
  private static let welcome = Array("#WELCOME#".utf8)
  private static let failure = Array("#FAILURE#".utf8)
  /// A challenge of this length, or an answer of that one, has no name of a digest in it.
  private static let bareChallengeLength = 20
  private static let bareResponseLength = 16

  /// Makes a handshake; `nonce` is what makes its challenge one of its own.
  init(_ role: Role, _ secret: Secret, nonce: [UInt8]) {
    self.role = role
    self.secret = secret
    issued = IssuedChallenge(Array("{sha256}".utf8) + nonce, role)
    stage = role == .listener ? .response : .answer
  }

  /// Makes a handshake with a challenge of random bytes.
  init(_ role: Role, _ secret: Secret) {
    var generator = SystemRandomNumberGenerator()
    self.init(
      role, secret,
      nonce: (0..<Self.nonceLength).map { _ in .random(in: 0...255, using: &generator) })
  }

  /// What to send before anything has come.
  func begin() -> [[UInt8]] {
    role == .listener ? [Self.challengeMark + challenge] : []
  }

  /// Takes a message from the peer.
  mutating func receive(_ message: [UInt8]) -> Step {
    guard message.count <= Self.maximumLength else {
      return Self.failed("a message of \(message.count) bytes")
    }
    switch stage {
    case .answer: return answer(message)
    case .verdict: return judge(message)
    case .response: return verify(message)
    }
  }

  /// We are challenged.
  private mutating func answer(_ message: [UInt8]) -> Step {
    guard message.starts(with: Self.challengeMark) else {
      return Self.failed("the peer sent no challenge")
    }
    let message = Array(message.dropFirst(Self.challengeMark.count))
    if IssuedChallenge.isPending(message, role) {
      return Self.failed("the peer sent a challenge of our own back")
    }
    let digest: Digest
    if message.count == Self.bareChallengeLength {
      digest = .md5
    } else {
      guard message.count > Self.bareChallengeLength else {
        return Self.failed("a challenge of \(message.count) bytes, which is too short")
      }
      switch Self.digest(of: message) {
      case .success((let named, _)): digest = named
      case .failure(let error): return Step(outcome: .failed(error))
      }
    }
    if digest == .md5 && !secret.allowsMD5 { return Self.failed(Self.md5Refused) }
    let code = secret.authenticate(digest, message)
    stage = .verdict
    let isBare = message.count == Self.bareChallengeLength
    return Step(replies: [isBare ? code : Array("{\(digest.rawValue)}".utf8) + code])
  }

  /// The peer's verdict on our answer.
  private mutating func judge(_ message: [UInt8]) -> Step {
    guard message == Self.welcome else {
      return Self.failed(
        message == Self.failure
          ? "the peer refused our answer: it has another key, or does not allow the digest"
          : "the peer sent neither welcome nor failure")
    }
    if role == .listener { return Step(outcome: .done) }
    stage = .response
    return Step(replies: [Self.challengeMark + challenge])
  }

  /// The peer answers our challenge.
  private mutating func verify(_ message: [UInt8]) -> Step {
    func refused(_ reason: String) -> Step {
      var step = Self.failed(reason)
      step.replies = [Self.failure]
      return step
    }
    let digest: Digest
    let code: [UInt8]
    if message.count == Self.bareResponseLength || message.count == Self.bareChallengeLength {
      (digest, code) = (.md5, message)
    } else {
      switch Self.digest(of: message) {
      case .success(let named): (digest, code) = named
      case .failure(let error): return refused(error.context)
      }
    }
    if digest == .md5 && !secret.allowsMD5 { return refused(Self.md5Refused) }
    guard Self.areEqual(secret.authenticate(digest, challenge), code) else {
      return refused("the peer has another key")
    }
    hasProof = true
    if role == .client { return Step(replies: [Self.welcome], outcome: .done) }
    stage = .answer
    return Step(replies: [Self.welcome])
  }

  /// The digest whose name a message begins with, and what is behind it.
  private static func digest(
    of message: [UInt8]
  ) -> Result<(digest: Digest, rest: [UInt8]), IPCError> {
    // The names that Python knows have at most 8 bytes.
    guard message.first == UInt8(ascii: "{"),
      let end = message.prefix(10).firstIndex(of: UInt8(ascii: "}"))
    else { return .failure(error("a message without the name of a digest")) }
    let name = String(decoding: message[1..<end], as: UTF8.self)
    guard let digest = Digest(rawValue: name) else {
      return .failure(error("the digest \(name.debugDescription), which is not supported"))
    }
    return .success((digest, Array(message[(end + 1)...])))
  }

  /// Compares in a time that does not tell where two codes differ.
  private static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    var difference: UInt8 = 0
    for index in one.indices { difference |= one[index] ^ other[index] }
    return difference == 0
  }

  private static let md5Refused =
    "the peer uses HMAC-MD5, as Python does up to 3.11, which has to be allowed: allowsMD5"

  private static func error(_ reason: String) -> IPCError {
    IPCError(.authenticationFailed, context: "authentication: \(reason)")
  }

  private static func failed(_ reason: String) -> Step { Step(outcome: .failed(error(reason))) }
}
