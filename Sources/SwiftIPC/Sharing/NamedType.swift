// SPDX-License-Identifier: Apache-2.0

/// A type with a name by which programs in all languages know it.
///
/// ```swift
/// struct Reading: NamedType {
///   static let sharedName = "com.example.reading"
///   var celsius: Double
///   var station: UInt32
/// }
/// let latest = try Value(Reading(celsius: 21.5, station: 4), named: "latest")
/// ```
///
/// What processes share says of which type it is, so that none opens it as another one. That is known
/// by name: numbers and `Bool` have names of their own (`Int32` is "int32", `Double` is "float64", `Int`
/// and `Int64` are one), a type that conforms to this protocol has the one that it gives, and any other
/// has its qualified name, such as "Weather.Reading", which is the same only where all programs import
/// the type from one module.
///
/// A C program says `cipc_element_init(&element, "com.example.reading", 12, 8)`, with the type's
/// `MemoryLayout` size and alignment. The list of the names that are taken is in cipc/element.h.
public protocol NamedType {
  /// The name. Not empty, and not the name of a type with another layout.
  static var sharedName: String { get }
}
