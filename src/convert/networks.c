/* The table of networks, and the names of those in a set. */
#include "convert/networks.h"

#include <stdio.h>

#include "convert/names.h"

#define ROW(id, ...) {__VA_ARGS__},
const network networks[NETWORKS] = {IMPORT_NETWORKS(ROW)};

void import_names_text(uint64_t set, char out[256])
{
    size_t at = 0;
    *out = 0;
    for (int i = 0; i < NETWORKS && at < 200; i++)
        if (set & UINT64_C(1) << i) {
            set &= ~(UINT64_C(1) << i);
            at += (size_t)snprintf(out + at, 256 - at, "%s%s", !at ? "" : set ? ", " : " and ", networks[i].name);
        }
}
