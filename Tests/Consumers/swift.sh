#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A package made with `swift package init` that depends on this one by path: it builds without
# resolving anything else, runs, and has no Foundation in it.
set -euo pipefail
unset CC CXX
cd "$(dirname "$0")/../.."
root=$PWD
# Its build directory stays below build/, so that the second run takes seconds.
scratch=$root/build/consumers-swift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A clone may have any name; a user's path ends with the package's.
ln -s "$root" "$work/swift-ipc"
mkdir "$work/consumer"
cd "$work/consumer"

swift package init --type executable --name consumer > /dev/null
swift package add-dependency "$work/swift-ipc" --type path > /dev/null
swift package add-target-dependency SwiftIPC consumer --package swift-ipc > /dev/null
cp "$root/Tests/Consumers/swift/Consumer.swift" Sources/consumer/consumer.swift

if ! swift build --scratch-path "$scratch" > "$work/build.log" 2>&1; then
  cat "$work/build.log"
  exit 1
fi
if [ -e Package.resolved ]; then
  echo "a dependency was resolved for a user of this package:"
  cat Package.resolved
  exit 1
fi

binary=$(swift build --scratch-path "$scratch" --show-bin-path)
timeout 60 "$binary/consumer" > "$work/output"
diff "$root/Tests/Consumers/swift/expected.txt" "$work/output"

if ldd "$binary/consumer" | grep -i foundation; then
  echo "the program is linked to Foundation"
  exit 1
fi
if find "$binary" -path '*SwiftIPC.build*' -name '*.o' -exec nm {} + | grep -m1 Foundation; then
  echo "an object of the library uses Foundation"
  exit 1
fi
if grep -rnE '^\s*((internal|public|private|package|@[a-zA-Z_]+) )*import Foundation' "$root/Sources"; then
  echo "a source of the library imports Foundation"
  exit 1
fi
