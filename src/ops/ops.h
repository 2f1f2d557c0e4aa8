/* Every op: what it computes, on which shapes.  Kernels are in cl/, the CPU reference of each in tests/ops/ref_ops.c.
 *
 * Ops take a run first and return their output, which the run owns (device/run.h).  Activations are F32, row-major,
 * pictures channels-last [b,h,w,c].  Leading dimensions that are not named here are rows: x[...,d] has rows of d.
 * `position` is I32 [1] on the device, the first position of x[b,t,…]; or I32 [b], each row's own.
 * Weights are F32, F16, Q8_0 or Q4_0; sums are F32.  Shapes that don't fit fail the run (REQUIRE).
 *
 * While a tape records (tape.h), an op sends gradients to all of its F32 inputs, except to those that its comment calls
 * constants.  Where a gradient is wanted that an op can't give (to weights that aren't F32 in one buffer, through F16
 * caches or weights in panels, at positions that differ between rows), the run fails with an error that names the op.
 */
#ifndef OPS_OPS_H
#define OPS_OPS_H
#include "cl/constants.h" /* activation, mask_kind */
#include "device/run.h"

extern const char *const activation_names[ACT_COUNT]; /* "none", "relu", "gelu_erf", … */

/* ---- products: linear.c, conv.c ---- */

typedef struct linear {
    tensor w; /* [out, in] */
    tensor b; /* [out] F32, or empty */
} linear;

/* CPU devices multiply with Q8_0 and Q4_0 by integers: x is rounded to 16 bits, relative to the largest of each 32
 * neighbours of a row, and a row's result doesn't depend on how many rows there are.  They read such a weight once, and
 * fastest, in panels: whether d reads weights of this type so. */
bool linear_packs(const device *d, dtype type);
/* The weight `from` in panels, in new memory: buffer_free(w->buf).  It gives the same results, and no gradient of x.
 * False with e or the run's error set. */
bool linear_pack(run *r, tensor *w, tensor from, const char *what, err *e);
/* y[...,o] = act(x[...,i] w[o,i]^T + b[o]) */
tensor op_linear(run *r, tensor x, const linear *l, activation act);
/* y[...,o] = residual[...,o] + x[...,i] w[o,i]^T + b[o] */
tensor op_linear_add(run *r, tensor x, const linear *l, tensor residual);

/* A convolution or transposed convolution with square kernel; weights packed for the product kernels (conv_pack). */
typedef struct conv {
    tensor w;      /* F32 [out, kernel, kernel, in] where it trains (the panels are packed from it), else empty */
    tensor panels; /* F32 [ceil(out/32), kernel*kernel*in, 32]: panel p, row (ky, kx, c), channels 32p to 32p+31 */
    tensor b;      /* [out] F32, or empty */
    int in, out, kernel, stride, pad;
    int pad_end; /* rows and columns of zeros more at the bottom and at the right; not of transposed ones */
} conv;

/* Panels of w[out, k] (k = kernel*kernel*in in the order ky, kx, c) in new memory: buffer_free(panels.buf). */
bool conv_pack(run *r, tensor *panels, tensor w, const char *what, err *e);
/* The panels from c->w again, in place: after its values changed. */
void conv_repack(run *r, const conv *c);
/* y[b,oy,ox,o] = act(sum x[b, oy*stride - pad + ky, ox*stride - pad + kx, c] w[o,ky,kx,c] + bias[o]) + residual.
 * residual: empty, or of y's shape. */
tensor op_conv2d(run *r, tensor x, const conv *c, activation act, tensor residual);
/* op_conv2d of op_upsample(x, factor), which but where a tape records isn't in memory whole. */
tensor op_upsample_conv2d(run *r, tensor x, int factor, const conv *c, activation act);
/* What a convolution reads: x through a group norm (or without: NULL), then an activation. */
typedef struct conv_input {
    const struct norm *norm;
    int groups;
    activation act;
} conv_input;
/* act(conv2d(k of x) + bias) of a convolution whose output has x's sides (stride 1).  But where a tape records, what it
 * reads is in memory by strips of rows alone, not whole. */
tensor op_conv2d_of(run *r, tensor x, const conv_input *k, const conv *c, activation act);
/* y + gain (conv2d(k of x) + bias); but where a tape records in y's memory, so that y is gone then. */
tensor op_conv2d_onto(run *r, tensor x, const conv_input *k, const conv *c, float gain, tensor y);
/* The gradient of op_conv2d with respect to its input: y[b, iy*stride - pad + ky, ...] += x[b,iy,ix,c] w[o,ky,kx,c],
 * + bias; output side (h - 1) * stride - 2 pad + kernel. */
tensor op_conv_transpose2d(run *r, tensor x, const conv *c, activation act);

/* ---- normalisation: norm.c ---- */

typedef struct norm {
    tensor w, b; /* [d] F32 */
    float eps;
} norm;
/* y = (x - mean) / sqrt(var + eps) * w + b over the last dimension: Ba et al. 2016 */
tensor op_layer_norm(run *r, tensor x, const norm *n);
/* y = residual + op_layer_norm(x) */
tensor op_layer_norm_add(run *r, tensor x, const norm *n, tensor residual);
/* y = x / sqrt(mean(x^2) + eps) * w over the last dimension (n->b is empty): Zhang & Sennrich 2019 */
tensor op_rms_norm(run *r, tensor x, const norm *n);
/* Over h, w and the channels of each group, x[b,h,w,c], then act: Wu & He 2018 */
tensor op_group_norm(run *r, tensor x, const norm *n, int groups, activation act);
/* Over the last dimension. */
tensor op_softmax(run *r, tensor x);
/* y = x / sqrt(sum x^2 + eps) over the last dimension */
tensor op_l2_normalise(run *r, tensor x, float eps);

/* ---- attention: attention.c, attention_tile.c, kv_cache.c ---- */

#define HEAD_MOST 1024 /* numbers of a head: the kernels keep its query in private or local memory */

extern const char
    *const mask_names[MASK_COUNT]; /* "full", "row", "column", "conv", "window", "corner", "torus", "all" */

typedef struct attention_mask {
    mask_kind kind;
    int text;       /* positions before the grid's first cell */
    int grid_width; /* cells in a row */
    int kernel;     /* MASK_CONV, MASK_CORNER, MASK_TORUS: odd */
} attention_mask;

/* Keys and values of all positions so far, both F32 or both F16: then they are rounded to nearest, those beyond it to
 * 65504, the sums stay F32, and no gradient goes through. */
typedef struct kv_cache {
    tensor k, v; /* [b, heads, length, head_dim] */
} kv_cache;

/* Scaled dot-product attention (Vaswani et al. 2017).  qkv[b,t,3d]: queries, keys, values of the positions p to p+t-1,
 * where p is the int in `position` (each row its own only where t is 1).  Writes keys and values to the cache at p,
 * then y[b,t,d] = softmax(q k^T / sqrt(head_dim)) v over the keys that the mask allows. */
tensor op_attention(run *r, tensor qkv, int heads, const kv_cache *cache, tensor position, const attention_mask *mask);

/* The keys and values of a whole sequence, for the next op: k, v[b,heads,n,head_dim] of the cache = kv[b,n,2d]. */
void op_cross_keys(run *r, tensor kv, const kv_cache *cache);
/* Attention to another sequence, or both ways within one: y[b,t,d] = softmax(q k^T / sqrt(head_dim)) v over those of
 * the cache's n keys whose ids[b,n] (I32) is not `pad`; at least one is.  ids empty: all.  Gradients go to q and to
 * what op_cross_keys wrote to the cache, which it may do once in a recording. */
tensor op_cross_attention(run *r, tensor q, const kv_cache *cache, tensor ids, int pad);

/* Of all pixels of a picture to all, one head: y[b,...,d] = softmax(q k^T / sqrt(d)) v within each of b.
 * self_attention.c */
tensor op_self_attention(run *r, tensor q, tensor k, tensor v);

/* ---- between the products of published transformers: gate.c, rotary.c ---- */

/* y[i] = a[i] b[i % count of b]; the count of a is a multiple of it */
tensor op_multiply(run *r, tensor a, tensor b);
/* y[...,d] = x[...,0:d] act(x[...,d:2d]): Shazeer 2020, the value before the gate */
tensor op_glu(run *r, tensor x, activation act);
/* y = x / max(x) over the last dimension.  Backwards the maximum is a constant, as in DALLE-pytorch. */
tensor op_divide_max(run *r, tensor x);
/* Rotary positions (Su et al. 2021) with learned or fixed angles: in each head of x[b,t,n head_dim], the numbers 2i and
 * 2i + 1 are turned by angles[p,2i] and angles[p,2i+1], p = position, position + 1, …; angles[length,turned], turned
 * even; the rest of the head stays. */
tensor op_rotate(run *r, tensor x, int head_dim, tensor angles, tensor position);
/* Rotary positions on a grid, as LlamaGen has them (Sun et al. 2024), of the queries and keys in qkv[b,t,3d]: the first
 * half of a head's pairs (2i, 2i + 1) is turned by row * 10000^(-4i / head_dim), the second by column * the same.
 * Those of the `text` positions before the grid become 0.  head_dim is a multiple of 4. */
tensor op_rotate_grid(run *r, tensor qkv, int heads, tensor position, int text, int grid_width);
/* DALLE-pytorch's token shift of x[b,t,d]: the first half of a text position is that of the position before it; a cell
 * has its first quarter from the cell above and its second from the cell to the left; zeros where there is none.
 * history[b, length, 2 ceil(d/4)] keeps what later positions want, and is written at these; a constant. */
tensor op_shift_tokens(run *r, tensor x, tensor history, tensor position, int text, int grid_width);

/* ---- pictures: picture.c ---- */

/* y[b,h/factor,w/factor,c]: the largest of each window; h and w are multiples of factor */
tensor op_max_pool(run *r, tensor x, int factor);
/* y[b,2h,2w,c] from x[b,h,w,4c], the inverse of the Haar wavelet transform (Haar 1910).  Channels: c means, then three
 * differences of each: of rows (top - bottom), of columns (left - right), of both. */
tensor op_inverse_haar(run *r, tensor x);

/* ---- codebooks (van den Oord et al. 2017): codebook.c ---- */

/* y[...,k] = -|x[...,d] - table[k,d]|^2: the logits of a codec that takes the nearest entry */
tensor op_distances(run *r, tensor x, tensor table);
/* y = value, and backwards as if y = x: straight-through (Bengio et al. 2013); value is a constant.  Of one
 * shape. */
tensor op_straight_through(run *r, tensor x, tensor value);
/* For each row of x[n,d]: counts[id] += 1 and sums[id] += row, with ids I32 [n] that lie in counts[k], sums[k,d].
 * Always in the same order; nothing is recorded. */
void op_code_sums(run *r, tensor ids, tensor x, tensor counts, tensor sums);

/* A step of a codebook.  All are F32 and lasting. */
typedef struct codebook_state {
    tensor rows;                     /* [k,d] */
    tensor counts, sums;             /* running: [k], [k,d]; sums empty where the rows are learned by gradients */
    tensor batch_counts, batch_sums; /* of a step, by op_code_sums */
} codebook_state;
typedef struct codebook_step {
    float decay;
    float least; /* a code whose running count is below starts again; 0: none does */
    float fresh; /* its count then */
    uint64_t seed;
    uint32_t step;
} codebook_step;
/* Running sums (Razavi et al. 2019, equation 2): counts = decay counts + (1 - decay) batch_counts, sums likewise, and
 * rows = sums / counts where there are sums.  A code k that starts again gets the row of x[n,d] that the first word of
 * Philox(seed; k, step, CODEBOOK_STREAM) falls on: word n / 2^32. */
#define CODEBOOK_STREAM 0xC0DEB00Cu
void op_codebook(run *r, const codebook_state *c, tensor x, const codebook_step *o);

/* ---- elementwise: elementwise.c ---- */

tensor op_activate(run *r, tensor x, activation act);
tensor op_add(run *r, tensor a, tensor b); /* of one shape */
/* wa a + wb b, of one shape; b may be empty */
tensor op_scale_add(run *r, tensor a, float wa, tensor b, float wb);
/* y[b,n,d] = x[b, first : first + n, d] */
tensor op_slice(run *r, tensor x, int64_t first, int64_t n);
/* y[b, h*factor, w*factor, c], nearest neighbour */
tensor op_upsample(run *r, tensor x, int factor);
/* to[i] = from[i % count of from]; the count of `to` is a multiple of it; both F32 or I32, or both F16.  Nothing is
 * recorded: `from` is a constant. */
void op_repeat(run *r, tensor to, tensor from);
/* x = value, and position += n, of each sequence; nothing is recorded */
void op_fill(run *r, tensor x, float value);
void op_advance(run *r, tensor position, int n);
/* y[b,n,d] = position[n,d] + the rows of x[b,t,d], before them first[d] where there is one (then n = t + 1) */
tensor op_add_position(run *r, tensor x, tensor first, tensor position);
/* y[b,d] = the mean over t of x[b,t,d] */
tensor op_mean_rows(run *r, tensor x);
/* y = exp(min(log_scale[0], most)) x.  Gradients to both. */
tensor op_scale_exp(run *r, tensor x, tensor log_scale, float most);

/* ---- sums: reduce.c ---- */

/* x[i] = the sum of x[i] on all ranks (base/ranks.h), which all must come here.  Waits for the device where there are
 * others, and does nothing where there are none. */
void op_sum_ranks(run *r, tensor x);

/* ---- embedding: embed.c ---- */

/* y[...,d] = table[ids[...], d]; ids I32.  An id out of range reads row 0: callers check ids where they enter. */
tensor op_embed(run *r, tensor ids, tensor table);

typedef struct sequence_embedding {
    tensor text, text_position;                  /* [text_vocabulary, d], [text, d] */
    tensor image, row_position, column_position; /* [codes, d], [grid_height, d], [grid_width, d] */
    int text_length, grid_width, grid_height;
} sequence_embedding;
/* y[b,t,d]: the inputs at the positions p to p+t-1, p the int in `position`: ids[b, text_length] then
 * codes[b, grid_height * grid_width], each with its learned position, where there are tables of these: each of the
 * three may be empty.  ids and codes are I32; ids may be empty where all positions are the grid's.  Those out of range
 * read row 0 of their table. */
tensor op_embed_sequence(run *r, const sequence_embedding *e, tensor ids, tensor codes, tensor position, int64_t t);

/* What a decoder reads at the positions p to p+t-1, p the int in `position`: I32 [b,t], `first` at position 0, then
 * codes[b,cells]. */
tensor op_decoder_ids(run *r, tensor codes, tensor position, int64_t t, int first);
/* y[b,t,d] = x[b,t,d] + table[p .. p+t-1, d], p the int in `position` */
tensor op_add_table(run *r, tensor x, tensor table, tensor position);

/* ---- choosing: sample.c ---- */

/* The index of the largest of each row, I32; of equal ones the first.  x is a constant. */
tensor op_argmax(run *r, tensor x);

/* How a picture's codes are chosen.  Those of b pictures lie on the device, as I32 [b, SAMPLING_WORDS], so that a
 * recorded step reads what is there when it is replayed. */
typedef struct sampling {
    float temperature; /* 0: argmax */
    int top_k;         /* 0: all */
    float top_p;       /* 0 or >= 1: all */
    uint64_t seed;
    uint32_t stream;
    float guidance; /* op_guide's scale */
    int row;        /* of the sequences: the picture's */
    int other;      /* that without condition, or with a negative prompt; -1: there is none */
} sampling;
void sampling_put(int32_t words[SAMPLING_WORDS], const sampling *s);
/* y[b,k] = u + guidance (c - u), c and u the rows `row` and `other` of x[sequences,k]; c where there is no other. */
tensor op_guide(run *r, tensor x, tensor settings);
/* Writes one code for each row of logits[b,k] into codes[sequences, cells], the rows `row` and `other`, at cell c =
 * the row's position + 1 - text_length, by the Gumbel-Max trick (Gumbel 1954; Maddison et al. 2014) over the k most
 * likely and the top_p nucleus (Holtzman et al. 2020), with the noise of (seed, stream, c).  Where forced[row, c] >= 0,
 * that code is written instead.  forced: I32 [sequences, cells]. */
void op_sample(run *r, tensor logits, tensor codes, tensor forced, tensor position, int text_length, tensor settings);

/* ---- losses: loss.c.  Each is a mean, F32 [1]; all but the first argument are constants ---- */

/* -mean log softmax(logits[...,k])[target] over the rows with target >= 0 (targets I32, one a row); 0 where none is.
 * smoothing: the share of the target's weight that is spread over all k (Szegedy et al. 2016). */
tensor op_cross_entropy(run *r, tensor logits, tensor targets, float smoothing);
tensor op_l1(run *r, tensor x, tensor target); /* mean |x - target| */
tensor op_l2(run *r, tensor x, tensor target); /* mean (x - target)^2 */
/* -log of the logit-Laplace density (Ramesh et al. 2021, appendix A.3), the mean over target[...,c], which lies inside
 * (0, 1).  x[...,2c]: mu, then ln b. */
tensor op_logit_laplace(run *r, tensor x, tensor target);
/* KL(softmax(logits[...,k]) || uniform), the mean over the rows */
tensor op_kl_uniform(run *r, tensor logits);
/* The entropy, in nats, of the mean over the rows of softmax(logits[...,k]), those of all ranks together
 * (op_sum_ranks): how evenly a codebook is used.  Its gradient is for the mean over the ranks of what each makes of it.
 */
tensor op_usage_entropy(run *r, tensor logits);
tensor op_mean(run *r, tensor x);
/* mean max(0, 1 - sign x): a discriminator's hinge loss (Lim & Ye 2017), sign 1 on what is real and -1 on what is not
 */
tensor op_hinge(run *r, tensor x, float sign);

/* Two copies of y = op_conv2d(x, c), each for a loss of its own, whose gradients are balanced in the backward pass
 * (Esser et al. 2021, equation 7): y's is a's plus weight times b's. */
typedef struct balance {
    tensor a, b;
    tensor weight; /* F32 [1], known after the backward pass: share * min(|dA/dw| / (|dB/dw| + 1e-4), most), with w the
                      weights of c and A and B the losses; 0 where b has none */
} balance;
balance op_balance(run *r, tensor y, tensor x, const conv *c, float share, float most);

/* ---- relaxed choices: relax.c ---- */

typedef struct gumbel {
    float tau; /* > 0 */
    bool hard; /* one-hot of the largest forwards, backwards as if soft: straight-through */
    uint64_t seed;
    uint32_t stream, stride, step; /* picture i (of the first dimension) draws its noise from stream + i * stride */
} gumbel;
/* softmax((logits[b,...,k] + g) / tau) over the last dimension, g Gumbel noise: Jang et al. 2017 */
tensor op_gumbel_softmax(run *r, tensor logits, const gumbel *g);
/* The same noise: element e of picture i is -log(-log(rng_uniform(seed, stream + i * stride, step, e))).  stride 0
 * is 1. */
tensor op_gumbel_noise(run *r, int nd, const int64_t *shape, const gumbel *g);
/* y[...,d] = x[...,k] table[k,d]: op_embed for ids that are distributions */
tensor op_matmul_table(run *r, tensor x, tensor table);

/* ---- learning: optimiser.c.  These write their first tensor; nothing is recorded on the tape ---- */

/* total[1] += sum x^2 */
void op_sum_squares(run *r, tensor total, tensor x);
/* Exponential moving average: ema = decay ema + (1 - decay) x */
void op_ema(run *r, tensor ema, tensor x, float decay);

typedef struct adamw {
    float lr, beta1, beta2, eps;
    float decay;  /* decoupled: x -= lr decay x */
    float clip;   /* the gradient is scaled by min(1, clip / sqrt(squares)); 0: not */
    int64_t step; /* from 1 on */
} adamw;
/* One step (Loshchilov & Hutter 2019).  m, v: its moments, of x's shape, 0 at first.  squares: F32 [1], the sum of
 * squares of all gradients; where it isn't finite nothing is changed.  May be empty: no clipping, no such check. */
void op_adamw(run *r, tensor x, tensor gradient, tensor m, tensor v, tensor squares, const adamw *o);
#endif
