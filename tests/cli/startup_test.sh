#!/usr/bin/env bash
# A second start compiles nothing.  Usage: startup_test.sh LIMN
set -euo pipefail
limn=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LIMN_CACHE_DIR=$work/cache
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
for start in first second; do
    "$limn" generate pizza --seed 3 -v -o out.png 2>$start
    built=$(grep -c 'from source' $start || true)
    printf '%s start: %s programs from source, %s\n' $start "$built" "$(grep -o 'first kernel after .*' $start)"
done
[ "$built" -eq 0 ] || { echo 'the second start compiled programs'; exit 1; }
grep -q 'from the cache' second
