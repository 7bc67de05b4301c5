// SPDX-License-Identifier: Apache-2.0
// What people write into a main.swift, and what the compiler refuses there: it takes the blocking
// overload, although top-level code with an `await` in it is asynchronous.
import SwiftIPC

let pool = try ProcessPool(workers: 1)
print(try await pool.map(0..<5) { $0 + 1 })
print(try await pool.apply(1) { $0 + 1 })
let queue = try Queue<Int>()
try await queue.put(1)
print(try await queue.get())
let child = try ChildProcess.start { 12 }
print(try await child.join())
let (ours, theirs) = try Connection.pair()
try await ours.send("hello")
print(try await theirs.receive(String.self))
let event = try Event()
try await event.wait()
