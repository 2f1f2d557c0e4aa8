#!/usr/bin/env bash
# Memory as real drivers have it (tests/layer/memory.c): what they refuse is copied, or done with less, and the codes are
# those of the device as it is.  Usage: memory_layer_test.sh LIMN LAYER
set -euo pipefail
limn=$1 layer=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
"$limn" generate pizza -n 2 --grid --seed 3 -q -o plain.png --codes-out plain.npy
"$limn" generate pizza -n 16 --seed 3 --temperature 1 -q --grid -o many.png --codes-out many.npy
export OPENCL_LAYERS=$layer

fail() {
    echo "$1"
    exit 1
}

# same NAME [options]: the two pictures again
same() {
    local name=$1
    shift
    "$limn" generate pizza -n 2 --grid --seed 3 -q -o "$name.png" --codes-out "$name.npy" "$@" || fail "$name: exit $?"
    cmp plain.npy "$name.npy"
    cmp plain.png "$name.png"
}

# read-only memory of the host, as Intel's driver takes it, and whatever other drivers answer to memory of the host
LIMN_LAYER_IN_PLACE=intel same intel
LIMN_LAYER_PROFILE=iris_xe LIMN_LAYER_IN_PLACE=intel same iris -d gpu
LIMN_LAYER_PROFILE=iris_xe LIMN_LAYER_IN_PLACE=intel "$limn" selftest -d gpu
for status in -5 -37 -59; do
    LIMN_LAYER_IN_PLACE=$status same "refused$status"
done

# less memory than the device reports: sixteen pictures are made in smaller parts, and it is said
need=$("$limn" generate pizza -n 16 --seed 3 --temperature 1 --grid -v -o need.png 2>&1 | sed -n 's/.*generate: plan: \([0-9]*\).*/\1/p')
[[ -n $need ]] || fail 'no plan'
for late in '' -4 -5; do
    LIMN_LAYER_MEMORY=$((need * 90 / 100 << 20)) LIMN_LAYER_MEMORY_LATE=$late "$limn" generate pizza -n 16 --seed 3 \
        --temperature 1 --grid -o less.png --codes-out less.npy 2>said || fail "less memory, late: $late: $(cat said)"
    grep -q 'has no room for' said || fail "nothing said: $(cat said)"
    cmp many.npy less.npy
done
# too little for anything: an error that says so, and no file
rm -f less.png
! LIMN_LAYER_MEMORY=1000000 "$limn" generate pizza --seed 3 -o less.png 2>said || fail 'made a picture of nothing'
grep -q 'it said: .*MiB' said && [[ ! -e less.png ]] || fail "$(cat said)"
mkdir data
cp plain.png data/
! LIMN_LAYER_MEMORY=1000000 "$limn" train codec data -o less.gguf --batch 1 2>said || fail 'trained without memory'
grep -q 'it said: .*MiB' said && ! grep -q 'raise --mem-limit' said && [[ ! -e less.gguf ]] || fail "$(cat said)"
