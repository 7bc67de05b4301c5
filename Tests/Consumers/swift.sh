#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A program with README's Package.swift to the letter, and a released library (middle) that it uses
# too; both depend on this package by version, as a repository with a tag. It builds without
# resolving anything else, runs, and has no Foundation in it.
set -euo pipefail
unset CC CXX
cd "$(dirname "$0")/../.."
root=$PWD
version=$(cat VERSION)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# release NAME VERSION: the directory $work/NAME becomes the repository that has this version.
number=0
release() {
  (
    cd "$work/$1"
    git init --quiet .
    git add --all --force .
    git -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false \
      commit --quiet -m "$1 $2"
    git -c tag.gpgsign=false tag "$2"
  )
  # Manifests name it by the address that README names; git puts the directory in its place.
  export "GIT_CONFIG_KEY_$number=url.$work/$1.insteadOf"
  export "GIT_CONFIG_VALUE_$number=https://example.com/$1.git"
  number=$((number + 1))
  export GIT_CONFIG_COUNT=$number
}

# The tree as it is, committed or not, without what was built.
mkdir "$work/swift-ipc"
tar -c --exclude=.git --exclude='.build*' --exclude=./build --exclude=.swiftpm . |
  tar -x -C "$work/swift-ipc"
release swift-ipc "$version"
cp -R Tests/Consumers/middle "$work/middle"
sed -i "s|VERSION|$version|" "$work/middle/Package.swift"
release middle 1.0.0

mkdir -p "$work/example/Sources/example"
cd "$work/example"
awk '/^\/\/ swift-tools-version/ { on = 1 } on && /^```$/ { exit } on' "$root/README.md" > Package.swift
cp "$root/Tests/Consumers/swift/Consumer.swift" Sources/example/Example.swift
swift package add-dependency https://example.com/middle.git --from 1.0.0 > /dev/null
swift package add-target-dependency Middle example --package middle > /dev/null

# Directories of its own: SwiftPM remembers which commit a version was, and here it is another each time.
apart=(--cache-path "$work/cache" --security-path "$work/security" --scratch-path "$work/build")
if ! swift build "${apart[@]}" > "$work/build.log" 2>&1; then
  cat "$work/build.log"
  exit 1
fi
if ! diff <(printf '%s\n' middle swift-ipc) \
  <(sed -nE 's/.*"identity" *: *"(.*)".*/\1/p' Package.resolved | sort); then
  echo "a dependency was resolved for a user of this package:"
  cat Package.resolved
  exit 1
fi

binary=$(swift build "${apart[@]}" --show-bin-path)
timeout 60 "$binary/example" > "$work/output"
diff "$root/Tests/Consumers/swift/expected.txt" "$work/output"

if ldd "$binary/example" | grep -i foundation; then
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
