#!/usr/bin/env bash
# Each macro of a kernel program has one meaning: every kernel file is preprocessed in every form in which drivers get it,
# by whichever C compiler is here, and a macro that is defined twice is an error.
# Usage: macros_test.sh FOLDER      FOLDER: of the kernel files
set -euo pipefail
cl=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compiler=
for c in clang clang-18 clang-17 clang-16 clang-15 clang-14; do
    if command -v "$c" >/dev/null; then
        compiler="$c -x cl -cl-std=CL1.2 -target x86_64-linux-gnu -Werror=macro-redefined"
        break
    fi
done
if [[ -z $compiler ]] && command -v gcc >/dev/null; then
    compiler="gcc -x c -Werror"
fi
if [[ -z $compiler ]]; then
    echo "macros_test: neither clang nor gcc is here" >&2
    exit 77
fi

# preprocess FILE DEFINITION...: as device/source.c puts the program together
preprocess() {
    # shellcheck disable=SC2086 # a command with options
    $compiler -E -I "$cl" -include "$cl/common.cl" "${@:2}" "$1"
}

# one FILE DEFINITION...: a line for what failed
one() {
    local log
    log=$(mktemp "$work/XXXXXX")
    preprocess "$@" >/dev/null 2>"$log" || {
        echo "macros_test: ${*}:"
        cat "$log"
    }
    rm "$log"
}
export -f preprocess one
export compiler cl work

# Every form of every file: what device/program.c defines, what the ops ask for, and what compilers for CPUs with such
# instructions define.
gpu="-DCPU=0 -DWG=64 -DSIDE=16 -DITEM=8 -DSPLIT=0" cpu="-DCPU=1 -DWG=1 -DSIDE=1 -DITEM=8"
for file in "$cl"/*.cl; do
    [[ $file != */common.cl ]] || continue
    mapfile -t parts < <(sed -n "s|^ *#include \"\(.*\)\"\$|$cl/\1|p" "$file")
    has() { grep -qw "$1" "$file" "${parts[@]}"; }
    forms=("$gpu" "$cpu -DSPLIT=0" "$cpu -DSPLIT=1") options=("") sizes=("")
    if has __AVX2__; then
        forms+=("$cpu -DSPLIT=0 -D__AVX2__" "$cpu -DSPLIT=0 -D__AVX2__ -D__AVX512BW__")
    fi
    if has BACKWARD; then options+=(-DBACKWARD); fi
    if has CROSS; then options+=("${options[@]/%/ -DCROSS}"); fi
    if has KV; then options+=("${options[@]/%/ -DKV_F16}"); fi
    if has PANEL; then options+=("${options[@]/%/ -DPANEL_F16}"); fi
    if has TILE_TALL; then options+=("${options[@]/%/ -DTILE_TALL=1}"); fi
    if has NORMED; then
        one_kernel="-DGROUP_T=q4_0 -DGROUP_TYPE=uchar -DGROUP_BITS=4 -DGROUP_ROWS=2 -DGROUP_WIDE=1 -DTEAM=16"
        options+=("-DNORMED=1024 -DTWICE -DGATED $one_kernel" "-DNORMED=64 -DRMS $one_kernel" "-DNORMED=0 -DGATED $one_kernel")
    fi
    if has HEAD_DIM; then sizes=(-DHEAD_DIM=64 -DHEAD_DIM=36 -DHEAD_DIM=10); fi
    for form in "${forms[@]}"; do
        for option in "${options[@]}"; do
            for size in "${sizes[@]}"; do
                printf '%s\n' "$file $form $option $size"
            done
        done
    done
done >"$work/forms"
# shellcheck disable=SC2016 # expanded by the shells that xargs starts
xargs -P "$(nproc)" -n 1 -d '\n' bash -c 'one $1' _ <"$work/forms" >"$work/failures"
if [[ -s $work/failures ]]; then
    cat "$work/failures" >&2
    echo "macros_test: kernel files have macros that are defined twice, or include what is not there" >&2
    exit 1
fi

# It sees what it is for.
printf '#define EACH 64\n' >"$work/twice.cl"
if preprocess "$work/twice.cl" -DCPU=1 >"$work/out" 2>"$work/log" || ! grep -q redefined "$work/log"; then
    echo "macros_test: $compiler says nothing of a macro that is defined twice" >&2
    exit 1
fi
echo "macros_test: $(wc -l <"$work/forms") forms by $compiler"
