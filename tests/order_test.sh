#!/usr/bin/env bash
# Knowledge goes one way: each folder of src includes headers of those alone that are named behind it here (and its own,
# and the public header, which is above all for its users, and below all for its types).  cl: what C shares with kernels.
# Usage: order_test.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../src"
declare -A may=(
    [base]=''
    [device]='base cl'
    [io]='base'
    [ops]='base cl device'
    [text]='base io'
    [weights]='base device io ops'
    [models/codecs]='base device io ops weights'
    [models/diffusion]='base device io ops weights'
    [models/transformers]='base device io ops weights models/diffusion'
    [models]='base device io ops text weights models/codecs models/diffusion models/transformers'
    [generate]='base device io ops text weights models/codecs models/diffusion models/transformers models'
    [convert]='base io text weights models/codecs models/diffusion models/transformers models'
    [train/data]='base io text'
    [train]='base device io ops text weights models/codecs models/diffusion models/transformers models generate train/data'
    [tune]='base device ops'
    [.]='base device io ops text weights models/codecs models/diffusion models/transformers models generate convert train tune'
    [serve]='base io generate'
    [cli]='*'
    [cli/measure]='*'
)
bad=0 seen=0
while read -r file; do
    folder=$(dirname "$file")
    [[ -v may[$folder] ]] || { echo "src/$file: its folder isn't in tests/order_test.sh"; bad=1; continue; }
    while read -r included; do
        of=$(dirname "$included")
        ((seen += 1))
        [[ $of == "$folder" || $of == limn || ${may[$folder]} == '*' || " ${may[$folder]} " == *" $of "* ]] ||
            { echo "src/$file includes \"$included\", and $folder may not know $of (src/README.md)"; bad=1; }
    done < <(sed -n 's/^ *# *include "\(.*\)".*/\1/p' "$file")
done < <(find . -name '*.[ch]' -printf '%P\n')
((seen > 500)) || { echo "only $seen includes found"; bad=1; }
# what only the layers that touch devices may name
if grep -rlE '\bcl[A-Z][a-zA-Z]+\(' --include='*.[ch]' . | grep -vE '^\./(device|ops)/' | grep .; then
    echo 'these call OpenCL, which src/device and src/ops alone know'
    bad=1
fi
exit "$bad"
