/* BART: hyper-parameters, parameters, forward pass. */
#include "models/transformers/bart.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/config.h"

/* ---- forward ---- */

/* s.x[b,t,dim] goes through the model: each part of a block adds something to it, and reads it through a norm. */

/* s.x + the norm `after` of y, as `next` reads it. */
static normed add_norm(normed s, tensor y, const norm *after, const norm *next)
{
    return (normed){.x = y, .after = after, .residual = s.x, .norm = next};
}

/* What the attention from s to `keys` ends with.  ids: of the keys */
static tensor attend(run *r, const bart *b, const bart_attention *a, normed *s, const kv_cache *keys, tensor ids)
{
    tensor q = op_linear_normed(r, s, &a->q, ACT_NONE);
    return op_linear(r, op_cross_attention(r, q, keys, ids, b->pad_id), &a->out, ACT_NONE);
}

/* s.x + mlp(s) */
static tensor feed(run *r, const bart *b, const bart_block *k, normed s)
{
    normed up = {.x = op_gated_normed(r, &s, &k->up, NULL, b->act), .norm = &k->middle};
    return op_linear_normed_add(r, &up, &k->down, s.x);
}

static tensor encoder_block(run *r, const bart *b, const bart_block *k, tensor x, tensor ids)
{
    int64_t n = x.shape[0], t = x.shape[1], head = b->base.dim / b->base.heads;
    kv_cache keys = {TENSOR(r, DTYPE_F32, n, b->base.heads, t, head), TENSOR(r, DTYPE_F32, n, b->base.heads, t, head)};
    normed s = {.x = x, .norm = &k->cross.before};
    op_cross_keys(r, op_linear_normed(r, &s, &k->cross.kv, ACT_NONE), &keys);
    tensor y = attend(r, b, &k->cross, &s, &keys, ids);
    return feed(r, b, k, add_norm(s, y, &k->cross.after, &k->before));
}

/* What layer i keeps of the text. */
static kv_cache text_keys(const bart *b, const transformer_memory *m, int i)
{
    const int64_t shape[] = {m->kept[0].shape[0], b->base.heads, b->base.text_length, b->base.dim / b->base.heads};
    return (kv_cache){tensor_shaped(m->kept[2 * i], 4, shape), tensor_shaped(m->kept[2 * i + 1], 4, shape)};
}

/* Reads the text: the keys and values that each layer of the decoder looks at. */
static void encode(run *r, const bart *b, tensor ids, const transformer_memory *m)
{
    tensor x = op_add_position(r, op_embed(r, ids, b->text), (tensor){0}, b->text_position);
    x = op_layer_norm(r, x, &b->text_norm);
    for (int i = 0; i < b->encoder_layers; i++) {
        run_next(r);
        x = encoder_block(r, b, &b->encoder[i], x, ids);
    }
    x = op_layer_norm(r, x, &b->encoder_final);
    for (int i = 0; i < b->base.layers; i++) {
        const kv_cache keys = text_keys(b, m, i);
        op_cross_keys(r, op_linear(r, x, &b->decoder[i].cross.kv, ACT_NONE), &keys);
    }
    run_next(r);
}

static tensor decoder_block(run *r, const bart *b, const bart_block *k, normed s, const kv_cache *cache,
                            tensor position, const kv_cache *keys, tensor ids)
{
    const attention_mask mask = {.kind = MASK_FULL, .text = 1, .grid_width = b->base.grid_width, .kernel = 1};
    tensor qkv = op_linear_normed(r, &s, &k->self.qkv, ACT_NONE);
    tensor y = op_linear(r, op_attention(r, qkv, b->base.heads, cache, position, &mask), &k->self.out, ACT_NONE);
    s = add_norm(s, y, &k->self.after, &k->cross.before);
    y = attend(r, b, &k->cross, &s, keys, ids);
    return feed(r, b, k, add_norm(s, y, &k->cross.after, &k->before));
}

static tensor forward(run *r, const transformer *t, tensor ids, tensor codes, const transformer_memory *m,
                      tensor position, int64_t n)
{
    const bart *b = (const bart *)t;
    if (ids.buf)
        encode(r, b, ids, m);
    tensor x = op_embed_decoder(r, codes, b->image, b->image_position, position, n, b->start_code);
    normed s = {.x = x, .after = &b->image_norm, .norm = &b->decoder[0].self.before};
    for (int i = 0; i < b->base.layers; i++) {
        const kv_cache keys = text_keys(b, m, i);
        run_next(r);
        x = decoder_block(r, b, &b->decoder[i], s, &m->caches[i], position, &keys, m->ids);
        if (i + 1 < b->base.layers)
            s = (normed){.x = x, .norm = &b->decoder[i + 1].self.before};
    }
    run_next(r);
    return op_layer_norm(r, x, &b->final);
}

/* ---- hyper-parameters and parameters ---- */

static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(bart, base.layers), 1, 1024},
    {"limn.transformer.encoder_layers", offsetof(bart, encoder_layers), 1, 1024},
    {"limn.transformer.dim", offsetof(bart, base.dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(bart, base.heads), 1, 1 << 16},
    {"limn.transformer.mlp", offsetof(bart, mlp), 1, 1 << 20},
    {"limn.transformer.text_length", offsetof(bart, base.text_length), 2, 1 << 16},
    {"limn.transformer.text_vocabulary", offsetof(bart, base.vocabulary), 2, 1 << 24},
    {"limn.transformer.grid_width", offsetof(bart, base.grid_width), 1, 1024},
    {"limn.transformer.grid_height", offsetof(bart, base.grid_height), 1, 1024},
    {"limn.transformer.codes", offsetof(bart, base.codes), 2, 1 << 20},
    {"limn.transformer.start_id", offsetof(bart, start_id), 0, (1 << 24) - 1},
    {"limn.transformer.end_id", offsetof(bart, end_id), 0, (1 << 24) - 1},
    {"limn.transformer.pad_id", offsetof(bart, pad_id), 0, (1 << 24) - 1},
    {"limn.transformer.start_code", offsetof(bart, start_code), 0, (1 << 20) - 1},
    {"limn.transformer.activation", offsetof(bart, act), 0, ACT_COUNT, CONFIG_CHOICE, activation_names},
    {"limn.transformer.norm_eps", offsetof(bart, eps), 0, 1, CONFIG_FLOAT},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void bart_put(const bart *b, gguf_writer *w)
{
    gguf_put_string(w, "limn.transformer.kind", transformer_bart.name);
    config_put(w, fields, FIELDS, b);
}

static bool check(const bart *b, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, b, e))
        return false;
    if (b->base.dim % b->base.heads || b->base.dim / b->base.heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.heads: %d do not divide the dim %d into heads of at most %d", file,
                       b->base.heads, b->base.dim, HEAD_MOST);
    const struct {
        const char *name;
        int id, below;
    } ids[] = {{"start_id", b->start_id, b->base.vocabulary},
               {"end_id", b->end_id, b->base.vocabulary},
               {"pad_id", b->pad_id, b->base.vocabulary},
               {"start_code", b->start_code, b->base.codes}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= ids[i].below)
            return err_set(e, ERR_FAILED, "%s: limn.transformer.%s: %d is not below %d", file, ids[i].name, ids[i].id,
                           ids[i].below);
    if (b->end_id == b->pad_id)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.end_id: %d is the padding too", file, b->end_id);
    return true;
}

/* A product without bias. */
static void declare_product(param_table *p, linear *l, int64_t in, int64_t out, const char *block, const char *name)
{
    param_weight(p, l, in, out, "%s.%s.weight", block, name);
}

static void declare_attention(const bart *b, bart_attention *a, bool self, const char *block, param_table *p)
{
    const unsigned uses = p->uses;
    char name[96];
    snprintf(name, sizeof name, "%s.norm", block);
    param_norm(p, &a->before, b->base.dim, b->eps, name);
    if (self)
        declare_product(p, &a->qkv, b->base.dim, 3 * (int64_t)b->base.dim, block, "qkv");
    else {
        declare_product(p, &a->q, b->base.dim, b->base.dim, block, "q");
        params_use(p, uses | USE_TEXT); /* once for each prompt */
        declare_product(p, &a->kv, b->base.dim, 2 * (int64_t)b->base.dim, block, "kv");
        params_use(p, uses);
    }
    declare_product(p, &a->out, b->base.dim, b->base.dim, block, "out");
    snprintf(name, sizeof name, "%s.norm_after", block);
    param_norm(p, &a->after, b->base.dim, b->eps, name);
}

static void declare_block(const bart *b, bart_block *k, bool decoder, int i, param_table *p)
{
    char block[64], name[96];
    params_layer(p, i);
    snprintf(block, sizeof block, "transformer.%s.%d", decoder ? "block" : "encoder.block", i);
    if (decoder) {
        snprintf(name, sizeof name, "%s.self", block);
        declare_attention(b, &k->self, true, name, p);
    }
    snprintf(name, sizeof name, "%s.%s", block, decoder ? "cross" : "self");
    declare_attention(b, &k->cross, false, name, p);
    snprintf(name, sizeof name, "%s.mlp.norm", block);
    param_norm(p, &k->before, b->base.dim, b->eps, name);
    declare_product(p, &k->up, b->base.dim, 2 * (int64_t)b->mlp, block, "mlp.up");
    snprintf(name, sizeof name, "%s.mlp.norm_middle", block);
    param_norm(p, &k->middle, b->mlp, b->eps, name);
    declare_product(p, &k->down, b->mlp, b->base.dim, block, "mlp.down");
}

/* What of the base follows from the other sizes. */
static void fill(bart *b)
{
    transformer *t = &b->base;
    t->kind = &transformer_bart;
    t->text_room = t->text_length;
    t->prefix = 1;
    t->head_dim = t->dim / t->heads;
    t->n_kept = 2 * t->layers;
    t->keeps_keys = true;
    t->kept_shape[0] = t->heads;
    t->kept_shape[1] = (int64_t)t->text_length * t->head_dim;
    t->image_head = &b->head;
}

bool bart_prepare(bart *b, const char *file, err *e)
{
    if (!check(b, file, e))
        return false;
    fill(b);
    free(b->encoder);
    free(b->decoder);
    b->encoder = calloc((size_t)b->encoder_layers, sizeof *b->encoder);
    b->decoder = calloc((size_t)b->base.layers, sizeof *b->decoder);
    if (!b->encoder || !b->decoder)
        return err_no_memory(e, "transformer", (size_t)(b->encoder_layers + b->base.layers) * sizeof *b->decoder);
    return true;
}

void bart_declare(bart *b, param_table *p)
{
    int64_t cells = (int64_t)b->base.grid_width * b->base.grid_height;
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    param_matrix(p, &b->text, b->base.vocabulary, b->base.dim, PARAM_TABLE, "transformer.encoder.embedding.weight");
    param_matrix(p, &b->text_position, b->base.text_length, b->base.dim, PARAM_VECTOR,
                 "transformer.encoder.position.weight");
    param_norm(p, &b->text_norm, b->base.dim, b->eps, "transformer.encoder.embedding_norm");
    for (int i = 0; i < b->encoder_layers; i++)
        declare_block(b, &b->encoder[i], false, i, p);
    params_layer(p, -1);
    param_norm(p, &b->encoder_final, b->base.dim, b->eps, "transformer.encoder.norm");
    params_use(p, USE_TRANSFORMER);
    param_matrix(p, &b->image, b->base.codes, b->base.dim, PARAM_TABLE, "transformer.embedding.weight");
    param_matrix(p, &b->image_position, cells, b->base.dim, PARAM_VECTOR, "transformer.position.weight");
    param_norm(p, &b->image_norm, b->base.dim, b->eps, "transformer.embedding_norm");
    for (int i = 0; i < b->base.layers; i++)
        declare_block(b, &b->decoder[i], true, i, p);
    params_layer(p, -1);
    param_norm(p, &b->final, b->base.dim, b->eps, "transformer.norm");
    declare_product(p, &b->head, b->base.dim, b->base.codes, "transformer", "head");
}

/* ---- the kind ---- */

void bart_free(bart *b)
{
    if (b) {
        free(b->encoder);
        free(b->decoder);
    }
    free(b);
}

static void free_kind(transformer *t)
{
    bart_free((bart *)t);
}

static void declare(transformer *t, param_table *p)
{
    bart_declare((bart *)t, p);
}

static transformer *open_kind(const gguf *g, err *e)
{
    bart *b = calloc(1, sizeof *b);
    bool ok = b ? config_fields(g, fields, FIELDS, b, e) : err_no_memory(e, "transformer", sizeof *b);
    if (ok && bart_prepare(b, gguf_name(g), e))
        return &b->base;
    bart_free(b);
    return NULL;
}

/* A text without words.  As in min-dalle, its end is the prompt's last id where that one's </s> was cut off. */
static void put_null_row(const transformer *t, const int32_t *text, size_t n, int32_t *row)
{
    const bart *b = (const bart *)t;
    for (int i = 0; i < t->text_length; i++)
        row[i] = b->pad_id;
    row[0] = b->start_id;
    row[1] = n == (size_t)t->text_length ? text[n - 1] : b->end_id;
}

static bool null_row(const transformer *t, const int32_t *text, size_t n, int32_t *row, size_t *used, err *e)
{
    (void)e;
    put_null_row(t, text, n, row);
    *used = 2;
    return true;
}

static bool text_row(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const bart *b = (const bart *)t;
    while (n && ids[n - 1] == b->pad_id)
        n--;
    n = transformer_cut(n, (size_t)t->text_length); /* min-dalle cuts </s> too */
    if (!transformer_check_ids(t, ids, n, e))
        return false;
    for (int i = 0; i < t->text_length; i++)
        row[i] = (size_t)i < n ? ids[i] : b->pad_id;
    if (!n)
        put_null_row(t, NULL, 0, row);
    *used = n;
    return true;
}

const transformer_kind transformer_bart = {"bart", open_kind, free_kind, declare, text_row, forward, null_row, false};
