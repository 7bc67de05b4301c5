// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "closures",
  dependencies: [
    .package(path: "../swift-ipc"),
    .package(url: "https://github.com/apple/swift-log.git", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-nio.git", from: "2.80.0"),
  ],
  targets: [
    // What closures can be sent, in debug and in release.
    .target(
      name: "Helpers", dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Helpers"),
    .executableTarget(
      name: "program",
      dependencies: ["Helpers", .product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Program"),
    // What is said of deaths, by whether there is a main.swift.
    .executableTarget(
      name: "marked",
      dependencies: ["Helpers", .product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Marked"),
    .executableTarget(
      name: "scripted",
      dependencies: ["Helpers", .product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Scripted"),
    // The names of all public types, beside other modules.
    .target(
      name: "Names",
      dependencies: [
        .product(name: "SwiftIPC", package: "swift-ipc"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      path: "Names"),
  ])
