// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the tests of the trait build swift-crypto and the others do not.
let package = Package(
  name: "Authentication",
  dependencies: [.package(name: "swift-ipc", path: "../..", traits: ["Authentication"])],
  targets: [
    .testTarget(
      name: "AuthenticationTests",
      dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")], path: "Suites",
      swiftSettings: [
        .strictMemorySafety(),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
