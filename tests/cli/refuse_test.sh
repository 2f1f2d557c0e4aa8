#!/usr/bin/env bash
# Drivers that refuse the work-groups of some kernels, devices whose groups have other shapes, and little local memory:
# the codes are those of the device as it is, it is said once, and the next start begins with what was found.
# Usage: refuse_test.sh LIMN TINY_MODEL LAYER
set -euo pipefail
limn=$1 tiny=$2 layer=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
"$tiny" "$work/tiny.gguf"
cache=${LIMN_CACHE_DIR:-$work/cache}
cd "$work"
fail() {
    printf 'refuse_test: %s\n' "$1" >&2
    cat err >&2
    exit 1
}
# generate NAME: the tiny model's codes and those of its pictures encoded again
generate() {
    "$limn" generate a -n 2 --seed 3 -m tiny.gguf -d gpu -o "$1.png" --codes-out "$1.npy" 2>err || fail "generate ends with $?"
    "$limn" encode "$1-1.png" -m tiny.gguf -d gpu -o "$1-encoded.npy" 2>>err || fail "encode ends with $?"
}
# Kernels are shared by all of it, and what is found isn't.
fresh() {
    rm -rf own
    mkdir own
    if [ -d "$cache/kernels" ]; then ln -s "$cache/kernels" own/kernels; fi
    export LIMN_CACHE_DIR=$work/own
}
export OPENCL_LAYERS=$layer LIMN_LAYER_PROFILE=iris_xe
fresh
generate plain
! grep -q refuses err || fail 'something is refused without a reason'

# refused KERNEL,MOST,STATUS,SAYS TUNED [TIMES SAID]
refused() {
    fresh
    LIMN_LAYER_REFUSE=$1 generate other
    cmp plain.npy other.npy || fail "other codes with $1"
    cmp plain-encoded.npy other-encoded.npy || fail "other codes of pictures with $1"
    [ "$(grep -c 'refuses work-groups' err)" = "${3:-1}" ] || fail "$1 is not said once"
    grep -q 'limn tune' err || fail 'limn tune is not named'
    grep -q " $2 " own/tuning || fail "$2 is not kept: $(cat own/tuning)"
    LIMN_LAYER_REFUSE=$1 generate other
    ! grep -q refuses err || fail "$1 is found again"
    cmp plain.npy other.npy || fail "other codes with $1 the second time"
}
refused conv2d_scalar,64,-54,512 gemm_side=8
refused conv_transpose2d_scalar,100,-55,100 gemm_side=8
refused conv2d_scalar,255,-5,128 gemm_side=8
refused layer_norm,63,-5,4 wg=8    # its groups are larger than wg, or of 8
refused rows2_f32,32,-54,4 wg=32   # what it says isn't believed
refused attention,8,-54,512 wg=8   # recorded launches
refused conv2d_scalar,20,-5,512 gemm_side=4 # it says no more than that
refused '*,1,-54,1' 'wg=1 gemm_side=1' 2

# What is refused at any size ends in an error, and leaves the tuning alone.
fresh
! LIMN_LAYER_REFUSE=conv2d_scalar,0,-5,256 "$limn" generate a -m tiny.gguf -d gpu -o never.png 2>err || fail 'no error'
grep -q 'kernel conv:conv2d_scalar.*CL_OUT_OF_RESOURCES' err || fail 'the kernel is not named'
[ ! -e own/tuning ] && [ ! -e never.png ] || fail 'something is kept of a failure'

# Limits of groups in each dimension, odd ones, and 8 KiB of local memory.
for limits in 1024,1024,1,1,32768 100,64,64,64,8192 6,6,6,6,4096; do
    fresh
    LIMN_LAYER_LIMITS=$limits generate other
    ! grep -q refuses err || fail "$limits: something is refused"
    cmp plain.npy other.npy || fail "other codes with $limits"
done
for limits in 48,48,48,48,8192 4096,1,1,1,32768; do
    LIMN_LAYER_LIMITS=$limits "$limn" selftest -d gpu >err 2>&1 || fail "selftest with $limits"
done
