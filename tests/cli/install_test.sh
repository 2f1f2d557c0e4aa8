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
# what a program does with a device, also in C++: pictures of different requests together
cat >"$work/draw.c" <<'C'
#include <limn/limn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int failed(const limn_error *e)
{
    fprintf(stderr, "%s\n", e->text);
    return e->code ? e->code : 1;
}
int main(void)
{
    static const char *const prompts[3] = {"a red apple", "a panda", "a tree"};
    limn_error e;
    memset(&e, 0, sizeof e);
    limn_device *d = limn_device_open(NULL, NULL, &e);
    if (!d)
        return failed(&e) == LIMN_NO_DEVICE ? 77 : 1;
    limn_model *m = limn_model_open(d, NULL, &e);
    if (!m)
        return failed(&e);
    const limn_model_info *i = limn_model_get_info(m);
    size_t cells = (size_t)(i->grid_width * i->grid_height), values = 3 * (size_t)(i->width * i->height);
    int32_t *codes = (int32_t *)malloc(cells * sizeof *codes), *alone = (int32_t *)malloc(cells * sizeof *alone);
    uint8_t *pixels = (uint8_t *)malloc(values);
    limn_device_info *list = NULL;
    size_t n;
    if (!limn_devices(&list, &n, &e) || n == 0)
        return failed(&e);
    limn_free(list);
    limn_generation *g = limn_generation_open(m, NULL, &e);
    uint64_t ids[3], id;
    int left = 3, taken = 0, number;
    for (int k = 0; g && k < 3; k++) {
        limn_request q;
        memset(&q, 0, sizeof q);
        q.size = sizeof q;
        q.prompt = prompts[k];
        q.seed = (uint64_t)k;
        q.greedy = k == 1;
        if (!limn_generation_add(g, &q, &ids[k], &e))
            return failed(&e);
    }
    while (left > 0) {
        if (!g || !limn_generation_step(g, &left, &e))
            return failed(&e);
        while (limn_generation_take(g, &id, &number, codes)) {
            limn_generate_options o = limn_generate_defaults(m);
            int k = 0;
            while (ids[k] != id)
                k++;
            o.prompt = prompts[k];
            o.seed = (uint64_t)k;
            o.temperature = k == 1 ? 0 : o.temperature;
            if (!limn_generate(m, &o, alone, &e) || !limn_decode_pixels(m, codes, 1, LIMN_U8, pixels, NULL, &e))
                return failed(&e);
            if (number != 0 || memcmp(codes, alone, cells * sizeof *codes) != 0)
                return puts("a picture is another one beside others"), 1;
            taken++;
        }
    }
    limn_generation_free(&g);
    limn_model_free(&m);
    limn_device_free(&d);
    free(codes);
    free(alone);
    free(pixels);
    return taken == 3 ? 0 : 1;
}
C
read -ra flags < <(pkg-config --cflags --libs limn)
cc -Wall -Wextra -Werror "$work/draw.c" -o "$work/draw" "${flags[@]}"
c++ -Wall -Wextra -Werror -x c++ "$work/draw.c" -x none -o "$work/draw++" "${flags[@]}"
for program in draw draw++; do
    status=0
    LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$work/$program" || status=$?
    [[ $status == 0 || $status == 77 ]] || { echo "$program: $status"; exit 1; }
done
hidden=$(nm -D --defined-only "$libraries/liblimn.so" | awk '$2 != "A" && $3 !~ /^limn_/ {print $3}')
[[ -z $hidden ]] || { printf 'symbols beside the public API:\n%s\n' "$hidden"; exit 1; }
# a static program's own functions may have any name but the public ones
names=$(nm --defined-only --extern-only "$libraries/liblimn.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^limn_/ {print $3}')
[[ -z $names ]] || { printf 'names of the static library that are in the way of others: %s\n' "$names"; exit 1; }
for page in bin/limn share/man/man1/limn.1* share/bash-completion/completions/limn; do
    compgen -G "$work/p/$page" >/dev/null || { echo "not installed: $page"; exit 1; }
done
