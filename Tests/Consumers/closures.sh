#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What closures and functions can be sent: one verdict in debug and in release. And the names of the
# library's types, beside those of other modules. And what is said of a worker's death.
#
# Leaves the debug build in build/consumers-closures/build, for the scripts that compile examples.
set -euo pipefail
unset CC CXX
cd "$(dirname "$0")/../.."
root=$PWD
work=$root/build/consumers-closures
scratch=$work/build
mkdir -p "$work"
# A clone may have any name; a user's path ends with the package's.
ln -sfn "$root" "$work/swift-ipc"
rm -rf "$work/closures"
cp -r "$root/Tests/Consumers/closures" "$work/closures"
mkdir -p "$work/closures/Names"
touch "$work/closures/Names/Names.swift"
cd "$work/closures"

# build ARGUMENTS…
build() {
  if ! swift build --scratch-path "$scratch" "$@" > "$work/build.log" 2>&1; then
    grep 'error:' "$work/build.log" || tail -40 "$work/build.log"
    exit 1
  fi
}

for configuration in debug release; do
  build -c "$configuration" --product program
  # Private types are named by their addresses.
  { SWIFT_BACKTRACE=enable=no timeout 120 "$scratch/$configuration/program" 2>&1 ||
    echo "ended with $?"; } | sed 's/at \$[0-9a-f]*/at $0/g' > "$work/output"
  if ! diff "$root/Tests/Consumers/closures/expected.txt" "$work/output"; then
    echo "that was in $configuration"
    exit 1
  fi
  # A death is laid to top-level variables only where there are such.
  for program in marked scripted; do
    build -c "$configuration" --product "$program"
    timeout 120 "$scratch/$configuration/$program" > "$work/output" 2>&1 || true
    blamed=marked
    if grep -q 'top-level variable of main.swift, that is why' "$work/output"; then
      blamed=scripted
    fi
    if [ "$blamed" != "$program" ] || ! grep -q ' was killed by signal ' "$work/output"; then
      echo "$program in $configuration says:"
      cat "$work/output"
      exit 1
    fi
  done
done

# A name that another module has too is refused where it stands for a type.
for module in MessageCoding SwiftIPC; do
  swift symbolgraph-extract -module-name "$module" -I "$scratch/debug/Modules" \
    -target "$(swift -print-target-info | sed -nE 's/^ *"triple": "(.*)",/\1/p' | head -1)" \
    -Xcc -fmodule-map-file="$root/Sources/CIPC/include/module.modulemap" \
    -minimum-access-level public -output-dir "$work"
done
python3 - "$work/MessageCoding.symbols.json" "$work/SwiftIPC.symbols.json" > Names/Names.swift << 'PYTHON'
import json, sys
modules = "Dispatch Distributed Foundation Glibc Logging NIOCore SwiftIPC Synchronization".split()
kinds = {"swift." + kind for kind in ("actor", "class", "enum", "protocol", "struct", "typealias")}
symbols = [symbol for path in sys.argv[1:] for symbol in json.load(open(path))["symbols"]]
names = sorted(tuple(s["pathComponents"]) for s in symbols if s["kind"]["identifier"] in kinds)
assert ("SharedSemaphore", "Unowned") in names and len(names) > 80, names
for module in modules:
    print("public import", module)
for number, name in enumerate(names):
    if len(name) == 1:
        print(f"public typealias Name{number} = {name[0]}")
    else:
        print(f"extension {'.'.join(name[:-1])} {{ public typealias Name{number} = {name[-1]} }}")
PYTHON
build --target Names
