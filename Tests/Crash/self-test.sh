#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The test of the test: each program given is build/broken-NAME, and must be caught at what
# broken/NAME says in its line "// Caught: OPERATION STATE: PATTERN", and at nothing else before.
# They mostly sleep, until it is clear that they will not be woken: two per processor are run at
# once.
if [ "$1" = --one ]; then
  program=$2
  name=${program##*/broken-}
  log=$program.log
  said=$(sed -n 's|^// Caught: ||p' broken/"$name".[ch])
  place=${said%%: *}
  "$program" --operation "${place% *}" --state "${place#* }" --jobs 1 --seed 1 --stop > "$log" 2>&1
  status=$?
  where=$(grep '^FAILED ' "$log" | head -n 1)
  # One write each, since others print too.
  if [ "$status" -eq 1 ] && printf '%s\n' "$where" |
    grep -Eq "^FAILED $place at kill point [0-9]+: (${said#*: })\$"; then
    printf 'caught  %-28s %s\n' "$name" "${where#FAILED }"
  elif [ "${said%in /dev/shm}" != "$said" ] && grep -q '^no /dev/shm of its own' "$log"; then
    printf 'skipped %-28s without root there is no /dev/shm of its own to find it in\n' "$name"
  else
    printf 'MISSED  %-28s exit status %s, and not %s\n' "$name" "$status" "${said:-a line that says where}"
  fi
  exit 0
fi

verdicts=$(mktemp)
trap 'rm -f "$verdicts"' EXIT
printf '%s\n' "$@" | xargs -P $((2 * ${JOBS:-2})) -n 1 "$0" --one | tee "$verdicts"
for name in $(awk '$1 == "MISSED" { print $2 }' "$verdicts"); do
  printf -- '-- %s\n' "$name"
  cat "${1%/*}/broken-$name.log"
done
caught=$(grep -c '^caught ' "$verdicts")
skipped=$(grep -c '^skipped ' "$verdicts")
# A program that says nothing was missed.
missed=$(($# - caught - skipped))
if [ "$skipped" -gt 0 ]; then
  echo "$caught passed, $missed failed, $skipped skipped"
else
  echo "$caught passed, $missed failed"
fi
[ "$missed" -eq 0 ]
