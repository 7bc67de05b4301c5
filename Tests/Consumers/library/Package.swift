// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "tasks",
  products: [.library(name: "Tasks", type: .dynamic, targets: ["Tasks"])],
  dependencies: [.package(path: "../swift-ipc")],
  targets: [
    .target(name: "Tasks", dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")])
  ],
  swiftLanguageModes: [.v6]
)
