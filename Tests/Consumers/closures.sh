#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What closures and functions can be sent: one verdict in debug and in release. Leaves the debug
# build in build/consumers-closures, for the scripts that compile examples.
set -euo pipefail
unset CC CXX
cd "$(dirname "$0")/../.."
root=$PWD
scratch=$root/build/consumers-closures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A clone may have any name; a user's path ends with the package's.
ln -s "$root" "$work/swift-ipc"
cp -r "$root/Tests/Consumers/closures" "$work/closures"
cd "$work/closures"

for configuration in ${*:-debug release}; do
  if ! swift build -c "$configuration" --scratch-path "$scratch" > "$work/build.log" 2>&1; then
    tail -40 "$work/build.log"
    exit 1
  fi
  SWIFT_BACKTRACE=enable=no timeout 120 "$scratch/$configuration/program" > "$work/output" 2>&1 ||
    echo "ended with $?" >> "$work/output"
  if ! diff "$root/Tests/Consumers/closures/expected.txt" "$work/output"; then
    echo "that was in $configuration"
    exit 1
  fi
done
