/* Published GPTs: hyper-parameters, parameters, forward pass. */
#include "models/transformers/gpt.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/config.h"

#define EPS_MOST  1
#define HEAD_MOST 1024 /* the kernels keep a head's query in private or local memory */

/* ---- forward ---- */

static tensor normed(run *r, const gpt *d, tensor x, const norm *n)
{
    return d->rms ? op_rms_norm(r, x, n) : op_layer_norm(r, x, n);
}

/* residual + the branch's last product of x, through `out` where the norms are a sandwich */
static tensor branch_out(run *r, const gpt *d, tensor x, const linear *l, const norm *out, tensor residual)
{
    if (!d->sandwich)
        return op_linear_add(r, x, l, residual);
    tensor y = op_linear(r, x, l, ACT_NONE);
    return d->rms ? op_add(r, residual, op_rms_norm(r, y, out)) : op_layer_norm_add(r, y, out, residual);
}

/* x + attention(norm(x)), then x + mlp(norm(x)); x[b,t,dim] */
static tensor block_forward(run *r, const gpt *d, const gpt_block *k, tensor x, const kv_cache *cache, tensor position)
{
    tensor qkv = op_linear(r, normed(r, d, x, &k->norm1), &k->qkv, ACT_NONE);
    if (d->grid == GPT_GRID_ROTARY)
        qkv = op_rotate_grid(r, qkv, d->heads, position, d->text_length, d->grid_width);
    x = branch_out(r, d, op_attention(r, qkv, d->heads, cache, position, &k->mask), &k->out, &k->norm1_out, x);
    tensor h = normed(r, d, x, &k->norm2), up = op_linear(r, h, &k->up, d->gated ? ACT_NONE : d->act);
    if (d->gated)
        up = op_multiply(r, up, op_linear(r, h, &k->gate, d->act));
    return branch_out(r, d, up, &k->down, &k->norm2_out, x);
}

static tensor forward(run *r, const void *state, tensor ids, tensor codes, const transformer_memory *m, tensor position,
                      int64_t t)
{
    const gpt *d = state;
    sequence_embedding s = d->embedding;
    if (d->shared)
        s.text = s.image;
    tensor x = op_embed_sequence(r, &s, ids, codes, position, t);
    for (int i = 0; i < d->layers; i++) {
        run_next(r);
        x = block_forward(r, d, &d->blocks[i], x, &m->caches[i], position);
    }
    run_next(r);
    x = normed(r, d, x, &d->final);
    return d->head_norm ? normed(r, d, x, &d->before_heads) : x;
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(gpt, layers), 1, GPT_LAYERS},
    {"limn.transformer.dim", offsetof(gpt, dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(gpt, heads), 1, 1 << 16},
    {"limn.transformer.mlp", offsetof(gpt, mlp), 1, 1 << 20},
    {"limn.transformer.text_length", offsetof(gpt, text_length), 1, 1 << 16},
    {"limn.transformer.text_vocabulary", offsetof(gpt, vocabulary), 1, 1 << 24},
    {"limn.transformer.classes", offsetof(gpt, classes), 0, 1 << 24},
    {"limn.transformer.grid_width", offsetof(gpt, grid_width), 1, 1024},
    {"limn.transformer.grid_height", offsetof(gpt, grid_height), 1, 1024},
    {"limn.transformer.codes", offsetof(gpt, codes), 2, 1 << 20},
    {"limn.transformer.pad_id", offsetof(gpt, pad_id), 0, (1 << 24) - 1},
    {"limn.transformer.begin_id", offsetof(gpt, begin_id), 0, (1 << 24) - 1},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const struct flag {
    const char *key;
    size_t at;
} flags[] = {
    {"limn.transformer.begins", offsetof(gpt, begins)},
    {"limn.transformer.pads_last", offsetof(gpt, pads_last)},
    {"limn.transformer.text_positions", offsetof(gpt, text_positions)},
    {"limn.transformer.shared_embedding", offsetof(gpt, shared)},
    {"limn.transformer.attention_bias", offsetof(gpt, attention_bias)},
    {"limn.transformer.mlp_bias", offsetof(gpt, mlp_bias)},
    {"limn.transformer.head_bias", offsetof(gpt, head_bias)},
    {"limn.transformer.text_head", offsetof(gpt, text_head)},
    {"limn.transformer.head_norm", offsetof(gpt, head_norm)},
    {"limn.transformer.sandwich_norm", offsetof(gpt, sandwich)},
    {"limn.transformer.rms_norm", offsetof(gpt, rms)},
    {"limn.transformer.gated_mlp", offsetof(gpt, gated)},
};
enum { FLAGS = sizeof flags / sizeof *flags };

static const char *const grid_names[GPT_GRID_COUNT] = {"cells", "axes", "rotary"};

void gpt_put(const gpt *d, gguf_writer *w)
{
    gguf_put_string(w, "limn.transformer.kind", transformer_gpt.name);
    config_put(w, fields, FIELDS, d);
    for (int i = 0; i < FLAGS; i++)
        gguf_put_bool(w, flags[i].key, *(const bool *)((const char *)d + flags[i].at));
    gguf_put_string(w, "limn.transformer.grid_positions", grid_names[d->grid]);
    gguf_put_string(w, "limn.transformer.activation", activation_names[d->act]);
    gguf_put_float(w, "limn.transformer.norm_eps", d->eps);
    const char *masks[GPT_LAYERS];
    for (int i = 0; i < d->layers; i++)
        masks[i] = mask_names[d->masks[i]];
    gguf_put_strings(w, "limn.transformer.attention", masks, (size_t)d->layers);
    if (d->window)
        gguf_put_int(w, "limn.transformer.conv_kernel", d->window);
}

/* Sizes that must go together. */
static bool check_sizes(const gpt *d, const char *file, err *e)
{
    if (d->dim % d->heads || d->dim / d->heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.heads: %d do not divide the dim %d into heads of at most %d", file,
                       d->heads, d->dim, HEAD_MOST);
    if (d->pad_id >= d->vocabulary || d->begin_id >= d->vocabulary)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.%s: %d is outside of the vocabulary of %d", file,
                       d->pad_id >= d->vocabulary ? "pad_id" : "begin_id",
                       d->pad_id >= d->vocabulary ? d->pad_id : d->begin_id, d->vocabulary);
    if (d->begins && d->text_length < 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.begins: no room for text in one position", file);
    if (d->pads_last && d->vocabulary <= d->text_length - d->begins)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.pads_last: %d ids for the padding of %d positions", file,
                       d->vocabulary, d->text_length - d->begins);
    if (d->grid == GPT_GRID_ROTARY && d->dim / d->heads % 4)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.heads: heads of %d can't be turned by rows and columns",
                       file, d->dim / d->heads);
    if (d->classes && (d->text_length != 1 || d->vocabulary < d->classes || d->vocabulary > d->classes + 1))
        return err_set(e, ERR_FAILED, "%s: limn.transformer.classes: %d don't go with %d positions of %d ids", file,
                       d->classes, d->text_length, d->vocabulary);
    if (d->shared && d->vocabulary > d->codes)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.shared_embedding: %d ids in a table of %d", file,
                       d->vocabulary, d->codes);
    if (d->grid_width * d->grid_height < 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.grid_width: a grid has at least two cells", file);
    return true;
}

bool gpt_prepare(gpt *d, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, d, e) || !check_sizes(d, file, e))
        return false;
    free(d->blocks);
    d->blocks = calloc((size_t)d->layers, sizeof *d->blocks);
    if (!d->blocks)
        return err_no_memory(e, "transformer", (size_t)d->layers * sizeof *d->blocks);
    for (int i = 0; i < d->layers; i++)
        d->blocks[i].mask = (attention_mask){
            .kind = d->masks[i], .text = d->text_length - d->begins, .grid_width = d->grid_width, .kernel = d->window};
    return true;
}

/* ---- parameters ---- */

static void declare_linear(param_table *p, linear *l, int64_t in, int64_t out, bool bias, const char *name)
{
    param_matrix(p, &l->w, out, in, PARAM_MATRIX, "%s.weight", name);
    if (bias)
        param_vector(p, &l->b, out, "%s.bias", name);
}

static void declare_positions(gpt *d, param_table *p)
{
    sequence_embedding *s = &d->embedding;
    int64_t cells = d->grid_width * d->grid_height;
    if (d->text_positions)
        param_matrix(p, &s->text_position, d->text_length, d->dim, PARAM_VECTOR, "transformer.text_position.weight");
    s->grid_width = d->grid_width;
    s->grid_height = d->grid_height;
    if (d->grid == GPT_GRID_AXES) {
        param_matrix(p, &s->row_position, d->grid_height, d->dim, PARAM_VECTOR, "transformer.row_position.weight");
        param_matrix(p, &s->column_position, d->grid_width, d->dim, PARAM_VECTOR, "transformer.column_position.weight");
    }
    if (d->grid != GPT_GRID_CELLS)
        return;
    /* one column of cells; the last one is predicted and never read */
    s->grid_width = 1;
    s->grid_height = (int)cells;
    param_matrix(p, &s->row_position, cells - 1, d->dim, PARAM_VECTOR, "transformer.cell_position.weight");
}

static void declare_norm(const gpt *d, param_table *p, norm *n, const char *name)
{
    if (!d->rms) {
        param_norm(p, n, d->dim, d->eps, name);
        return;
    }
    n->eps = d->eps;
    param_vector(p, &n->w, d->dim, "%s.weight", name);
}

static void declare_block(const gpt *d, param_table *p, gpt_block *b, int i)
{
    char name[64];
    int at = snprintf(name, sizeof name, "transformer.block.%d.", i);
#define NAMED(part) (strcpy(name + at, part), name)
    declare_norm(d, p, &b->norm1, NAMED("norm1"));
    declare_linear(p, &b->qkv, d->dim, 3 * (int64_t)d->dim, d->attention_bias, NAMED("qkv"));
    declare_linear(p, &b->out, d->dim, d->dim, d->attention_bias, NAMED("out"));
    if (d->sandwich)
        declare_norm(d, p, &b->norm1_out, NAMED("norm1_out"));
    declare_norm(d, p, &b->norm2, NAMED("norm2"));
    declare_linear(p, &b->up, d->dim, d->mlp, d->mlp_bias, NAMED("up"));
    if (d->gated)
        declare_linear(p, &b->gate, d->dim, d->mlp, d->mlp_bias, NAMED("gate"));
    declare_linear(p, &b->down, d->mlp, d->dim, d->mlp_bias, NAMED("down"));
    if (d->sandwich)
        declare_norm(d, p, &b->norm2_out, NAMED("norm2_out"));
#undef NAMED
}

void gpt_declare(gpt *d, param_table *p)
{
    sequence_embedding *s = &d->embedding;
    *s = (sequence_embedding){.text_length = d->text_length};
    params_use(p, USE_TRANSFORMER);
    if (!d->shared)
        param_matrix(p, &s->text, d->vocabulary, d->dim, PARAM_TABLE, "transformer.text_embedding.weight");
    param_matrix(p, &s->image, d->codes, d->dim, PARAM_TABLE, "transformer.image_embedding.weight");
    declare_positions(d, p);
    for (int i = 0; i < d->layers; i++) {
        params_layer(p, i);
        declare_block(d, p, &d->blocks[i], i);
    }
    params_layer(p, -1);
    declare_norm(d, p, &d->final, "transformer.norm");
    if (d->head_norm)
        declare_norm(d, p, &d->before_heads, "transformer.head_norm");
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    if (d->text_head)
        declare_linear(p, &d->predict_text, d->dim, d->vocabulary, d->head_bias, "transformer.text_head");
    params_use(p, USE_TRANSFORMER);
    declare_linear(p, &d->predict_code, d->dim, d->codes, d->head_bias, "transformer.image_head");
}

/* ---- the kind ---- */

static void free_state(void *state)
{
    gpt_free(state);
}

void gpt_free(gpt *d)
{
    if (d)
        free(d->blocks);
    free(d);
}

static transformer view(gpt *d)
{
    return (transformer){.kind = &transformer_gpt,
                         .text_length = d->text_length,
                         .prefix = d->text_length,
                         .vocabulary = d->vocabulary,
                         .classes = d->classes,
                         .codes = d->codes,
                         .grid_width = d->grid_width,
                         .grid_height = d->grid_height,
                         .dim = d->dim,
                         .heads = d->heads,
                         .head_dim = d->dim / d->heads,
                         .layers = d->layers,
                         .text_head = d->text_head ? &d->predict_text : NULL,
                         .image_head = &d->predict_code,
                         .state = d};
}

static bool open_gpt(transformer *t, const gguf *g, param_table *p, err *e)
{
    gpt *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    int act = 0, grid = 0;
    bool ok = config_fields(g, fields, FIELDS, d, e) &&
              config_choice(g, "limn.transformer.activation", activation_names, ACT_COUNT, &act, e) &&
              config_choice(g, "limn.transformer.grid_positions", grid_names, GPT_GRID_COUNT, &grid, e) &&
              config_float(g, "limn.transformer.norm_eps", 0, EPS_MOST, &d->eps, e);
    for (int i = 0; ok && i < FLAGS; i++)
        ok = gguf_get_bool(g, flags[i].key, (bool *)((char *)d + flags[i].at), e);
    d->act = (activation)act;
    d->grid = (gpt_grid)grid;
    ok = ok && gpt_prepare(d, gguf_name(g), e);
    for (int i = 0; ok && i < d->layers; i++)
        ok = transformer_read_mask(&d->blocks[i].mask, i, g, e);
    if (!ok) {
        gpt_free(d);
        return false;
    }
    gpt_declare(d, p);
    *t = view(d);
    return true;
}

static bool class_row(const gpt *d, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    if (n == 0 && d->vocabulary == d->classes)
        return err_set(e, ERR_USAGE, "class: this model knows no picture without one (leave guidance out)");
    if (n > 1)
        return err_set(e, ERR_USAGE, "class: %zu ids, and the model takes one class", n);
    if (n && (ids[0] < 0 || ids[0] >= d->classes))
        return err_set(e, ERR_USAGE, "class: %d is outside of 0 to %d", ids[0], d->classes - 1);
    row[0] = n ? ids[0] : d->classes;
    *used = n;
    return true;
}

static bool text_row(const void *state, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const gpt *d = state;
    if (d->classes)
        return class_row(d, ids, n, row, used, e);
    while (n && ids[n - 1] == d->pad_id)
        n--;
    size_t room = (size_t)(d->text_length - d->begins);
    n = transformer_cut(n, room);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= d->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[i], i,
                           d->vocabulary);
    if (d->begins)
        *row++ = d->begin_id;
    for (size_t i = 0; i < room; i++) {
        row[i] = i < n ? ids[i] : d->pad_id;
        if (d->pads_last && row[i] == d->pad_id)
            row[i] = d->vocabulary - (int)(room - i);
    }
    *used = n + d->begins;
    return true;
}

const transformer_kind transformer_gpt = {"gpt", open_gpt, free_state, text_row, forward, NULL};
