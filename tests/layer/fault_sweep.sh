#!/usr/bin/env bash
# Fails every OpenCL call of a command in turn, and checks that each run ends as it should.
# Usage: OUT=FILE fault_sweep.sh [OPTION]... -- PROGRAM ARGUMENT...
#   OUT names the output file as it stands in the arguments; each run writes into a folder of its own instead.
#   --layer FILE      the layer (default: OPENCL_LAYERS as it is)
#   --from N --to N   the first and last call to fail (default: all)
#   --stride K        every K-th call only
#   --name FUNCTION   calls of that function only
#   --jobs J          runs at a time (default 2)
#   --timeout S       seconds a run may take (default 60)
#   --status "S ..."  exit statuses that count as failed properly (default "1")
#   --survive "F ..." functions whose failure the command may get over: then it must exit 0 and leave its output, as without
# A run is good if it exits with such a status, names the failed function in a line that starts with "limn: ", leaves
# no file (output or temporary) and holds no OpenCL object at its end.  Exit status: 0 all good, 1 some bad, 2 usage,
# 77 if the command itself skips.
set -u

from=1 to=0 stride=1 jobs=2 limit=60 statuses=1 survive='' name=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --layer) export OPENCL_LAYERS=$2 ;;
        --from) from=$2 ;;
        --to) to=$2 ;;
        --stride) stride=$2 ;;
        --name) name=$2 ;;
        --jobs) jobs=$2 ;;
        --timeout) limit=$2 ;;
        --status) statuses=$2 ;;
        --survive) survive=$2 ;;
        *) echo "fault_sweep: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2 || exit 2
done
shift
if [ $# -eq 0 ] || [ -z "${OUT:-}" ] || [ -z "${OPENCL_LAYERS:-}" ]; then
    echo 'usage: OUT=FILE fault_sweep.sh --layer FILE [OPTION]... -- PROGRAM ARGUMENT...' >&2
    exit 2
fi
command=("$@")
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export LIMN_LAYER_FAIL_NAME=$name

# Runs the command with call $1 failing (0: none), its files under $work/$1.
run() {
    local here=$work/$1
    mkdir -p "$here/out"
    LIMN_LAYER_FAIL_AT=$1 LIMN_LAYER_REPORT=$here/report timeout -k 5 "$limit" \
        "${command[@]//"$OUT"/"$here/out/${OUT##*/}"}" >"$here/stdout" 2>"$here/stderr" </dev/null
    echo $? >"$here/status"
}

# Prints what is wrong with run $1, if anything.
judge() {
    local here=$work/$1 status failed files
    status=$(<"$here/status")
    failed=$(sed -n 's/^failed //p' "$here/report" 2>/dev/null)
    files=$(ls -A "$here/out")
    if [ "$status" -eq 124 ]; then
        echo "still running after $limit s"
    elif [ "$status" -gt 128 ]; then
        echo "killed by signal $((status - 128))"
    fi
    [ -e "$here/report" ] || { echo 'no report'; return; }
    sed -n 's/^leak/leaks/p' "$here/report"
    case $files in *.limn-*) echo "temporary file left: $files" ;; esac
    if [ -z "$failed" ] || { [ "$status" -eq 0 ] && [[ " $survive " == *" $failed "* ]]; }; then
        # Not reached (such as where a cache saved calls), or got over.
        [ "$status" -eq 0 ] || echo "exit status $status without a reason"
        [ -n "$files" ] || echo 'no output'
        cmp -s "$work/0/out/${OUT##*/}" "$here/out/${OUT##*/}" || echo 'another output'
        return
    fi
    [[ " $statuses " == *" $status "* ]] || echo "exit status $status"
    grep '^limn: ' "$here/stderr" | grep -qwF -- "$failed" || echo 'message without the name of the call'
    [ -z "$files" ] || echo "file left: $files"
}

# Twice: the first run may fill caches, and the rest are like the second.
for _ in 1 2; do
    rm -rf "$work/0"
    run 0
done
read -r status <"$work/0/status"
[ "$status" -eq 77 ] && exit 77
total=$(sed -n 's/^calls //p' "$work/0/report" 2>/dev/null)
problems=$(judge 0)
if [ -n "$problems" ] || [ -z "$total" ]; then
    echo "fault_sweep: the command fails by itself (status $status), or the layer is not loaded: $problems" >&2
    cat "$work/0/stderr" >&2
    exit 1
fi
echo "$total calls"
[ "$to" -gt 0 ] && [ "$to" -lt "$total" ] || to=$total

running=0 runs=0
for ((n = from; n <= to; n += stride)); do
    if [ "$running" -ge "$jobs" ]; then
        wait -n
        running=$((running - 1))
    fi
    run "$n" &
    running=$((running + 1))
    runs=$((runs + 1))
done
wait

bad=0 unreached=0
for ((n = from; n <= to; n += stride)); do
    failed=$(sed -n 's/^failed //p' "$work/$n/report" 2>/dev/null)
    [ -n "$failed" ] || unreached=$((unreached + 1))
    problems=$(judge "$n")
    [ -n "$problems" ] || continue
    bad=$((bad + 1))
    [ "$bad" -le 10 ] || continue
    echo "call $n (${failed:-not reached}): ${problems//$'\n'/; }"
    head -c 400 "$work/$n/stderr" | head -n 3 | sed 's/^/    /'
done
echo "$runs runs, $bad bad$([ "$unreached" -eq 0 ] || echo ", $unreached did not reach their call")"
[ "$bad" -eq 0 ]
