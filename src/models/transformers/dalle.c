/* The DALL-E transformer: hyper-parameters, parameters, forward pass. */
#include "models/transformers/dalle.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/tape.h"
#include "weights/config.h"

#define EPS_MOST  1
#define HEAD_MOST 1024 /* the kernels keep a head's query in private or local memory */

/* Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).  x[b,t,dim] */
static tensor block_forward(run *r, const dalle *d, const block *k, tensor x, const kv_cache *cache, tensor position)
{
    tensor qkv = op_linear(r, op_layer_norm(r, x, &k->norm1), &k->qkv, ACT_NONE);
    x = op_linear_add(r, op_attention(r, qkv, d->heads, cache, position, &k->mask), &k->out, x);
    tensor up = op_linear(r, op_layer_norm(r, x, &k->norm2), &k->up, d->act);
    return op_linear_add(r, up, &k->down, x);
}

/* in: x, keys, values, position */
static tensor block_part(run *r, const void *self, int i, const tensor in[TAPE_INPUTS])
{
    const dalle *d = self;
    return block_forward(r, d, &d->blocks[i], in[0], &(kv_cache){in[1], in[2]}, in[3]);
}

tensor dalle_forward(run *r, const dalle *d, tensor ids, tensor codes, const kv_cache *caches, tensor position,
                     int64_t t)
{
    tensor x = op_embed_sequence(r, &d->embedding, ids, codes, position, t);
    for (int i = 0; i < d->layers; i++) {
        run_next(r);
        const tensor in[TAPE_INPUTS] = {x, caches[i].k, caches[i].v, position};
        x = d->recompute ? tape_recompute(r, block_part, d, i, in) : block_part(r, d, i, in);
    }
    run_next(r);
    return op_layer_norm(r, x, &d->final);
}

static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(dalle, layers), 1, 1024},
    {"limn.transformer.dim", offsetof(dalle, dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(dalle, heads), 1, 1 << 16},
    {"limn.transformer.mlp", offsetof(dalle, mlp), 1, 1 << 20},
    {"limn.transformer.text_length", offsetof(dalle, text_length), 1, 1 << 16},
    {"limn.transformer.text_vocabulary", offsetof(dalle, vocabulary), 2, 1 << 24},
    {"limn.transformer.grid_width", offsetof(dalle, grid_width), 1, 1024},
    {"limn.transformer.grid_height", offsetof(dalle, grid_height), 1, 1024},
    {"limn.transformer.codes", offsetof(dalle, codes), 2, 1 << 20},
    {"limn.transformer.pad_id", offsetof(dalle, pad_id), 0, (1 << 24) - 1},
    {"limn.transformer.image_id", offsetof(dalle, image_id), 0, (1 << 24) - 1},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void dalle_put(const dalle *d, gguf_writer *w)
{
    config_put(w, fields, FIELDS, d);
    gguf_put_string(w, "limn.transformer.activation", activation_names[d->act]);
    gguf_put_float(w, "limn.transformer.norm_eps", d->eps);
    if (d->pad_per_position)
        gguf_put_bool(w, "limn.transformer.pad_per_position", true);
}

bool dalle_prepare(dalle *d, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, d, e))
        return false;
    if (!(d->eps >= 0 && d->eps <= EPS_MOST))
        return err_set(e, ERR_FAILED, "%s: limn.transformer.norm_eps: %g is outside 0 to %d", file, d->eps, EPS_MOST);
    if (d->dim % d->heads || d->dim / d->heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.heads: %d do not divide the dim %d into heads of at most %d", file,
                       d->heads, d->dim, HEAD_MOST);
    if (d->pad_id >= d->vocabulary || d->image_id >= d->vocabulary)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.%s: %d is outside of the vocabulary of %d", file,
                       d->pad_id >= d->vocabulary ? "pad_id" : "image_id",
                       d->pad_id >= d->vocabulary ? d->pad_id : d->image_id, d->vocabulary);
    free(d->blocks);
    d->blocks = calloc((size_t)d->layers, sizeof *d->blocks);
    if (!d->blocks)
        return err_no_memory(e, "transformer", (size_t)d->layers * sizeof *d->blocks);
    for (int i = 0; i < d->layers; i++)
        d->blocks[i].mask =
            (attention_mask){.kind = MASK_FULL, .text = d->text_length, .grid_width = d->grid_width, .kernel = 3};
    return true;
}

void dalle_declare(dalle *d, param_table *p)
{
    sequence_embedding *s = &d->embedding;
    int64_t ids = d->vocabulary + (d->pad_per_position ? d->text_length : 0);
    *s =
        (sequence_embedding){.text_length = d->text_length, .grid_width = d->grid_width, .grid_height = d->grid_height};
    params_use(p, USE_TRANSFORMER);
    param_matrix(p, &s->text, ids, d->dim, PARAM_TABLE, "transformer.text_embedding.weight");
    param_matrix(p, &s->image, d->codes, d->dim, PARAM_TABLE, "transformer.image_embedding.weight");
    param_matrix(p, &s->text_position, d->text_length, d->dim, PARAM_VECTOR, "transformer.text_position.weight");
    param_matrix(p, &s->row_position, d->grid_height, d->dim, PARAM_VECTOR, "transformer.row_position.weight");
    param_matrix(p, &s->column_position, d->grid_width, d->dim, PARAM_VECTOR, "transformer.column_position.weight");
    for (int i = 0; i < d->layers; i++) {
        block *b = &d->blocks[i];
        char name[64];
        int at = snprintf(name, sizeof name, "transformer.block.%d.", i);
        params_layer(p, i);
#define NAMED(part) (strcpy(name + at, part), name)
        param_norm(p, &b->norm1, d->dim, d->eps, NAMED("norm1"));
        param_linear(p, &b->qkv, d->dim, 3 * d->dim, NAMED("qkv"));
        param_linear(p, &b->out, d->dim, d->dim, NAMED("out"));
        param_norm(p, &b->norm2, d->dim, d->eps, NAMED("norm2"));
        param_linear(p, &b->up, d->dim, d->mlp, NAMED("up"));
        param_linear(p, &b->down, d->mlp, d->dim, NAMED("down"));
#undef NAMED
    }
    params_layer(p, -1);
    param_norm(p, &d->final, d->dim, d->eps, "transformer.norm");
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    param_linear(p, &d->text_head, d->dim, ids, "transformer.text_head");
    params_use(p, USE_TRANSFORMER);
    param_linear(p, &d->image_head, d->dim, d->codes, "transformer.image_head");
}

static bool read_optional(dalle *d, const gguf *g, err *e)
{
    static const char *const pad = "limn.transformer.pad_per_position";
    return !gguf_has(g, pad) || gguf_get_bool(g, pad, &d->pad_per_position, e);
}

transformer dalle_view(dalle *d)
{
    return (transformer){.kind = &transformer_dalle,
                         .text_length = d->text_length,
                         .prefix = d->text_length,
                         .vocabulary = d->vocabulary,
                         .codes = d->codes,
                         .grid_width = d->grid_width,
                         .grid_height = d->grid_height,
                         .dim = d->dim,
                         .heads = d->heads,
                         .head_dim = d->dim / d->heads,
                         .layers = d->layers,
                         .one_cache = d->recompute,
                         .guidance = d->guidance,
                         .temperature = d->temperature,
                         .top_p = d->top_p,
                         .top_k = d->top_k,
                         .text_head = &d->text_head,
                         .image_head = &d->image_head,
                         .state = d};
}

static bool open_dalle(transformer *t, const gguf *g, param_table *p, err *e)
{
    dalle *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    int act = 0;
    bool ok = config_fields(g, fields, FIELDS, d, e) &&
              config_choice(g, "limn.transformer.activation", activation_names, ACT_COUNT, &act, e) &&
              config_float(g, "limn.transformer.norm_eps", 0, EPS_MOST, &d->eps, e) && read_optional(d, g, e) &&
              dalle_prepare(d, gguf_name(g), e);
    for (int i = 0; ok && i < d->layers; i++)
        ok = transformer_read_mask(&d->blocks[i].mask, i, g, e);
    if (!ok) {
        dalle_free(d);
        return false;
    }
    d->act = (activation)act;
    dalle_declare(d, p);
    *t = dalle_view(d);
    return true;
}

void dalle_free(dalle *d)
{
    if (d)
        free(d->blocks);
    free(d);
}

bool dalle_text_row(const dalle *d, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    while (n && (ids[n - 1] == d->pad_id || ids[n - 1] == d->image_id))
        n--;
    n = transformer_cut(n, (size_t)d->text_length - 1); /* as in training (train/text.h) */
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= d->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[i], i,
                           d->vocabulary);
    for (int i = 0; i < d->text_length - 1; i++) {
        int32_t id = (size_t)i < n ? ids[i] : d->pad_id;
        row[i] = id == d->pad_id && d->pad_per_position ? d->vocabulary + i : id;
    }
    row[d->text_length - 1] = d->image_id;
    *used = n;
    return true;
}

static void free_state(void *state)
{
    dalle_free(state);
}

static bool text_row(const void *state, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    return dalle_text_row(state, ids, n, row, used, e);
}

static tensor forward(run *r, const void *state, tensor ids, tensor codes, const transformer_memory *m, tensor position,
                      int64_t t)
{
    return dalle_forward(r, state, ids, codes, m->caches, position, t);
}

const transformer_kind transformer_dalle = {"dalle", open_dalle, free_state, text_row, forward, NULL};
