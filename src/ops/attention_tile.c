/* Attention of many queries by tiles: cl/attention_tile.cl. */
#include "ops/ops_internal.h"

#define NARROW_HEAD 40 /* of heads that 32 doesn't divide: below, vectors of a CPU's tile would be too empty */
/* The fewest queries to keys of another sequence: on GPUs, and on CPUs with heads that fill vectors, where fewer keep
 * the sums that they had. */
#define CROSS_QUERIES      64
#define CROSS_QUERIES_WIDE 512

typedef struct tiles {
    int64_t span;                                   /* queries, and keys, of a tile */
    int64_t places;                                 /* of the order of positions; 0: there are no tiles for this */
    int64_t b, t, heads, queries, length, head_dim; /* heads of keys; those of queries for each */
    const attention_mask *mask;
} tiles;

/* Whether tiles have heads of so many numbers, for so many queries.  CPUs: other heads than those that fill vectors
 * keep the sums that they had where there is a causal mask, or where queries are few: image towers of CLIP with heads
 * of 80 to 104 have up to 730.  GPUs: of more than one tile's columns the compiler for Gen9 to Arc spills. */
static bool head_fits(const tuning *tune, int64_t n, int64_t queries, const attention_mask *m, bool backward)
{
    if (!tune->cpu_form)
        return n <= 64;
    return (n % 32 == 0 && n <= 256) || (!backward && m->kind == MASK_ALL && queries >= tune->narrow_queries &&
                                         n % 8 == 0 && n >= NARROW_HEAD && n <= 256);
}

static tiles tiles_of(run *r, const tensor *qkv, const kv_cache *cache, const attention_mask *m, bool backward)
{
    const tuning *tune = &run_device(r)->tune;
    tiles s = {.span = tune->cpu_form ? ATTENTION_SPAN_CPU : TILE_M_OF(tune->gemm_side),
               .b = qkv->shape[0],
               .t = qkv->shape[1],
               .heads = cache->k.shape[1],
               .queries = qkv->shape[2] / (cache->k.shape[1] * cache->k.shape[3]) - 2,
               .length = cache->k.shape[2],
               .head_dim = cache->k.shape[3],
               .mask = m};
    if (!tune->tiles || !head_fits(tune, s.head_dim, s.t, m, backward) || s.t < 16 || m->kind == MASK_TORUS)
        return s;
    int64_t n = s.length;
    if (m->kind == MASK_COLUMN && n > m->text) /* whole columns */
        n = m->text + (int64_t)round_up((size_t)(n - m->text), (size_t)m->grid_width);
    s.places = (int64_t)round_up((size_t)n, (size_t)s.span);
    return s;
}

/* The panels of a cache, F32, in the CPU form; else the cache itself. */
static tensor panels(run *r, const tiles *s, tensor cache, tensor position, const char *option)
{
    if (!run_device(r)->tune.cpu_form)
        return cache;
    tensor y = TENSOR(r, DTYPE_F32, s->b * s->heads, s->places, s->head_dim);
    work size = {.global = {(size_t)(s->head_dim + 15) / 16, (size_t)(s->places / s->span), (size_t)(s->b * s->heads)},
                 .local = {1, 1, 1},
                 .bytes = (4.0 + (double)dtype_row_bytes(cache.type, 1)) * (double)tensor_count(&y),
                 .options = option};
    LAUNCH(r, "attention_tile:panels", size, ARG_T(cache), ARG_T(y), ARG_T(position), ARG_I(s->t), ARG_I(s->length),
           ARG_I(s->mask->kind), ARG_I(s->mask->text), ARG_I(s->mask->grid_width), ARG_I(s->places));
    return y;
}

/* A work-item or group for each tile, head and item of the batch; `products` of all pairs of positions. */
static work tile_work(run *r, const tiles *s, int64_t heads, double products, const char *option)
{
    int64_t n = s->mask->kind == MASK_COLUMN ? s->places : s->t;
    /* half of all pairs are seen */
    work w = {.global = {(size_t)n, (size_t)heads, (size_t)s->b},
              .unit = UNIT_SPAN,
              .flops = products * (double)(s->b * s->t * s->heads * s->queries * s->head_dim) * (double)s->length,
              .options = option};
    if (run_device(r)->tune.cpu_form) {
        w.unit = UNIT_ITEM;
        w.global[0] = (size_t)((n + s->span - 1) / s->span);
        w.local[0] = w.local[1] = w.local[2] = 1;
    }
    return w;
}

bool attend_tiles(run *r, tensor qkv, const kv_cache *cache, tensor position, const attention_mask *m, tensor y,
                  tensor lse)
{
    const tiles s = tiles_of(r, &qkv, cache, m, false);
    if (!s.places)
        return false;
    char option[CACHE_OPTION];
    tensor kt = panels(r, &s, cache->k, position, cache_option(cache, s.queries, "", option));
    LAUNCH(r, "attention_tile:attention", tile_work(r, &s, s.heads * s.queries, m->kind == MASK_ALL ? 4 : 2, option),
           ARG_T(qkv), ARG_T(kt), ARG_T(cache->v), ARG_T(y), ARG_T(lse), ARG_T(position), ARG_I(s.t), ARG_I(s.heads),
           ARG_I(s.length), ARG_I(m->kind), ARG_I(m->text), ARG_I(m->grid_width), ARG_I(m->kernel), ARG_I(s.places),
           ARG_I(s.head_dim));
    if (run_device(r)->tune.cpu_form)
        run_give_back(r, kt);
    return true;
}

bool cross_tiles(run *r, tensor q, const kv_cache *cache, tensor y, tensor lse)
{
    const attention_mask m = {.kind = MASK_ALL, .text = (int)cache->k.shape[2], .grid_width = 1, .kernel = 1};
    tiles s = tiles_of(r, &q, cache, &m, false);
    bool wide = run_device(r)->tune.cpu_form && s.head_dim % 32 == 0;
    if (!s.places || s.t < (wide ? CROSS_QUERIES_WIDE : CROSS_QUERIES))
        return false;
    char option[CACHE_OPTION];
    const int64_t t = s.t;
    s.queries = 1;
    s.t = s.length; /* of keys */
    tensor none = {0}, kt = panels(r, &s, cache->k, none, cache_option(cache, 1, " -DCROSS", option));
    s.t = t;
    LAUNCH(r, "attention_tile:attention", tile_work(r, &s, s.heads, 4, option), ARG_T(q), ARG_T(kt), ARG_T(cache->v),
           ARG_T(y), ARG_T(lse), ARG_T(none), ARG_I(t), ARG_I(s.heads), ARG_I(s.length), ARG_I(m.kind), ARG_I(m.text),
           ARG_I(1), ARG_I(1), ARG_I(s.places), ARG_I(s.head_dim));
    if (run_device(r)->tune.cpu_form)
        run_give_back(r, kt);
    return true;
}

bool attend_tiles_back(run *r, const tape_step *step, const attention_mask *m, tensor dy, tensor dqkv, int add)
{
    tensor qkv = step->in[0], lse = step->saved[0];
    const kv_cache cache = {step->in[1], step->in[2]};
    const tiles s = tiles_of(r, &qkv, &cache, m, true);
    if (!s.places)
        return false;
    char option[CACHE_OPTION];
    int64_t all = s.heads * s.queries;
    cache_option(&cache, s.queries, "", option);
    tensor kt = panels(r, &s, cache.k, (tensor){0}, option), vt = panels(r, &s, cache.v, (tensor){0}, option);
    tensor delta = TENSOR(r, DTYPE_F32, s.b, s.t, all);
    double count = (double)tensor_count(&step->out);
    cache_option(&cache, s.queries, " -DBACKWARD", option);
    LAUNCH(r, "attention_tile:delta",
           ((work){.global = {(size_t)all, (size_t)(s.b * s.t)}, .bytes = 8 * count, .options = option}),
           ARG_T(step->out), ARG_T(dy), ARG_T(delta), ARG_I(all));
    static const char *const kernels[] = {"attention_tile:attention_back_q", "attention_tile:attention_back_kv"};
    for (int i = 0; i < 2; i++)
        LAUNCH(r, kernels[i], tile_work(r, &s, i ? s.heads : all, 3 + i, option), ARG_T(qkv), ARG_T(cache.k), ARG_T(kt),
               ARG_T(vt), ARG_T(lse), ARG_T(dy), ARG_T(dqkv), ARG_T(delta), ARG_I(s.t), ARG_I(s.heads), ARG_I(s.length),
               ARG_I(m->kind), ARG_I(m->text), ARG_I(m->grid_width), ARG_I(m->kernel), ARG_I(s.places),
               ARG_I(s.head_dim), ARG_I(add));
    return true;
}
