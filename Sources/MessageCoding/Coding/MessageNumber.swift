// SPDX-License-Identifier: Apache-2.0

/// A number of the standard library: the element of arrays that travel as memory.
///
/// Towards a peer that is Swift too, an array of these is one copy of its bytes, and it can be sent
/// from and received into memory of the caller. See `MessageEncoder.NumberArrays`. Types of your own
/// cannot be sent in that way: conforming one gets the error `unsupported` where it is used.
public protocol MessageNumber: BitwiseCopyable, Codable, Sendable {}

extension Double: MessageNumber {}
extension Float: MessageNumber {}
extension Float16: MessageNumber {}
extension Int: MessageNumber {}
extension Int8: MessageNumber {}
extension Int16: MessageNumber {}
extension Int32: MessageNumber {}
extension Int64: MessageNumber {}
extension Int128: MessageNumber {}
extension UInt: MessageNumber {}
extension UInt8: MessageNumber {}
extension UInt16: MessageNumber {}
extension UInt32: MessageNumber {}
extension UInt64: MessageNumber {}
extension UInt128: MessageNumber {}
