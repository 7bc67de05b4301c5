// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that a program that links the library does not fetch
// swift-argument-parser.
let package = Package(
  name: "ipctool",
  products: [.executable(name: "ipctool", targets: ["ipctool"])],
  dependencies: [
    .package(name: "swift-ipc", path: "../.."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
  ],
  targets: [
    .executableTarget(
      name: "ipctool",
      dependencies: [
        .product(name: "CIPC", package: "swift-ipc"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
