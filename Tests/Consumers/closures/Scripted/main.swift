// SPDX-License-Identifier: Apache-2.0
// A worker's death by a top-level variable of a main.swift, which only that file's code initialises.
import Helpers
import SwiftIPC

let names = ["a", String(CommandLine.argc)]
print(names.count)
try Death.report { number in names.count + number }
