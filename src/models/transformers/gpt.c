/* GPTs, the paper's and published ones: hyper-parameters, parameters, forward pass. */
#include "models/transformers/gpt.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/tape.h"
#include "weights/config.h"

/* ---- forward ---- */

static tensor norm_of(run *r, const gpt *d, tensor x, const norm *n)
{
    return d->rms ? op_rms_norm(r, x, n) : op_layer_norm(r, x, n);
}

/* The end of a branch: residual + l(x), or residual + out(l(x)) if the norms are a sandwich. */
static tensor branch_out(run *r, const gpt *d, tensor x, const linear *l, const norm *out, tensor residual)
{
    if (!d->sandwich)
        return op_linear_add(r, x, l, residual);
    tensor y = op_linear(r, x, l, ACT_NONE);
    return d->rms ? op_add(r, residual, op_rms_norm(r, y, out)) : op_layer_norm_add(r, y, out, residual);
}

/* Columns of all keys of a row. */
static int64_t key_width(const gpt *d)
{
    return (int64_t)transformer_key_heads(&d->base) * d->base.head_dim;
}

/* The same, as norm2 reads it. */
static normed attention_out(run *r, const gpt *d, const gpt_block *k, tensor x, tensor residual)
{
    if (!d->sandwich || d->rms)
        return (normed){.x = branch_out(r, d, x, &k->out, &k->norm1_out, residual), .norm = &k->norm2, .rms = d->rms};
    return (normed){
        .x = op_linear(r, x, &k->out, ACT_NONE), .after = &k->norm1_out, .residual = residual, .norm = &k->norm2};
}

/* x + attention(norm(x)), then x + mlp(norm(x)); x[b,t,dim].  place: the position where texts have as many ids as
 * `ids` has room for */
static tensor block_forward(run *r, const gpt *d, const gpt_block *k, tensor x, const kv_cache *cache, tensor position,
                            tensor place, tensor ids)
{
    normed h = {.x = x, .norm = &k->norm1, .rms = d->rms};
    tensor qkv = op_linear_normed(r, &h, &k->qkv, ACT_NONE);
    if (d->grid == GPT_GRID_ROTARY)
        qkv = op_rotate_grid(r, qkv, d->base.heads, place, (int)ids.shape[1], d->base.grid_width);
    if (d->rotary)
        qkv = op_rotary(r, qkv, d->base.dim + key_width(d), d->frequencies, position);
    h = attention_out(r, d, k, op_attention(r, qkv, d->base.heads, cache, position, &k->mask), x);
    tensor up = d->gated ? op_gated_normed(r, &h, &k->up, &k->gate, d->act) : op_linear_normed(r, &h, &k->up, d->act);
    return branch_out(r, d, up, &k->down, &k->norm2_out, h.x);
}

/* Block i as a tape_part; in: x, keys, values, position, place, ids. */
static tensor block_part(run *r, const void *self, int i, const tensor in[TAPE_INPUTS])
{
    const gpt *d = self;
    return block_forward(r, d, &d->blocks[i], in[0], &(kv_cache){in[1], in[2]}, in[3], in[4], in[5]);
}

/* The text as vectors[b,n,dim] of its ids[b,n]. */
static tensor encode(run *r, const gpt *d, tensor ids)
{
    tensor x = t5_forward(r, &d->encoder, ids, d->pad_id);
    return op_linear(r, op_linear(r, x, &d->project_up, ACT_GELU_TANH), &d->project_down, ACT_NONE);
}

/* op_embed_sequence with an encoder: the text of the n positions from the row's first one on is encoded.  A text that
 * is shorter than its room is alone, and read without codes. */
static tensor embed_encoded(run *r, const gpt *d, sequence_embedding *s, tensor ids, tensor codes,
                            const transformer_memory *m, tensor position, int64_t n)
{
    int64_t room = ids.shape[1];
    if (n < room) {
        REQUIRE(r, ids.shape[0] == 1);
        ids = tensor_shaped(ids, 2, (int64_t[]){room, 1});
        ids = tensor_shaped(tensor_rows(ids, room - n, n), 2, (int64_t[]){1, n});
        s->text_length = (int)n;
    }
    if (!m->no_text)
        s->vectors = encode(r, d, ids);
    return op_embed_sequence(r, s, ids, codes, n < room ? position : m->place, n);
}

static tensor forward(run *r, const transformer *t, tensor ids, tensor codes, const transformer_memory *m,
                      tensor position, int64_t n)
{
    const gpt *d = (const gpt *)t;
    sequence_embedding s = d->embedding;
    if (d->tied)
        s.image = d->image_head.w;
    if (d->shared)
        s.text = s.image;
    if (t->own_lengths)
        s.text_length = (int)m->ids.shape[1];
    const tensor place = t->own_lengths ? m->place : position;
    tensor x = d->encodes && ids.buf ? embed_encoded(r, d, &s, ids, codes, m, position, n)
                                     : op_embed_sequence(r, &s, ids, codes, place, n);
    for (int i = 0; i < t->layers; i++) {
        run_next(r);
        const tensor in[TAPE_INPUTS] = {x, m->caches[i].k, m->caches[i].v, position, place, m->ids};
        x = t->recompute ? tape_recompute(r, block_part, d, i, in, t->dim) : block_part(r, d, i, in);
    }
    run_next(r);
    x = norm_of(r, d, x, &d->final);
    if (d->head_norm)
        x = norm_of(r, d, x, &d->before_heads);
    return d->deep_head ? op_linear(r, x, &d->head_up, ACT_GELU_ERF) : x;
}

/* ---- hyper-parameters ---- */

/* The keys of both kinds.  A kind has those of some stretches, in that order. */
static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(gpt, base.layers), 1, GPT_LAYERS},
    {"limn.transformer.dim", offsetof(gpt, base.dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(gpt, base.heads), 1, 1 << 16},
    {"limn.transformer.mlp", offsetof(gpt, mlp), 1, 1 << 20},
    {"limn.transformer.text_length", offsetof(gpt, base.text_length), 1, 1 << 16},
    {"limn.transformer.text_vocabulary", offsetof(gpt, base.vocabulary), 1, 1 << 24},
    {"limn.transformer.classes", offsetof(gpt, base.classes), 0, 1 << 24},
    {"limn.transformer.grid_width", offsetof(gpt, base.grid_width), 1, 1024},
    {"limn.transformer.grid_height", offsetof(gpt, base.grid_height), 1, 1024},
    {"limn.transformer.codes", offsetof(gpt, base.codes), 2, 1 << 20},
    {"limn.transformer.pad_id", offsetof(gpt, pad_id), 0, (1 << 24) - 1},
    {"limn.transformer.begin_id", offsetof(gpt, begin_id), 0, (1 << 24) - 1},
    {"limn.transformer.image_id", offsetof(gpt, end_id), 0, (1 << 24) - 1},
    {"limn.transformer.text_vocabulary", offsetof(gpt, base.vocabulary), 2, 1 << 24}, /* text and [IMG] */
};
typedef struct stretch {
    size_t first, n;
} stretch;
static const stretch of_gpt[] = {{0, 12}, {0, 0}}, of_dalle[] = {{0, 5}, {13, 1}, {7, 4}, {12, 1}, {0, 0}};

static const stretch *stretches(const gpt *d)
{
    return d->ends ? of_dalle : of_gpt;
}

static const char *const grid_names[GPT_GRID_COUNT] = {"cells", "axes", "rotary", "none"};

/* Further keys of the kind "gpt". */
static const config_field variant[] = {
    {"limn.transformer.text_positions", offsetof(gpt, text_positions), .kind = CONFIG_BOOL},
    {"limn.transformer.shared_embedding", offsetof(gpt, shared), .kind = CONFIG_BOOL},
    {"limn.transformer.attention_bias", offsetof(gpt, attention_bias), .kind = CONFIG_BOOL},
    {"limn.transformer.mlp_bias", offsetof(gpt, mlp_bias), .kind = CONFIG_BOOL},
    {"limn.transformer.head_bias", offsetof(gpt, head_bias), .kind = CONFIG_BOOL},
    {"limn.transformer.text_head", offsetof(gpt, predicts_text), .kind = CONFIG_BOOL},
    {"limn.transformer.head_norm", offsetof(gpt, head_norm), .kind = CONFIG_BOOL},
    {"limn.transformer.sandwich_norm", offsetof(gpt, sandwich), .kind = CONFIG_BOOL},
    {"limn.transformer.rms_norm", offsetof(gpt, rms), .kind = CONFIG_BOOL},
    {"limn.transformer.gated_mlp", offsetof(gpt, gated), .kind = CONFIG_BOOL},
    {"limn.transformer.qkv_bias", offsetof(gpt, qkv_bias), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.rotary", offsetof(gpt, rotary), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.deep_head", offsetof(gpt, deep_head), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.own_lengths", offsetof(gpt, base.own_lengths), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.encoder", offsetof(gpt, encodes), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.tied_codes", offsetof(gpt, tied), .kind = CONFIG_BOOL, .optional = true},
    {"limn.transformer.kv_heads", offsetof(gpt, base.kv_heads), 1, 1 << 16, .optional = true},
    {"limn.transformer.grid_positions", offsetof(gpt, grid), 0, GPT_GRID_COUNT, CONFIG_CHOICE, grid_names},
};
enum { VARIANT = sizeof variant / sizeof *variant };

static const config_field functions[] = {
    {"limn.transformer.activation", offsetof(gpt, act), 0, ACT_COUNT, CONFIG_CHOICE, activation_names},
    {"limn.transformer.norm_eps", offsetof(gpt, eps), 0, 1, CONFIG_FLOAT},
};

static const char *const begins_key = "limn.transformer.begins", *const pads_last_key = "limn.transformer.pads_last",
                         *const pads_beyond_key = "limn.transformer.pad_per_position";

void gpt_frequencies(float base, int head_dim, float *frequencies)
{
    for (int i = 0; i < head_dim / 2; i++)
        frequencies[i] = 1.0f / powf(base, (float)(2 * i) / (float)head_dim);
}

void gpt_preset_dalle(gpt *d)
{
    d->ends = d->text_positions = d->attention_bias = d->mlp_bias = d->head_bias = d->predicts_text = true;
    d->grid = GPT_GRID_AXES;
    d->window = 3;
}

static void put_masks(const gpt *d, gguf_writer *w)
{
    const char *masks[GPT_LAYERS];
    for (int i = 0; i < d->base.layers; i++)
        masks[i] = mask_names[d->blocks ? d->blocks[i].mask.kind : MASK_FULL];
    gguf_put_strings(w, "limn.transformer.attention", masks, (size_t)d->base.layers);
    if (d->window)
        gguf_put_int(w, "limn.transformer.conv_kernel", d->window);
}

void gpt_put(const gpt *d, gguf_writer *w)
{
    if (!d->ends)
        gguf_put_string(w, "limn.transformer.kind", transformer_gpt.name);
    for (const stretch *s = stretches(d); s->n; s++)
        config_put(w, fields + s->first, s->n, d);
    if (!d->ends) {
        gguf_put_bool(w, begins_key, d->begins);
        gguf_put_bool(w, pads_last_key, d->padding == GPT_PAD_LAST);
        config_put(w, variant, VARIANT, d);
    }
    if (d->encodes)
        t5_put(&d->encoder, w);
    config_put(w, functions, 2, d);
    if (d->padding == GPT_PAD_BEYOND)
        gguf_put_bool(w, pads_beyond_key, true);
    if (!d->ends)
        put_masks(d, w);
}

/* Checks sizes that must fit together. */
static bool check_sizes(const gpt *d, const char *file, err *e)
{
    const transformer *t = &d->base;
    int text = t->text_length - d->begins;
    if (t->dim % t->heads || t->dim / t->heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.heads: %d do not divide the dim %d into heads of at most %d", file,
                       t->heads, t->dim, HEAD_MOST);
    if (t->kv_heads && (t->heads % t->kv_heads || d->grid == GPT_GRID_ROTARY))
        return err_set(e, ERR_FAILED, "%s: limn.transformer.kv_heads: %d heads of keys don't go with %d of queries%s",
                       file, t->kv_heads, t->heads,
                       d->grid == GPT_GRID_ROTARY ? " that are turned by rows and columns" : "");
    if (d->begins && t->text_length < 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.begins: no room for text in one position", file);
    if (d->padding == GPT_PAD_LAST && t->vocabulary <= text)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.pads_last: %d ids for the padding of %d positions", file,
                       t->vocabulary, text);
    if (d->grid == GPT_GRID_ROTARY && t->dim / t->heads % 4)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.heads: heads of %d can't be turned by rows and columns",
                       file, t->dim / t->heads);
    if (t->classes && (t->text_length != 1 || t->vocabulary < t->classes || t->vocabulary > t->classes + 1))
        return err_set(e, ERR_FAILED, "%s: limn.transformer.classes: %d don't go with %d positions of %d ids", file,
                       t->classes, t->text_length, t->vocabulary);
    if (d->shared && t->vocabulary > t->codes)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.shared_embedding: %d ids in a table of %d", file,
                       t->vocabulary, t->codes);
    if (d->rotary && t->dim / t->heads % 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.heads: heads of %d have no halves to be turned", file,
                       t->dim / t->heads);
    if (t->own_lengths && (d->text_positions || d->grid < GPT_GRID_ROTARY || d->predicts_text || d->masks))
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.own_lengths: texts of any length don't go with learned positions of the "
                       "grid, nor with a text head",
                       file);
    if (d->encodes && (!t->own_lengths || d->shared || t->classes || d->padding == GPT_PAD_BEYOND))
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.encoder: it doesn't go with classes, a shared embedding or texts of one "
                       "length",
                       file);
    if (!d->ends && t->grid_width * t->grid_height < 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.grid_width: a grid has at least two cells", file);
    return true;
}

static bool check_ids(const gpt *d, const char *file, err *e)
{
    const struct {
        const char *name;
        int id;
    } ids[] = {{"pad_id", d->pad_id}, {"begin_id", d->begin_id}, {"image_id", d->end_id}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= d->base.vocabulary)
            return err_set(e, ERR_FAILED, "%s: limn.transformer.%s: %d is outside of the vocabulary of %d", file,
                           ids[i].name, ids[i].id, d->base.vocabulary);
    return true;
}

static bool check(const gpt *d, const char *file, err *e)
{
    for (const stretch *s = stretches(d); s->n; s++)
        if (!config_check(file, fields + s->first, s->n, d, e))
            return false;
    return config_check(file, functions, 2, d, e) && check_sizes(d, file, e) && check_ids(d, file, e);
}

bool gpt_prepare(gpt *d, const char *file, err *e)
{
    transformer *t = &d->base;
    d->encoder.vocabulary = t->vocabulary;
    if (!check(d, file, e) || (d->encodes && !t5_prepare(&d->encoder, file, e)))
        return false;
    t->kind = d->ends ? &transformer_dalle : &transformer_gpt;
    t->prefix = t->text_length;
    t->text_room = t->classes ? 1 : t->text_length - d->begins - d->ends;
    t->head_dim = t->dim / t->heads;
    t->text_head = d->predicts_text ? &d->text_head : NULL;
    t->image_head = &d->image_head;
    free(d->blocks);
    d->blocks = calloc((size_t)t->layers, sizeof *d->blocks);
    if (!d->blocks)
        return err_no_memory(e, "transformer", (size_t)t->layers * sizeof *d->blocks);
    for (int i = 0; i < t->layers; i++)
        d->blocks[i].mask = (attention_mask){.kind = d->masks ? d->masks[i] : MASK_FULL,
                                             .text = t->text_length - d->begins,
                                             .grid_width = t->grid_width,
                                             .kernel = d->window};
    return true;
}

/* ---- parameters ---- */

static void declare_linear(param_table *p, linear *l, int64_t in, int64_t out, bool bias, const char *name)
{
    param_weight(p, l, in, out, "%s.weight", name);
    if (bias)
        param_vector(p, &l->b, out, "%s.bias", name);
}

static void declare_positions(gpt *d, param_table *p)
{
    sequence_embedding *s = &d->embedding;
    int64_t cells = d->base.grid_width * d->base.grid_height;
    if (d->text_positions)
        param_matrix(p, &s->text_position, d->base.text_length, d->base.dim, PARAM_VECTOR,
                     "transformer.text_position.weight");
    s->grid_width = d->base.grid_width;
    s->grid_height = d->base.grid_height;
    if (d->grid == GPT_GRID_AXES) {
        param_matrix(p, &s->row_position, d->base.grid_height, d->base.dim, PARAM_VECTOR,
                     "transformer.row_position.weight");
        param_matrix(p, &s->column_position, d->base.grid_width, d->base.dim, PARAM_VECTOR,
                     "transformer.column_position.weight");
    }
    if (d->grid != GPT_GRID_CELLS)
        return;
    /* A position for each cell, as a grid of one column.  The last cell is only predicted, so it has none. */
    s->grid_width = 1;
    s->grid_height = (int)cells;
    param_matrix(p, &s->row_position, cells - 1, d->base.dim, PARAM_VECTOR, "transformer.cell_position.weight");
}

static void declare_norm(const gpt *d, param_table *p, norm *n, const char *name)
{
    if (!d->rms) {
        param_norm(p, n, d->base.dim, d->eps, name);
        return;
    }
    n->eps = d->eps;
    param_vector(p, &n->w, d->base.dim, "%s.weight", name);
}

static void declare_block(const gpt *d, param_table *p, gpt_block *b, int i)
{
    char name[64];
    int at = snprintf(name, sizeof name, "transformer.block.%d.", i);
#define NAMED(part) (strcpy(name + at, part), name)
    declare_norm(d, p, &b->norm1, NAMED("norm1"));
    declare_linear(p, &b->qkv, d->base.dim, d->base.dim + 2 * key_width(d), d->attention_bias || d->qkv_bias,
                   NAMED("qkv"));
    declare_linear(p, &b->out, d->base.dim, d->base.dim, d->attention_bias, NAMED("out"));
    if (d->sandwich)
        declare_norm(d, p, &b->norm1_out, NAMED("norm1_out"));
    declare_norm(d, p, &b->norm2, NAMED("norm2"));
    declare_linear(p, &b->up, d->base.dim, d->mlp, d->mlp_bias, NAMED("up"));
    if (d->gated)
        declare_linear(p, &b->gate, d->base.dim, d->mlp, d->mlp_bias, NAMED("gate"));
    declare_linear(p, &b->down, d->mlp, d->base.dim, d->mlp_bias, NAMED("down"));
    if (d->sandwich)
        declare_norm(d, p, &b->norm2_out, NAMED("norm2_out"));
#undef NAMED
}

/* First of all: where layers are streamed, then those that are read once. */
static void declare_encoder(gpt *d, param_table *p)
{
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    t5_declare(&d->encoder, p);
    declare_linear(p, &d->project_up, d->encoder.dim, d->base.dim, false, "transformer.encoder.project_up");
    declare_linear(p, &d->project_down, d->base.dim, d->base.dim, false, "transformer.encoder.project_down");
    param_matrix(p, &d->embedding.text, d->base.text_length, d->base.dim, PARAM_VECTOR,
                 "transformer.encoder.no_text.weight");
    d->embedding.first_text = d->base.vocabulary;
}

void gpt_declare(gpt *d, param_table *p)
{
    sequence_embedding *s = &d->embedding;
    int64_t ids = d->base.vocabulary + (d->padding == GPT_PAD_BEYOND ? d->base.text_length : 0);
    *s = (sequence_embedding){.text_length = d->base.text_length};
    if (d->encodes)
        declare_encoder(d, p);
    params_use(p, USE_TRANSFORMER);
    if (!d->shared && !d->encodes)
        param_matrix(p, &s->text, ids, d->base.dim, PARAM_TABLE, "transformer.text_embedding.weight");
    if (!d->tied)
        param_matrix(p, &s->image, d->base.codes, d->base.dim, PARAM_TABLE, "transformer.image_embedding.weight");
    declare_positions(d, p);
    for (int i = 0; i < d->base.layers; i++) {
        params_layer(p, i);
        declare_block(d, p, &d->blocks[i], i);
    }
    params_layer(p, -1);
    declare_norm(d, p, &d->final, "transformer.norm");
    if (d->head_norm)
        declare_norm(d, p, &d->before_heads, "transformer.head_norm");
    if (d->rotary) {
        param_vector(p, &d->frequencies, d->base.head_dim / 2, "transformer.frequencies");
        param_fix(p);
    }
    if (d->deep_head)
        declare_linear(p, &d->head_up, d->base.dim, d->base.dim, d->head_bias, "transformer.head_up");
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    if (d->predicts_text)
        declare_linear(p, &d->text_head, d->base.dim, ids, d->head_bias, "transformer.text_head");
    params_use(p, USE_TRANSFORMER);
    declare_linear(p, &d->image_head, d->base.dim, d->base.codes, d->head_bias, "transformer.image_head");
}

/* ---- the kinds ---- */

void gpt_free(gpt *d)
{
    if (d) {
        free(d->blocks);
        t5_release(&d->encoder);
    }
    free(d);
}

static void free_gpt(transformer *t)
{
    gpt_free((gpt *)t);
}

static void declare(transformer *t, param_table *p)
{
    gpt_declare((gpt *)t, p);
}

static bool read_variant(gpt *d, const gguf *g, err *e)
{
    bool pads_last = false;
    bool ok = gguf_get_bool(g, begins_key, &d->begins, e) && gguf_get_bool(g, pads_last_key, &pads_last, e) &&
              config_fields(g, variant, VARIANT, d, e);
    d->padding = pads_last ? GPT_PAD_LAST : GPT_PAD_SAME;
    return ok;
}

/* For the kind "dalle". */
static bool read_padding(gpt *d, const gguf *g, err *e)
{
    bool beyond = false;
    bool ok = !gguf_has(g, pads_beyond_key) || gguf_get_bool(g, pads_beyond_key, &beyond, e);
    d->padding = beyond ? GPT_PAD_BEYOND : GPT_PAD_SAME;
    return ok;
}

static bool read_keys(gpt *d, const gguf *g, err *e)
{
    for (const stretch *s = stretches(d); s->n; s++)
        if (!config_fields(g, fields + s->first, s->n, d, e))
            return false;
    bool ok = config_fields(g, functions, 2, d, e) && (d->ends ? read_padding(d, g, e) : read_variant(d, g, e)) &&
              (!d->encodes || t5_read(&d->encoder, g, e)) && gpt_prepare(d, gguf_name(g), e);
    for (int i = 0; ok && i < d->base.layers; i++)
        ok = transformer_read_mask(&d->blocks[i].mask, i, g, e);
    return ok;
}

static transformer *open_kind(const gguf *g, bool dalle, err *e)
{
    gpt *d = calloc(1, sizeof *d);
    if (!d) {
        err_no_memory(e, "transformer", sizeof *d);
        return NULL;
    }
    if (dalle)
        gpt_preset_dalle(d);
    if (read_keys(d, g, e))
        return &d->base;
    gpt_free(d);
    return NULL;
}

static transformer *open_gpt(const gguf *g, err *e)
{
    return open_kind(g, false, e);
}

static transformer *open_dalle(const gguf *g, err *e)
{
    return open_kind(g, true, e);
}

static bool class_row(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    if (n == 0 && t->vocabulary == t->classes)
        return err_set(e, ERR_USAGE, "class: this model knows no picture without one (leave guidance out)");
    if (n > 1)
        return err_set(e, ERR_USAGE, "class: %zu ids, and the model takes one class", n);
    if (n && (ids[0] < 0 || ids[0] >= t->classes))
        return err_set(e, ERR_USAGE, "class: %d is outside of 0 to %d", ids[0], t->classes - 1);
    row[0] = n ? ids[0] : t->classes;
    *used = n;
    return true;
}

/* The row for an encoder: the text without padding, and the end of one that is too long; without a text all that stands
 * for one. */
static bool encoded_row(const gpt *d, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const transformer *t = &d->base;
    while (n && ids[n - 1] == d->pad_id)
        n--;
    *used = n ? transformer_cut(n, (size_t)t->text_length) : (size_t)t->text_length;
    for (size_t i = 0; i < *used; i++) {
        size_t at = i + 1 == *used ? n - 1 : i;
        if (n && (ids[at] < 0 || ids[at] >= t->vocabulary))
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[at], at,
                           t->vocabulary);
        row[i] = n ? ids[at] : t->vocabulary + (int32_t)i;
    }
    return true;
}

/* The row is the text, whatever its length. */
static bool own_row(const gpt *d, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const transformer *t = &d->base;
    if (n < 1 || n > (size_t)t->text_length)
        return err_set(e, ERR_USAGE, "prompt: %zu tokens, and the model takes 1 to %d", n, t->text_length);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[i], i,
                           t->vocabulary);
        row[i] = ids[i];
    }
    *used = n;
    return true;
}

/* The id of the padding at place i. */
static int32_t padding_id(const gpt *d, int i)
{
    return d->padding == GPT_PAD_LAST     ? d->base.vocabulary - (d->base.text_room - i)
           : d->padding == GPT_PAD_BEYOND ? d->base.vocabulary + i
                                          : d->pad_id;
}

static bool text_row(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const gpt *d = (const gpt *)t;
    if (t->classes)
        return class_row(t, ids, n, row, used, e);
    if (d->encodes)
        return encoded_row(d, ids, n, row, used, e);
    if (t->own_lengths)
        return own_row(d, ids, n, row, used, e);
    while (n && (ids[n - 1] == d->pad_id || (d->ends && ids[n - 1] == d->end_id)))
        n--;
    n = transformer_cut(n, (size_t)t->text_room);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[i], i,
                           t->vocabulary);
    if (d->begins)
        *row++ = d->begin_id;
    for (int i = 0; i < t->text_room; i++)
        row[i] = (size_t)i < n && ids[i] != d->pad_id ? ids[i] : padding_id(d, i);
    if (d->ends)
        row[t->text_room] = d->end_id;
    *used = n + d->begins;
    return true;
}

/* Of rows with lengths of their own: the prompt's, with padding between its first id and its last.  With an encoder:
 * the end of what stands for no text. */
static bool null_row(const transformer *t, const int32_t *text, size_t n, int32_t *row, size_t *used, err *e)
{
    const gpt *d = (const gpt *)t;
    if (!t->own_lengths)
        return text_row(t, NULL, 0, row, used, e);
    for (size_t i = 0; i < n; i++)
        row[i] = d->encodes           ? t->vocabulary + t->text_length - (int32_t)(n - i)
                 : i > 0 && i + 1 < n ? d->pad_id
                                      : text[i];
    *used = n;
    return true;
}

const transformer_kind transformer_gpt = {"gpt", open_gpt, free_gpt, declare, text_row, forward, null_row, true};
const transformer_kind transformer_dalle = {"dalle", open_dalle, free_gpt, declare, text_row, forward, NULL, true};
