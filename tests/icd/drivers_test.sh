#!/usr/bin/env bash
# A driver that misbehaves (fake.c) beside the good ones: each is told about, none hides the others, and generation has
# the same codes.  Usage: drivers_test.sh LIMN FAKE CLAIM
set -euo pipefail
limn=$1 fake=$2 claim=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LIMN_CACHE_DIR=${LIMN_CACHE_DIR:-$work/cache}
vendors=${OCL_ICD_VENDORS:-/etc/OpenCL/vendors}
if [[ ${LD_PRELOAD:-} == *oclgrind* || ! -d $vendors ]] || ! "$limn" generate pizza --seed 1 -o good.png --codes-out good.npy -q 2>/dev/null; then
    echo 'no OpenCL driver by .icd files: skipped'
    exit 77
fi
mkdir both alone tmp
export TMPDIR=$work/tmp
cp "$vendors"/*.icd both/
echo "$fake" | tee alone/fake.icd >both/fake.icd
name=$("$limn" devices | sed -n '1s/^.*[0-9]  [a-z]*  *//p')
export OCL_ICD_VENDORS=$work/both
bad=0

fail() {
    printf 'LIMN_FAKE=%s LIMN_CLAIM=%s: %s\n' "$LIMN_FAKE" "${LIMN_CLAIM:-}" "$*"
    sed 's/^/    /' err out | head -20
    bad=1
}

# run STATUS ARGUMENT...: limn with its streams in out and err.
run() {
    local wanted=$1 status=0
    shift
    timeout 120 "$limn" "$@" >out 2>err || status=$?
    ((status == wanted)) || fail "limn $*: exit status $status, not $wanted"
}

has() {
    grep -qF -- "$2" "$1" || fail "\"$2\" is not in $1"
}

hasnt() {
    ! grep -qF -- "$2" "$1" || fail "\"$2\" is in $1"
}

# listed MODES: the good device is there, and so is the fake one.
listed() {
    export LIMN_FAKE=$1
    run 0 devices
    has out "$name"
    has out '  dgpu   '
    hasnt err 'left out'
}

# left_out MODES TEXT: the good device is there alone, and the text is said.
left_out() {
    export LIMN_FAKE=$1
    run 0 devices
    has out "$name"
    hasnt out '  dgpu   '
    [[ -z $2 ]] || has err "$2"
}

# useless MODES TEXT: the fake device is listed with what is wrong, never taken, and to name it is an error.
useless() {
    listed "$1"
    has out "can't be used: "
    has out "$2"
    run 0 devices --json
    has out "$2"
    run 0 devices -d auto
    has out "$name"
    run 3 devices -d makers
    has err "$2"
}

# draws TEXT: a picture has the codes that it has without the fake driver, and the text is said.
draws() {
    rm -f codes.npy
    run 0 generate pizza --seed 1 -o x.png --codes-out codes.npy
    cmp -s codes.npy good.npy || fail 'other codes'
    has err "$1"
}

# ---- what fails is left out ----
for modes in none zero; do
    left_out $modes ''
    hasnt err 'left out'
    draws "$name"
done
left_out ids=-6 'platform Fake: left out: clGetDeviceIDs: CL_OUT_OF_HOST_MEMORY (-6)'
draws 'left out'
left_out ids2=-5 'platform Fake: left out: clGetDeviceIDs: CL_OUT_OF_RESOURCES (-5)'
left_out ids=-9999 'platform Fake: left out: clGetDeviceIDs: unknown status (-9999)'
left_out many 'it says that it has 4294967295 devices'
left_out null 'left out: clGetDeviceIDs gave none'
left_out fail=1000 'of Fake: left out: clGetDeviceInfo of CL_DEVICE_TYPE: CL_OUT_OF_RESOURCES (-5)'
draws 'left out'
left_out fail=101F 'clGetDeviceInfo of CL_DEVICE_GLOBAL_MEM_SIZE'
left_out fail=102F 'clGetDeviceInfo of CL_DEVICE_VERSION'
left_out huge=102F 'clGetDeviceInfo of CL_DEVICE_VERSION'
left_out fail=0902,ids=-6 'of Makers of fakes: left out'
left_out fail=0902,fail=0903,ids=-6 'platform platform'

# ---- what isn't needed has a safe value ----
listed less
for query in 102B 102C 102D 1030 1010 1023 1002 1036 1004 1019 1035 1027 1028 103E 1026 102E 103D 0901 0902; do
    listed fail=$query
    hasnt out "can't be used"
done
listed huge=102B
has out 'unnamed device'
listed huge=1030
for modes in longname badname; do
    listed $modes
    iconv -f UTF-8 -t UTF-8 out >/dev/null || fail 'no UTF-8'
    ! grep -q $'\x1B' out || fail 'control characters'
    run 0 devices --json
    draws "can't be opened"
done

# ---- what can't be used is told ----
useless unavailable 'not available'
draws 'that can be used'
useless nocompiler 'without a compiler'
draws 'that can be used'
useless nolinker 'without a linker'
useless version=1.0 'limn needs OpenCL 1.2, and this device has 1.0'
useless version=1.1 'limn needs OpenCL 1.2, and this device has 1.1'
useless platform=1.1 'limn needs OpenCL 1.2, and this platform has 1.1'
useless c=1.1 'compiler has 1.1'
useless version=abc "this driver's version reads"
useless embedded 'embedded'
useless bigendian 'big-endian'
useless nomemory 'no memory'
export LIMN_FAKE=custom
run 0 devices
has out 'fixed functions'

# ---- what can't be opened is passed over by auto, and by nothing else ----
for status in -5 -6 -2 -1234; do
    export LIMN_FAKE=context=$status
    draws "Fake GPU (Fake) can't be opened, so another is looked for: clCreateContext:"
    has err "$name: the only device that can be opened"
    for spec in dgpu makers fake; do
        run 3 generate pizza -d $spec -o never.png
        has err "Fake GPU (Fake) can't be opened: clCreateContext:"
        has err "($status)"
    done
done

# ---- nothing else is there ----
OCL_ICD_VENDORS=$work/alone
for modes in ids=-6 fail=1000 none; do
    export LIMN_FAKE=$modes
    run 3 devices
    has err 'limn: OpenCL: no device found'
    has err 'Fake'
    run 3 generate pizza -o never.png
done
export LIMN_FAKE=unavailable
run 3 devices
has out 'not available'
run 3 generate pizza -o never.png
has err 'no device that can be used'
has err 'not available'
[[ ! -e never.png ]] || fail 'a picture without a device'
OCL_ICD_VENDORS=$work/both

# ---- one card under two drivers ----
export OPENCL_LAYERS=$claim
for pair in 'gpu,uuid=ab|uuid=ab' 'gpu,pci=3|pci=3' 'gpu,pci=3|nv=3' 'gpu,pci=3|amd=3' 'gpu,uuid=ab,pci=3|uuid=cd,pci=3'; do
    export LIMN_CLAIM=${pair%|*} LIMN_FAKE=${pair#*|}
    run 0 devices
    [[ $(grep -c '^[0-9]' out) == 2 ]] || { echo 'more than one good device: no test of one card twice'; break; }
    has out 'same as '
    has out 'also as '
    real=$(sed -n "s/^[0-9]*  \([0-9.]*\)  .*$name\$/\1/p" out) false=$(sed -n 's/^[0-9]*  \([0-9.]*\)  .*Fake GPU$/\1/p' out)
    run 0 devices --json
    has out '"alternative_of": null'
    for spec in gpu dgpu auto "$real"; do
        run 0 devices -d "$spec" -v
        has err "device $real, $name"
    done
    run 3 devices -d "$false" # the driver that isn't taken can still be named
    has err "device $false, Fake GPU (Fake) can't be opened"
    run 3 devices -d makers
    LIMN_FAKE+=,version=3.9 # now it is the better driver, and can't be opened
    run 3 devices -d gpu
    has err "device $false, Fake GPU (Fake) can't be opened"
    run 0 devices -d auto
    has err "can't be opened, so another is looked for"
    has err "device $real, $name"
done
for pair in 'gpu,uuid=ab|uuid=cd' 'gpu,uuid=00|uuid=00' 'gpu,pci=3|pci=4' 'gpu,uuid=ab,pci=3|uuid=ab,pci=4' 'uuid=ab|uuid=ab'; do
    export LIMN_CLAIM=${pair%|*} LIMN_FAKE=${pair#*|}
    run 0 devices
    hasnt out 'same as '
done
export LIMN_CLAIM=gpu,uuid=ab LIMN_FAKE=uuid=cd
run 2 devices -d gpu
has err 'devices match'

unset LIMN_CLAIM OPENCL_LAYERS

# ---- what does harm while it is loaded or asked is left out ----
[[ -z ${LIMN_UNGUARDED:-} ]] || exit "$bad" # a build without guards for what follows
for modes in load-abort load-segv load-exit ask-abort ask-segv ask-exit; do
    left_out $modes 'OpenCL driver /'
    has err 'fake.icd'
    has err 'is left out: it '
    [[ $modes != *abort ]] || has err "fake driver: this can't be"
    draws 'is left out: it '
    run 0 devices --json
    hasnt out 'Fake'
done
run 0 devices -q
OCL_ICD_VENDORS=$work/alone
run 3 devices
has err 'no driver can be used'
run 3 generate pizza -o never.png
has err 'no driver can be used'
OCL_ICD_VENDORS=$work/both
# hangs take a while: what is known of them is kept
left_out ask-hang 'fake.icd'
has err 'it hangs'
SECONDS=0
draws 'it hangs'
((SECONDS < 12)) || fail 'asked again'
# a signal meanwhile leaves neither folders nor children behind
LIMN_FAKE=ask-hang "$limn" devices >out 2>err &
asking=$!
for ((i = 0; i < 300; i++)); do
    ! compgen -G 'tmp/limn-drivers-*/*' >/dev/null || break
    sleep 0.1
done
kill "$asking"
! wait "$asking" || fail 'a signal while drivers are asked: exit status 0'
has err 'interrupted'
[[ -z $(ls -A tmp) ]] || fail 'a signal while drivers are asked: their folder is left'
# it answered, and then it doesn't: a message, and the next time it is asked again
unset LIMN_FAKE
cp "$fake" fake.so
echo "$work/fake.so" >both/fake.icd
for modes in load-abort load-segv load-exit ask-abort ask-exit ask-leave; do
    echo none >fake.so.modes
    run 0 devices
    echo $modes >fake.so.modes
    LIMN_FAKE="(then $modes)" status=0
    timeout 60 "$limn" generate pizza -o never.png >out 2>err || status=$?
    ((status == 3 || status == 134)) || fail "exit status $status" # LLVM's handler, in PoCL, lets abort() have its way
    for ((i = 0; i < 300; i++)); do # a process of limn's own may tell it after the end
        ! grep -q 'run the command again' err || break
        sleep 0.1
    done
    has err 'limn: OpenCL: '
    has err 'run the command again'
    [[ $(grep -c 'run the command again' err) == 1 ]] || fail 'told twice'
    draws 'is left out: it '
done
echo "$fake" >both/fake.icd
! compgen -G 'tmp/limn-*' >/dev/null || fail 'a folder of drivers was left'

# ---- what is done is done, whatever drivers do at the end ----
for modes in end-abort end-segv; do
    export LIMN_FAKE=$modes
    draws "$name"
    run 2 generate pizza --seed x -o never.png
    run 3 generate pizza -d dgpu -o never.png
done

# ---- what drivers print stays with them ----
for modes in print print,context=-5; do
    export LIMN_FAKE=$modes
    for quiet in -q ''; do
        # shellcheck disable=SC2086 # none or one
        run 0 generate pizza --seed 1 -o x.png --codes-out codes.npy $quiet
        [[ ! -s out ]] || fail 'a driver prints on stdout'
        hasnt err 'fake driver on stderr: clGetDeviceInfo'
        [[ -z $quiet || ! -s err ]] || fail 'a driver prints with -q'
    done
done
has err 'fake driver on stdout: clCreateContext' # where it fails, it may say why
LIMN_FAKE=print
run 0 devices --json
[[ $(head -c 1 out) == '[' ]] || fail 'a driver prints into JSON'
hasnt out 'fake driver'
run 0 devices -v
has err 'the OpenCL driver prints:'
has err 'fake driver on stderr: clGetDeviceInfo'
unset LIMN_FAKE
export OPENCL_LAYERS=$claim LIMN_CLAIM=print
OCL_ICD_VENDORS=$vendors run 0 generate pizza --no-cache --seed 1 -o x.png -q
[[ ! -s out && ! -s err ]] || fail 'a compiler prints with -q'
LIMN_CLAIM=abort
OCL_ICD_VENDORS=$vendors run 1 generate pizza --no-cache --seed 1 -o never.png
has err "compiler: this can't be"
has err "limn: OpenCL: a driver aborts (SIGABRT) while it compiles limn's kernels"
[[ ! -e never.png ]] || fail 'a picture without kernels'
unset OPENCL_LAYERS LIMN_CLAIM

# ---- the explanation ----
export LIMN_FAKE=load-abort
run 0 devices --why
has out 'fake.icd names'
has out 'aborts (SIGABRT)'
has out "fake driver: this can't be"
has out "$name"
has out 'What to do'
run 0 devices --why --json
has out '"advice": ['
has out '"place_from": "OCL_ICD_VENDORS"'
LIMN_FAKE=nocompiler
run 0 devices --why
has out "can't be used: the driver comes without a compiler"
LIMN_FAKE=ids=-6
run 0 devices --why
has out 'platform Fake: left out: clGetDeviceIDs: CL_OUT_OF_HOST_MEMORY (-6)'
has out 'update its driver'
mkdir wrong
echo /nonexistent/libwrong.so >wrong/gone.icd
echo libm.so.6 >wrong/other.icd
: >wrong/empty.icd
OCL_ICD_VENDORS=$work/wrong
run 3 devices --why
has out 'gone.icd names /nonexistent/libwrong.so'
has out "can't be loaded: /nonexistent/libwrong.so: cannot open"
has out 'is no OpenCL driver'
has out 'names no library'
run 3 devices --why --json
for command in devices 'generate pizza -o never.png'; do
    # shellcheck disable=SC2086 # words
    run 3 $command
    has err 'no platform found, though drivers are installed'
    has err "gone.icd, /nonexistent/libwrong.so: can't be loaded"
    has err 'empty.icd: names no library'
done
OCL_ICD_VENDORS=/nonexistent
run 3 devices --why
has out 'none is installed'
has out 'unset it'
OCL_ICD_VENDORS=$work/both

((bad == 0)) && echo 'all as it should be'
exit $bad
