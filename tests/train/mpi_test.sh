#!/usr/bin/env bash
# Two processes are one run: they train what one does with twice the batch, and generate what one does; they stop and
# fail together.  Without MPI in limn: it says so.
# Usage: mpi_test.sh LIMN TINY_MODEL RANKS_PROGRAM      RANKS_PROGRAM is empty where limn was built without MPI
set -euo pipefail
limn=$1 tiny=$2 program=$3
work=$(mktemp -d)
launcher=
trap '[[ -z $launcher ]] || kill $launcher 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
die() {
    echo "$*" >&2
    exit 1
}
# fails CODE WORDS COMMAND...: it ends with that code and says these words.
fails() {
    local code=$1 words=$2 status=0
    shift 2
    "$@" >messages 2>&1 || status=$?
    grep -q -e "$words" messages || { cat messages; die "it does not say \"$words\": $*"; }
    [[ $status == "$code" ]] || { cat messages; die "exit code $status instead of $code: $*"; }
}

fails 2 'works in one process, and 2 were started' env OMPI_COMM_WORLD_SIZE=2 "$limn" tokenize a
if [[ -z $program ]]; then
    fails 1 'built without MPI' env PMI_SIZE=2 "$limn" generate a -o never.png
    [[ ! -e never.png ]] || die 'it went on without MPI'
    exit 0
fi
command -v mpirun >/dev/null || { echo 'no mpirun: skipped'; exit 77; }
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
# as root and in containers, where one process may not read another's memory
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1
PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1 HWLOC_HIDE_ERRORS=2
export PRTE_ALLOW_RUN_AS_ROOT_CONFIRM HWLOC_HIDE_ERRORS
# OpenMPI leaks from plugins that it has unloaded by the end, so that no suppression names them
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
two=(timeout 300 mpirun -n 2)

# training
mkdir one two
"$program" train one data 4
"${two[@]}" "$program" train two data 2 2>&1 | tee log
# the last column of a log is how long the step took
for model in codec dalle; do
    "$program" compare one/$model.gguf two/$model.gguf
    paste -d, one/$model.gguf.csv two/$model.gguf.csv | awk -F, -v n=5 '
        NR > 1 { for (i = 1; i < NF / 2; i++) { d = $i - $(i + NF / 2); if (d * d > 1e-10 * (1 + $i * $i)) exit bad = 1 } }
        END { exit bad || NR != n + 1 }' || { cat one/$model.gguf.csv two/$model.gguf.csv; die "$model: other losses"; }
done
cmp two/dalle.gguf.checkpoint two/parts.gguf.checkpoint # paused by one, resumed by both
cmp <(sed 's/,[^,]*$//' two/dalle.gguf.csv) <(sed 's/,[^,]*$//' two/parts.gguf.csv)
grep 'gradients: .* sums over the processes began before' log | grep -qv 'gradients: 0% of' || die 'no sum overlapped with the backward pass'

# generation, with one process that has less to do
"$tiny" tiny.gguf
for n in 1 3; do
    mkdir a b
    "$limn" generate a -n $n --seed 5 -m tiny.gguf -o a/out.png --codes-out a/codes.npy
    "${two[@]}" "$limn" generate a -n $n --seed 5 -m tiny.gguf -o b/out.png --codes-out b/codes.npy
    diff -r a b
    rm -r a b
done
printf 'a\nb\nc\n' >prompts
for options in '-n 3 --first 2' '-n 3 --grid' '-n 40 --preview preview.png'; do
    mkdir a b
    for way in a b; do
        launch=()
        [[ $way == a ]] || launch=("${two[@]}")
        # shellcheck disable=SC2086 # several options
        (cd $way && "${launch[@]}" "$limn" generate --prompts - $options --seed 5 --temperature 1 -m ../tiny.gguf \
            -o out.png --codes-out codes.npy <../prompts)
    done
    diff -r a b
    rm -r a b
done

# Ctrl-C: what both have drawn by then is there, and the first process says it
mkdir early
mpirun --mca odls_base_sigkill_timeout 20 -n 2 "$limn" generate a -n 90000 --seed 5 --temperature 1 -m tiny.gguf -o early/x.png >messages 2>&1 &
launcher=$!
for ((i = 0; i < 600; i++)); do
    [[ ! -e early/x-00001.png || ! -e early/x-45001.png ]] || break
    sleep 0.1
done
kill -INT $launcher
wait $launcher && die 'it ended well'
launcher=
grep -q 'interrupted: .* of 90000 pictures are written; --seed 5 --first ' messages || { cat messages; die 'nothing said of what is there'; }
[[ -e early/x-00001.png && -e early/x-45001.png ]] || die 'pictures of one process are missing'

# a failure of one is the end of both
small=(--size 16 --encoder '8,16' --decoder '16,8' --blocks 1 --block-width 8 --codes 16 --batch 2)
fails 1 'rank 1: .*nowhere' timeout 60 mpirun \
    -n 1 "$limn" train codec --data data/pictures "${small[@]}" -o new.gguf : -n 1 "$limn" train codec --data nowhere -o new.gguf
[[ ! -e new.gguf ]] || die 'a model of a failed run'
mkdir fewer
cp data/pictures/0[0-7].* fewer
fails 1 'the processes found different data' timeout 60 mpirun -n 1 "$limn" train codec --data data/pictures "${small[@]}" \
    -o new.gguf : -n 1 "$limn" train codec --data fewer "${small[@]}" -o new.gguf

# a signal to one pauses both
mpirun -n 2 "$limn" train codec --data data/pictures "${small[@]}" --steps 100000000 -o long.gguf >messages 2>&1 &
launcher=$!
for ((i = 0; i < 600; i++)); do
    [[ $(grep -c '^[1-9]' long.gguf.csv 2>/dev/null) -lt 2 ]] || break
    sleep 0.1
done
child=
for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/cwd") == "$work" && $(cat "$process/comm") == limn ]]; then
        child=${process#/proc/}
    fi
done 2>/dev/null
kill -INT "$child"
wait $launcher || { cat messages; die 'a run that was paused failed'; }
launcher=
grep -q 'paused after step' messages || { cat messages; die 'it was not paused'; }
[[ -s long.gguf.checkpoint ]] || die 'a pause without a checkpoint'
