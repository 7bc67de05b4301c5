// SPDX-License-Identifier: Apache-2.0
import CFloors

/// Makes the optimiser believe that a value is used. In C, since it sees through an empty function
/// of Swift, `@inline(never)` or not, and drops the work that led there.
@inline(__always) func keep<T>(_ value: T) {
  withUnsafePointer(to: value) { floor_keep($0) }
}
