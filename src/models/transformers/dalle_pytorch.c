/* The transformer of DALLE-pytorch: hyper-parameters, parameters, forward pass. */
#include "models/transformers/dalle_pytorch.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/config.h"

#define LAYERS_MOST 64 /* config_put_ints' lists */
#define CONV_SIDE   5  /* SparseConvCausalAttention's default, which DALLE never changes */
static const float EPS = 1e-5f;

/* ---- forward ---- */

static tensor branch_in(run *r, const dalle_pytorch *d, const dalle_pytorch_branch *b, tensor x, tensor history,
                        tensor position)
{
    x = op_layer_norm(r, x, &b->norm);
    return d->shift_tokens ? op_shift_tokens(r, x, history, position, d->base.text_length, d->base.grid_width) : x;
}

static tensor branch_out(run *r, const dalle_pytorch *d, const dalle_pytorch_branch *b, tensor x, tensor residual)
{
    if (d->sandwich)
        x = op_layer_norm(r, x, &b->norm_out);
    return op_add(r, residual, op_multiply(r, x, b->scale));
}

/* What a layer finds again: shifted tokens of both branches, where tokens are shifted. */
static tensor history(const dalle_pytorch *d, const transformer_memory *m, int layer, int branch)
{
    return d->shift_tokens ? m->kept[2 * layer + branch] : (tensor){0};
}

/* residual + attention of x[b,t,dim] */
static tensor attention(run *r, const dalle_pytorch *d, int i, tensor x, tensor residual, const transformer_memory *m,
                        tensor position)
{
    const dalle_pytorch_layer *k = &d->list[i];
    const dalle_pytorch_layer *set = &d->list[k->attention.set];
    tensor qkv = op_linear(r, branch_in(r, d, &k->attention, x, history(d, m, i, 0), position), &set->qkv, ACT_NONE);
    if (d->turned)
        qkv = op_rotate(r, qkv, d->base.head_dim, d->angles, position); /* the values too */
    tensor y = op_attention(r, qkv, d->base.heads, &m->caches[i], position, &k->mask);
    return branch_out(r, d, &k->attention, op_linear(r, y, &set->out, ACT_NONE), residual);
}

static tensor mlp(run *r, const dalle_pytorch *d, int i, tensor x, tensor residual, const transformer_memory *m,
                  tensor position)
{
    const dalle_pytorch_layer *k = &d->list[i];
    const dalle_pytorch_layer *set = &d->list[k->mlp.set];
    tensor up = op_linear(r, branch_in(r, d, &k->mlp, x, history(d, m, i, 1), position), &set->up, ACT_NONE);
    tensor down = op_linear(r, op_glu(r, up, ACT_GELU_ERF), &set->down, ACT_NONE);
    return branch_out(r, d, &k->mlp, down, residual);
}

static tensor forward(run *r, const transformer *t, tensor ids, tensor codes, const transformer_memory *m,
                      tensor position, int64_t n)
{
    const dalle_pytorch *d = (const dalle_pytorch *)t;
    tensor x = op_embed_sequence(r, &d->embedding, ids, codes, position, n), other = x;
    for (int i = 0; i < d->base.layers; i++) {
        run_next(r);
        if (d->reversible) { /* two streams (Gomez et al. 2017): each branch reads one and adds to the other */
            x = attention(r, d, i, other, x, m, position);
            other = mlp(r, d, i, x, other, m, position);
        } else {
            x = attention(r, d, i, x, x, m, position);
            x = mlp(r, d, i, x, x, m, position);
        }
    }
    run_next(r);
    if (d->reversible)
        x = op_scale_add(r, x, 0.5f, other, 0.5f);
    return op_layer_norm(r, d->stable ? op_divide_max(r, x) : x, &d->final);
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.transformer.layers", offsetof(dalle_pytorch, base.layers), 1, LAYERS_MOST},
    {"limn.transformer.dim", offsetof(dalle_pytorch, base.dim), 1, 1 << 16},
    {"limn.transformer.heads", offsetof(dalle_pytorch, base.heads), 1, 1 << 12},
    {"limn.transformer.head_dim", offsetof(dalle_pytorch, base.head_dim), 1, 1024},
    {"limn.transformer.mlp", offsetof(dalle_pytorch, mlp), 1, 1 << 20},
    {"limn.transformer.text_length", offsetof(dalle_pytorch, base.text_length), 1, 1 << 16},
    {"limn.transformer.text_vocabulary", offsetof(dalle_pytorch, base.vocabulary), 1, 1 << 24},
    {"limn.transformer.grid_width", offsetof(dalle_pytorch, base.grid_width), 1, 1024},
    {"limn.transformer.codes", offsetof(dalle_pytorch, base.codes), 2, 1 << 20},
    {"limn.transformer.rotary", offsetof(dalle_pytorch, turned), 0, 1024},
    {"limn.transformer.shift_tokens", offsetof(dalle_pytorch, shift_tokens), .kind = CONFIG_BOOL},
    {"limn.transformer.sandwich_norm", offsetof(dalle_pytorch, sandwich), .kind = CONFIG_BOOL},
    {"limn.transformer.stable", offsetof(dalle_pytorch, stable), .kind = CONFIG_BOOL},
    {"limn.transformer.reversible", offsetof(dalle_pytorch, reversible), .kind = CONFIG_BOOL},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* One number a layer: that of the layer whose weights it has. */
static const char *const set_keys[2] = {"limn.transformer.attention_sets", "limn.transformer.mlp_sets"};

static int *set_of(dalle_pytorch_layer *k, int branch)
{
    return branch ? &k->mlp.set : &k->attention.set;
}

void dalle_pytorch_put(const dalle_pytorch *d, gguf_writer *w)
{
    const char *patterns[LAYERS_MOST];
    int sets[LAYERS_MOST];
    gguf_put_string(w, "limn.transformer.kind", transformer_dalle_pytorch.name);
    config_put(w, fields, FIELDS, d);
    for (int i = 0; i < d->base.layers; i++)
        patterns[i] = mask_names[d->list[i].mask.kind];
    gguf_put_strings(w, "limn.transformer.attention", patterns, (size_t)d->base.layers);
    gguf_put_int(w, "limn.transformer.conv_kernel", CONV_SIDE);
    for (int branch = 0; branch < 2; branch++) {
        for (int i = 0; i < d->base.layers; i++)
            sets[i] = *set_of(&d->list[i], branch);
        config_put_ints(w, set_keys[branch], sets, d->base.layers);
    }
}

/* What of the base follows from the other sizes. */
static void fill(dalle_pytorch *d)
{
    transformer *t = &d->base;
    t->kind = &transformer_dalle_pytorch;
    t->prefix = t->text_length;
    t->text_room = t->text_length - 1;
    t->grid_height = t->grid_width;
    t->n_kept = d->shift_tokens ? 2 * t->layers : 0;
    t->kept_shape[0] = t->text_length + t->grid_width * t->grid_width - 1; /* the last code is never an input */
    t->kept_shape[1] = (t->dim + 3) / 4 * 2;
    t->text_head = &d->text_head;
    t->image_head = &d->image_head;
}

bool dalle_pytorch_prepare(dalle_pytorch *d, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, d, e))
        return false;
    if (d->turned > d->base.head_dim || d->turned % 2)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.rotary: %d is odd, or more than a head's %d", file,
                       d->turned, d->base.head_dim);
    fill(d);
    free(d->list);
    d->list = calloc((size_t)d->base.layers, sizeof *d->list);
    if (!d->list)
        return err_no_memory(e, "transformer", (size_t)d->base.layers * sizeof *d->list);
    for (int i = 0; i < d->base.layers; i++) {
        d->list[i].mask = (attention_mask){
            .kind = MASK_FULL, .text = d->base.text_length, .grid_width = d->base.grid_width, .kernel = CONV_SIDE};
        d->list[i].attention.set = d->list[i].mlp.set = i;
    }
    return true;
}

bool dalle_pytorch_check_layers(const dalle_pytorch *d, const char *file, err *e)
{
    for (int i = 0; i < d->base.layers; i++)
        for (int branch = 0; branch < 2; branch++) {
            int set = *set_of(&d->list[i], branch);
            if (set < 0 || set > i || *set_of(&d->list[set], branch) != set)
                return err_set(e, ERR_FAILED, "%s: key '%s': layer %d has the weights of %d, which has none of its own",
                               file, set_keys[branch], i, set);
        }
    return true;
}

static bool read_layers(dalle_pytorch *d, const gguf *g, err *e)
{
    int sets[LAYERS_MOST], n;
    for (int i = 0; i < d->base.layers; i++)
        if (!transformer_read_mask(&d->list[i].mask, i, g, e))
            return false;
    for (int branch = 0; branch < 2; branch++) {
        if (!config_ints(g, set_keys[branch], 0, d->base.layers - 1, LAYERS_MOST, sets, &n, e))
            return false;
        if (n != d->base.layers)
            return err_set(e, ERR_FAILED, "%s: key '%s': %d numbers for %d layers", gguf_name(g), set_keys[branch], n,
                           d->base.layers);
        for (int i = 0; i < n; i++)
            *set_of(&d->list[i], branch) = sets[i];
    }
    return dalle_pytorch_check_layers(d, gguf_name(g), e);
}

void dalle_pytorch_free(dalle_pytorch *d)
{
    if (d)
        free(d->list);
    free(d);
}

static void free_kind(transformer *t)
{
    dalle_pytorch_free((dalle_pytorch *)t);
}

static transformer *open_kind(const gguf *g, err *e)
{
    dalle_pytorch *d = calloc(1, sizeof *d);
    bool ok = d ? config_fields(g, fields, FIELDS, d, e) : err_no_memory(e, "transformer", sizeof *d);
    if (ok && dalle_pytorch_prepare(d, gguf_name(g), e) && read_layers(d, g, e))
        return &d->base;
    dalle_pytorch_free(d);
    return NULL;
}

/* ---- parameters ---- */

static void declare_branch(const dalle_pytorch *d, param_table *p, dalle_pytorch_branch *b, int layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "transformer.%d.%s.norm", layer, part);
    param_norm(p, &b->norm, d->base.dim, EPS, name);
    snprintf(name, sizeof name, "transformer.%d.%s.norm_out", layer, part);
    if (d->sandwich)
        param_norm(p, &b->norm_out, d->base.dim, EPS, name);
    param_vector(p, &b->scale, d->base.dim, "transformer.%d.%s.scale", layer, part);
}

void dalle_pytorch_declare(dalle_pytorch *d, param_table *p)
{
    int inner = d->base.heads * d->base.head_dim, ids = d->base.vocabulary + d->base.text_length - 1;
    sequence_embedding *s = &d->embedding;
    *s = (sequence_embedding){
        .text_length = d->base.text_length, .grid_width = d->base.grid_width, .grid_height = d->base.grid_width};
    params_use(p, USE_TRANSFORMER);
    param_matrix(p, &s->text, ids, d->base.dim, PARAM_TABLE, "transformer.text_embedding.weight");
    param_matrix(p, &s->image, d->base.codes, d->base.dim, PARAM_TABLE, "transformer.image_embedding.weight");
    if (d->turned) {
        param_matrix(p, &d->angles, d->base.text_length + (int64_t)d->base.grid_width * d->base.grid_width, d->turned,
                     PARAM_VECTOR, "transformer.angles");
        param_fix(p);
    } else {
        param_matrix(p, &s->text_position, d->base.text_length, d->base.dim, PARAM_VECTOR,
                     "transformer.text_position.weight");
        param_matrix(p, &s->row_position, d->base.grid_width, d->base.dim, PARAM_VECTOR,
                     "transformer.row_position.weight");
        param_matrix(p, &s->column_position, d->base.grid_width, d->base.dim, PARAM_VECTOR,
                     "transformer.column_position.weight");
    }
    for (int i = 0; i < d->base.layers; i++) {
        dalle_pytorch_layer *k = &d->list[i];
        params_layer(p, i);
        declare_branch(d, p, &k->attention, i, "attention");
        if (k->attention.set == i) {
            param_weight(p, &k->qkv, d->base.dim, 3 * (int64_t)inner, "transformer.%d.qkv.weight", i);
            param_weight(p, &k->out, inner, d->base.dim, "transformer.%d.out.weight", i);
            param_vector(p, &k->out.b, d->base.dim, "transformer.%d.out.bias", i);
        }
        declare_branch(d, p, &k->mlp, i, "mlp");
        char name[64];
        snprintf(name, sizeof name, "transformer.%d.up", i);
        if (k->mlp.set == i)
            param_linear(p, &k->up, d->base.dim, 2 * (int64_t)d->mlp, name);
        snprintf(name, sizeof name, "transformer.%d.down", i);
        if (k->mlp.set == i)
            param_linear(p, &k->down, d->mlp, d->base.dim, name);
    }
    params_layer(p, -1);
    param_norm(p, &d->final, d->base.dim, EPS, "transformer.norm");
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    param_linear(p, &d->text_head, d->base.dim, ids, "transformer.text_head");
    params_use(p, USE_TRANSFORMER);
    param_linear(p, &d->image_head, d->base.dim, d->base.codes, "transformer.image_head");
}

/* ---- text ---- */

static void declare(transformer *t, param_table *p)
{
    dalle_pytorch_declare((dalle_pytorch *)t, p);
}

static bool text_row(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    while (n && ids[n - 1] == 0)
        n--;
    if (n > (size_t)t->text_length - 1)
        return err_set(e, ERR_USAGE, "prompt: %zu tokens, and the model takes %d (shorten it)", n, t->text_length - 1);
    row[0] = 0; /* <bos> */
    for (int i = 0; i < t->text_length - 1; i++) {
        int32_t id = (size_t)i < n ? ids[i] : 0;
        if (id < 0 || id >= t->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %d is outside of the vocabulary of %d", id, i,
                           t->vocabulary);
        row[i + 1] = id ? id : t->vocabulary + i; /* padding has an id for each position */
    }
    *used = n + 1;
    return true;
}

const transformer_kind transformer_dalle_pytorch = {"dalle_pytorch", open_kind, free_kind, declare,
                                                    text_row,        forward,   NULL,      false};
