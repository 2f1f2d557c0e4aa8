/* unCLIP's prior: its forward pass, its parameters, and what it keeps on the device. */
#include "models/diffusion/prior.h"

#include <stdio.h>
#include <stdlib.h>

#include "models/diffusion/unet.h"

#define NORM_EPS 1e-5f

/* ---- what is kept ----------------------------------------------------------------------------------------------- */

bool prior_memory_open(prior_memory *m, const prior *p, device *d, int rows, err *e)
{
    const int64_t shape[] = {rows, p->heads, p->text + PRIOR_LAST, p->head_dim}, n = rows;
    *m = (prior_memory){.rows = rows, .caches = calloc((size_t)p->layers, sizeof *m->caches)};
    bool ok = m->caches || err_no_memory(e, "prior", (size_t)p->layers * sizeof *m->caches);
    ok = ok && tensor_new(&m->position, d, DTYPE_I32, 1, &n, NULL, false, "prior", e);
    for (int i = 0; ok && i < p->layers; i++)
        ok = tensor_new(&m->caches[i].k, d, DTYPE_F32, 4, shape, NULL, false, "keys of the text", e) &&
             tensor_new(&m->caches[i].v, d, DTYPE_F32, 4, shape, NULL, false, "values of the text", e);
    if (!ok)
        prior_memory_release(m, p);
    return ok;
}

void prior_memory_release(prior_memory *m, const prior *p)
{
    for (int i = 0; m->caches && i < p->layers; i++) {
        buffer_free(m->caches[i].k.buf);
        buffer_free(m->caches[i].v.buf);
    }
    free(m->caches);
    buffer_free(m->position.buf);
    *m = (prior_memory){0};
}

static kv_cache rows_of_cache(const prior_memory *m, int layer, int64_t first, int64_t n)
{
    return (kv_cache){tensor_rows(m->caches[layer].k, first, n), tensor_rows(m->caches[layer].v, first, n)};
}

/* ---- forward ---------------------------------------------------------------------------------------------------- */

/* x[b,t,width] at `position`, rows first to first + b - 1 of the caches. */
static tensor forward(run *r, const prior *p, const prior_memory *m, tensor x, int64_t first, tensor position)
{
    const attention_mask mask = {.kind = MASK_FULL, .text = p->text + PRIOR_LAST, .grid_width = 1, .kernel = 1};
    for (int i = 0; i < p->layers && !run_failed(r); i++) {
        const prior_block *b = &p->blocks[i];
        const kv_cache cache = rows_of_cache(m, i, first, x.shape[0]);
        run_next(r);
        tensor qkv = op_linear(r, op_layer_norm(r, x, &b->norm1), &b->qkv, ACT_NONE);
        x = op_linear_add(r, op_attention(r, qkv, p->heads, &cache, position, &mask), &b->out, x);
        tensor up = op_linear(r, op_layer_norm(r, x, &b->norm2), &b->up, ACT_GELU_ERF);
        x = op_linear_add(r, up, &b->down, x);
    }
    return x;
}

static void put(run *r, tensor to, int64_t at, tensor from)
{
    if (!run_failed(r))
        op_repeat(r, tensor_rows(to, at, tensor_count(&from) / to.shape[1]), from);
}

/* The n states that count of one text, and its embedding[1,dim], with their positions: x[1,n + 1,width]. */
static tensor embed_text(run *r, const prior *p, tensor states, tensor embedding, int n)
{
    const int64_t shape[] = {1, n + 1, p->width};
    tensor x = TENSOR(r, DTYPE_F32, n + 1, p->width), at = TENSOR(r, DTYPE_F32, n + 1, p->width);
    put(r, x, 0, op_linear(r, tensor_rows(states, 0, n), &p->from_states, ACT_NONE));
    put(r, x, n, op_linear(r, embedding, &p->from_text, ACT_NONE));
    put(r, at, 0, tensor_rows(p->position, 0, n));
    put(r, at, n, tensor_rows(p->position, p->text, 1));
    return run_failed(r) ? x : op_add_position(r, tensor_shaped(x, 3, shape), (tensor){0}, at);
}

void prior_read_text(run *r, const prior *p, const prior_memory *m, tensor states, tensor embeddings,
                     const int *lengths)
{
    const int64_t b = states.shape[0], rows[] = {p->text, p->states};
    int32_t position[2] = {0};
    REQUIRE(r, b > 0 && b <= m->rows && b <= 2);
    for (int64_t i = 0; i < b && !run_failed(r); i++) {
        tensor own = tensor_shaped(tensor_rows(states, i, 1), 2, rows), start = tensor_rows(run_zeros(r, 1), 0, 1);
        start.type = DTYPE_I32;
        position[i] = lengths[i] + 1;
        forward(r, p, m, embed_text(r, p, own, tensor_rows(embeddings, i, 1), lengths[i]), i, start);
    }
    if (!run_failed(r))
        run_write(r, tensor_rows(m->position, 0, b), position);
}

tensor prior_forward(run *r, const prior *p, const prior_memory *m, tensor x, float time, int64_t b)
{
    const int64_t shape[] = {b, 3, p->width};
    tensor one = TENSOR(r, DTYPE_F32, 3, p->width), all = TENSOR(r, DTYPE_F32, 3 * b, p->width);
    tensor t = op_linear(r, unet_sinusoids(r, time, p->width), &p->time[0], ACT_SILU);
    put(r, one, 0, op_linear(r, t, &p->time[1], ACT_NONE));
    put(r, one, 1, op_linear(r, x, &p->in, ACT_NONE));
    put(r, one, 2, p->token);
    if (run_failed(r))
        return x;
    op_repeat(r, all, one);
    tensor y = op_add_position(r, tensor_shaped(all, 3, shape), (tensor){0}, tensor_rows(p->position, p->text + 1, 3));
    y = op_slice(r, forward(r, p, m, y, 0, tensor_rows(m->position, 0, b)), 2, 1);
    y = op_linear(r, op_layer_norm(r, y, &p->after), &p->out, ACT_NONE);
    return run_failed(r) ? y : tensor_shaped(y, 2, (int64_t[]){b, p->dim});
}

tensor prior_embedding(run *r, const prior *p, tensor x)
{
    return op_add(r, op_multiply(r, x, p->deviation), tensor_shaped(p->mean, 2, x.shape));
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */

bool prior_prepare(prior *p, const char *file, err *e)
{
    if (p->width % 2 || p->head_dim < 1 || p->head_dim > HEAD_MOST || (int64_t)p->heads * p->head_dim > 1 << 16)
        return err_set(e, ERR_FAILED, "%s: limn.prior.width, heads: %d numbers, and %d heads of %d (up to %d)", file,
                       p->width, p->heads, p->head_dim, HEAD_MOST);
    free(p->blocks);
    p->blocks = calloc((size_t)p->layers, sizeof *p->blocks);
    return p->blocks || err_no_memory(e, "prior", (size_t)p->layers * sizeof *p->blocks);
}

void prior_release(prior *p)
{
    free(p->blocks);
    *p = (prior){0};
}

#define NAMED(...) (snprintf(name, sizeof name, "transformer.prior." __VA_ARGS__), name)

static void declare_blocks(prior *p, param_table *t)
{
    char name[96];
    const int64_t inner = (int64_t)p->heads * p->head_dim;
    for (int i = 0; i < p->layers; i++) {
        prior_block *b = &p->blocks[i];
        params_layer(t, i);
        param_norm(t, &b->norm1, p->width, NORM_EPS, NAMED("block.%d.norm1", i));
        param_linear(t, &b->qkv, p->width, 3 * inner, NAMED("block.%d.qkv", i));
        param_linear(t, &b->out, inner, p->width, NAMED("block.%d.out", i));
        param_norm(t, &b->norm2, p->width, NORM_EPS, NAMED("block.%d.norm2", i));
        param_linear(t, &b->up, p->width, p->mlp, NAMED("block.%d.up", i));
        param_linear(t, &b->down, p->mlp, p->width, NAMED("block.%d.down", i));
    }
    params_layer(t, -1);
}

void prior_declare(prior *p, param_table *t)
{
    char name[96];
    param_matrix(t, &p->position, p->text + PRIOR_LAST, p->width, PARAM_VECTOR, "transformer.prior.position.weight");
    param_vector(t, &p->token, p->width, "transformer.prior.token");
    param_vector(t, &p->mean, p->dim, "transformer.prior.mean");
    param_vector(t, &p->deviation, p->dim, "transformer.prior.deviation");
    param_linear(t, &p->time[0], p->width, p->width, NAMED("time.0"));
    param_linear(t, &p->time[1], p->width, p->width, NAMED("time.1"));
    param_linear(t, &p->from_states, p->states, p->width, NAMED("from_states"));
    param_linear(t, &p->from_text, p->dim, p->width, NAMED("from_text"));
    param_linear(t, &p->in, p->dim, p->width, NAMED("in"));
    declare_blocks(p, t);
    param_norm(t, &p->after, p->width, NORM_EPS, NAMED("norm_after"));
    param_linear(t, &p->out, p->width, p->dim, NAMED("out"));
}
