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
for page in bin/limn share/man/man1/limn.1 share/bash-completion/completions/limn; do
    [[ -s $work/p/$page ]] || { echo "not installed: $page"; exit 1; }
done
