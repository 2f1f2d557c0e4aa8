#!/usr/bin/env bash
# Installs into a folder, and builds and runs a program against what is there, by pkg-config, shared and static.
# Usage: install_test.sh BUILD
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$1" --prefix "$work/p" >/dev/null
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/p" -name limn.pc)")
libraries=$(dirname "$PKG_CONFIG_PATH")
cat >"$work/use.c" <<'C'
#include <limn/limn.h>
#include <stdio.h>
int main(void)
{
    limn_error e = {0};
    limn_device *d = limn_device_open("no-such-device", NULL, &e);
    puts(limn_version());
    return d || e.code != LIMN_NO_DEVICE || !e.text[0];
}
C
read -ra flags < <(pkg-config --cflags --libs limn)
cc "$work/use.c" -o "$work/shared" "${flags[@]}"
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$work/shared"
read -ra flags < <(pkg-config --static --cflags --libs limn)
cc "$work/use.c" -o "$work/static" "${flags[@]/-llimn/$libraries/liblimn.a}"
"$work/static"
hidden=$(nm -D --defined-only "$libraries/liblimn.so" | awk '$2 != "A" && $3 !~ /^limn_/ {print $3}')
[[ -z $hidden ]] || { printf 'symbols beside the public API:\n%s\n' "$hidden"; exit 1; }
# a static program's own functions may have any name but the public ones
names=$(nm --defined-only --extern-only "$libraries/liblimn.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^limn_/ {print $3}')
[[ -z $names ]] || { printf 'names of the static library that are in the way of others: %s\n' "$names"; exit 1; }
for page in bin/limn share/man/man1/limn.1* share/bash-completion/completions/limn; do
    compgen -G "$work/p/$page" >/dev/null || { echo "not installed: $page"; exit 1; }
done
