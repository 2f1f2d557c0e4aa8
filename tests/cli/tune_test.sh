#!/usr/bin/env bash
# limn tune on a driver that crashes with some kernels, hangs with them, or does nothing: it goes on, says so, and keeps
# what works; later commands read it.  Usage: tune_test.sh LIMN LAYER
set -euo pipefail
limn=$1 layer=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
export LIMN_CACHE_DIR=$work/cache

fail() {
    printf 'tune_test: %s\n' "$1" >&2
    cat "$work/out" "$work/err" >&2
    exit 1
}
# tune ARGUMENTS...: what it says is in out and err.
tune() {
    "$limn" tune "$@" >"$work/out" 2>"$work/err" || fail "limn tune $* ends with $?"
}

# No time at all: what the device has by itself is kept.
tune --seconds 0.001
grep -q '^3 wg=' "$work/cache/tuning" || fail 'nothing was saved'
grep -q 'after 0 trials' "$work/out" || fail 'the budget is not kept'

# The kernels of the other form, of which there is one trial.
other=-DCPU=0
! grep -q 'cpu_form=0' "$work/out" || other=-DCPU=1
export OPENCL_LAYERS=$layer
LIMN_LAYER_CRASH=$other tune
grep -q 'left out: crashed' "$work/out" || fail 'the crash is not reported'
LIMN_LAYER_HANG=$other tune --trial-seconds 30
grep -q 'left out: hung' "$work/out" || fail 'the hang is not reported'
LIMN_LAYER_IDLE=$other tune
grep -q 'left out: wrong result' "$work/out" || fail 'the wrong result is not reported'

# What is saved is read; what the device can't run isn't, nor is another version's.
sed -i 's/^3 wg=[0-9]* gemm_side=[0-9]* gemm_item=[0-9]* cpu_form=[01] split=[01]/3 wg=16 gemm_side=4 gemm_item=8 cpu_form=0 split=0/' "$work/cache/tuning"
cp "$work/cache/tuning" "$work/good"
tuned() {
    tune --seconds 0.001 -v
    grep -q 'tuned: wg=' "$work/err"
}
tuned || fail 'what was saved is not read'
sed 's/wg=16/wg=17/' "$work/good" >"$work/cache/tuning"
! tuned || fail 'groups of 17 are read'
sed 's/^3/99/' "$work/good" >"$work/cache/tuning"
! tuned || fail "another version's line is read"
cut -c1-40 "$work/good" >"$work/cache/tuning"
! tuned || fail 'a cut line is read'
