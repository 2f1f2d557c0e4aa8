#!/usr/bin/env bash
# The library speaks of settings, in backticks, and never of options; the command line knows each as an option of its.
set -euo pipefail
# shellcheck disable=SC2016 # backticks of the texts
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bad=0
complain() {
    printf '%s: %s\n' "$1" "$2"
    bad=1
}
# the strings of the library: FILE:"TEXT"
strings=$(find src -name '*.[ch]' -not -path 'src/cli/*' -not -path 'src/serve/*' -print0 | xargs -0 grep -oHE '"([^"\\]|\\.)*"')
(($(wc -l <<<"$strings") > 1000)) || complain src 'its strings were not found'
while IFS= read -r line; do
    complain "$line" 'an option of the command line in the library (name the setting: `memory_limit`)'
done < <(grep -E -- '--[a-z]' <<<"$strings" || true)
known=$(sed -n 's/^    {"\([a-z_ 0-9]*\)", .*/\1/p' src/cli/wording.c)
while IFS= read -r name; do
    grep -qx -- "$name" <<<"$known" || complain "\`$name\`" 'a setting that src/cli/wording.c does not know'
done < <(grep -oE '`[a-z_0-9 ]+`' <<<"$strings" | tr -d '`' | sort -u)
while IFS= read -r name; do
    grep -q "\`$name\`" <<<"$strings" || complain "$name" 'no text of the library has this setting of src/cli/wording.c'
    here=$(sed -n "s/^    {\"$name\", \"[^\"]*--\([a-z-]*\).*/\1/p" src/cli/wording.c)
    grep -q "\.name = \"${here:-${name//_/-}}\"" src/cli/table*.[ch] || complain "$name" 'the command line has no such option'
done <<<"$known"
exit $bad
