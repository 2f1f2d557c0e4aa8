/* What C and OpenCL C must agree on: the code that launches kernels includes this file, and so does every program of
 * kernels (cl/common.cl).  A size here may be changed, and both sides follow; what is said to be a layout or a file's
 * number may not.
 *
 * Names begin with their family: the kernel file that they are of, or TILE for tiles in local memory. */
#ifndef LIMN_CONSTANTS_H
#define LIMN_CONSTANTS_H

/* Where a number stands between #ifndef and #endif it is a tunable (src/device/tuning.c): a device may be compiled for
 * another value, and C asks the device for it. */

/* ---- common.cl ---- */

/* Elements that a group takes (EACH; UNIT_BLOCK of a launch): one work-item of a CPU, or wg work-items. */
#define ELEMENT_BLOCK_CPU     4096
#define ELEMENT_BLOCK_GPU(wg) (8 * (wg))

/* Columns of a CPU's work-item (COLUMNS; work_columns): the lanes of a vector. */
#define COLUMNS_CPU 16

/* GPU: a work-group of side x side makes a tile of products, each work-item 4 rows and `item` columns of it, TILE_K
 * numbers of the sum at a time (UNIT_TILE; UNIT_SPAN for the rows alone).  A tall tile (UNIT_TALL) has half as many
 * work-items side by side, and twice as many one below the other. */
#define TILE_M_OF(side)         (4 * (side))
#define TILE_N_OF(side, item)   ((item) * (side))
#define TILE_A_ROW_OF(side)     (TILE_M_OF(side) + 4) /* in local memory: the next k in other banks, by whole fours */
#define TILE_ACROSS(side, tall) ((tall) && (side) > 1 ? (side) / 2 : (side)) /* work-items; and down: */
#define TILE_DOWN(side, tall)   ((tall) && (side) > 1 ? 2 * (side) : (side))
#ifndef TILE_K
#define TILE_K 16
#endif

/* CPU: what a tile will read of a panel so many rows later is asked for; 0: nothing is (tile_cpu.clh). */
#ifndef TILE_AHEAD
#define TILE_AHEAD 0
#endif

/* Models' files have these by name (activation_names). */
typedef enum activation {
    ACT_NONE,
    ACT_RELU,
    ACT_GELU_ERF,   /* x/2 (1 + erf(x/sqrt 2)): Hendrycks & Gimpel 2016 */
    ACT_GELU_TANH,  /* its tanh approximation, ibid. */
    ACT_SILU,       /* x sigmoid(x) */
    ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    ACT_SIGMOID,
    ACT_TANH,
    ACT_LEAKY_RELU, /* max(x, x / 5) */
    ACT_COUNT
} activation;

/* ---- attention.cl, attention_tile.cl ---- */

/* Which keys an image position sees, besides all text positions: the patterns of Ramesh et al. 2021, figure 11, and
 * the axial ones of DALLE-pytorch.  These are causal.  Text positions see the text before them and themselves.
 * Models' files have them by name (mask_names). */
typedef enum mask_kind {
    MASK_FULL,   /* every earlier position */
    MASK_ROW,    /* its own row of the grid */
    MASK_COLUMN, /* its own column */
    MASK_CONV,   /* a window of kernel x kernel cells around it */
    MASK_WINDOW, /* the last grid_width positions and itself: "row" of the paper */
    MASK_CORNER, /* the window of kernel x kernel cells that ends with it: DALLE-pytorch's "conv_like" */
    MASK_TORUS,  /* as MASK_CONV, where the edges of a square grid meet */
    MASK_ALL,    /* not causal: every position sees all `text` positions, which are the whole sequence */
    MASK_COUNT
} mask_kind;

/* What a part of a query's keys leaves: the sum of HEAD_DIM, then the largest score and the sum of exponentials; whole
 * lines of memory. */
#define ATTENTION_PART(head_dim) (((head_dim) + 2 + 15) / 16 * 16)
/* CPU: queries, and keys, of a tile; two vectors of 16. */
#define ATTENTION_SPAN_CPU 32

/* ---- codebook.cl: vectors of a work-item ---- */
#define CODEBOOK_ROWS 8

/* ---- conv.cl ---- */

/* CPU: pixels of a work-item, tiles of 8 that share what they read of x. */
#ifndef CONV_ROWS
#define CONV_ROWS 32
#endif
/* CPU: tiles of a work-item of winograd_output, whose sums of 72 KiB stay in the cache: panels are read once for two. */
#ifndef WINOGRAD_TILES
#define WINOGRAD_TILES 16
#endif

/* ---- embed.cl: columns of a CPU's work-item of embed_back ---- */
#define EMBED_BACK_COLUMNS_CPU 64

/* ---- gemm.cl ---- */

/* CPU: the most rows of a work-item; and the numbers of a sum that pass by all of these at a time, 0: all of them. */
#define GEMM_ROWS_MOST 128
#ifndef GEMM_CHUNK
#define GEMM_CHUNK 0
#endif
/* CPU: rows and columns of a work-item of weight_gradient, multiples of 8 and of 32. */
#ifndef GRADIENT_ROWS
#define GRADIENT_ROWS 64
#endif
#ifndef GRADIENT_COLUMNS
#define GRADIENT_COLUMNS 128
#endif

/* ---- linear.cl ---- */

/* Rows of w of a CPU's work-item: the lanes of a vector. */
#define LINEAR_W_ROWS_CPU 16
/* CPU, F32 and F16: what will be read so many columns later is asked for; 0: nothing is.  Columns of a piece; 0: what
 * linear.cl finds good. */
#ifndef LINEAR_AHEAD
#define LINEAR_AHEAD 512
#endif
#ifndef LINEAR_CHUNK
#define LINEAR_CHUNK 0
#endif
/* Rows of w of a GPU's group, and of a panel of quantised weights there: a layout; and rows of x that its kernel for many
 * takes at once. */
#define LINEAR_W_ROWS_GPU 4
#ifndef LINEAR_X_ROWS_GPU
#define LINEAR_X_ROWS_GPU 4
#endif
/* 1: bytes of quantised weights are taken out of words as vectors of chars, else by shifts (linear.cl). */
#ifndef LINEAR_BYTE_VECTORS
#define LINEAR_BYTE_VECTORS 0
#endif
/* Times these rows of w that a group of linear_norm.cl takes at most. */
#define LINEAR_EACH_GPU 64
/* Numbers of x that a work-item of it keeps in registers at most. */
#define LINEAR_OWN_GPU 24
/* 1: F32 or F16 weights on CPUs are multiplied by 4 and more rows of x in tiles of 6 x 4 sums, which fill 32 registers of
 * 16 floats; compilers that take vectors apart would be busy with them for minutes. */
#ifndef LINEAR_TALL
#define LINEAR_TALL 0
#endif
/* Quantised weights on CPUs.  A panel is so many rows of w, as many as a vector has lanes: a layout. */
#define LINEAR_PANEL 16
/* Integers of x for each 32 columns: 16 pairs, the scale, the sum of the 32 integers: a layout. */
#define LINEAR_X_BLOCK 18
/* Rows of x of a work-item of the product, rows of its tiles, its panels (as many as its tiles have), bytes of a panel
 * that are asked for before they are read (0: none is), and blocks of x of a work-item of `quantise`. */
#ifndef LINEAR_QUANTISED_ROWS
#define LINEAR_QUANTISED_ROWS 32
#endif
#ifndef LINEAR_QUANTISED_TILE
#define LINEAR_QUANTISED_TILE 4
#endif
#ifndef LINEAR_QUANTISED_PANELS
#define LINEAR_QUANTISED_PANELS 2
#endif
#ifndef LINEAR_QUANTISED_AHEAD
#define LINEAR_QUANTISED_AHEAD 0
#endif
#define LINEAR_QUANTISE_BLOCKS 32

/* ---- loss.cl: kinds of difference ---- */
enum { LOSS_L1, LOSS_L2 };

/* ---- panel.cl: numbers of a CPU's work-item of unpack_panels ---- */
#define PANEL_UNPACK 4096

/* ---- relax.cl: draws of 64 numbers, 16 Philox blocks, of a CPU's work-item ---- */
#define RELAX_NOISE_BLOCKS 16

/* ---- sample.cl: the words of a picture's settings (ops.h, sampling) ----
 * Floats by their bits.  ROW: the picture's own of the sequences; OTHER: that without condition, or less than 0. */
enum {
    SAMPLING_TEMPERATURE,
    SAMPLING_TOP_K,
    SAMPLING_TOP_P,
    SAMPLING_SEED_LOW,
    SAMPLING_SEED_HIGH,
    SAMPLING_STREAM,
    SAMPLING_GUIDANCE,
    SAMPLING_ROW,
    SAMPLING_OTHER,
    SAMPLING_WORDS
};

#endif
