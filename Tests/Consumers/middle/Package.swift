// swift-tools-version: 6.2
import PackageDescription

// A library that is released on top of this one: SwiftPM allows it no branch and no path.
let package = Package(
  name: "middle",
  products: [.library(name: "Middle", targets: ["Middle"])],
  dependencies: [
    .package(url: "https://example.com/swift-ipc.git", from: "VERSION")
  ],
  targets: [
    .target(
      name: "Middle",
      dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")])
  ]
)
