/* Tuning: what differs between devices, as a few numbers.  device_default_tuning makes them from type and limits; limn
 * tune measures better ones, which tuning.c keeps in a file; tests set others. */
#ifndef DEVICE_TUNING_H
#define DEVICE_TUNING_H
#include <stddef.h>

#include "base/err.h"
#include "limn/limn.h"

typedef struct tuning {
    bool cpu_form;    /* kernels' CPU form, where a work-item makes a register tile (of products 8x32); else the GPU
                       * form, where a work-group makes a tile in local memory */
    int wg;           /* work-items that share a row (a reduction): 1 in the CPU form, else a power of two */
    int gemm_side;    /* side of the square work-group of tiled products: 16, 8, 4, 2 or 1; in the CPU form 1 */
    int gemm_item;    /* columns of a work-item of these, of 4 rows: 4 or 8 */
    bool split;       /* CPU form: the register tile in four parts one after the other */
    bool clblast;     /* CLBlast makes products of many rows, if it can */
    int clblast_rows; /* the fewest rows that it makes */
    int clblast_set;  /* its parameters: 0 for its own choice, else one of the sets of ops/gemm.c */
    bool tiles;       /* attention of many queries by tiles: the device has vectors (CPU form) or local memory for it */
    int winograd;     /* 3x3 convolutions of at least so many 4x4 tiles take Winograd's kernels; 0: none does */
    int winograd_channels; /* and of in and out channels that in x out / (in + out) is no less: GPUs write it all */
    int winograd_cache;    /* floats of transformed weights, and of transformed pixels, that are worked on at a time */
    int strip;          /* floats of a strip of rows, for pictures that aren't in memory as a whole (conv_strips.c) */
    int narrow_panels;  /* convolutions, not of 1x1, of at least so many weights keep them as F16 or Q8_0 (ops/panel.c)
                         */
    int narrow_queries; /* CPU form: of at least so many, heads that 32 doesn't divide are attended to by tiles */
    int draft; /* codes of a picture that are drafted and checked in one pass, where nobody says (limn.h); 1: none */
    /* GPU form */
    int wide;           /* groups of kernels of few rows are so many times wg: tuning_wide */
    int tile_k;         /* TILE_K of products, convolutions and Winograd's product */
    int x_rows;         /* rows of x that products of few rows make at once, where there are more than four */
    int attention_keys; /* the fewest keys of a part of a query's */
    bool byte_vectors;  /* LINEAR_BYTE_VECTORS: whether bytes of quantised weights are taken out of words as vectors */
    /* CPU form */
    int items_few, items_many; /* work-items of a compute unit for products of up to 4 rows, and of more of them */
    int ahead, chunk;          /* LINEAR_AHEAD, LINEAR_CHUNK (0: the kernel's choice) */
    bool tall;                 /* LINEAR_TALL */
    int quantised_ahead, quantised_rows, quantised_panels, quantised_tile; /* LINEAR_QUANTISED_… */
    int tile_ahead, gemm_chunk;                                            /* TILE_AHEAD, GEMM_CHUNK */
    int gemm_rows;                       /* rows of a work-item of products, where all compute units have some */
    int conv_rows, conv_items;           /* CONV_ROWS; work-items of a compute unit for convolutions */
    int winograd_tiles;                  /* WINOGRAD_TILES */
    int gradient_rows, gradient_columns; /* GRADIENT_ROWS, GRADIENT_COLUMNS */
} tuning;
#define CLBLAST_SETS 4 /* with the 0 */

/* One number of it that limn tune may change.  Any of its values gives right results.  In the CPU form they are the
 * same to the bit whatever the tuning; in the GPU form cpu_form, wg, wide, attention_keys, winograd_channels,
 * CLBlast, and of small pictures what makes tiles or strips change the order of sums, and so their rounding. */
typedef struct tunable {
    const char *name; /* in the file, and in messages */
    size_t at;        /* in tuning */
    bool flag;        /* a bool, else an int */
    /* other values than these are valid too: tuning_valid has the rule; of a flag, the device decides the default */
    bool free;
    bool ordered; /* neighbours are alike, so that what doesn't gain needn't be followed further */
    enum { FORM_ANY, FORM_CPU, FORM_GPU } form; /* where it matters */
    const char *define;                         /* the macro of kernels; NULL: it concerns launches alone */
    const char *files; /* the kernel files that read it, " conv gemm "; NULL: all do, and get it always */
    int own;           /* the macro's value where it isn't given: kernels' text has it too (cl/constants.h) */
    size_t asked;      /* of a flag whose default isn't `own` but what the device says: where that is in its info */
    int n, values[6];
} tunable;
extern const tunable tunables[];
extern const int tunables_count;
int tunable_get(const tuning *t, const tunable *k);
/* Another form takes what is right for it: all other numbers are that form's defaults. */
void tunable_set(tuning *t, const tunable *k, int value, const limn_device_info *info);
/* NULL: there is none of that name. */
const tunable *tunable_find(const char *name);

/* The choices for a device, and those for one form of kernels on it: device.c. */
tuning device_default_tuning(const limn_device_info *info);
tuning device_form_tuning(const limn_device_info *info, bool cpu_form);

/* tuning.c: what limn tune found, kept beside the score by device, driver and version.  The version grows when what is
 * tuned means something else, or other kernels were measured. */
#define TUNING_VERSION 4
#define TUNING_TEXT    768
/* What isn't tuned follows from what is. */
void tuning_complete(tuning *t, const limn_device_info *info);
/* "wg=32 gemm_side=8": what the device wouldn't have by itself, or "". */
void tuning_text(const tuning *t, const limn_device_info *info, char out[TUNING_TEXT]);
bool tuning_same(const tuning *a, const tuning *b);
/* Whether both give all kernels the same defines. */
bool tuning_same_code(const tuning *a, const tuning *b);
/* "-DCPU=1 -DWG=1 …": what the kernel file is compiled with.  What the kernels have by themselves isn't there. */
#define TUNING_DEFINES 320
void tuning_defines(const tuning *t, const char *file, char out[TUNING_DEFINES]);
/* Work-items of a group where a launch has a group or two for each row of a batch: more than wg, as few groups must
 * fill the device; and the largest wg with which these are at most `most`. */
int tuning_wide(const tuning *t, const limn_device_info *info);
size_t tuning_narrow(const tuning *t, size_t most);
/* Whether the device can run it. */
bool tuning_valid(const tuning *t, const limn_device_info *info);
/* Limits groups to `most` work-items and to a power of two: those of tiles, or those that share a row.  False if
 * nothing changes. */
bool tuning_shrink(tuning *t, bool tiles, size_t most);
/* Makes the groups of the GPU form small enough for the device's limits. */
void tuning_fit(tuning *t, const limn_device_info *info);
/* Leaves *t as it is if nothing valid was saved. */
bool tuning_load(tuning *t, const limn_device_info *info);
bool tuning_save(const tuning *t, const limn_device_info *info, err *e);
#endif
