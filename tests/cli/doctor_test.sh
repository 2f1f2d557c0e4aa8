#!/usr/bin/env bash
# limn doctor: the report is whole and says nothing of whose machine it is, whatever the drivers do.
# Usage: doctor_test.sh LIMN LAYER drivers|gpu|whole
#   drivers: the steps that end at once; gpu: what a device that looks like one gets; whole: all that measure
set -euo pipefail
limn=$1 layer=$2 part=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    printf 'doctor_test: %s\n' "$1" >&2
    tail -n 60 out err >&2
    exit 1
}

# The home directory of a user whose name is none of a driver, with the caches of this run in it.
home=$work/home/wandafuca
mkdir -p "$home"
cache=${LIMN_CACHE_DIR:-}
[[ -z $cache ]] || { mkdir -p "$cache" && ln -s "$(realpath "$cache")" "$home/limn-cache" && export LIMN_CACHE_DIR=$home/limn-cache; }
[[ -n $cache ]] || export LIMN_CACHE_DIR=$home/limn-cache
# A machine's name, where one may be given; else that of this one.
named=()
! unshare --uts true 2>/dev/null || named=(unshare --uts bash -c 'hostname wandas-laptop.example && exec "$@"' _)

# doctor CODE ARGUMENTS...: its text is in out; the exit code and what is never in either are checked.
doctor() {
    local code=0 host
    host=$("${named[@]}" uname -n)
    rm -f limn-doctor.json
    HOME=$home USER=wandafuca LOGNAME=wandafuca HOSTNAME=wandas-laptop "${named[@]}" "$limn" doctor "${@:2}" \
        >out 2>err || code=$?
    [[ $code == "$1" ]] || fail "limn doctor ${*:2} ends with $code, and not $1"
    for name in wandafuca wandas-laptop "$host" "${host%%.*}"; do
        ! grep -n -e "$name" out "${report:-limn-doctor.json}" || fail "$name is in the report"
    done
}
# has TEXT: in the text and in the file.
has() {
    grep -q -e "$1" out || fail "\"$1\" is not in the text"
    grep -q -e "$1" limn-doctor.json || fail "\"$1\" is not in the file"
}

if [[ $part == drivers ]]; then
    # No device at all.
    OCL_ICD_VENDORS=$home/nowhere OCL_ICD_FILENAMES='' doctor 3
    has 'pocl' # what to install
    has '~/nowhere'
    # Nor one of that name.
    "$limn" devices >/dev/null 2>&1 || exit 0 # the rest needs one
    doctor 3 -d 'none of that name'
    grep -q 'none of that name' limn-doctor.json || fail 'it is not said what was looked for'
    # A file that can't be written.
    doctor_code=0
    "$limn" doctor -o nowhere/report.json >out 2>err || doctor_code=$?
    [[ $doctor_code == 1 ]] || fail "a report that can't be written ends with $doctor_code"

    # A driver that crashes whenever it compiles: both steps fail, and are there.
    OPENCL_LAYERS=$layer LIMN_LAYER_CRASH=-D doctor 1 -d 0.0
    has 'selftest of 0.0'
    has 'speed of 0.0'
    [[ $(grep -c 'crashes\|aborts\|killed\|ended before' limn-doctor.json) -ge 2 ]] || fail 'the crashes are not reported'
    exit 0
fi

[[ -z ${LIMN_TEST_BRIEF:-} ]] || { echo 'minutes of measuring: left out'; exit 77; }
"$limn" devices >/dev/null 2>&1 || { echo 'no OpenCL device: skipped'; exit 77; }
if [[ $part == gpu ]]; then
    # Its kernels do nothing, which is faster: beside each time that is measured stands what is predicted.
    OPENCL_LAYERS=$layer LIMN_LAYER_PROFILE=iris_xe LIMN_LAYER_IDLE=-D doctor 1 -d gpu
    has 'wrong results'
    has 'predicted'
    exit 0
fi
# A driver whose kernels do nothing: wrong results, and speed all the same.
OPENCL_LAYERS=$layer LIMN_LAYER_IDLE=-D doctor 1 -d 0.0
has 'wrong results'
has 'multiply-add peak'

# All goes well; as JSON on standard output too.
doctor 0 -d 0.0
has 'greedy codes'
has 'generate builtin'
grep -q '^  nothing$' out || fail 'something failed'
