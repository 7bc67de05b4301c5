// swift-tools-version: 6.2
import PackageDescription

// Aligned, so that what a loop in C costs does not depend on where the linker puts it: that was
// worth 1.6.
let aligned: [CSetting] = [
  .define("_GNU_SOURCE"),
  .unsafeFlags(
    ["-O3", "-falign-functions=64", "-falign-loops=64"], .when(configuration: .release)),
]

// Ours likewise: the same instructions as the floor's took 1.09 times as long in one build and
// 1.46 times in the next. swiftc has no option for it, and LLVM's is the processor's.
#if arch(x86_64)
  let alignedLoops: [SwiftSetting] = [
    .unsafeFlags(
      ["-Xllvm", "-x86-experimental-pref-innermost-loop-alignment=6"],
      .when(configuration: .release))
  ]
#else
  let alignedLoops: [SwiftSetting] = []
#endif

// Without dependencies but the library itself. swift-argument-parser is left out on purpose: it
// links FoundationEssentials, whose loading made a process that does nothing take 3.8 ms instead of
// 2.7 ms here, in the floor of the spawn benchmark as in our figure, and so flattered the ratio.
let package = Package(
  name: "Benchmarks",
  dependencies: [.package(name: "swift-ipc", path: "..")],
  targets: [
    // -O3 is the level that Swift's -O asks of LLVM; a release build of C gets -O2 otherwise.
    .target(name: "CFloors", cSettings: aligned),
    // The C library as a C program uses it.
    .target(
      name: "CRings",
      dependencies: ["CFloors", .product(name: "CIPC", package: "swift-ipc")],
      cSettings: aligned),
    .executableTarget(
      name: "Bench",
      dependencies: ["CFloors", "CRings", .product(name: "SwiftIPC", package: "swift-ipc")]
    ),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11,
  cxxLanguageStandard: .cxx17
)

// Where the Makefile has found Debian's libboost-dev.
if let header = Context.environment["BENCH_BOOST"], !header.isEmpty {
  package.targets.append(
    .target(
      name: "CBoost", dependencies: ["CFloors"],
      // Its assertions are for debug builds.
      cxxSettings: [
        .define("NDEBUG", .when(configuration: .release)),
        .unsafeFlags(["-O3"], .when(configuration: .release)),
      ]))
  for target in package.targets where target.name == "Bench" {
    target.dependencies.append("CBoost")
    target.swiftSettings = [.define("BOOST")]
  }
}

for target in package.targets {
  target.swiftSettings =
    (target.swiftSettings ?? []) + alignedLoops + [
      .enableUpcomingFeature("ExistentialAny"),
      .enableUpcomingFeature("MemberImportVisibility"),
      .enableUpcomingFeature("InternalImportsByDefault"),
    ]
}
