#!/usr/bin/env bash
# Runs the program on a device that looks like another one (tests/layer): selftest, and a generation whose codes must be
# those of the device as it is.  Usage: profile_test.sh LIMN LAYER PROFILE
set -euo pipefail
limn=$1 layer=$2 profile=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
"$limn" generate pizza -n 2 --seed 3 -q -o plain.png --codes-out plain.npy
export OPENCL_LAYERS=$layer LIMN_LAYER_PROFILE=$profile
"$limn" devices -d gpu
"$limn" selftest -d gpu
"$limn" generate pizza -n 2 --seed 3 -q -d gpu -o other.png --codes-out other.npy
cmp plain.npy other.npy
