/* Caches of keys and values: what kernels are told of them, and what is written to them.  Their kernels are those of
 * attention: cl/attention.cl. */
#include <stdio.h>

#include "ops/ops_internal.h"

static tape_function keys_back, values_back;

const char *cache_option(const kv_cache *cache, int64_t queries, const char *more, char out[CACHE_OPTION])
{
    const char *half = cache->k.type == DTYPE_F16 ? " -DKV_F16" : "";
    char shared[32] = "";
    if (queries > 1)
        snprintf(shared, sizeof shared, " -DQUERY_HEADS=%d", (int)queries);
    snprintf(out, CACHE_OPTION, "-DHEAD_DIM=%d%s%s%s", (int)cache->k.shape[3], shared, half, more);
    return out;
}

double cache_bytes(const kv_cache *cache)
{
    return (double)dtype_row_bytes(cache->k.type, 1);
}

void cache_store(run *r, tensor x, int parts, const kv_cache *cache, tensor position)
{
    char option[CACHE_OPTION];
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2] / parts, heads = cache->k.shape[1];
    bool cpu = run_device(r)->tune.cpu_form;
    work size = {.global = {cpu ? (size_t)heads : round_up((size_t)d, 64), (size_t)(b * t)},
                 .bytes = (8 + 2 * cache_bytes(cache)) * (double)(b * t * d),
                 .options = cache_option(cache, parts - 2, "", option)};
    LAUNCH(r, "attention:store_kv", size, ARG_T(x), ARG_T(cache->k), ARG_T(cache->v), ARG_T(position), ARG_I(t),
           ARG_OWN(position), ARG_I(heads), ARG_I(cache->k.shape[2]), ARG_I(parts));
}

void op_cross_keys(run *r, tensor kv, const kv_cache *cache)
{
    if (run_failed(r))
        return;
    REQUIRE(r, kv.nd == 3 && cache->k.nd == 4 && kv.shape[0] == cache->k.shape[0] && kv.shape[1] == cache->k.shape[2] &&
                   kv.shape[2] == 2 * cache->k.shape[1] * cache->k.shape[3]);
    if (cache->k.type != DTYPE_F32)
        tape_no_gradient(r, "op_cross_keys to F16", kv);
    cache_store(r, kv, 2, cache, (tensor){0});
    tape_push(r, &(tape_step){.back = values_back, .in = {kv}, .out = cache->v});
    tape_push(r, &(tape_step){.back = keys_back, .in = {kv, cache->v}, .out = cache->k});
}

static void values_back(run *r, tape *t, const tape_step *s)
{
    (void)r, (void)t, (void)s; /* keys_back has taken what arrived: both come together */
}

static void keys_back(run *r, tape *tp, const tape_step *s)
{
    int add;
    tensor kv = s->in[0], k = s->out, dkv = wanted(tp, kv, &add);
    char option[CACHE_OPTION];
    int64_t rows = rows_of(&kv), width = last_of(&kv);
    work size = work_grid(width, rows, 0, 12);
    size.options = cache_option(&(kv_cache){k, k}, 1, " -DBACKWARD", option);
    if (dkv.buf)
        LAUNCH(r, "attention:collect_kv", size, ARG_T(tape_gradient(tp, k)), ARG_T(tape_gradient(tp, s->in[1])),
               ARG_T(dkv), ARG_I(kv.shape[1]), ARG_I(k.shape[1]), ARG_I(k.shape[2]), ARG_I(add));
}
