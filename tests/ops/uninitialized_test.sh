#!/usr/bin/env bash
# Whether Oclgrind's check for uninitialised values finds what it is for: it must report kernels that are broken here.
# Usage: uninitialized_test.sh TOOLS_OPENCL OPS_TEST
set -euo pipefail
opencl=$1 ops_test=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LIMN_TEST_TINY=1 LIMN_CL_DIR=$work

# broken FILE FROM TO TESTS: with FROM replaced by TO in FILE.cl (each once a line), the tests make Oclgrind report.
broken() {
    local file=$work/$1.cl
    rm -f "$work"/*.cl
    cp "$(dirname "$0")"/../../cl/* "$work"
    sed -i "s/$2/$3/" "$file"
    if cmp -s "$file" "$(dirname "$0")/../../cl/$1.cl"; then
        echo "uninitialized_test: $1.cl has no \"$2\" to break any more" >&2
        exit 1
    fi
    # whether the results are wrong too is nobody's concern
    "$opencl" oclgrind-uninitialized "$ops_test" "$4" >"$work/log" 2>&1 || true
    if ! grep -q '^==> oclgrind reported' "$work/log"; then
        tail -n 20 "$work/log" >&2
        echo "uninitialized_test: nothing was reported of $1.cl with \"$3\" for \"$2\"" >&2
        exit 1
    fi
}
broken common 'float16 total = 0.0f;' 'float16 total;' 'softmax f32*cpu]'        # private memory
broken common '    t\[l\] = v;' '    if (l) t[l] = v;' 'softmax f32*gpu 16]'       # local memory
broken gemm 'k1 + t \/ 32 < k)' 'k1 + t \/ 32 < k - 1)' 'conv2d f32*gpu 16]' # memory of the device
broken elementwise 'STORE(add ?' 'STORE(1 ?' 'activate gradient*cpu]'           # a gradient, added to nothing
