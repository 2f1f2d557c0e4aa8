/* What differs between devices: the tunables, what is valid of them, and what limn tune found of them: one line per
 * device and driver in CACHE/tuning, "VERSION wg=32 … PLATFORM|NAME|DRIVER". */
#include "device/tuning.h"

#include <stdio.h>
#include <string.h>

#include "cl/constants.h"
#include "device/device.h"

#define AT(field)   #field, offsetof(tuning, field)
#define FLAG        .flag = true, .n = 2, .values = {0, 1}
#define VALUES(...) .ordered = true, .n = (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), .values = {__VA_ARGS__}
#define ASKED(info) .asked = offsetof(limn_device_info, info)
/* A define that the files alone get, and where it isn't the kernels' own value. */
#define IN(files_, macro) .define = #macro, .files = " " files_ " ", .own = (macro)

/* Why the ranges: where a number makes a kernel keep more, up to what fits registers, a stack or the nearest caches of
 * known devices; where it makes parts smaller, down to where starting them takes as long as their work. */
const tunable tunables[] = {
    {AT(cpu_form), FLAG, .free = true, .define = "CPU"},
    {AT(wg), VALUES(16, 32, 64, 128, 256), .free = true, .form = FORM_GPU, .define = "WG"},
    {AT(gemm_side), VALUES(4, 8, 16), .free = true, .form = FORM_GPU, .define = "SIDE"},
    {AT(gemm_item), VALUES(4, 8), .free = true, .form = FORM_GPU, .define = "ITEM"},
    {AT(split), FLAG, .free = true, .form = FORM_CPU, .define = "SPLIT"},
    {AT(wide), VALUES(1, 2, 4, 8), .form = FORM_GPU},
    {AT(tile_k), VALUES(8, 16, 32), .form = FORM_GPU, IN("conv gemm winograd", TILE_K)},
    {AT(x_rows), VALUES(4, 8), .form = FORM_GPU, IN("linear", LINEAR_X_ROWS_GPU)},
    {AT(byte_vectors), FLAG, ASKED(byte_vectors), .form = FORM_GPU, IN("linear linear_norm", LINEAR_BYTE_VECTORS)},
    {AT(attention_keys), VALUES(64, 128, 256, 512), .form = FORM_GPU},
    {AT(winograd_channels), VALUES(0, 24, 48, 96, 192), .form = FORM_GPU},
    {AT(winograd_cache), VALUES(1 << 18, 1 << 19, 1 << 20, 2 << 20, 4 << 20, 8 << 20)},
    {AT(strip), VALUES(1 << 19, 1 << 20, 2 << 20, 4 << 20)},
    {AT(draft), .n = 5, .values = {1, 2, 4, 8, 16}},
    {AT(clblast), FLAG, .free = true, .form = FORM_GPU},
    {AT(clblast_rows), VALUES(0, 128, 512), .free = true, .form = FORM_GPU},
    {AT(clblast_set), .n = CLBLAST_SETS, .values = {0, 1, 2, 3}, .form = FORM_GPU},
    {AT(items_few), VALUES(2, 4, 8, 16, 32), .form = FORM_CPU},
    {AT(items_many), VALUES(2, 4, 8, 16, 32), .form = FORM_CPU},
    {AT(ahead), VALUES(0, 256, 512, 1024, 2048), .form = FORM_CPU, IN("linear", LINEAR_AHEAD)},
    {AT(chunk), .n = 5, .values = {0, 256, 512, 1024, 2048}, .form = FORM_CPU, IN("linear", LINEAR_CHUNK)},
    {AT(tall), FLAG, .free = true, .form = FORM_CPU, IN("linear", LINEAR_TALL)},
    {AT(quantised_ahead), VALUES(0, 1024, 2048, 4096), .form = FORM_CPU, IN("linear", LINEAR_QUANTISED_AHEAD)},
    {AT(quantised_rows), VALUES(8, 16, 32, 64, 128), .form = FORM_CPU, IN("linear", LINEAR_QUANTISED_ROWS)},
    {AT(quantised_panels), VALUES(1, 2), .form = FORM_CPU, IN("linear", LINEAR_QUANTISED_PANELS)},
    {AT(quantised_tile), VALUES(2, 4, 6, 8), .form = FORM_CPU, IN("linear", LINEAR_QUANTISED_TILE)},
    {AT(tile_ahead), VALUES(0, 8, 16, 32), .form = FORM_CPU, IN("conv gemm winograd", TILE_AHEAD)},
    {AT(gemm_chunk), .n = 4, .values = {0, 128, 256, 512}, .form = FORM_CPU, IN("gemm", GEMM_CHUNK)},
    {AT(gemm_rows), VALUES(8, 16, 32, 64, GEMM_ROWS_MOST), .form = FORM_CPU},
    {AT(conv_rows), VALUES(8, 16, 32, 64), .form = FORM_CPU, IN("conv", CONV_ROWS)},
    {AT(conv_items), VALUES(4, 8, 16, 32), .form = FORM_CPU},
    {AT(winograd_tiles), VALUES(8, 16, 32), .form = FORM_CPU, IN("winograd", WINOGRAD_TILES)},
    {AT(gradient_rows), VALUES(32, 64, 128), .form = FORM_CPU, IN("gemm", GRADIENT_ROWS)},
    {AT(gradient_columns), VALUES(64, 128, 256), .form = FORM_CPU, IN("gemm", GRADIENT_COLUMNS)},
};
const int tunables_count = sizeof tunables / sizeof *tunables;

int tunable_get(const tuning *t, const tunable *k)
{
    const char *at = (const char *)t + k->at;
    return k->flag ? *(const bool *)at : *(const int *)at;
}

static void set(tuning *t, const tunable *k, int value)
{
    char *at = (char *)t + k->at;
    if (k->flag)
        *(bool *)at = value != 0;
    else
        *(int *)at = value;
}

void tunable_set(tuning *t, const tunable *k, int value, const limn_device_info *info)
{
    if (k->at == offsetof(tuning, cpu_form) && t->cpu_form != (value != 0))
        *t = device_form_tuning(info, value != 0);
    set(t, k, value);
    tuning_complete(t, info);
}

const tunable *tunable_find(const char *name)
{
    for (int i = 0; i < tunables_count; i++)
        if (!strcmp(tunables[i].name, name))
            return &tunables[i];
    return NULL;
}

bool tuning_same(const tuning *a, const tuning *b)
{
    for (int i = 0; i < tunables_count; i++)
        if (tunable_get(a, &tunables[i]) != tunable_get(b, &tunables[i]))
            return false;
    return true;
}

bool tuning_same_code(const tuning *a, const tuning *b)
{
    for (int i = 0; i < tunables_count; i++)
        if (tunables[i].define && tunable_get(a, &tunables[i]) != tunable_get(b, &tunables[i]))
            return false;
    return true;
}

void tuning_defines(const tuning *t, const char *file, char out[TUNING_DEFINES])
{
    char word[64];
    int n = 0;
    snprintf(word, sizeof word, " %s ", file);
    out[0] = 0;
    for (int i = 0; i < tunables_count && n < TUNING_DEFINES; i++) {
        const tunable *k = &tunables[i];
        int value = tunable_get(t, k);
        if (k->define && (!k->files || (strstr(k->files, word) && value != k->own)))
            n += snprintf(out + n, (size_t)(TUNING_DEFINES - n), "%s-D%s=%d", n ? " " : "", k->define, value);
    }
}

void tuning_text(const tuning *t, const limn_device_info *info, char out[TUNING_TEXT])
{
    const tuning own = device_default_tuning(info), base = device_form_tuning(info, t->cpu_form);
    int n = 0;
    out[0] = 0;
    for (int i = 0; i < tunables_count && n < TUNING_TEXT; i++) {
        const tunable *k = &tunables[i];
        if (tunable_get(t, k) != tunable_get(i == 0 ? &own : &base, k))
            n += snprintf(out + n, (size_t)(TUNING_TEXT - n), "%s%s=%d", n ? " " : "", k->name, tunable_get(t, k));
    }
}

/* Bytes of local memory that the hungriest kernels take: of tiles, attention's aside, and of those that share a row. */
static uint64_t local_of_tiles(const tuning *t)
{
    uint64_t side = (uint64_t)t->gemm_side, item = (uint64_t)t->gemm_item;
    return sizeof(float) * (uint64_t)t->tile_k * (TILE_A_ROW_OF(side) + TILE_N_OF(side, item) + 2);
}

static uint64_t local_of_rows(const tuning *t)
{
    return sizeof(float) * (uint64_t)t->x_rows * LINEAR_W_ROWS_GPU * ((uint64_t)t->wg + 1);
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
}

#define WIDE_FROM 16 /* wg of which groups are made wide: where those are small, the device has reasons */
#define WIDE_MOST 256

int tuning_wide(const tuning *t, const limn_device_info *i)
{
    int wide = t->wg < WIDE_FROM ? t->wg : t->wide * t->wg;
    while (wide > t->wg && (wide > WIDE_MOST || (uint64_t)wide > i->max_work_group))
        wide /= 2;
    return wide;
}

size_t tuning_narrow(const tuning *t, size_t most)
{
    size_t wide = (size_t)t->wide;
    return most >= wide * WIDE_FROM ? most / wide : most < WIDE_FROM ? most : WIDE_FROM - 1;
}

/* Whether the number of each tunable is one of those that its kernels were made for. */
static bool in_ranges(const tuning *t)
{
    for (int i = 0; i < tunables_count; i++) {
        const tunable *k = &tunables[i];
        bool found = k->free || (k->form != FORM_ANY && (k->form == FORM_CPU) != t->cpu_form);
        for (int j = 0; j < k->n && !found; j++)
            found = tunable_get(t, k) == k->values[j];
        if (!found)
            return false;
    }
    return true;
}

bool tuning_valid(const tuning *t, const limn_device_info *i)
{
    int most = i->max_work_group < 256 ? (int)i->max_work_group : 256, side = t->gemm_side;
    bool powers = t->wg >= 1 && (t->wg & (t->wg - 1)) == 0 && side >= 1 && side <= 16 && (side & (side - 1)) == 0;
    /* each work-item of a tile brings fours to local memory, one at least */
    bool fits = t->cpu_form ? t->wg == 1 && side == 1
                            : local_of_tiles(t) <= i->local_memory && local_of_rows(t) <= i->local_memory &&
                                  t->tile_k >= side && !t->split;
    return powers && t->wg <= most && side * side <= most && fits && (t->gemm_item == 4 || t->gemm_item == 8) &&
           t->clblast_rows >= 0 && in_ranges(t);
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

/* All of it must be understood. */
static bool parse(tuning *t, const char *text, const limn_device_info *info)
{
    int version, used = 0, value;
    if (sscanf(text, "%d%n", &version, &used) != 1 || version != TUNING_VERSION)
        return false;
    *t = device_default_tuning(info);
    for (text += used; *text; text += used) {
        char name[32];
        if (sscanf(text, " %31[a-z_]=%d%n", name, &value, &used) != 2)
            return false;
        const tunable *k = tunable_find(name);
        if (!k)
            return false;
        tunable_set(t, k, value, info); /* the form is the first */
    }
    return true;
}

bool tuning_load(tuning *t, const limn_device_info *i)
{
    char text[TUNING_TEXT + 16];
    tuning found;
    if (!device_line_read("tuning", i, text, sizeof text) || !parse(&found, text, i) || !tuning_valid(&found, i))
        return false;
    *t = found;
    return true;
}

bool tuning_save(const tuning *t, const limn_device_info *i, err *e)
{
    char values[TUNING_TEXT], text[TUNING_TEXT + 16];
    tuning_text(t, i, values);
    snprintf(text, sizeof text, "%d%s%s", TUNING_VERSION, values[0] ? " " : "", values);
    return device_line_write("tuning", i, text, e);
}
