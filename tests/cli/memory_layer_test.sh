#!/usr/bin/env bash
# Memory as real drivers have it (tests/layer/memory.c): what they refuse is copied, or done with less, and the codes are
# those of the device as it is.  Usage: memory_layer_test.sh LIMN TINY_MODEL LAYER
set -euo pipefail
limn=$1 tiny=$2 layer=$3
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

# Training to which memory is refused in the midst of a step does it again with less, and ends with the same bytes, as
# long as nothing of the step is applied; then it ends with an error, and nothing half done is left.
learn() {
    "$limn" train dalle words --codec tiny.gguf --tokenizer tiny.gguf --dim 32 --heads 2 --layers 8 --mlp 128 \
        --text-length 32 --batch 16 --steps 2 --sample-every 0 --seed 1 --codes-cache codes "$@"
}
(
    unset OPENCL_LAYERS
    "$tiny" tiny.gguf
    mkdir words
    "$limn" generate 'a cat' -m tiny.gguf -n 4 --seed 1 -q -o words/p.png
    for i in 1 2 3 4; do echo "a cat $i" >"words/p-$i.txt"; done
    learn -q -o plain.gguf
)
again=0
for ((after = 0; ; after += 450)); do
    rm -rf less.gguf*
    status=0
    LIMN_LAYER_MEMORY=$((11 << 20)) LIMN_LAYER_MEMORY_LATE=-4 LIMN_LAYER_MEMORY_AFTER=$after \
        learn -o less.gguf 2>said || status=$?
    [[ ! -e less.gguf.again ]] || fail "memory after $after launches: a file stays"
    if [[ $status -ne 0 ]]; then
        grep -q 'kernel optimiser:adamw' said && [[ ! -e less.gguf ]] || fail "memory after $after launches: $(cat said)"
        continue
    fi
    cmp plain.gguf less.gguf
    cmp plain.gguf.checkpoint less.gguf.checkpoint
    grep -q 'has no room for' said || break # there was enough for all of it
    grep -q 'as --recompute says' said || fail "memory after $after launches: $(cat said)"
    again=$((again + 1))
done
[[ $again -ge 3 ]] || fail "only $again trainings were refused memory"

# too little for anything: an error that says so, and no file
rm -rf less.*
! LIMN_LAYER_MEMORY=1000000 "$limn" generate pizza --seed 3 -o less.png 2>said || fail 'made a picture of nothing'
grep -q 'it said: .*MiB' said && [[ ! -e less.png ]] || fail "$(cat said)"
mkdir data
cp plain.png data/
! LIMN_LAYER_MEMORY=1000000 "$limn" train codec data -o less.gguf --batch 1 2>said || fail 'trained without memory'
grep -q 'it said: .*MiB' said && ! grep -q 'raise --mem-limit' said && [[ ! -e less.gguf ]] || fail "$(cat said)"
