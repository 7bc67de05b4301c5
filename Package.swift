// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "swift-ipc",
  products: [
    .library(name: "SwiftIPC", targets: ["SwiftIPC"]),
    .library(name: "CIPC", targets: ["CIPC"]),
  ],
  traits: [
    .trait(
      name: "Authentication",
      description:
        "Listeners and connections with a key, and clients of Python's managers: HMAC, by swift-crypto."
    )
  ],
  dependencies: [
    // Neither fetched nor built unless somebody asks for the trait.
    .package(url: "https://github.com/apple/swift-crypto.git", "3.12.3"..<"5.0.0")
  ],
  targets: [
    .target(
      name: "CIPC",
      cSettings: [
        // A private header is included by its path from here, floor first: "base/clock.h".
        .headerSearchPath("."),
        .define("_GNU_SOURCE"),
        // Fault points exist in debug builds alone; see Sources/CIPC/base/fault.h.
        .define("CIPC_FAULTS", .when(configuration: .debug)),
      ]
    ),
    // The C library of the platform, which has a module of another name on each.
    .target(name: "IPCLibc"),
    // What travels in messages; SwiftIPC exports it again.
    .target(name: "MessageCoding", dependencies: ["CIPC", "IPCLibc"]),
    .target(
      name: "SwiftIPC",
      dependencies: [
        "CIPC", "IPCLibc", "MessageCoding",
        .product(
          name: "Crypto", package: "swift-crypto", condition: .when(traits: ["Authentication"])),
      ]),
    // Forked children for the tests of shared memory, in C.
    .target(
      name: "CTestSupport", dependencies: ["CIPC"], path: "Tests/CTestSupport",
      cSettings: [.define("_GNU_SOURCE")]),
    // The Swift side of Tests/Python/named_test.py.
    .executableTarget(name: "ForeignPeer", dependencies: ["SwiftIPC"], path: "Tests/ForeignPeer"),
    .testTarget(
      name: "SwiftIPCTests", dependencies: ["SwiftIPC", "MessageCoding", "CIPC", "CTestSupport"]),
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
      .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ]
}
