/* Every op: what it computes, on which shapes.  Kernels are in cl/, the CPU reference of each in tests/ops/ref_ops.c.
 *
 * Ops take a run first and return their output, which the run owns (device/run.h).  Activations are F32 and row-major;
 * pictures are channels-last, [b,h,w,c].  "..." stands for any leading dimensions: x[...,d] has rows of d.
 * `position` is on the device: I32 [1], the position of x[b,t,…]'s first t, or I32 [b], one for each row of the batch.
 * Weights are F32, F16, Q8_0 or Q4_0; sums are F32.  Shapes that don't fit fail the run (REQUIRE).
 *
 * While a tape records (tape.h), gradients go to all F32 inputs of an op, except to those that its comment calls
 * constants.  Some can't be computed: those of weights that aren't F32 in one buffer, through F16 caches or weights in
 * panels, at positions that differ between rows.  If one of these is wanted, the run fails with an error that names the
 * op. */
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

/* The CPU form multiplies with Q8_0 and Q4_0 in integers: it rounds x to 16 bits, relative to the largest of each 32
 * neighbours in a row.  A row's result doesn't depend on how many rows there are.  Whether d rounds x for this type: */
bool linear_rounds(const device *d, dtype type);
/* Such weights are read fastest in panels, of which each form has its own.  Whether weights of this type are: */
bool linear_packs(dtype type);
/* w = the weight `from` in panels, in new memory: buffer_free(w->buf).  It gives the same results, but x can have no
 * gradient.  False with e or the run's error set. */
bool linear_pack(run *r, tensor *w, tensor from, const char *what, err *e);
/* y[...,o] = act(x[...,i] w[o,i]^T + b[o]) */
tensor op_linear(run *r, tensor x, const linear *l, activation act);
/* y[...,o] = residual[...,o] + x[...,i] w[o,i]^T + b[o] */
tensor op_linear_add(run *r, tensor x, const linear *l, tensor residual);

/* A low-rank adapter of a linear layer (Hu et al. 2021): the layer's outputs in parts, one after the other, to each of
 * which it adds scale b (a x) with `rank` rows of a of its own.  It works while a tape records that it is attached to
 * (tape_attach of w); there w and its bias are constants, and gradients go to x, a and b. */
#define LOW_RANK_PARTS 3
typedef struct low_rank {
    tensor a, b; /* F32 [parts rank, in], [out, rank] */
    int parts;
    int64_t outputs[LOW_RANK_PARTS]; /* of each part: `out` in all */
    float scale;
} low_rank;

/* A convolution or transposed convolution with square kernel; weights packed for the product kernels (conv_pack). */
typedef struct conv {
    tensor w;      /* in training: F32 [out, kernel, kernel, in], which the panels are packed from; else empty */
    tensor panels; /* [ceil(out/32), kernel*kernel*in, 32]: panel p, row (ky, kx, c), channels 32p to 32p+31; F32, or
                    * the weights' type, F16 (always in the GPU form) or Q8_0, where they are many (conv_pack) */
    tensor b;      /* [out] F32, or empty */
    int in, out, kernel, stride, pad;
    int pad_end; /* further rows and columns of zeros at the bottom and at the right; not for transposed ones */
} conv;

/* Panels of w[out, k] (k = kernel*kernel*in in the order ky, kx, c) in new memory: buffer_free(panels.buf). */
bool conv_pack(run *r, tensor *panels, tensor w, const char *what, err *e);
/* Packs c->w into c->panels again, after its values changed. */
void conv_repack(run *r, const conv *c);
/* y[b,oy,ox,o] = act(sum x[b, oy*stride - pad + ky, ox*stride - pad + kx, c] w[o,ky,kx,c] + bias[o]) + residual.
 * residual: empty, or of y's shape. */
tensor op_conv2d(run *r, tensor x, const conv *c, activation act, tensor residual);
/* op_conv2d of op_upsample(x, factor).  Without a tape the enlarged picture is made in strips of rows, so that it is
 * never in memory as a whole. */
tensor op_upsample_conv2d(run *r, tensor x, int factor, const conv *c, activation act);
/* What the next two convolve: x through a group norm (none if norm is NULL), then an activation. */
typedef struct conv_input {
    const struct norm *norm;
    int groups;
    activation act;
} conv_input;
/* y = act(conv2d(k(x)) + bias), where y is as wide and high as x (stride 1).  Without a tape k(x) is made in strips of
 * rows, so that it is never in memory as a whole. */
tensor op_conv2d_of(run *r, tensor x, const conv_input *k, const conv *c, activation act);
/* y + gain (conv2d(k(x)) + bias).  Without a tape the result overwrites y. */
tensor op_conv2d_onto(run *r, tensor x, const conv_input *k, const conv *c, float gain, tensor y);
/* op_conv2d of 1x1 and stride 1.  Without a tape the result of a large picture that gets no more channels overwrites x:
 * then it is where x was. */
tensor op_conv2d_narrow(run *r, tensor x, const conv *c);
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
/* y = op_layer_norm(*sum, before), where *sum = op_layer_norm_add(x, after, residual), or without a residual (empty)
 * op_layer_norm(x, after) */
tensor op_layer_norm_twice(run *r, tensor x, const norm *after, tensor residual, const norm *before, tensor *sum);
/* y = x / sqrt(mean(x^2) + eps) * w over the last dimension (n->b is empty): Zhang & Sennrich 2019 */
tensor op_rms_norm(run *r, tensor x, const norm *n);
/* The same over h, w and the channels of each group of x[b,h,w,c], then act: Wu & He 2018 */
tensor op_group_norm(run *r, tensor x, const norm *n, int groups, activation act);
/* Over the last dimension. */
tensor op_softmax(run *r, tensor x);
/* y = x / sqrt(sum x^2 + eps) over the last dimension */
tensor op_l2_normalise(run *r, tensor x, float eps);

/* ---- products of what goes through a norm first, and gated ones: linear_norm.c ---- */

/* x through a norm, for the products that read it.  On GPUs products of few rows do the norm themselves, in their own
 * launch; otherwise it is done for the first of them, and kept for the others. */
typedef struct normed {
    tensor x;
    const norm *norm;
    bool rms;          /* op_rms_norm, else op_layer_norm */
    const norm *after; /* or NULL: x is what a branch ended with.  Whoever reads it first makes x of it: residual, if it
                        * isn't empty, + op_layer_norm(x, after), and sets this to NULL.  Not with rms. */
    tensor residual;
    tensor y; /* what came out; empty until then */
} normed;
/* What comes out. */
tensor op_normed(run *r, normed *x);
/* op_linear(op_normed(x), l, act), and op_linear_add of it */
tensor op_linear_normed(run *r, normed *x, const linear *l, activation act);
tensor op_linear_normed_add(run *r, normed *x, const linear *l, tensor residual);
/* y[...,o] = u act(g) (Shazeer 2020), u and g the products of op_normed(x) with `up` and `gate`; gate NULL: the first
 * half of up's rows are of u, the second half of g. */
tensor op_gated_normed(run *r, normed *x, const linear *up, const linear *gate, activation act);

/* ---- attention: attention.c, attention_tile.c, kv_cache.c ---- */

#define HEAD_MOST 1024 /* the largest head_dim: kernels keep a query in private or local memory */

extern const char
    *const mask_names[MASK_COUNT]; /* "full", "row", "column", "conv", "window", "corner", "torus", "all" */

typedef struct attention_mask {
    mask_kind kind;
    int text;       /* positions before the grid's first cell */
    int grid_width; /* cells in a row */
    int kernel;     /* MASK_CONV, MASK_CORNER, MASK_TORUS: odd */
} attention_mask;

/* Keys and values of all positions so far, both F32 or both F16.  F16 values are rounded to the nearest (at most
 * 65504); sums stay F32, and there is no gradient. */
typedef struct kv_cache {
    tensor k, v; /* [b, key heads, length, head_dim] */
} kv_cache;

/* Scaled dot-product attention (Vaswani et al. 2017).  qkv[b,t,(heads + 2 key heads) head_dim]: queries, keys, values
 * of the positions p to p+t-1, where p is the int in `position`.  Writes keys and values to the cache at p, then
 * y[b,t,heads head_dim] = softmax(q k^T / sqrt(head_dim)) v over the keys that the mask allows.  The cache tells how
 * many heads there are of keys: head i of queries reads head i / (heads / key heads) (grouped-query attention: Ainslie
 * et al. 2023).  With several positions (there may be more than rows), each y is what it is with t = 1, bit for bit;
 * with one it may be summed in another order. */
tensor op_attention(run *r, tensor qkv, int heads, const kv_cache *cache, tensor position, const attention_mask *mask);

/* Fills a cache for op_cross_attention with a whole sequence: k, v[b,heads,n,head_dim] of the cache = kv[b,n,2d]. */
void op_cross_keys(run *r, tensor kv, const kv_cache *cache);
/* Attention to another sequence, or without a causal mask within one: y[b,t,d] = softmax(q k^T / sqrt(head_dim)) v over
 * those of the cache's n keys whose ids[b,n] (I32) differ from `pad`; at least one must.  ids empty: all keys.
 * Gradients go to q and to op_cross_keys' kv, which may be written once in a recording. */
tensor op_cross_attention(run *r, tensor q, const kv_cache *cache, tensor ids, int pad);
/* The same with softmax(q k^T / sqrt(head_dim) + bias): bias[heads,t,n], or empty.  Gradients go to bias too. */
tensor op_biased_attention(run *r, tensor q, const kv_cache *cache, tensor bias, tensor ids, int pad);
/* A bias of attention within t positions by their distance (Shaw et al. 2018; Raffel et al. 2020): bias[heads,t,t] =
 * table[reach + d, head], F32 [2 reach + 1, heads], where d is the key's position minus the query's, no further than
 * reach.  relative.c */
tensor op_relative_bias(run *r, tensor table, int64_t t);

/* Attention of all pixels of a picture to all of them, with one head: y[b,...,d] = softmax(q k^T / sqrt(d)) v within
 * each of b.  self_attention.c */
tensor op_self_attention(run *r, tensor q, tensor k, tensor v);

/* ---- between the products of published transformers: gate.c, rotary.c ---- */

/* y[i] = a[i] b[i % count of b]; the count of a is a multiple of it */
tensor op_multiply(run *r, tensor a, tensor b);
/* y[...,d] = x[...,0:d] act(x[...,d:2d]): Shazeer 2020, the value before the gate */
tensor op_glu(run *r, tensor x, activation act);
/* y = x / max(x) over the last dimension.  For gradients the maximum is a constant, as in DALLE-pytorch. */
tensor op_divide_max(run *r, tensor x);
/* Rotary positions (Su et al. 2021) with learned or fixed angles[length,turned], `turned` even: in each head of
 * x[b,t,n head_dim], the pair of numbers 2i and 2i + 1 < turned is rotated by angles[p,2i] and angles[p,2i+1], where
 * p = position, position + 1, …; the rest of the head stays. */
tensor op_rotate(run *r, tensor x, int head_dim, tensor angles, tensor position);
/* Rotary positions (Su et al. 2021) in the order of LLaMA's heads (Touvron et al. 2023), for the first `columns`
 * numbers of each row of x[b,t,width], which are heads of 2n: the numbers i and n + i of a head are rotated by the
 * position times frequencies[i], F32 [n].  Frequencies get no gradient. */
tensor op_rotary(run *r, tensor x, int64_t columns, tensor frequencies, tensor position);
/* Rotary positions on a grid, as in LlamaGen (Sun et al. 2024), for the queries and keys in qkv[b,t,3d]: the first half
 * of a head's pairs (2i, 2i + 1) is rotated by row * 10000^(-4i / head_dim), the second half by column * the same.
 * Queries and keys of the `text` positions before the grid become 0.  head_dim is a multiple of 4. */
tensor op_rotate_grid(run *r, tensor qkv, int heads, tensor position, int text, int grid_width);
/* DALLE-pytorch's token shift of x[b,t,d]: a text position takes its first half from the position before it; a cell
 * takes its first quarter from the cell above and its second from the cell to the left; zeros if there is none.
 * history[b, length, 2 ceil(d/4)], a constant, keeps what later positions take, and is written for these positions. */
tensor op_shift_tokens(run *r, tensor x, tensor history, tensor position, int text, int grid_width);

/* ---- pictures: picture.c ---- */

/* y[b,h/factor,w/factor,c]: the largest of each window; h and w are multiples of factor */
tensor op_max_pool(run *r, tensor x, int factor);
/* The same for the mean of each window. */
tensor op_mean_pool(run *r, tensor x, int factor);
/* y[b,2h,2w,c] from x[b,h,w,4c], the inverse of the Haar wavelet transform (Haar 1910).  Channels: c means, then three
 * differences of each: of rows (top - bottom), of columns (left - right), of both. */
tensor op_inverse_haar(run *r, tensor x);

/* ---- codebooks (van den Oord et al. 2017): codebook.c ---- */

/* y[...,k] = -|x[...,d] - table[k,d]|^2: the logits of a codec that chooses the nearest entry */
tensor op_distances(run *r, tensor x, tensor table);
/* y = value, with gradients as if y = x: straight-through (Bengio et al. 2013).  value is a constant, of x's shape. */
tensor op_straight_through(run *r, tensor x, tensor value);
/* counts[ids[i]] += 1 and sums[ids[i]] += x[i] for each row of x[n,d], always in the same order.  ids I32 [n],
 * counts[k], sums[k,d].  Nothing is recorded. */
void op_code_sums(run *r, tensor ids, tensor x, tensor counts, tensor sums);

/* A codebook in training.  All are F32 and outlive the step. */
typedef struct codebook_state {
    tensor rows;                     /* [k,d] */
    tensor counts, sums;             /* running: [k], [k,d]; sums are empty if gradients teach the rows */
    tensor batch_counts, batch_sums; /* of this step, by op_code_sums */
} codebook_state;
typedef struct codebook_step {
    float decay;
    float least; /* a code with a running count below it starts again; 0: none does */
    float fresh; /* the running count that it then begins with */
    uint64_t seed;
    uint32_t step;
} codebook_step;
/* A step of running sums (Razavi et al. 2019, equation 2): counts = decay counts + (1 - decay) batch_counts, sums
 * likewise, and rows = sums / counts unless sums are empty.  A code k that starts again gets a random row of x[n,d]:
 * number word * n / 2^32, with the first word of Philox(seed; k, step, CODEBOOK_STREAM). */
#define CODEBOOK_STREAM 0xC0DEB00Cu
void op_codebook(run *r, const codebook_state *c, tensor x, const codebook_step *o);

/* ---- elementwise: elementwise.c ---- */

tensor op_activate(run *r, tensor x, activation act);
tensor op_add(run *r, tensor a, tensor b); /* of one shape */
/* wa a + wb b, of one shape; b may be empty */
tensor op_scale_add(run *r, tensor a, float wa, tensor b, float wb);
/* y[b,n,d] = x[b, first : first + n, d] */
tensor op_slice(run *r, tensor x, int64_t first, int64_t n);
/* y[...,ca+cb]: the channels of a[...,ca], then those of b[...,cb] */
tensor op_join(run *r, tensor a, tensor b);
/* y[b, h*factor, w*factor, c], nearest neighbour */
tensor op_upsample(run *r, tensor x, int factor);
/* to[i] = from[i % count of from]; the count of `to` is a multiple of it.  Both are F32 or I32, or both F16.  `from` is
 * a constant: nothing is recorded. */
void op_repeat(run *r, tensor to, tensor from);
/* x = value; position[i] += n for each i.  Nothing is recorded. */
void op_fill(run *r, tensor x, float value);
void op_advance(run *r, tensor position, int n);
/* y[b,n,d] = position[n,d] + the rows of x[b,t,d]; if `first` isn't empty, first[d] comes before them and n = t + 1 */
tensor op_add_position(run *r, tensor x, tensor first, tensor position);
/* y[b,d] = the mean over t of x[b,t,d] */
tensor op_mean_rows(run *r, tensor x);
/* y = exp(min(log_scale[0], most)) x.  Gradients to both. */
tensor op_scale_exp(run *r, tensor x, tensor log_scale, float most);

/* ---- sums: reduce.c ---- */

/* x[i] = the sum of x[i] over all ranks (base/ranks.h), all of which must call this.  Waits for the device; with a
 * single rank it does nothing. */
void op_sum_ranks(run *r, tensor x);

/* ---- embedding: embed.c ---- */

/* y[...,d] = table[ids[...], d]; ids I32.  An id out of range reads row 0: ids are checked when they enter limn.  The
 * table may be in panels (linear_pack), here and in op_embed_sequence. */
tensor op_embed(run *r, tensor ids, tensor table);

typedef struct sequence_embedding {
    tensor text, text_position;                  /* [text_vocabulary, d], [text, d] */
    tensor image, row_position, column_position; /* [codes, d], [grid_height, d], [grid_width, d] */
    int text_length, grid_width, grid_height;
    int first_text; /* the id of text's row 0 */
    tensor vectors; /* [b, text_length, d]: what stands for ids below first_text; empty where there are none */
} sequence_embedding;
/* The inputs y[b,t,d] of a transformer at the positions p to p+t-1, p the int in `position`.  The sequence is
 * ids[b, text_length], then codes[b, grid_height * grid_width]; to each embedding its learned position is added, from
 * the three tables, any of which may be empty.  ids and codes are I32; ids may be empty if all positions are the
 * grid's.  Ids and codes out of range read row 0 of their table. */
tensor op_embed_sequence(run *r, const sequence_embedding *e, tensor ids, tensor codes, tensor position, int64_t t);

/* The ids I32 [b,t] that a decoder reads at the positions p to p+t-1, p the int in `position`: `first` at position 0,
 * then codes[b,cells]. */
tensor op_decoder_ids(run *r, tensor codes, tensor position, int64_t t, int first);
/* y[b,t,d] = x[b,t,d] + table[p .. p+t-1, d], p the int in `position` */
tensor op_add_table(run *r, tensor x, tensor table, tensor position);
/* Both: op_add_table(op_embed(op_decoder_ids(codes, position, t, first), image), table, position) */
tensor op_embed_decoder(run *r, tensor codes, tensor image, tensor table, tensor position, int64_t t, int first);

/* ---- choosing: sample.c ---- */

/* The index of the largest number in each row, I32; the first of equal ones.  x is a constant. */
tensor op_argmax(run *r, tensor x);

/* How a picture's codes are chosen.  The settings of b pictures are on the device, as I32 [b, SAMPLING_WORDS], so that
 * a recorded step reads the current ones whenever it is replayed. */
typedef struct sampling {
    float temperature; /* 0: argmax */
    int top_k;         /* 0: all */
    float top_p;       /* 0 or >= 1: all */
    uint64_t seed;
    uint32_t stream;
    float guidance; /* op_guide's scale */
    int row;        /* number of the sequence with the picture's prompt */
    int other;      /* of the one without a prompt, or with the negative prompt, for guidance; -1: there is none */
} sampling;
void sampling_put(int32_t words[SAMPLING_WORDS], const sampling *s);
/* Classifier-free guidance: y[b,k] = u + guidance (c - u), with c and u the rows `row` and `other` of x[sequences,k]; c
 * alone if other is -1.  Also y[b,t,k] of x[sequences,t,k], without a gradient. */
tensor op_guide(run *r, tensor x, tensor settings);
/* Chooses a code for each row of logits[b,k], by the Gumbel-Max trick (Gumbel 1954; Maddison et al. 2014) over the
 * top_k most likely codes and the top_p nucleus (Holtzman et al. 2020), with the noise of (seed, stream, c).  Writes it
 * to the rows `row` and `other` of codes[sequences, cells], at cell c = the row's position + 1 - text_length. forced:
 * I32 [sequences, cells]; a forced[row, c] >= 0 is written instead. */
void op_sample(run *r, tensor logits, tensor codes, tensor forced, tensor position, int text_length, tensor settings);

/* A step's end: op_sample of x[b,k], or by_choice of op_guide(x[sequences,k], settings), then op_advance of the
 * positions by 1: of each sequence that a picture has, or of the one for all. */
void op_sample_step(run *r, tensor x, tensor codes, tensor forced, tensor position, int text_length, tensor settings,
                    bool by_choice);

/* Several codes of a picture in one pass (Wiggers & Hoogeboom 2020; Teng et al. 2024): drafts stand in `codes` behind
 * those that are known, and a pass reads t of them.  With the noise of its cell a code is a function of the codes
 * before it: a draft that is what the pass chooses there is right, if those before it are, and so is the first choice
 * that differs.  So all codes are those of one pass each, whatever the drafts were; more of these are right the more a
 * pass is worth. */
typedef struct drafts {
    tensor codes, forced;        /* as of op_sample */
    tensor position, also;       /* I32 [sequences]: a pass's first, and what advances with it, or empty */
    tensor known;                /* I32 [sequences]: codes that are right; at least one */
    int text_length, grid_width; /* with text_length as of op_sample */
} drafts;
/* The first drafts of pictures of which one code is known: forced ones, and that code. */
void op_first_drafts(run *r, const drafts *d, tensor settings);
/* A pass's end: x are the logits[b,t,k] of the t < cells positions of each picture from the row's position on; or
 * by_choice x[sequences,t,k], which op_guide makes them of.  Writes what is chosen to codes, counts what is known, and
 * advances the positions to the last known code, or to the t-th position before the last, which chooses the last cell.
 */
void op_verify(run *r, tensor x, const drafts *d, tensor settings, bool by_choice);

/* ---- filling masked cells: masked.c ---- */

/* y[b,...,d] = x (1 + scale) + shift, s[b,2d]: scale, then shift, of each of b (Perez et al. 2018; Peebles & Xie 2023)
 */
tensor op_modulate(run *r, tensor x, tensor s);
/* Global response normalisation (Woo et al. 2023): with g = the length of x[b,n,c] over n, y = x + gamma x g / (mean of
 * g over c + 1e-6) + beta.  gamma, beta: [c] F32 */
tensor op_global_response_norm(run *r, tensor x, tensor gamma, tensor beta);
/* y[b,h,w,c] = the sum of x[b,y+ky-side/2,x+kx-side/2,c] w[c,ky,kx], zeros outside.  w[c, side side] F32, side odd */
tensor op_depthwise_conv2d(run *r, tensor x, tensor w);

/* A step of a picture's. */
typedef struct masked_step {
    tensor noise;          /* F32 [cells,k], Gumbel noise of the codes; empty: the most likely ones */
    tensor noise_of_cells; /* F32 [cells], the same of the cells' confidence */
    float temperature;     /* of the latter; 0: none */
    int mask;              /* stands for a masked cell in codes */
    int wanted;            /* cells to be masked again, where that is possible; -1: none */
} masked_step;
/* A step of masked sampling (Chang et al. 2022, MaskGIT; as diffusers' AmusedScheduler): each masked cell of codes I32
 * [cells] gets the code of the largest logits[cells,k] + noise.  Then those of them are masked again whose confidence,
 * ln p(code) + temperature noise, is below the n-th smallest of all cells', n = max(1, min(masked cells - 1, wanted)),
 * from 0 on; p counts as 1e-20 at least, and known cells stay.  Nothing is recorded. */
void op_fill_masked(run *r, tensor logits, tensor codes, const masked_step *o);

/* ---- from noise to a picture: ddpm.c ---- */

/* A step of ancestral sampling (Ho et al. 2020, equation 7, with what the picture seems to be kept within bounds). */
typedef struct ddpm_step {
    float guidance;            /* o = u + guidance (c - u) of two rows, c and u; of one row it is that row */
    float clean_x, clean_o;    /* the picture seems to be clean_x x + clean_o o, */
    float clamp;               /* brought to -clamp..clamp */
    float by_clean, by_x;      /* the next x is by_clean times that + by_x x + s noise */
    float noise;               /* s; or, where the network says how much noise is right, */
    float log_least, log_most; /* the root of what lies between the exponentials of these: (v + 1) / 2 of the way from
                                  the first to the second (Nichol & Dhariwal 2021, equation 15) */
} ddpm_step;
/* The next x, and *clean, of x[...,d], said[rows,...,d], and noise[...,d] or empty.  Where said is [rows,...,2d], its
 * last d numbers of a place are v, of the first row.  Nothing is recorded. */
tensor op_ddpm_step(run *r, tensor x, tensor said, tensor noise, const ddpm_step *s, tensor *clean);

/* ---- losses: loss.c.  Each is a mean, F32 [1]; arguments after the first are constants ---- */

/* -mean log softmax(logits[...,k])[target] over the rows with target >= 0 (targets I32, one for each row); 0 if there
 * is none.  smoothing: the share of the target's weight that is spread over all k (Szegedy et al. 2016). */
tensor op_cross_entropy(run *r, tensor logits, tensor targets, float smoothing);
tensor op_l1(run *r, tensor x, tensor target); /* mean |x - target| */
tensor op_l2(run *r, tensor x, tensor target); /* mean (x - target)^2 */
/* -log of the logit-Laplace density (Ramesh et al. 2021, appendix A.3), the mean over target[...,c], which lies inside
 * (0, 1).  x[...,2c]: mu, then ln b. */
tensor op_logit_laplace(run *r, tensor x, tensor target);
/* KL(softmax(logits[...,k]) || uniform), the mean over the rows */
tensor op_kl_uniform(run *r, tensor logits);
/* How evenly a codebook is used: the entropy, in nats, of the mean of softmax(logits[...,k]) over the rows of all ranks
 * (op_sum_ranks).  Its gradients are scaled so that their mean over the ranks is the gradient of that entropy. */
tensor op_usage_entropy(run *r, tensor logits);
tensor op_mean(run *r, tensor x);
/* mean max(0, 1 - sign x): a discriminator's hinge loss (Lim & Ye 2017), sign 1 for real pictures and -1 for others */
tensor op_hinge(run *r, tensor x, float sign);

/* Two copies a and b of y = op_conv2d(x, c), one for each of two losses A and B.  The backward pass balances them
 * (Esser et al. 2021, equation 7): y's gradient is a's plus weight times b's. */
typedef struct balance {
    tensor a, b;
    tensor weight; /* F32 [1], known after the backward pass: share * min(|dA/dw| / (|dB/dw| + 1e-4), most), where w is
                      c's weight; 0 if b got no gradient */
} balance;
balance op_balance(run *r, tensor y, tensor x, const conv *c, float share, float most);

/* ---- relaxed choices: relax.c ---- */

typedef struct gumbel {
    float tau; /* > 0 */
    bool hard; /* y is one-hot, with gradients as if it were soft: straight-through */
    uint64_t seed;
    uint32_t stream, stride, step; /* picture i (of the first dimension) draws its noise from stream + i * stride */
} gumbel;
/* softmax((logits[b,...,k] + g) / tau) over the last dimension, g Gumbel noise: Jang et al. 2017 */
tensor op_gumbel_softmax(run *r, tensor logits, const gumbel *g);
/* The noise g alone: element e of picture i is -log(-log(rng_uniform(seed, stream + i * stride, step, e))).  A stride
 * of 0 counts as 1. */
tensor op_gumbel_noise(run *r, int nd, const int64_t *shape, const gumbel *g);
/* y[...,d] = x[...,k] table[k,d]: op_embed of distributions over ids */
tensor op_matmul_table(run *r, tensor x, tensor table);

/* ---- learning: optimiser.c.  These write their first tensor; nothing is recorded on the tape ---- */

/* total[1] += sum x^2 */
void op_sum_squares(run *r, tensor total, tensor x);
/* Exponential moving average: ema = decay ema + (1 - decay) x */
void op_ema(run *r, tensor ema, tensor x, float decay);

typedef struct adamw {
    float lr, beta1, beta2, eps;
    float decay;  /* decoupled: x -= lr decay x */
    float clip;   /* scales the gradient by min(1, clip / sqrt(squares)); 0: no clipping */
    int64_t step; /* from 1 on */
} adamw;
/* One step of AdamW (Loshchilov & Hutter 2019).  m, v: its moments, of x's shape, 0 at first.  squares: F32 [1], the
 * sum of squares of all gradients; if it isn't finite, nothing is changed.  It may be empty: then there is neither
 * clipping nor that check. */
void op_adamw(run *r, tensor x, tensor gradient, tensor m, tensor v, tensor squares, const adamw *o);
#endif
