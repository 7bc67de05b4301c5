// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the tests of the trait build swift-crypto and the others do not.
let recipes = ["Parent", "Worker", "Imaging", "Scores"]

let package = Package(
  name: "Authentication",
  dependencies: [.package(name: "swift-ipc", path: "../..", traits: ["Authentication"])],
  targets: [
    .testTarget(
      name: "AuthenticationTests",
      dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")]
        + recipes.map { .target(name: $0) },
      path: "Suites",
      swiftSettings: [
        .strictMemorySafety(),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
      ])
  ]
    // The programs of Documentation/Python.md, as their readers build them.
    + recipes.map {
      .executableTarget(
        name: $0, dependencies: [.product(name: "SwiftIPC", package: "swift-ipc")],
        path: "Recipes/\($0)")
    },
  swiftLanguageModes: [.v6]
)
