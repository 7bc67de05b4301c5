// SPDX-License-Identifier: Apache-2.0

extension MessageValue: Codable {
  public func encode(to encoder: any Encoder) throws {
    if let encoder = encoder as? MessageValueEncoder {
      try encoder.encoding.write(self, encoder.serial)
      return
    }
    func unsupported(_ what: String) -> EncodingError {
      .invalidValue(
        self,
        .init(codingPath: encoder.codingPath, debugDescription: "\(what): for MessageEncoder only"))
    }
    switch self {
    case .null:
      var container = encoder.singleValueContainer()
      try container.encodeNil()
    case .bool(let value): try value.encode(to: encoder)
    case .integer(let value): try value.encode(to: encoder)
    case .bigInteger: throw unsupported("an integer beyond 64 bits")
    case .double(let value): try value.encode(to: encoder)
    case .string(let value): try value.encode(to: encoder)
    case .bytes(let value): try value.encode(to: encoder)
    case .array(let values), .tuple(let values): try values.encode(to: encoder)
    case .set(let values), .frozenSet(let values): try Array(values).encode(to: encoder)
    case .dictionary(let dictionary):
      var container = encoder.container(keyedBy: MessageIndexKey.self)
      for (key, value) in dictionary {
        guard case .string(let name) = key else {
          throw unsupported("a dictionary with a key that is not a string")
        }
        try container.encode(value, forKey: MessageIndexKey(stringValue: name))
      }
    case .complex: throw unsupported("a complex number")
    }
  }

  public init(from decoder: any Decoder) throws {
    if let decoder = decoder as? MessageDecoding {
      self = try decoder.context.tape.value(decoder.node)
      return
    }
    if let container = try? decoder.container(keyedBy: MessageIndexKey.self) {
      var dictionary = MessageDictionary()
      for key in container.allKeys {
        dictionary[.string(key.stringValue)] = try container.decode(MessageValue.self, forKey: key)
      }
      self = .dictionary(dictionary)
    } else if var container = try? decoder.unkeyedContainer() {
      var values: [MessageValue] = []
      while !container.isAtEnd { values.append(try container.decode(MessageValue.self)) }
      self = .array(values)
    } else {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() {
        self = .null
      } else if let value = try? container.decode(Bool.self) {
        self = .bool(value)
      } else if let value = try? container.decode(Int64.self) {
        self = .integer(value)
      } else if let value = try? container.decode(Double.self) {
        self = .double(value)
      } else {
        self = .string(try container.decode(String.self))
      }
    }
  }
}

extension MessageDictionary: Codable {
  public func encode(to encoder: any Encoder) throws {
    try MessageValue.dictionary(self).encode(to: encoder)
  }

  public init(from decoder: any Decoder) throws {
    guard case .dictionary(let dictionary) = try MessageValue(from: decoder) else {
      throw DecodingError.typeMismatch(
        MessageDictionary.self,
        .init(codingPath: decoder.codingPath, debugDescription: "expected a dictionary"))
    }
    self = dictionary
  }
}

extension BigInteger: Codable {
  public func encode(to encoder: any Encoder) throws {
    let value = asInt64.map { MessageValue.integer($0) } ?? .bigInteger(self)
    try value.encode(to: encoder)
  }

  public init(from decoder: any Decoder) throws {
    switch try MessageValue(from: decoder) {
    case .integer(let value): self.init(value)
    case .bigInteger(let value): self = value
    default:
      throw DecodingError.typeMismatch(
        BigInteger.self,
        .init(codingPath: decoder.codingPath, debugDescription: "expected an integer"))
    }
  }
}
