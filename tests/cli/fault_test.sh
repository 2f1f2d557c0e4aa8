#!/usr/bin/env bash
# Fails the OpenCL calls of a small generation in turn (tests/layer): every one of them on PoCL, every 11th where drivers
# start more slowly.  With the kernel cache, whose failures the program gets over; then, on PoCL, which has a cache of its
# own, those of building from source.
# Usage: fault_test.sh LIMN TINY_MODEL LAYER [STRIDE]
set -euo pipefail
limn=$1 tiny=$2 layer=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
devices=$("$limn" devices 2>/dev/null) || { echo 'no OpenCL device: skipped'; exit 77; }
stride=11
[[ $devices != *'Portable Computing Language'* ]] || stride=1
stride=${4:-$stride}
"$tiny" "$work/tiny.gguf"
export LIMN_CACHE_DIR=$work/cache OUT=$work/out.png
sweep() {
    "$(dirname "$0")/../layer/fault_sweep.sh" --layer "$layer" "$@" -- \
        "$limn" generate a --seed 1 "${cache[@]}" -m "$work/tiny.gguf" -o "$OUT"
}
cache=()
# What finding devices can do without is got over; else there is no device, and the exit status is 3.  Memory that is
# refused is asked for again in a smaller plan, also where the driver refuses it late.
found='clGetDeviceInfo clGetPlatformInfo clCreateProgramWithBinary clBuildProgram'
memory='clCreateBuffer clEnqueueNDRangeKernel clEnqueueReadBuffer clEnqueueWriteBuffer clEnqueueMarkerWithWaitList clFinish clWaitForEvents'
sweep --stride "$stride" --status '1 3' --survive "$found $memory"
[[ $devices == *'Portable Computing Language'* ]] || exit 0
cache=(--no-cache)
for name in clCreateProgramWithSource clBuildProgram clGetProgramBuildInfo; do
    sweep --stride "$stride" --name $name
done
