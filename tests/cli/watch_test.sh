#!/usr/bin/env bash
# A driver whose calls never return, events that never complete, a device that is gone: the command ends with exit code
# 1 and a message that names what was called, leaves no temporary file, and keeps the pictures that it wrote.
# Usage: watch_test.sh WATCH_PROGRAM TINY_MODEL LAYER
set -euo pipefail
limn=$1 tiny=$2 layer=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
patience=8
"$limn" 120 devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
"$tiny" tiny.gguf
fail() {
    printf 'watch_test: %s\n' "$1" >&2
    cat err >&2
    exit 1
}
export OPENCL_LAYERS=$layer
# Fills the kernel cache; the tiny model's codes take one batch for 32 pictures.
"$limn" 120 generate a -n 2 --seed 3 -m tiny.gguf -o "plain.png" 2>err || fail 'it fails without a reason'
# ends TEXT ARGUMENTS...: within the time, with 1, and with TEXT in the message
ends() {
    local text=$1 status=0
    shift
    rm -rf out
    mkdir out
    timeout -k 1 300 "$limn" $patience "$@" 2>err || status=$?
    [ $status = 1 ] || fail "exit status $status, not 1: $*"
    grep '^limn: ' err | grep -q -- "$text" || fail "the message lacks \"$text\": $*"
    [ -z "$(find out -name '.limn-*')" ] || fail "temporary files are left: $*"
}
generate=(generate a -n 2 --seed 3 -m tiny.gguf -o out/a.png)
# Of the device as it is: a CPU, which the process's own time tells alive.
LIMN_LAYER_HANG_AT=1 LIMN_LAYER_FAIL_NAME=clFinish ends "returned from clFinish" "${generate[@]}"
LIMN_LAYER_HANG_AT=60 LIMN_LAYER_FAIL_NAME=clEnqueueNDRangeKernel \
    ends "returned from clEnqueueNDRangeKernel.*kernel [a-z]*:" "${generate[@]}"
grep -q 'limn: no picture was written; the seed is 3' err || fail 'the seed is not told'
LIMN_LAYER_HANG_AT=1 LIMN_LAYER_FAIL_NAME=clCreateContext ends 'returned from clCreateContext' "${generate[@]}"
LIMN_LAYER_FAIL_AT=1 LIMN_LAYER_HANG_AT=2 LIMN_LAYER_FAIL_NAME=clFinish \
    ends 'returned from clFinish.*before that, clFinish: CL_OUT_OF_RESOURCES' "${generate[@]}"
LIMN_LAYER_DIE_AT=400,-36 ends 'CL_INVALID_COMMAND_QUEUE' "${generate[@]}"
LIMN_LAYER_DIE_AT=400,-5 ends 'CL_OUT_OF_RESOURCES' "${generate[@]}"
# The steps of doctor end by themselves, and the report says how.
status=0
LIMN_LAYER_HANG_AT=1 LIMN_LAYER_FAIL_NAME=clFinish timeout 300 "$limn" 4 doctor -o report.json >text 2>err || status=$?
[ $status = 1 ] || fail "doctor: exit status $status, not 1"
[ "$(grep -c '"problem": .*returned from clFinish' report.json)" = 2 ] || fail 'the report lacks the steps that hung'
# A training, and pictures that were written before.
mkdir data
cp plain-1.png data/
LIMN_LAYER_HANG_AT=9 LIMN_LAYER_FAIL_NAME=clFinish \
    ends 'returned from clFinish' train codec --data data -o out/codec.gguf --size 16 --steps 50 --batch 1
many=(generate a -n 70 --seed 3 -m tiny.gguf -o out/a.png)
mkdir -p out
LIMN_LAYER_REPORT=$work/report "$limn" 120 "${many[@]}" 2>err || fail 'many pictures'
calls=$(sed -n 's/^calls //p' report)
LIMN_LAYER_DIE_AT=$((calls * 3 / 4)),-36 ends 'pictures are written' "${many[@]}"
[ -s out/a-01.png ] || fail 'the pictures that were written are gone'
# As a GPU, whose waits have limits of their own.
export LIMN_LAYER_PROFILE=iris_xe
"$limn" 120 generate a -n 2 --seed 3 -m tiny.gguf -o plain.png 2>err || fail 'it fails as a GPU'
LIMN_LAYER_STALL_AT=300 ends 'no answer for [0-9]* s.*kernel' "${generate[@]}"
LIMN_LAYER_HANG_AT=1 LIMN_LAYER_FAIL_NAME=clEnqueueReadBuffer ends 'returned from clEnqueueReadBuffer' "${generate[@]}"
LIMN_LAYER_DIE_AT=400,-5 ends 'CL_OUT_OF_RESOURCES' "${generate[@]}"
LIMN_LAYER_DIE_AT=400,-36 ends 'CL_INVALID_COMMAND_QUEUE' "${generate[@]}"
