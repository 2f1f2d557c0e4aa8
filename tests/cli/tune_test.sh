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
grep -q '^4 [^=]*|' "$work/cache/tuning" || fail 'nothing was saved'
grep -q 'after 0 trials' "$work/out" || fail 'the budget is not kept'

# What isn't there can't be tuned.
! "$limn" tune gemm_rose >"$work/out" 2>"$work/err" || fail 'there is a gemm_rose'
grep -q 'gemm_rose means nothing that can be tuned (there are cpu_form wg .* gemm_rows ' "$work/err" || fail 'what there is is not named'

# The kernels of the other form, of which there is one trial.
form() {
    tune cpu_form "$@"
}
export OPENCL_LAYERS=$layer
other=-DCPU=0
LIMN_LAYER_CRASH=$other "$limn" tune cpu_form >"$work/out" 2>"$work/err" || {
    other=-DCPU=1 # of a GPU
    LIMN_LAYER_CRASH=$other form
}
grep -q 'left out: crashed' "$work/out" || fail 'the crash is not reported'
grep -q '^  1 row  *[0-9.]* us, [0-9.]*% noise$' "$work/out" || fail 'the noise is not told'
! grep -q '^wg:' "$work/out" || fail 'more is tuned than was asked for'
LIMN_LAYER_HANG=$other form --trial-seconds 30
grep -q 'left out: hung' "$work/out" || fail 'the hang is not reported'
LIMN_LAYER_IDLE=$other form
grep -q 'left out: wrong result' "$work/out" || fail 'the wrong result is not reported'
unset OPENCL_LAYERS

# What is saved is read; what the device can't run isn't, nor another version's, nor what is no tunable.
device=$(sed 's/^4 //' "$work/cache/tuning")
tuned() {
    printf '%s %s\n' "$1" "$device" >"$work/cache/tuning"
    tune --seconds 0.001 -v
    grep -q 'tuned: ' "$work/err"
}
tuned '4' || fail 'what the device has by itself is not read'
tuned '4 winograd_cache=1048576 strip=524288' || fail 'what was saved is not read'
grep -q 'tuned: winograd_cache=1048576 strip=524288$' "$work/err" || fail 'it is read otherwise'
tuned '4 cpu_form=0 wg=16 gemm_side=4' || fail 'another form is not read'
for bad in '4 cpu_form=0 wg=17' '4 strip=1' '4 strop=1048576' '4 strip=' '4 strip' '99' '3 wg=1 gemm_side=1' ''; do
    ! tuned "$bad" || fail "\"$bad\" is read"
done

# What a pattern doesn't match stays as it was found.
printf '4 winograd_cache=1048576 strip=524288 %s\n' "$device" >"$work/cache/tuning"
tune strip --seconds 0.001
grep -q '^4 winograd_cache=1048576 [^=]*|' "$work/cache/tuning" || fail 'a pattern changes what it does not match'

# What needs more memory than there is, is left out.
tune strip --mem-limit 20M
grep -q '^  conv3x3  *left out: .* would exceed 20.0 MiB' "$work/out" || fail 'works that do not fit are not left out'

# Two at once: the second waits, both end well, and leave one whole line.
: >"$work/cache/tuning"
"$limn" tune strip --seconds 2 >"$work/other" 2>&1 &
while ! grep -q 'strip:' "$work/other" 2>/dev/null && kill -0 $! 2>/dev/null; do
    sleep 0.05
done
tune strip --seconds 0.001
grep -q 'another search is at work on this machine: this one waits for its end' "$work/out" || fail 'two search at once'
grep -q 'after [0-9]* trials' "$work/other" || fail 'it did not wait'
wait $! || fail 'the other one fails'
[ "$(wc -l <"$work/cache/tuning")" = 1 ] || fail 'two at once leave more than a line'
tune --seconds 0.001 -v
grep -q 'tuned: ' "$work/err" || fail 'what two at once leave is not read'

# Who can't keep anything is told before any trial; and what was kept outlives Ctrl-C.
: >"$work/file"
! LIMN_CACHE_DIR=$work/file/cache "$limn" tune strip >"$work/out" 2>"$work/err" || fail 'it tunes for nothing'
grep -q 'file: cannot create the directory' "$work/err" || fail 'what it cannot write is not named'
! grep -q 'noise' "$work/out" || fail 'it tries before it knows whether it can keep anything'
cp "$work/cache/tuning" "$work/kept"
"$limn" tune >"$work/out" 2>"$work/err" &
while ! grep -q 'noise' "$work/out" && kill -0 $! 2>/dev/null; do
    sleep 0.05
done
kill -TERM $! # a shell has its background ignore SIGINT
! wait $! || fail 'an interrupted search ends well'
cmp -s "$work/kept" "$work/cache/tuning" || fail 'an interrupted search changes what was kept'
