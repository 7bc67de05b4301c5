#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The test of the test: each program given has a broken room in it, and must be caught at it.
missed=0
caught=0
for program in "$@"; do
  name=${program##*/broken-}
  noun=${name%%-*}
  # These rooms are tried by starts.
  case $noun in process | server) noun=start ;; esac
  output=$("$program" --operation "$noun." --jobs "${JOBS:-2}" --seed 1 --stop 2>&1)
  status=$?
  where=$(printf '%s\n' "$output" | grep '^FAILED' | head -n 1)
  if [ "$status" -eq 1 ] && [ -n "$where" ]; then
    caught=$((caught + 1))
    printf 'caught %-24s %s\n' "$name" "${where#FAILED }"
  else
    missed=$((missed + 1))
    printf 'MISSED %s (exit status %s)\n%s\n' "$name" "$status" "$output"
  fi
done
echo "$caught passed, $missed failed"
[ "$missed" -eq 0 ]
