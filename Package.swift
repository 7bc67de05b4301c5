// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "swift-ipc",
  products: [
    .library(name: "SwiftIPC", targets: ["SwiftIPC"]),
    .library(name: "CIPC", targets: ["CIPC"]),
  ],
  targets: [
    .target(
      name: "CIPC",
      cSettings: [
        .define("_GNU_SOURCE"),
        // Fault points exist in debug builds alone; see Sources/CIPC/fault.h.
        .define("CIPC_FAULTS", .when(configuration: .debug)),
      ]
    ),
    .target(name: "SwiftIPC", dependencies: ["CIPC"]),
    .testTarget(name: "SwiftIPCTests", dependencies: ["SwiftIPC", "CIPC"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)

for target in package.targets {
  target.swiftSettings =
    (target.swiftSettings ?? []) + [
      .strictMemorySafety(),
      .enableUpcomingFeature("ExistentialAny"),
      .enableUpcomingFeature("MemberImportVisibility"),
      .enableUpcomingFeature("InternalImportsByDefault"),
    ]
}
