// SPDX-License-Identifier: Apache-2.0
// Fuzzes the handshake: a peer that may say anything to either role, in any number of messages.

private let codeLengths: [Handshake.Digest: Int] = [.md5: 16, .sha256: 32, .sha384: 48]

/// Codes that no input hits by chance, and that an input cannot contain: they depend on a key that is
/// drawn anew each time.
private func secret(_ key: UInt64, allowsMD5: Bool) -> Handshake.Secret {
  .init(
    authenticate: { digest, message in
      var state = key
      for byte in message { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
      return (0..<(codeLengths[digest] ?? 0)).map { index in
        state = state &* 6_364_136_223_846_793_005 &+ UInt64(index)
        return UInt8(truncatingIfNeeded: state >> 33)
      }
    }, allowsMD5: allowsMD5)
}

/// A stranger is never welcomed, whatever it says; a peer that knows the key is, in every dialect that is
/// allowed. Messages in the input are a byte of length (255 means 300) and as many bytes; a length of
/// 254 stands for the right answer to what was sent last.
func fuzzHandshake(_ input: [UInt8]) {
  guard let settings = input.first else { return }
  let role: Handshake.Role = settings & 1 == 0 ? .listener : .client
  let secret = secret(.random(in: 1 ... .max), allowsMD5: settings & 2 != 0)
  let digest = Handshake.Digest.allCases[Int(settings >> 2) % 3]
  let isBare = settings & 0x10 != 0
  var handshake = Handshake(role, secret)
  var sent = handshake.begin()
  var provenByPeer = false
  var position = 1
  while position < input.count {
    let length = Int(input[position])
    position += 1
    var message: [UInt8]
    var isRight = false
    if length == 254 {
      // What one that knows the key would say.
      let last = sent.last ?? []
      if last.starts(with: Array("#CHALLENGE#".utf8)) {
        let challenge = Array(last.dropFirst(11))
        let used = isBare ? Handshake.Digest.md5 : digest
        let code = secret.authenticate(used, challenge)
        message = isBare ? code : Array("{\(used.rawValue)}".utf8) + code
        isRight = used != .md5 || secret.allowsMD5
      } else {
        message = Array("#WELCOME#".utf8)
      }
    } else {
      let wanted = length == 255 ? 300 : length
      message = Array(input[position..<min(position + wanted, input.count)])
      position += message.count
    }
    let wasChallenged = sent.last?.starts(with: Array("#CHALLENGE#".utf8)) == true
    let step = handshake.receive(message)
    precondition(step.replies.allSatisfy { $0.count <= Handshake.maximumLength })
    if step.replies.contains(Array("#WELCOME#".utf8)) {
      precondition(isRight, "welcomed without the key")
      provenByPeer = true
    } else if isRight && wasChallenged {
      fatalError("refused with the key: \(step.outcome)")
    }
    switch step.outcome {
    case .goesOn: precondition(!step.replies.isEmpty, "both wait")
    case .done:
      precondition(provenByPeer, "done without a proof")
      return
    case .failed(let error):
      precondition(error.code == .authenticationFailed && !error.context.isEmpty)
      precondition(error.context.utf8.count < 200)
      return
    }
    sent = step.replies
  }
}
