#!/usr/bin/env bash
# Debian's packages are built, and lintian has nothing to say of them.  Usage: package_test.sh BUILD
set -euo pipefail
command -v cpack >/dev/null && command -v lintian >/dev/null || { echo 'no cpack or lintian: skipped'; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cpack --config "$1/CPackConfig.cmake" -B "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for package in limn liblimn0 liblimn-dev; do
    compgen -G "$work/${package}_*.deb" >/dev/null || { echo "no package $package"; exit 1; }
done
said=$(lintian --tag-display-limit 0 "$work"/*.deb 2>&1 | grep -E '^[EWI]:' || true)
[[ -z $said ]] || { echo "$said"; exit 1; }
