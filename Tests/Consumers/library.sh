#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tasks in a shared library: one that is replaced on disk while its program runs, and one that is
# loaded into programs that know nothing of SwiftIPC.
set -euo pipefail
compiler=${CC:-cc}
unset CC CXX
cd "$(dirname "$0")/../.."
root=$PWD
scratch=$root/build/consumers-library
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A clone may have any name; a user's path ends with the package's.
ln -s "$root" "$work/swift-ipc"
sources=$root/Tests/Consumers/library
mkdir -p "$work/tasks/Sources/Tasks"
cd "$work/tasks"
cp "$sources/Package.swift" .

# build FACTOR DIRECTORY: the library with another number in it.
build() {
  sed "s/\* 2/* $1/" "$sources/Tasks.swift" > Sources/Tasks/Tasks.swift
  if ! swift build --scratch-path "$scratch" > "$work/build.log" 2>&1; then
    tail -40 "$work/build.log"
    exit 1
  fi
  mkdir "$work/$2"
  cp "$(swift build --scratch-path "$scratch" --show-bin-path)/libTasks.so" "$work/$2"
}
build 3 new
build 2 lib
modules=$(swift build --scratch-path "$scratch" --show-bin-path)/Modules
cd "$work"
swiftc -parse-as-library -swift-version 6 -I "$modules" \
  -Xcc -fmodule-map-file="$root/Sources/CIPC/include/module.modulemap" "$sources/Program.swift" \
  -L lib -lTasks -Xlinker -rpath -Xlinker "$PWD/lib" -o program

# check EXPECTED OUTPUT: the same, where "*" stands for anything.
check() {
  if [[ $2 != $1 ]]; then
    echo "found:"
    echo "$2"
    echo "not:"
    echo "$1"
    exit 1
  fi
}

refused='bootstrapFailed: the child cannot begin its task: *: the library libTasks.so is not the one*replaced on disk*'
check "the server:
  42
  42
  42
spawned after the change:
  $refused
  $refused
  $refused
from the server of before:
  42
  42
  42
from a server of now:
  bootstrapFailed: starting *libTasks.so*replaced on disk*
  bootstrapFailed: starting *libTasks.so*replaced on disk*
  bootstrapFailed: starting *libTasks.so*replaced on disk*" \
  "$(timeout 60 ./program new/libTasks.so lib/libTasks.so)"

# A program that knows nothing of SwiftIPC would be run again in its child.
"$compiler" "$sources/foreign.c" -ldl -o foreign
for program in ./foreign "python3 $sources/foreign.py"; do
  check 'main runs
bootstrapFailed: *call bootstrap() first in main*' \
    "$(timeout 60 $program lib/libTasks.so nothing)"
  check 'main runs
63' "$(timeout 60 $program lib/libTasks.so bootstrap)"
done
echo passed
