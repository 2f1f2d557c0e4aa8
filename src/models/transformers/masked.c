/* aMUSEd: forward passes, hyper-parameters, parameters. */
#include "models/transformers/masked.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/config.h"

enum { CONDITIONS = 5, SIDE = 3, WIDER = 4 }; /* the response norm's layers are so many times wider */

/* ---- the text ---- */

/* Where CLIP's <|endoftext|> is first. */
static int end_of(const masked *t, const int32_t *row)
{
    int at = 0;
    while (at + 1 < t->text.text_length && row[at] != t->text.end_id)
        at++;
    return at;
}

/* The sinusoids (Vaswani et al. 2017) of what the authors say of a picture: width, height, where it was cut from (the
 * corner), and how good it looks, of 10. */
static void put_conditions(const masked *t, float *out)
{
    const double about[CONDITIONS] = {t->width, t->height, 0, 0, 6};
    int half = t->frequencies / 2;
    for (int c = 0; c < CONDITIONS; c++)
        for (int i = 0; i < half; i++) {
            double angle = about[c] * pow(10000, -(double)i / half);
            out[c * t->frequencies + i] = (float)cos(angle);
            out[c * t->frequencies + half + i] = (float)sin(angle);
        }
}

/* y[b,width]: pooled[b,dim], and behind it the conditions, the same for all.  pooled is a constant. */
static tensor join_conditions(run *r, const masked *t, tensor pooled, int b)
{
    const int first = t->text.dim, all = first + CONDITIONS * t->frequencies;
    float *host = run_failed(r) ? NULL : calloc((size_t)b * (size_t)all, sizeof *host);
    if (!host) {
        if (!run_failed(r))
            err_no_memory(run_error(r), "conditions", (size_t)b * (size_t)all * sizeof *host);
        return (tensor){0};
    }
    for (int i = 0; i < b; i++)
        put_conditions(t, host + i * all + first);
    tensor y = run_upload(r, DTYPE_F32, 2, (int64_t[]){b, all}, host);
    free(host);
    for (int i = 0; i < b && !run_failed(r); i++) {
        tensor to = tensor_shaped(tensor_rows(pooled, i, 1), 1, (int64_t[]){first});
        to.buf = y.buf;
        to.at = y.at + (int64_t)i * all;
        op_repeat(r, to, tensor_rows(pooled, i, 1));
    }
    return y;
}

static tensor rms(run *r, const masked *t, tensor x, tensor weight)
{
    const norm n = {.w = weight, .eps = t->eps};
    return op_rms_norm(r, x, &n);
}

masked_text masked_read_text(run *r, const masked *t, const int32_t *rows, int b)
{
    int length = t->text.text_length;
    int32_t *ends = run_failed(r) ? NULL : malloc((size_t)b * sizeof *ends);
    masked_text text = {0};
    if (!ends) {
        if (!run_failed(r))
            err_no_memory(run_error(r), "text", (size_t)b * sizeof *ends);
        return text;
    }
    for (int i = 0; i < b; i++)
        ends[i] = end_of(t, rows + i * length);
    tensor pooled, ids = run_upload(r, DTYPE_I32, 2, (int64_t[]){b, length}, rows);
    tensor states = clip_text_states(r, &t->text, ids, ends, &pooled);
    free(ends);
    text.states = rms(r, t, op_linear(r, states, &t->text_in, ACT_NONE), t->text_norm);
    tensor c = op_linear(r, join_conditions(r, t, pooled, b), &t->condition_in, ACT_SILU);
    text.condition = op_activate(r, op_linear(r, c, &t->condition, ACT_NONE), ACT_SILU);
    return text;
}

/* ---- the grid ---- */

/* What a forward pass reads besides x.  Kept states are on the device for all of it; the text's of a run, which
 * run_next would lose, are taken from them for each block. */
typedef struct context {
    const masked *t;
    const transformer_memory *kept; /* or NULL: text stays */
    masked_text text;
} context;

static void next_block(run *r, context *k)
{
    run_next(r);
    if (!k->kept)
        return;
    int64_t length = k->t->base.text_length;
    tensor all = k->kept->kept[0], condition = op_slice(r, all, length, 1);
    k->text.states = op_slice(r, all, 0, length);
    k->text.condition = tensor_shaped(condition, 2, (int64_t[]){all.shape[0], all.shape[2]});
}

static tensor modulate(run *r, const context *k, tensor x, const linear *l)
{
    return op_modulate(r, x, op_linear(r, k->text.condition, l, ACT_NONE));
}

/* x + attention from norm(x) to the states[b,n,…], whose keys and values kv makes. */
static tensor attend(run *r, tensor x, tensor y, const linear *q, const linear *kv, const linear *out, int heads,
                     tensor states)
{
    int64_t b = states.shape[0], n = states.shape[1], head = x.shape[2] / heads;
    kv_cache cache = {TENSOR(r, DTYPE_F32, b, heads, n, head), TENSOR(r, DTYPE_F32, b, heads, n, head)};
    op_cross_keys(r, op_linear(r, states, kv, ACT_NONE), &cache);
    y = op_cross_attention(r, op_linear(r, y, q, ACT_NONE), &cache, (tensor){0}, 0);
    return op_linear_add(r, y, out, x);
}

/* x[b,cells,channels] of a grid of h x w cells */
static tensor unit_forward(run *r, const context *k, const masked_unit *u, tensor x, int h, int w)
{
    const masked *t = k->t;
    int64_t b = x.shape[0], cells = x.shape[1], c = x.shape[2];
    tensor y = op_depthwise_conv2d(r, tensor_shaped(x, 4, (int64_t[]){b, h, w, c}), u->depthwise);
    y = rms(r, t, tensor_shaped(y, 3, (int64_t[]){b, cells, c}), u->norm);
    y = op_global_response_norm(r, op_linear(r, y, &u->up, ACT_GELU_ERF), u->gamma, u->beta);
    x = modulate(r, k, op_linear_add(r, y, &u->down, x), &u->condition);
    tensor states = k->text.states;
    if (u->map.w.buf)
        states = op_linear(r, op_activate(r, states, ACT_SILU), &u->map, ACT_NONE);
    for (int i = 0; i < 2; i++) {
        const masked_attention *a = &u->attention[i];
        x = attend(r, x, rms(r, t, x, a->norm), &a->q, &a->kv, &a->out, t->unit_heads, states);
    }
    return x;
}

static tensor units_forward(run *r, context *k, const masked_unit *units, tensor x, int h, int w)
{
    for (int i = 0; i < k->t->units; i++) {
        next_block(r, k);
        x = unit_forward(r, k, &units[i], x, h, w);
    }
    return x;
}

static tensor block_forward(run *r, const context *k, const masked_block *l, tensor x)
{
    const masked *t = k->t;
    int64_t b = x.shape[0], n = x.shape[1], heads = t->base.heads, head = t->base.head_dim;
    const attention_mask mask = {.kind = MASK_ALL, .text = (int)n, .grid_width = 1, .kernel = 1};
    kv_cache cache = {TENSOR(r, DTYPE_F32, b, heads, n, head), TENSOR(r, DTYPE_F32, b, heads, n, head)};
    tensor start = tensor_rows(run_zeros(r, 1), 0, 1);
    start.type = DTYPE_I32;
    tensor y = modulate(r, k, rms(r, t, x, l->norm1), &l->condition1);
    y = op_attention(r, op_linear(r, y, &l->qkv, ACT_NONE), t->base.heads, &cache, start, &mask);
    x = op_linear_add(r, y, &l->out, x);
    y = modulate(r, k, rms(r, t, x, l->norm2), &l->condition2);
    x = attend(r, x, y, &l->q, &l->kv, &l->cross_out, t->base.heads, k->text.states);
    const norm third = {.w = l->norm3, .b = run_zeros(r, t->base.dim), .eps = t->eps};
    y = modulate(r, k, op_layer_norm(r, x, &third), &l->condition3);
    y = op_glu(r, op_linear(r, y, &l->up, ACT_NONE), ACT_GELU_ERF);
    return op_linear_add(r, y, &l->down, x);
}

static tensor middle_forward(run *r, context *k, tensor x)
{
    const masked *t = k->t;
    x = op_linear(r, rms(r, t, x, t->to_middle_norm), &t->to_middle, ACT_NONE);
    for (int i = 0; i < t->base.layers; i++) {
        next_block(r, k);
        x = block_forward(r, k, &t->block[i], x);
    }
    next_block(r, k);
    return op_linear(r, rms(r, t, x, t->from_middle_norm), &t->from_middle, ACT_NONE);
}

static tensor forward_of(run *r, context *k, tensor codes)
{
    const masked *t = k->t;
    int h = t->base.grid_height, w = t->base.grid_width, scale = t->halves ? 2 : 1;
    int64_t b = codes.shape[0], c = t->channels, small[] = {b, (int64_t)h / scale * (w / scale), c};
    tensor x = op_linear(r, rms(r, t, op_embed(r, codes, t->table), t->table_norm), &t->in, ACT_NONE);
    if (t->halves) {
        x = tensor_shaped(rms(r, t, x, t->halve_norm), 4, (int64_t[]){b, h, w, c});
        x = tensor_shaped(op_conv2d(r, x, &t->halve, ACT_NONE, (tensor){0}), 3, small);
    }
    x = units_forward(r, k, t->before, x, h / scale, w / scale);
    x = units_forward(r, k, t->after, middle_forward(r, k, x), h / scale, w / scale);
    run_next(r);
    if (t->halves) {
        x = tensor_shaped(rms(r, t, x, t->double_norm), 4, (int64_t[]){b, h / 2, w / 2, c});
        x = tensor_shaped(op_conv_transpose2d(r, x, &t->doubled, ACT_NONE), 3, (int64_t[]){b, (int64_t)h * w, c});
    }
    return rms(r, t, op_linear(r, x, &t->last, ACT_NONE), t->last_norm);
}

tensor masked_forward(run *r, const masked *t, tensor codes, const masked_text *text)
{
    context k = {.t = t, .text = *text};
    return forward_of(r, &k, codes);
}

/* ---- the kind's: the text is kept on the device, states and below them the condition ---- */

static void read_text(run *r, const transformer *base, const int32_t *rows, const transformer_memory *m)
{
    const masked *t = (const masked *)base;
    int b = (int)m->kept[0].shape[0];
    int64_t length = base->text_length, dim = base->dim;
    masked_text text = masked_read_text(r, t, rows, b);
    for (int i = 0; i < b && !run_failed(r); i++) {
        tensor to = tensor_shaped(tensor_rows(m->kept[0], i, 1), 2, (int64_t[]){length + 1, dim});
        op_repeat(r, tensor_rows(to, 0, length), tensor_rows(text.states, i, 1));
        op_repeat(r, tensor_rows(to, length, 1), tensor_rows(text.condition, i, 1));
    }
}

static tensor fill(run *r, const transformer *base, tensor codes, const transformer_memory *m)
{
    context k = {.t = (const masked *)base, .kept = m};
    return forward_of(r, &k, codes);
}

static bool text_row(const transformer *base, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    const clip *c = &((const masked *)base)->text;
    while (n && (ids[n - 1] == c->end_id || ids[n - 1] == c->pad_id))
        n--;
    if (n && ids[0] == c->start_id) {
        ids++;
        n--;
    }
    n = transformer_cut(n, (size_t)base->text_room);
    if (!transformer_check_ids(base, ids, n, e))
        return false;
    *used = (size_t)clip_text_row(c, ids, n, row) + 1;
    return true;
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(masked, base.layers), 1, 1024},
    {"limn.transformer.dim", offsetof(masked, base.dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(masked, base.heads), 1, 1 << 16},
    {"limn.transformer.mlp", offsetof(masked, mlp), 1, 1 << 20},
    {"limn.transformer.channels", offsetof(masked, channels), 1, 1 << 16},
    {"limn.transformer.units", offsetof(masked, units), 1, MASKED_BLOCKS},
    {"limn.transformer.unit_heads", offsetof(masked, unit_heads), 1, 1 << 16},
    {"limn.transformer.halves", offsetof(masked, halves), .kind = CONFIG_BIT},
    {"limn.transformer.grid_width", offsetof(masked, base.grid_width), 1, 1024},
    {"limn.transformer.grid_height", offsetof(masked, base.grid_height), 1, 1024},
    {"limn.transformer.codes", offsetof(masked, base.codes), 2, 1 << 20},
    {"limn.transformer.code_rows", offsetof(masked, code_rows), 3, 1 << 20},
    {"limn.transformer.code_dim", offsetof(masked, code_dim), 1, 1 << 16},
    {"limn.transformer.mask_code", offsetof(masked, base.mask_code), 2, (1 << 20) - 1},
    {"limn.transformer.frequencies", offsetof(masked, frequencies), 2, 1 << 16},
    {"limn.transformer.picture_width", offsetof(masked, width), 1, 16384},
    {"limn.transformer.picture_height", offsetof(masked, height), 1, 16384},
    {"limn.transformer.norm_eps", offsetof(masked, eps), 0, 1, CONFIG_FLOAT},
    CLIP_TOWER_FIELDS(masked),
    {"limn.transformer.text.dim", offsetof(masked, text.dim), 1, 1 << 16},
    CLIP_WORD_FIELDS(masked, 2),
};
enum { FIELDS = sizeof fields / sizeof *fields };

void masked_put(const masked *t, gguf_writer *w)
{
    gguf_put_string(w, "limn.transformer.kind", transformer_masked.name);
    config_put(w, fields, FIELDS, t);
}

static bool check(const masked *t, const char *file, err *e)
{
    const transformer *b = &t->base;
    const clip *c = &t->text;
    if (!config_check(file, fields, FIELDS, t, e))
        return false;
    if (b->dim % b->heads || b->dim / b->heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.heads: %d do not divide the dim %d into heads of at most %d", file,
                       b->heads, b->dim, HEAD_MOST);
    if (t->channels % t->unit_heads || t->channels / t->unit_heads > HEAD_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.unit_heads: %d do not divide %d channels into heads of at most %d", file,
                       t->unit_heads, t->channels, HEAD_MOST);
    if (b->mask_code >= t->code_rows || b->codes > t->code_rows || b->mask_code < b->codes)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.mask_code: %d is no row of the table of %d behind the %d codes", file,
                       b->mask_code, t->code_rows, b->codes);
    if (t->frequencies % 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.frequencies: %d is odd", file, t->frequencies);
    if (t->halves && (b->grid_width % 2 || b->grid_height % 2))
        return err_set(e, ERR_FAILED, "%s: limn.transformer.halves: a grid of %d x %d has no halves", file,
                       b->grid_width, b->grid_height);
    if (c->start_id >= c->vocabulary || c->end_id >= c->vocabulary || c->pad_id >= c->vocabulary)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.text.vocabulary: %d, and start_id, end_id or pad_id is outside", file,
                       c->vocabulary);
    return true;
}

bool masked_prepare(masked *t, const char *file, err *e)
{
    transformer *b = &t->base;
    if (!check(t, file, e))
        return false;
    b->kind = &transformer_masked;
    b->text_length = t->text.text_length;
    b->text_room = b->text_length - 2;
    b->prefix = 1;
    b->vocabulary = t->text.vocabulary;
    b->head_dim = b->dim / b->heads;
    b->n_kept = 1;
    b->kept_shape[0] = b->text_length + 1;
    b->kept_shape[1] = b->dim;
    b->image_head = &t->head;
    t->text.text.causal = true;
    t->text.text.norm_after = true;
    t->text.text.pooling = CLIP_END;
    free(t->block);
    t->block = calloc((size_t)b->layers, sizeof *t->block);
    if (!t->block)
        return err_no_memory(e, "transformer", (size_t)b->layers * sizeof *t->block);
    return clip_prepare_text(&t->text, file, e);
}

/* ---- parameters ---- */

/* Under a path of names. */
typedef struct declarer {
    param_table *p;
    char path[64];
} declarer;

static void product(const declarer *d, linear *l, int64_t in, int64_t out, const char *name)
{
    param_weight(d->p, l, in, out, "%s.%s.weight", d->path, name);
}

static void vector(const declarer *d, tensor *v, int64_t n, float mean, const char *name)
{
    param_vector(d->p, v, n, "%s.%s", d->path, name);
    if (!d->p->error.code)
        d->p->list[d->p->n - 1].mean = mean;
}

static void declare_unit(masked *t, masked_unit *u, const char *side, int i, param_table *p)
{
    declarer d = {p, ""};
    int64_t c = t->channels, dim = t->base.dim, text = c;
    params_layer(p, i);
    snprintf(d.path, sizeof d.path, "transformer.%s.%d", side, i);
    param_matrix(p, &u->depthwise, c, SIDE * SIDE, PARAM_VECTOR, "%s.depthwise.weight", d.path);
    vector(&d, &u->norm, c, 1, "norm.weight");
    product(&d, &u->up, c, WIDER * c, "up");
    vector(&d, &u->gamma, WIDER * c, 0, "response.weight");
    vector(&d, &u->beta, WIDER * c, 0, "response.bias");
    product(&d, &u->down, WIDER * c, c, "down");
    product(&d, &u->condition, dim, 2 * c, "condition");
    if (dim != c)
        product(&d, &u->map, dim, c, "map");
    for (int k = 0; k < 2; k++) {
        masked_attention *a = &u->attention[k];
        snprintf(d.path, sizeof d.path, "transformer.%s.%d.attention.%d", side, i, k);
        vector(&d, &a->norm, c, 1, "norm.weight");
        product(&d, &a->q, c, c, "q");
        product(&d, &a->kv, text, 2 * c, "kv");
        product(&d, &a->out, c, c, "out");
    }
}

static void declare_block(masked *t, masked_block *l, int i, param_table *p)
{
    declarer d = {p, ""};
    int64_t dim = t->base.dim;
    params_layer(p, i);
    snprintf(d.path, sizeof d.path, "transformer.block.%d", i);
    vector(&d, &l->norm1, dim, 1, "norm1.weight");
    product(&d, &l->condition1, dim, 2 * dim, "condition1");
    product(&d, &l->qkv, dim, 3 * dim, "qkv");
    product(&d, &l->out, dim, dim, "out");
    vector(&d, &l->norm2, dim, 1, "norm2.weight");
    product(&d, &l->condition2, dim, 2 * dim, "condition2");
    product(&d, &l->q, dim, dim, "cross.q");
    product(&d, &l->kv, dim, 2 * dim, "cross.kv");
    product(&d, &l->cross_out, dim, dim, "cross.out");
    vector(&d, &l->norm3, dim, 1, "norm3.weight");
    product(&d, &l->condition3, dim, 2 * dim, "condition3");
    product(&d, &l->up, dim, 2 * (int64_t)t->mlp, "up");
    product(&d, &l->down, t->mlp, dim, "down");
}

static void declare_text(masked *t, const declarer *d)
{
    const transformer *b = &t->base;
    params_use(d->p, USE_TRANSFORMER | USE_TEXT);
    size_t first = d->p->n;
    clip_declare_text(&t->text, "transformer.text", d->p);
    for (size_t i = first; i < d->p->n; i++) /* as its authors train: CLIP stays as it is */
        d->p->list[i].fixed = true;
    product(d, &t->text_in, t->text.text.width, b->dim, "text_in");
    vector(d, &t->text_norm, b->dim, 1, "text_norm.weight");
    product(d, &t->condition_in, t->text.dim + CONDITIONS * t->frequencies, b->dim, "condition_in");
    product(d, &t->condition, b->dim, b->dim, "condition");
}

void masked_declare(masked *t, param_table *p)
{
    const declarer d = {p, "transformer"};
    const transformer *b = &t->base;
    int c = t->channels;
    declare_text(t, &d);
    params_use(p, USE_TRANSFORMER);
    param_matrix(p, &t->table, t->code_rows, t->code_dim, PARAM_TABLE, "transformer.embedding.weight");
    vector(&d, &t->table_norm, t->code_dim, 1, "embedding_norm.weight");
    product(&d, &t->in, t->code_dim, c, "in");
    if (t->halves) {
        vector(&d, &t->halve_norm, c, 1, "halve_norm.weight");
        param_conv_unbiased(p, &t->halve, c, c, 2, 2, 0, "transformer.halve");
        vector(&d, &t->double_norm, c, 1, "double_norm.weight");
        param_conv_unbiased(p, &t->doubled, c, c, 2, 2, 0, "transformer.double");
    }
    for (int i = 0; i < t->units; i++)
        declare_unit(t, &t->before[i], "before", i, p);
    params_layer(p, -1);
    vector(&d, &t->to_middle_norm, c, 1, "to_middle_norm.weight");
    product(&d, &t->to_middle, c, b->dim, "to_middle");
    for (int i = 0; i < b->layers; i++)
        declare_block(t, &t->block[i], i, p);
    params_layer(p, -1);
    vector(&d, &t->from_middle_norm, b->dim, 1, "from_middle_norm.weight");
    product(&d, &t->from_middle, b->dim, c, "from_middle");
    for (int i = 0; i < t->units; i++)
        declare_unit(t, &t->after[i], "after", i, p);
    params_layer(p, -1);
    product(&d, &t->last, c, t->code_dim, "last");
    vector(&d, &t->last_norm, t->code_dim, 1, "last_norm.weight");
    product(&d, &t->head, t->code_dim, b->codes, "head");
}

/* ---- the kind ---- */

void masked_free(masked *t)
{
    if (t) {
        free(t->block);
        clip_release(&t->text);
    }
    free(t);
}

static void free_kind(transformer *t)
{
    masked_free((masked *)t);
}

static void declare(transformer *t, param_table *p)
{
    masked_declare((masked *)t, p);
}

static transformer *open_kind(const gguf *g, err *e)
{
    masked *t = calloc(1, sizeof *t);
    bool ok = t ? config_fields(g, fields, FIELDS, t, e) : err_no_memory(e, "transformer", sizeof *t);
    if (ok && masked_prepare(t, gguf_name(g), e))
        return &t->base;
    masked_free(t);
    return NULL;
}

const transformer_kind transformer_masked = {.name = "masked",
                                             .open = open_kind,
                                             .free = free_kind,
                                             .declare = declare,
                                             .text_row = text_row,
                                             .read_text = read_text,
                                             .fill = fill};
