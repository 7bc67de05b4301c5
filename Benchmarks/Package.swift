// swift-tools-version: 6.2
import PackageDescription

// Without dependencies but the library itself. swift-argument-parser is left out on purpose: it
// links FoundationEssentials, whose loading made a process that does nothing take 3.8 ms instead of
// 2.7 ms here, in the floor of the spawn benchmark as in our figure, and so flattered the ratio.
let package = Package(
  name: "Benchmarks",
  dependencies: [.package(name: "swift-ipc", path: "..")],
  targets: [
    .target(
      name: "CFloors",
      cSettings: [
        .define("_GNU_SOURCE"),
        // The level that Swift's -O asks of LLVM; a release build of C gets -O2 otherwise. Aligned,
        // so that the floor does not depend on where the linker puts a loop: that was worth 1.6.
        .unsafeFlags(
          ["-O3", "-falign-functions=64", "-falign-loops=64"], .when(configuration: .release)),
      ]
    ),
    .executableTarget(
      name: "Bench",
      dependencies: ["CFloors", .product(name: "SwiftIPC", package: "swift-ipc")]
    ),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)

for target in package.targets {
  target.swiftSettings =
    (target.swiftSettings ?? []) + [
      .enableUpcomingFeature("ExistentialAny"),
      .enableUpcomingFeature("MemberImportVisibility"),
      .enableUpcomingFeature("InternalImportsByDefault"),
    ]
}
