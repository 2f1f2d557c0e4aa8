/* T5's encoder: hyper-parameters, parameters, forward pass. */
#include "models/transformers/t5.h"

#include <stddef.h>
#include <stdlib.h>

#include "weights/config.h"

/* x + attention(norm(x)), then x + mlp(norm(x)); x[b,n,dim].  Scores aren't divided by sqrt(head_dim): q's weights are
 * larger by that in limn's files. */
static tensor block_forward(run *r, const t5 *t, const t5_block *k, tensor x, tensor ids, int pad)
{
    int64_t b = x.shape[0], n = x.shape[1];
    kv_cache keys = {TENSOR(r, DTYPE_F32, b, t->heads, n, t->head_dim),
                     TENSOR(r, DTYPE_F32, b, t->heads, n, t->head_dim)};
    tensor h = op_rms_norm(r, x, &k->norm1);
    op_cross_keys(r, op_linear(r, h, &k->kv, ACT_NONE), &keys);
    h = op_biased_attention(r, op_linear(r, h, &k->q, ACT_NONE), &keys, op_relative_bias(r, t->bias, n), ids, pad);
    x = op_linear_add(r, h, &k->out, x);
    tensor up = op_linear(r, op_rms_norm(r, x, &k->norm2), &k->up, ACT_NONE);
    return op_linear_add(r, op_glu(r, up, ACT_GELU_TANH), &k->down, x);
}

tensor t5_forward(run *r, const t5 *t, tensor ids, int pad)
{
    tensor x = op_embed(r, ids, t->embedding);
    for (int i = 0; i < t->layers; i++) {
        run_next(r);
        x = block_forward(r, t, &t->blocks[i], x, ids, pad);
    }
    run_next(r);
    return op_rms_norm(r, x, &t->final);
}

/* ---- hyper-parameters and parameters ---- */

static const config_field fields[] = {
    {"limn.transformer.encoder_layers", offsetof(t5, layers), 1, 1024},
    {"limn.transformer.encoder_dim", offsetof(t5, dim), 1, 1 << 16},
    {"limn.transformer.encoder_heads", offsetof(t5, heads), 1, 1 << 16},
    {"limn.transformer.encoder_head_dim", offsetof(t5, head_dim), 1, HEAD_MOST},
    {"limn.transformer.encoder_mlp", offsetof(t5, mlp), 1, 1 << 20},
    {"limn.transformer.encoder_reach", offsetof(t5, reach), 1, 1 << 16},
    {"limn.transformer.encoder_norm_eps", offsetof(t5, eps), 0, 1, CONFIG_FLOAT},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void t5_release(t5 *t)
{
    free(t->blocks);
    t->blocks = NULL;
}

bool t5_read(t5 *t, const gguf *g, err *e)
{
    return config_fields(g, fields, FIELDS, t, e);
}

void t5_put(const t5 *t, gguf_writer *w)
{
    config_put(w, fields, FIELDS, t);
}

bool t5_prepare(t5 *t, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, t, e))
        return false;
    t5_release(t);
    t->blocks = calloc((size_t)t->layers, sizeof *t->blocks);
    return t->blocks || err_no_memory(e, "transformer", (size_t)t->layers * sizeof *t->blocks);
}

static void declare_product(param_table *p, linear *l, int64_t in, int64_t out, int i, const char *name)
{
    param_matrix(p, &l->w, out, in, PARAM_MATRIX, "transformer.encoder.block.%d.%s.weight", i, name);
    param_fix(p);
}

static void declare_norm(const t5 *t, param_table *p, norm *n, int i, const char *name)
{
    n->eps = t->eps;
    param_vector(p, &n->w, t->dim, "transformer.encoder.block.%d.%s.weight", i, name);
    param_fix(p);
}

void t5_declare(t5 *t, param_table *p)
{
    int64_t inner = (int64_t)t->heads * t->head_dim;
    param_matrix(p, &t->embedding, t->vocabulary, t->dim, PARAM_TABLE, "transformer.encoder.embedding.weight");
    param_fix(p);
    param_matrix(p, &t->bias, 2 * (int64_t)t->reach + 1, t->heads, PARAM_VECTOR, "transformer.encoder.bias.weight");
    param_fix(p);
    for (int i = 0; i < t->layers; i++) {
        t5_block *k = &t->blocks[i];
        params_layer(p, i);
        declare_norm(t, p, &k->norm1, i, "norm1");
        declare_product(p, &k->q, t->dim, inner, i, "q");
        declare_product(p, &k->kv, t->dim, 2 * inner, i, "kv");
        declare_product(p, &k->out, inner, t->dim, i, "out");
        declare_norm(t, p, &k->norm2, i, "norm2");
        declare_product(p, &k->up, t->dim, 2 * (int64_t)t->mlp, i, "up");
        declare_product(p, &k->down, t->mlp, t->dim, i, "down");
    }
    params_layer(p, -1);
    t->final.eps = t->eps;
    param_vector(p, &t->final.w, t->dim, "transformer.encoder.norm.weight");
    param_fix(p);
}
