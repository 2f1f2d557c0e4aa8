#!/usr/bin/env bash
# Bad disks: every call on an output fails once, files can't grow, the disk is full, folder or file may not be written.
# Each time limn ends with exit 1 and a message that names the file, what was there is there, and nothing else is.
# Usage: disk_test.sh LIMN TINY_MODEL FAULT_LIBRARY DATA
set -euo pipefail
limn=$1 tiny=$2 library=$3 data=$4
work=$(mktemp -d)
full=
cleanup() {
    [[ -z $full ]] || umount "$full" || true
    rm -rf "$work"
}
trap cleanup EXIT
chmod 755 "$work"
cd "$work"
die() {
    echo "$*" >&2
    exit 1
}
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }

"$tiny" tiny.gguf
mkdir pictures
"$limn" generate 'a cat' -m tiny.gguf -n 4 -o pictures/p.png -q
for i in 1 2 3 4; do echo "a cat $i" >"pictures/p-$i.txt"; done
"$limn" encode pictures/p-1.png -m tiny.gguf -o codes.npy -q
export LIMN_CACHE_DIR=${LIMN_CACHE_DIR:-$work/cache} # compiled kernels: they are no files of the commands

# What is written to out/, and what was there before (old/).
train='--data pictures --batch 2 --steps 4 --save-every 2 --sample-every 2 --seed 1 -o out/new.gguf'
declare -A commands=(
    [generate]='generate cat -m tiny.gguf --seed 1 -o out/a.png --codes-out out/c.npy'
    [many]='generate cat -m tiny.gguf --seed 1 -n 3 -o out/a.png'
    [encode]='encode pictures/p-1.png -m tiny.gguf -o out/c.npy --logits-out out/l.npy'
    [decode]='decode codes.npy -m tiny.gguf -o out/a.png'
    [convert]="convert $data/golden/dalle_pytorch/vae.pt -o out/m.gguf"
    [train-codec]="train codec --size 8 --codes 8 --code-dim 4 --encoder 4,4 --decoder 4,4 --blocks 1 --block-width 4
        $train"
    [train-dalle]="train dalle --codec tiny.gguf --tokenizer tiny.gguf --dim 8 --heads 1 --layers 1 --text-length 16
        $train"
)
[[ -z ${LIMN_TEST_BRIEF:-} ]] || unset 'commands[many]' 'commands[decode]' 'commands[convert]' 'commands[train-dalle]'
mkdir old
for name in a.png a-1.png a-2.png a-3.png c.npy l.npy m.gguf; do echo "old $name" >"old/$name"; done

fresh() {
    rm -rf out
    cp -a old out
}

# What was there is there, each file is old or as it is after a run without faults, and nothing is half done.  A training
# goes on from where it is, to the same model.
whole() {
    local file name
    [[ -z $(find "$2" -name '.limn-*') ]] || die "$1: a temporary file stays: $(find "$2" -name '.limn-*')"
    for file in old/*; do
        [[ -e $2/${file#old/} ]] || die "$1: $file is lost"
    done
    for file in "$2"/*; do
        name=${file##*/}
        [[ $name == new.gguf* ]] || cmp -s "$file" "old/$name" || cmp -s "$file" "after-$command/$name" ||
            die "$1: $file is neither old nor new"
    done
    [[ $command == train-* ]] || return 0
    "$limn" "${words[@]/#out\//$2/}" -q --resume || die "$1: it doesn't go on"
    for name in new.gguf new.gguf.checkpoint; do
        cmp "$2/$name" "after-$command/$name" || die "$1: $name is another after going on"
    done
}

# The run that ended with $status said so.  Codes are made again, and samples may be missing: a warning is enough.
failed() {
    if ((status == 0)) && grep -qE '^limn: .*new\.gguf\.(codes|png)' messages; then
        return
    fi
    ((status == 1)) || { cat messages; die "$1: exit code $status"; }
    grep -qE "^limn: .*$2" messages || { cat messages; die "$1: the file is not named"; }
}

# limn with its messages in a file, by a pipe: files may not grow.  Output goes to FOLDER instead of out.
run_into() {
    local folder=$1
    shift
    status=0
    "$@" "${words[@]/#out\//$folder/}" 2>&1 >/dev/null | cat >messages || status=${PIPESTATUS[0]}
}

faults=0
for command in "${!commands[@]}"; do
    read -r -a words <<<"${commands[$command]//$'\n'/ }"
    fresh
    "$limn" "${words[@]}" -q || die "$command: it fails without faults"
    rm -rf "after-$command"
    cp -a out "after-$command"
    for call in open fsync rename fclose; do
        for ((n = 1; ; n++)); do
            fresh
            run_into "$work/out" env DISK_FAULT="$call $n $work/out" LD_PRELOAD="$library" "$limn"
            grep -q '^FAULT' messages || break
            failed "$command, $call $n" "$work/out/"
            whole "$command, $call $n" "$work/out"
            ((faults += 1))
        done
        ((n > 1)) || die "$command: no $call on its files"
    done
done
echo "$faults calls that failed"

# no_room HOW FOLDER COMMAND...: limn started by the command finds no room in the folder, a copy of old.
no_room() {
    local how=$1 folder=$2
    shift 2
    for command in "${!commands[@]}"; do
        read -r -a words <<<"${commands[$command]//$'\n'/ }"
        run_into "$folder" "$@" "$limn"
        failed "$command, $how" "$folder(/|:| )"
        diff -r old "$folder" >differences || [[ $command == train-* ]] ||
            die "$command, $how: it is not as it was: $(<differences)"
        [[ -z $(find "$folder" -name '.limn-*') ]] || die "$command, $how: a temporary file stays"
        rm -rf "$folder"/new.gguf*
    done
    echo "$how: ${#commands[@]} commands"
}

# Linux ends a program whose file grows too large by a signal, or where that is ignored, lets the call fail.
limited() {
    (
        trap '' XFSZ
        ulimit -f 0
        "$@"
    )
}
fresh
no_room 'files that may not grow' "$work/out" limited

mkdir disk
if mount -t tmpfs -o size=64k none disk 2>/dev/null; then
    full=$work/disk
    cp old/* disk
    dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null || true
    cp -a disk/filler old
    no_room 'a full disk' "$work/disk" env
    rm old/filler
else
    echo 'a full disk: not tried (nothing can be mounted here)'
fi

# Without root's right to write what may not be written.
other=(env)
((EUID != 0)) || other=(setpriv --bounding-set=-dac_override,-dac_read_search)
if "${other[@]}" "$limn" devices >/dev/null 2>&1; then
    fresh
    chmod 555 out
    chmod 444 out/*
    no_room 'a read-only folder' "$work/out" "${other[@]}"
    chmod 777 out
    # a file that may not be written, in a folder where another could take its place; a link to nothing
    command=encode words=(encode pictures/p-1.png -m tiny.gguf -o out/c.npy)
    run_into "$work/out" "${other[@]}" "$limn"
    failed 'a read-only file' "$work/out/c.npy"
    cmp out/c.npy old/c.npy || die 'a read-only file: it was replaced'
    rm -f out/c.npy
    ln -s nowhere out/c.npy
    run_into "$work/out" "${other[@]}" "$limn"
    failed 'a dangling link' "$work/out/c.npy"
    [[ $(readlink out/c.npy) == nowhere && ! -e out/nowhere ]] || die 'a dangling link: it was replaced'
    echo 'a read-only file, a dangling link'
else
    echo 'a read-only folder: not tried (root may write all here)'
fi
