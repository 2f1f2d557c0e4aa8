/* What limn tune found: one line per device and driver in CACHE/tuning, "VERSION wg=64 … NAME|DRIVER". */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cl/constants.h"
#include "device/device.h"

static const struct tunable {
    const char *name;
    size_t at;
    bool flag; /* a bool, else an int */
} tunables[] = {
    {"wg", offsetof(tuning, wg), false},
    {"gemm_side", offsetof(tuning, gemm_side), false},
    {"gemm_item", offsetof(tuning, gemm_item), false},
    {"cpu_form", offsetof(tuning, cpu_form), true},
    {"split", offsetof(tuning, split), true},
    {"clblast", offsetof(tuning, clblast), true},
    {"clblast_rows", offsetof(tuning, clblast_rows), false},
    {"clblast_set", offsetof(tuning, clblast_set), false},
};
enum { TUNABLES = sizeof tunables / sizeof *tunables };

static int get(const tuning *t, const struct tunable *k)
{
    const char *at = (const char *)t + k->at;
    return k->flag ? *(const bool *)at : *(const int *)at;
}

static void set(tuning *t, const struct tunable *k, int value)
{
    char *at = (char *)t + k->at;
    if (k->flag)
        *(bool *)at = value != 0;
    else
        *(int *)at = value;
}

void tuning_text(const tuning *t, char out[TUNING_TEXT])
{
    int n = 0;
    out[0] = 0;
    for (int i = 0; i < TUNABLES && n < TUNING_TEXT; i++)
        n += snprintf(out + n, (size_t)(TUNING_TEXT - n), "%s%s=%d", i ? " " : "", tunables[i].name,
                      get(t, &tunables[i]));
}

/* Bytes of local memory that the hungriest kernels take: of tiles, attention's aside, and of those that share a row. */
static uint64_t local_of_tiles(const tuning *t)
{
    uint64_t side = (uint64_t)t->gemm_side, item = (uint64_t)t->gemm_item;
    return sizeof(float) * TILE_K * (TILE_A_ROW_OF(side) + TILE_N_OF(side, item) + 2);
}

static uint64_t local_of_rows(const tuning *t)
{
    return sizeof(float) * LINEAR_X_ROWS_GPU * LINEAR_W_ROWS_GPU * ((uint64_t)t->wg + 1);
}

/* Attention by tiles takes vectors, as where these are taken apart into numbers first the compiler has minutes to do
 * with a kernel of many (cl/attention_tile.cl), or else the local memory.  Its sums of a head are too many for the
 * registers of groups with a side of less than 4. */
void tuning_complete(tuning *t, const limn_device_info *i)
{
    uint64_t tile = TILE_M_OF((uint64_t)t->gemm_side);
    uint64_t row = TILE_A_ROW_OF((uint64_t)t->gemm_side);
    t->tiles = t->cpu_form
                   ? i->vector_width >= 4
                   : t->gemm_side >= 4 && i->local_memory >= sizeof(float) * ((tile + 2 * TILE_K) * row + 5 * tile);
    t->winograd = 16; /* for fewer the transformed weights are written for too little */
    t->winograd_channels = t->cpu_form ? 0 : 48;
    t->winograd_cache = 4 << 20;
    t->strip = 2 << 20;
}

#define WIDE_FROM 16 /* wg of which groups are made wide: where those are small, the device has reasons */
#define WIDE      4
#define WIDE_MOST 256

int tuning_wide(const tuning *t, const limn_device_info *i)
{
    int wide = t->wg < WIDE_FROM ? t->wg : WIDE * t->wg;
    while (wide > t->wg && (wide > WIDE_MOST || (uint64_t)wide > i->max_work_group))
        wide /= 2;
    return wide;
}

size_t tuning_narrow(size_t most)
{
    return most >= WIDE * WIDE_FROM ? most / WIDE : most < WIDE_FROM ? most : WIDE_FROM - 1;
}

bool tuning_valid(const tuning *t, const limn_device_info *i)
{
    int most = i->max_work_group < 256 ? (int)i->max_work_group : 256, side = t->gemm_side;
    bool powers = t->wg >= 1 && (t->wg & (t->wg - 1)) == 0 && side >= 1 && side <= 16 && (side & (side - 1)) == 0;
    bool fits = t->cpu_form ? t->wg == 1 && side == 1
                            : local_of_tiles(t) <= i->local_memory && local_of_rows(t) <= i->local_memory && !t->split;
    return powers && t->wg <= most && side * side <= most && fits && (t->gemm_item == 4 || t->gemm_item == 8) &&
           t->clblast_rows >= 0 && t->clblast_set >= 0 && t->clblast_set < CLBLAST_SETS;
}

bool tuning_shrink(tuning *t, bool tiles, size_t most)
{
    int wg = t->wg, side = t->gemm_side;
    if (t->cpu_form)
        return false;
    while (!tiles && t->wg > 1 && (size_t)t->wg > most)
        t->wg /= 2;
    while (tiles && t->gemm_side > 1 && (size_t)(t->gemm_side * t->gemm_side) > most)
        t->gemm_side /= 2;
    return t->wg != wg || t->gemm_side != side;
}

void tuning_fit(tuning *t, const limn_device_info *i)
{
    tuning_shrink(t, false, i->max_work_group);
    tuning_shrink(t, true, i->max_work_group);
    while (t->wg > 1 && local_of_rows(t) > i->local_memory)
        t->wg /= 2;
    if (local_of_tiles(t) > i->local_memory && t->gemm_side > 8)
        t->gemm_side = 8; /* with item 8: half as many sums for each number that is read as with a side of 16 and 4 */
    while (t->gemm_side > 1 && local_of_tiles(t) > i->local_memory) {
        t->gemm_item = 4;
        if (local_of_tiles(t) > i->local_memory)
            t->gemm_side /= 2;
    }
}

/* All of them must be there, and nothing else. */
static bool parse(tuning *t, const char *text)
{
    int version, used = 0, value;
    if (sscanf(text, "%d%n", &version, &used) != 1 || version != TUNING_VERSION)
        return false;
    for (int i = 0; i < TUNABLES; i++) {
        char name[32];
        text += used;
        if (sscanf(text, " %31[a-z_]=%d%n", name, &value, &used) != 2 || strcmp(name, tunables[i].name) != 0)
            return false;
        set(t, &tunables[i], value);
    }
    return text[used] == 0;
}

bool tuning_load(tuning *t, const limn_device_info *i)
{
    char text[256];
    tuning found = {0};
    if (!device_line_read("tuning", i, text) || !parse(&found, text) || !tuning_valid(&found, i))
        return false;
    tuning_complete(&found, i);
    *t = found;
    return true;
}

bool tuning_save(const tuning *t, const limn_device_info *i, err *e)
{
    char values[TUNING_TEXT], text[256];
    tuning_text(t, values);
    snprintf(text, sizeof text, "%d %.240s", TUNING_VERSION, values);
    return device_line_write("tuning", i, text, e);
}
