// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Tour",
  dependencies: [.package(name: "swift-ipc", path: "../..")],
  targets: [
    .executableTarget(
      name: "Tour", dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")])
  ],
  swiftLanguageModes: [.v6]
)
