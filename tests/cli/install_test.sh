#!/usr/bin/env bash
# Installs into a folder, and builds programs of others (tests/install), C and C++, against what is there, shared and
# static, by pkg-config and by CMake's find_package.  What uses a device runs once with each language.
# Usage: install_test.sh BUILD
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../install" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    printf '%s\n' "$@"
    exit 1
}
cmake --install "$1" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/p" # nothing may know where it was
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/p" -name limn.pc)")
libraries=$(dirname "$PKG_CONFIG_PATH")
warnings=(-Wall -Wextra -Werror)

# run PROGRAM [77]: within $work, with the shared library; 77 is no failure where it may be
run() {
    local status=0
    (cd "$work" && LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$1") || status=$?
    [[ $status == 0 || $status == "${2:-0}" ]] || fail "$1: $status"
}

# a program that names every function of the header
names=$(grep -hA 2 '^LIMN_API' "$work/p/include/limn/"*.h | grep -oE '\blimn_\w+\(' | tr -d '(' | sort -u)
(($(wc -w <<<"$names") > 30)) || fail "of the headers' functions only these were found: $names"
{
    printf '#include <limn/limn.h>\nint main(void)\n{\n    void (*volatile all[])(void) = {\n'
    for name in $names; do printf '        (void (*)(void))%s,\n' "$name"; done
    printf '    };\n    return all[0] && limn_version()[0] ? 0 : 1;\n}\n'
} >"$work/names.c"

# pkg-config: shared, and from a folder that has the static library alone
read -ra flags < <(pkg-config --cflags --libs limn)
for program in "$work/names" "$here/everything"; do
    cc "${warnings[@]}" "$program.c" -o "$work/shared" "${flags[@]}"
    c++ "${warnings[@]}" -Wno-cast-function-type -x c++ "$program.c" -x none -o "$work/shared++" "${flags[@]}"
done
run "$work/shared" 77
cp -r "$work/p" "$work/static_only"
find "$work/static_only" -name 'liblimn.so*' -delete
read -ra flags < <(PKG_CONFIG_PATH=${PKG_CONFIG_PATH/"$work/p"/"$work/static_only"} pkg-config --static --cflags --libs limn)
for program in "$here/everything" "$work/names"; do
    cc "${warnings[@]}" "$program.c" -o "$work/static" "${flags[@]}"
    c++ "${warnings[@]}" -Wno-cast-function-type -x c++ "$program.c" -x none -o "$work/static++" "${flags[@]}"
done
"$work/static" && "$work/static++"

# find_package
{ cmake -S "$here" -B "$work/user" -DCMAKE_PREFIX_PATH="$work/p" -DNAMES="$work/names.c" && cmake --build "$work/user"; } \
    >"$work/log" 2>&1 || fail "$(<"$work/log")"
run "$work/user/everything++" 77
run "$work/user/all_of_limn"
"$work/user/all_of_limn_static"
ldd "$work/user/all_of_limn_static" | grep liblimn && fail 'limn::limn_static is the shared library'

hidden=$(nm -D --defined-only "$libraries/liblimn.so" | awk '$2 != "A" && $3 !~ /^limn_/ {print $3}')
[[ -z $hidden ]] || fail 'symbols beside the public API:' "$hidden"
# a static program's own functions may have any name but the public ones
names=$(nm --defined-only --extern-only "$libraries/liblimn.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^limn_/ {print $3}')
[[ -z $names ]] || fail "names of the static library that are in the way of others: $names"
for page in bin/limn share/man/man1/limn.1* share/bash-completion/completions/limn; do
    compgen -G "$work/p/$page" >/dev/null || fail "not installed: $page"
done
