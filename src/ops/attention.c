/* Attention over a cache of keys and values. */
#include "ops/ops_internal.h"

const char *const mask_names[MASK_COUNT] = {"full", "row", "column", "conv", "window", "corner", "torus", "all"};

static tape_function attention_back, cross_back;

/* Of qkv, how many heads of queries share one of keys. */
static int64_t queries_of(const tensor *qkv, const kv_cache *cache)
{
    return qkv->shape[2] / (cache->k.shape[1] * cache->k.shape[3]) - 2;
}

/* In how many parts the keys of one query are read, so that there are some groups for each compute unit; heads: those
 * that read their keys apart.  It does not depend on the batch, so neither does a row's result.  Joining the parts is a
 * launch of its own, which takes GPUs as long as some hundred keys do; where it is worth that, a part is what a group
 * of them scores at once.  alone: each query is as if it were the only one. */
static int64_t key_parts(run *r, bool alone, int64_t heads, int64_t length)
{
    const device *d = run_device(r);
    int64_t wanted = (4 * (int64_t)d->info.compute_units + heads - 1) / heads, keys = d->tune.attention_keys;
    if (!alone || length < (d->tune.cpu_form ? 2 : 4) * keys)
        return 1;
    int64_t most = length / keys;
    return wanted < most ? wanted : most;
}

static void attend(run *r, tensor qkv, const kv_cache *cache, tensor position, const attention_mask *m, tensor y,
                   tensor lse)
{
    int64_t b = qkv.shape[0], t = qkv.shape[1], heads = cache->k.shape[1], length = cache->k.shape[2];
    int64_t head_dim = cache->k.shape[3], queries = queries_of(&qkv, cache), all = queries * heads;
    char option[CACHE_OPTION];
    /* only the device knows the position; on average a query sees half the cache */
    double seen = 0.5 * (double)(b * t * heads * head_dim) * (double)length;
    cache_option(cache, queries, "", option);
    int64_t each = run_device(r)->tune.cpu_form ? heads : all;
    int64_t n = key_parts(r, t == 1 || tensor_count(&position) > 1, each, length), chunk = (length + n - 1) / n;
    tensor parts = n > 1 ? TENSOR(r, DTYPE_F32, b * t, all, n, ATTENTION_PART(head_dim)) : (tensor){0};
    work size = {.global = {(size_t)(b * t), (size_t)each, (size_t)n},
                 .unit = UNIT_ROW,
                 .flops = 4 * seen * (double)queries,
                 .bytes = 2 * cache_bytes(cache) * seen,
                 .options = option};
    LAUNCH(r, "attention:attention", size, ARG_T(qkv), ARG_T(cache->k), ARG_T(cache->v), ARG_T(y), ARG_T(lse),
           ARG_T(position), ARG_I(t), ARG_I(heads), ARG_I(length), ARG_I(m->kind), ARG_I(m->text), ARG_I(m->grid_width),
           ARG_I(m->kernel), ARG_T(parts), ARG_I(n), ARG_I(chunk), ARG_OWN(position));
    if (n == 1)
        return;
    size = (work){.global = {(size_t)(all * head_dim), (size_t)(b * t)}, .options = option};
    if (run_device(r)->tune.cpu_form)
        size = (work){.global = {(size_t)all, (size_t)(b * t)}, .local = {1, 1, 1}, .options = option};
    size.bytes = 4.0 * (double)(tensor_count(&parts) + b * t * all * head_dim);
    LAUNCH(r, "attention:join_parts", size, ARG_T(parts), ARG_T(y), ARG_T(lse), ARG_I(all), ARG_I(n));
}

tensor op_attention(run *r, tensor qkv, int heads, const kv_cache *cache, tensor position, const attention_mask *mask)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t b = qkv.shape[0], t = qkv.shape[1], keys = cache->k.shape[1], head_dim = cache->k.shape[3];
    REQUIRE(r, qkv.nd == 3 && cache->k.nd == 4 && cache->k.shape[0] >= b && heads > 0 && keys > 0 && heads % keys == 0);
    REQUIRE(r, qkv.shape[2] == (heads + 2 * keys) * head_dim && cache->v.type == cache->k.type);
    REQUIRE(r, tensor_count(&position) == 1 || tensor_count(&position) >= b);
    if (run_failed(r)) /* before anything is divided by these sizes */
        return (tensor){0};
    if (cache->k.type != DTYPE_F32)
        tape_no_gradient(r, "op_attention with F16 keys and values", qkv);
    check_position(r, "op_attention at several positions", position, qkv);
    if (t > 1 || (heads > keys && !run_device(r)->tune.cpu_form)) /* else one query stores its own */
        cache_store(r, qkv, (int)(heads / keys) + 2, cache, position);
    tensor y = TENSOR(r, DTYPE_F32, b, t, heads * head_dim), lse = {0};
    if (run_tape(r))
        lse = TENSOR(r, DTYPE_F32, b, t, heads);
    if (t == 1 || tensor_count(&position) > 1 || !attend_tiles(r, qkv, cache, position, mask, y, lse))
        attend(r, qkv, cache, position, mask, y, lse);
    tape_push(r, &(tape_step){.back = attention_back,
                              .in = {qkv, cache->k, cache->v}, /* kernels read the cache: it has no gradient */
                              .out = y,
                              .saved = {lse},
                              .i = {heads, (int32_t)mask->kind, mask->text, mask->grid_width, mask->kernel}});
    return y;
}

tensor op_cross_attention(run *r, tensor q, const kv_cache *cache, tensor ids, int pad)
{
    return op_biased_attention(r, q, cache, (tensor){0}, ids, pad);
}

tensor op_biased_attention(run *r, tensor q, const kv_cache *cache, tensor bias, tensor ids, int pad)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t b = q.shape[0], t = q.shape[1], d = q.shape[2], heads = cache->k.shape[1], n = cache->k.shape[2];
    REQUIRE(r, q.nd == 3 && cache->k.nd == 4 && cache->k.shape[0] == b && heads * cache->k.shape[3] == d &&
                   (!ids.buf || tensor_count(&ids) == b * n) && (!bias.buf || tensor_count(&bias) == heads * t * n));
    if (cache->k.type != DTYPE_F32)
        tape_no_gradient(r, "op_cross_attention to F16", q);
    char option[CACHE_OPTION];
    double seen = (double)(b * t * d) * (double)n;
    work size = {.global = {(size_t)(b * t), (size_t)heads},
                 .unit = UNIT_ROW,
                 .flops = 4 * seen,
                 .bytes = 2 * cache_bytes(cache) * seen,
                 .options = cache_option(cache, 1, bias.buf ? " -DCROSS -DBIAS" : " -DCROSS", option)};
    tensor y = TENSOR(r, DTYPE_F32, b, t, d), none = {0};
    tape_step s = {.back = cross_back, .in = {q, cache->k, cache->v, bias}, .out = y, .i = {pad}};
    if (tape_records(r, &s))
        s.saved[0] = TENSOR(r, DTYPE_F32, b, t, heads);
    s.saved[1] = ids;
    const arg args[] = {ARG_T(q),    ARG_T(cache->k), ARG_T(cache->v), ARG_T(y),    ARG_T(s.saved[0]),
                        ARG_T(none), ARG_I(t),        ARG_I(heads),    ARG_I(n),    ARG_I(MASK_ALL),
                        ARG_I(n),    ARG_I(1),        ARG_I(1),        ARG_T(none), ARG_I(1),
                        ARG_I(n),    ARG_I(0),        ARG_T(ids),      ARG_I(pad),  ARG_T(bias)};
    if (ids.buf || bias.buf || !cross_tiles(r, q, cache, y, s.saved[0]))
        run_launch(r, "attention:attention", size, args, (int)(sizeof args / sizeof *args) - !bias.buf);
    tape_push(r, &s);
    return y;
}

static void cross_back(run *r, tape *tp, const tape_step *s)
{
    tensor q = s->in[0], k = s->in[1], v = s->in[2], bias = s->in[3], none = {0};
    int64_t b = q.shape[0], t = q.shape[1], heads = k.shape[1], n = k.shape[2];
    int add[3], add_bias;
    tensor dq = wanted(tp, q, &add[0]), dk = wanted(tp, k, &add[1]), dv = wanted(tp, v, &add[2]);
    tensor delta = TENSOR(r, DTYPE_F32, b, t, heads), dbias = wanted(tp, bias, &add_bias), ds = {0};
    if (dbias.buf)
        ds = TENSOR(r, DTYPE_F32, b, heads, t, n);
    char option[CACHE_OPTION];
    double seen = (double)tensor_count(&q) * (double)n;
    cache_option(&(kv_cache){k, v}, 1, bias.buf ? " -DCROSS -DBACKWARD -DBIAS" : " -DCROSS -DBACKWARD", option);
    for (int i = 0; i < (dk.buf ? 2 : 1); i++) {
        work size = {.global = {(size_t)(b * (i ? n : t)), (size_t)heads},
                     .unit = UNIT_ROW,
                     .flops = (6 + 2 * i) * seen,
                     .bytes = (6 + 2 * i) * seen,
                     .options = option};
        const arg args[] = {ARG_T(q),
                            ARG_T(k),
                            ARG_T(v),
                            ARG_T(s->out),
                            ARG_T(s->saved[0]),
                            ARG_T(tape_gradient(tp, s->out)),
                            ARG_T(i ? none : dq),
                            ARG_T(delta),
                            ARG_I(t),
                            ARG_I(heads),
                            ARG_I(n),
                            ARG_I(MASK_ALL),
                            ARG_I(n),
                            ARG_I(1),
                            ARG_I(1),
                            ARG_I(add[i]),
                            ARG_T(s->saved[1]),
                            ARG_I(s->i[0]),
                            ARG_T(dk),
                            ARG_T(dv),
                            ARG_T(bias),
                            ARG_T(ds)};
        run_launch(r, i ? "attention:attention_back_kv" : "attention:attention_back_q", size, args,
                   (int)(sizeof args / sizeof *args) - (bias.buf ? 0 : 2));
    }
    sum_rows(r, dbias, ds, b, heads * t * n, 0, add_bias);
}

/* The sequence is whole: its first position is 0, and the cache holds its keys and values alone. */
static void attention_back(run *r, tape *tp, const tape_step *s)
{
    tensor qkv = s->in[0], k = s->in[1], v = s->in[2], dy = tape_gradient(tp, s->out);
    int64_t b = qkv.shape[0], t = qkv.shape[1], all = s->i[0], heads = k.shape[1], length = k.shape[2];
    const attention_mask m = {(mask_kind)s->i[1], s->i[2], s->i[3], s->i[4]};
    REQUIRE(r, t <= length);
    int add;
    tensor dqkv = tape_gradient_of(tp, qkv, &add);
    if (attend_tiles_back(r, s, &m, dy, dqkv, add))
        return;
    tensor delta = TENSOR(r, DTYPE_F32, b, t, all);
    char option[CACHE_OPTION];
    double seen = 0.5 * (double)tensor_count(&s->out) * (double)t;
    work size = {.unit = UNIT_ROW, .options = cache_option(&(kv_cache){k, v}, all / heads, " -DBACKWARD", option)};
    static const char *const kernels[] = {"attention:attention_back_q", "attention:attention_back_kv"};
    for (int i = 0; i < 2; i++) {
        size.flops = size.bytes = (6 + 2 * i) * seen;
        size.global[0] = (size_t)(b * t);
        size.global[1] = (size_t)(i ? heads : all);
        LAUNCH(r, kernels[i], size, ARG_T(qkv), ARG_T(k), ARG_T(v), ARG_T(s->out), ARG_T(s->saved[0]), ARG_T(dy),
               ARG_T(dqkv), ARG_T(delta), ARG_I(t), ARG_I(heads), ARG_I(length), ARG_I(m.kind), ARG_I(m.text),
               ARG_I(m.grid_width), ARG_I(m.kernel), ARG_I(add));
    }
}
