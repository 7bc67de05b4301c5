// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "closures",
  dependencies: [.package(path: "../swift-ipc")],
  targets: [
    .target(
      name: "Helpers", dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Helpers"),
    .executableTarget(
      name: "program",
      dependencies: ["Helpers", .product(name: "SwiftIPC", package: "swift-ipc")],
      path: "Program"),
  ])
