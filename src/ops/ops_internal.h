/* Shared by the ops alone: sizes of launches. */
#ifndef OPS_INTERNAL_H
#define OPS_INTERNAL_H

#include "ops/ops.h"
#include "ops/tape.h"

static inline size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* One work-item for each of n elements; the kernel checks the bound. */
static inline work work_each(int64_t n, double flops_each, double bytes_each)
{
    return (work){
        .global = {round_up((size_t)n, 64)}, .flops = flops_each * (double)n, .bytes = bytes_each * (double)n};
}

/* One work-group of WG for each of n rows. */
static inline work work_rows(int64_t n, double flops, double bytes)
{
    return (work){.global = {(size_t)n}, .unit = UNIT_ROW, .flops = flops, .bytes = bytes};
}

/* n elements, an ELEMENT_BLOCK for each group. */
static inline work work_blocks(int64_t n, double flops_each, double bytes_each)
{
    return (work){
        .global = {(size_t)n}, .unit = UNIT_BLOCK, .flops = flops_each * (double)n, .bytes = bytes_each * (double)n};
}

/* Columns of n rows of d: a work-item for each, or, in the CPU form, for COLUMNS_CPU of them. */
static inline work work_columns(run *r, int64_t d, int64_t n, double flops, double bytes)
{
    bool cpu = run_device(r)->tune.cpu_form;
    work w = {.global = {cpu ? (size_t)(d + COLUMNS_CPU - 1) / COLUMNS_CPU : round_up((size_t)d, 64), (size_t)n},
              .flops = flops,
              .bytes = bytes};
    for (int i = 0; i < 3 && cpu; i++)
        w.local[i] = 1;
    return w;
}

/* Rows of d numbers, a work-item for each. */
static inline work work_grid(int64_t d, int64_t rows, double flops_each, double bytes_each)
{
    double count = (double)(d * rows);
    return (work){
        .global = {round_up((size_t)d, 64), (size_t)rows}, .flops = flops_each * count, .bytes = bytes_each * count};
}

/* Splits n into parts of *each, which is at least `least`, and returns how many parts there are: not more than 256, so
 * that adding them up is little work.  It depends on n alone, so that sums are the same every time. */
static inline int64_t parts_of(int64_t n, int64_t least, int64_t *each)
{
    *each = (n + 255) / 256;
    if (*each < least)
        *each = least;
    return (n + *each - 1) / *each;
}

/* The same launch of a kernel of the backward pass.  These stand between #ifdef BACKWARD, so that inference doesn't
 * compile them. */
static inline work backward(work w)
{
    w.options = "-DBACKWARD";
    return w;
}

/* Whether what follows from each other is done in one launch: on GPUs, where a launch takes longer than such work. */
static inline bool ops_fuses(run *r)
{
    return !run_device(r)->tune.cpu_form && !run_tape(r);
}

/* The tensor that x's gradient is added to (tape_gradient_of); empty if x wants none. */
static inline tensor wanted(tape *t, tensor x, int *add)
{
    *add = 0;
    return tape_wants(t, x) ? tape_gradient_of(t, x, add) : (tensor){0};
}

/* Fails the run if w wants a gradient and isn't F32 in one buffer. */
static inline void check_trainable(run *r, const char *op, tensor w)
{
    tape *t = run_tape(r);
    if (t && w.buf && (w.type != DTYPE_F32 || w.buf->next) && tape_wants(t, w))
        err_set(run_error(r), ERR_FAILED, "%s: a weight that wants a gradient is %s, and must be F32 in one buffer", op,
                w.type == DTYPE_F32 ? "in several buffers" : dtype_table[w.type].name);
}

/* Fails the run if x wants a gradient and each row of the batch has a position of its own: no backward handles those.
 */
static inline void check_position(run *r, const char *op, tensor position, tensor x)
{
    if (tensor_count(&position) > 1)
        tape_no_gradient(r, op, x);
}

/* For POSITION of cl/common.cl: whether each of a batch has its own. */
#define ARG_OWN(position) ARG_I(tensor_count(&(position)) > 1)

/* Rows of the last dimension. */
static inline int64_t rows_of(const tensor *x)
{
    return x->buf ? tensor_count(x) / x->shape[x->nd - 1] : 0;
}

static inline int64_t last_of(const tensor *x)
{
    return x->nd ? x->shape[x->nd - 1] : 0;
}

/* A new tensor like x but for the last dimension. */
static inline tensor tensor_like(run *r, const tensor *x, int64_t last)
{
    int64_t shape[4] = {x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    if (x->nd)
        shape[x->nd - 1] = last;
    return run_tensor(r, DTYPE_F32, x->nd, shape);
}

/* "linear:rows4_" and the type's name. */
#define TYPED(prefix, type)                                                                                            \
    ((type) == DTYPE_F16    ? prefix "f16"                                                                             \
     : (type) == DTYPE_Q8_0 ? prefix "q8_0"                                                                            \
     : (type) == DTYPE_Q4_0 ? prefix "q4_0"                                                                            \
                            : prefix "f32")

/* to[d] = sum over the rows of from[n, stride], columns `first` to first + d - 1, + what was there if add; nothing
 * where `to` is empty: reduce.c. */
void sum_rows(run *r, tensor to, tensor from, int64_t n, int64_t stride, int64_t first, int add);
/* y[n] (+)= sums of the columns of x[m,n]: reduce.c. */
void column_sums(run *r, tensor x, tensor y, int add);
/* Parts of at least `least` of n rows, so that there are some work-items for each compute unit although the result has
 * only so many tiles; *part: how many each has.  y (+)= the sum of n parts: reduce.c. */
int64_t row_parts(run *r, int64_t n, int64_t least, int64_t tiles, int64_t *part);
void sum_parts(run *r, tensor parts, int64_t n, tensor y, int add);
/* to[id - first, d] += x[n, d] for the ids[n] that lie in it; those outside of `vocabulary` count as 0: embed.c. */
void add_rows(run *r, tensor to, tensor ids, tensor x, int64_t first, int64_t vocabulary);
/* The gradient of x, where one is wanted, gets scale dy, or dy: elementwise.c. */
void scale_gradient(run *r, tape *t, tensor x, tensor dy, float scale);
void gradient_add(run *r, tape *t, tensor x, tensor dy);
/* To the gradient of x from that of out, where out is as if it were y = softmax(scale x): norm.c. */
void softmax_gradient(run *r, tape *t, tensor x, tensor y, tensor out, float scale);
/* Whether GPUs may read rows of n numbers of x by fours, for tiles of products: gemm.c. */
bool tile_by_fours(run *r, int64_t n, tensor x);
/* How many tiles of a GPU a product of rows and columns takes: of wide ones, UNIT_TILE, or of tall ones, where its
 * kernel may have these and they are fewer, since less of them lies outside: gemm.c. */
int64_t tile_count(const tuning *t, int64_t rows, int64_t columns, bool may_be_tall, work_unit *unit);
/* Whether GPUs' kernels for few rows read this weight by vectors: in panels, or rows that begin at multiples of 4; and
 * the rows up to which there are such kernels: linear.c. */
bool linear_wide(tensor w);
#define FEW_ROWS 32 /* up to here reading the weights bounds the time, and sums don't depend on the number of rows */
/* y = act(x w^T + b) + residual for many rows; y is all of the output: gemm.c. */
bool gemm(run *r, tensor x, const linear *l, activation act, tensor residual, tensor y);

/* y = x w^T + b + residual with the adapter k, of a step that records: low_rank.c. */
tensor linear_adapted(run *r, tensor x, const linear *l, const low_rank *k, tensor residual);

/* y = act(conv2d(x) + bias) + residual of some rows of a picture: pad_top rows of zeros are above x, and below it as
 * many as y needs.  by_winograd: as winograd_applies says of the whole picture: conv.c. */
void conv_rows(run *r, tensor x, const conv *c, int pad_top, bool by_winograd, activation act, tensor residual,
               tensor y);
/* What the ops of these names launch, into y, which may be an input where the shapes are equal: elementwise.c. */
void activate(run *r, tensor x, activation act, tensor y);
void upsample(run *r, tensor x, int factor, tensor y);
void scale_add(run *r, tensor a, float wa, tensor b, float wb, tensor y);
/* Mean and 1/sqrt(variance + eps), stats[b,groups,2], of x[b,h,w,c]; y = act(group norm of x) by them: norm.c. */
tensor group_norm_stats(run *r, tensor x, int groups, float eps);
void group_norm_apply(run *r, tensor x, tensor stats, const norm *n, int groups, activation act, tensor y);

/* The build options for a cache, its type, the size of a head and the heads of queries that share one of keys, and
 * `more`; bytes of a key or value; the keys and values of x[b,t,parts d], its last two parts, to the cache, from
 * `position` on (empty: from 0): kv_cache.c. */
#define CACHE_OPTION 80
const char *cache_option(const kv_cache *cache, int64_t queries, const char *more, char out[CACHE_OPTION]);
double cache_bytes(const kv_cache *cache);
void cache_store(run *r, tensor x, int parts, const kv_cache *cache, tensor position);
/* Attention of many queries by tiles, and its backward: attention_tile.c.  False, with nothing done, if tiles aren't
 * for this device or these sizes: the kernels of attention.cl do it then. */
bool attend_tiles(run *r, tensor qkv, const kv_cache *cache, tensor position, const attention_mask *mask, tensor y,
                  tensor lse);
/* The same to all keys of another sequence. */
bool cross_tiles(run *r, tensor q, const kv_cache *cache, tensor y, tensor lse);
bool attend_tiles_back(run *r, const tape_step *s, const attention_mask *mask, tensor dy, tensor dqkv, int add);

/* ---- 3x3 of stride 1: winograd.c ---- */

/* Whether c makes y[b,oh,ow,out] so. */
bool winograd_applies(run *r, const conv *c, int64_t b, int64_t oh, int64_t ow);
/* y = act(conv2d or transposed(op_upsample(x, factor)) + bias) + residual, with pad_top rows of zeros above x.  Its
 * error is about 5 times that of the plain sum: 2e-6 sqrt(mean y^2) on average where 512 channels are summed, 2e-5 of
 * it at most. */
void winograd(run *r, tensor x, const conv *c, bool transposed, int factor, int pad_top, activation act,
              tensor residual, tensor y);

/* ---- gradients of products: gemm.c.  add: 0 overwrites y, 1 adds to it ---- */

/* y[m,k] (+)= x[m,n] w[n,k] */
void gemm_columns(run *r, tensor x, tensor w, tensor y, int add);
/* y[n,k] (+)= dy[m,n]^T x[m,k] */
void gemm_weight_gradient(run *r, tensor dy, tensor x, tensor y, int add);
/* Build options of kernels that read panels of weights, or make them: cl/panel.clh. */
#define PANEL_OPTIONS(panels)                                                                                          \
    ((panels).type == DTYPE_F16 ? "-DPANEL_F16" : (panels).type == DTYPE_Q8_0 ? "-DPANEL_Q8_0" : NULL)
/* `count` rows of a linear layer's panels as floats, from row `first` of that piece on: into y's panels of `lanes`
 * rows, from `panel` on, or (lanes 1) its rows. */
void linear_unpack(run *r, tensor w, tensor y, int64_t first, int64_t count, int64_t lanes, int64_t panel);
/* The type of w's panels for products: on GPUs panels of halves are halves, with the same values. */
dtype panel_type(run *r, tensor w);
/* Panels of w[n,k] into `panels`, which holds ceil(n/32) * k * 32 numbers.  Either may be in several buffers of whole
 * panels. */
void panels_pack(run *r, tensor panels, tensor w);
/* Whether the kernels of products don't read panels of that type; these panels as floats, which are all in one buffer:
 * panel.c. */
bool panels_packed(run *r, tensor panels);
tensor panels_unpacked(run *r, tensor panels);
/* The panels of c's weight with in and out exchanged. */
tensor conv_transpose_panels(run *r, const conv *c);
/* The grids that a convolution joins: its taps are kernel * kernel pixels of the large one around
 * (y * stride - pad, x * stride - pad) for each of the small one. */
typedef struct grids {
    int images, h, w, large_h, large_w, kernel, stride, pad;
} grids;
/* y[o,tap,c] (+)= sum over pixels and images of dy[..,o] x[..,c]; dy_large: dy is on the large grid, x on the small */
void weight_gradient(run *r, tensor dy, tensor x, bool dy_large, const grids *g, tensor y, int add);
#endif
