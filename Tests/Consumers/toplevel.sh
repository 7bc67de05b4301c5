#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A main.swift with top-level `await`: what the compiler refuses there, it refuses with the remedy,
# and the remedy compiles. The argument is the directory with the library's module.
set -euo pipefail
shopt -s globstar
modules=$(realpath "$1")
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
remedy="; at top level, inside 'func run() async throws'"

# Each form that is not for asynchronous code says the remedy.
python3 - "$remedy" "$root"/Sources/*/**/*.swift << 'PYTHON'
import re, sys
found = 0
for path in sys.argv[2:]:
    text = open(path).read()
    for attribute in re.finditer(r"noasync\b", text):
        message = re.match(r'noasync,\s*message:\s*"([^"]*)"', text[attribute.start():])
        found += 1
        if not message or not message[1].startswith("use '") or not message[1].endswith(sys.argv[1]):
            line = text.count("\n", 0, attribute.start()) + 1
            sys.exit(f"{path}:{line}: the message of noasync is not \"use '…'{sys.argv[1]}\"")
if found == 0:
    sys.exit("no noasync was found")
PYTHON

check() {
  cp "$root/Tests/Consumers/toplevel/$1.swift" "$work/main.swift"
  swiftc -typecheck -swift-version 6 -I "$modules" \
    -Xcc -fmodule-map-file="$root/Sources/CIPC/include/module.modulemap" \
    "$work/main.swift" > "$work/log" 2>&1
}
if check wrong; then
  echo "the compiler has learned to take the asynchronous overload: the messages need no remedy"
  exit 1
fi
refused=$(grep -c "^[^ ].* error: .*is unavailable from asynchronous contexts; use '.*'$remedy$" \
  "$work/log") || true
lines=$(grep -v '^//' "$root/Tests/Consumers/toplevel/wrong.swift" | grep -c 'try await')
if [ "$refused" -ne "$lines" ] || [ "$(grep -c '^[^ ].* error: ' "$work/log")" -ne "$lines" ]; then
  echo "of $lines lines $refused are refused with the remedy:"
  cat "$work/log"
  exit 1
fi
if ! check right; then
  cat "$work/log"
  exit 1
fi
