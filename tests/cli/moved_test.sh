#!/usr/bin/env bash
# A build folder that was made for another source folder is made anew by the tools; one of this folder stays.
# usage: moved_test.sh
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# cache SOURCE PLACE: what CMake writes of them
cache() {
    printf 'CMAKE_CACHEFILE_DIR:INTERNAL=%s\nCMAKE_HOME_DIRECTORY:INTERNAL=%s\n' "$2" "$1" >"$folder/CMakeCache.txt"
    mkdir -p "$folder/CMakeFiles"
    touch "$folder/build.ninja" "$folder/limn"
    forget_moved "$folder" 2>"$folder/said"
}

# shellcheck disable=SC2154 # root: tools/lib.sh
cache "$root" "$folder"
[[ -e $folder/CMakeCache.txt && -e $folder/build.ninja && ! -s $folder/said ]]
cache /nowhere/limn "$folder"
[[ ! -e $folder/CMakeCache.txt && ! -e $folder/CMakeFiles && ! -e $folder/build.ninja && -e $folder/limn ]]
grep -q 'was made for /nowhere/limn' "$folder/said"
cache "$root" /nowhere/limn/build
[[ ! -e $folder/CMakeCache.txt ]]
rm -f "$folder/said"
forget_moved "$folder" # nothing there: nothing to do
echo passed
