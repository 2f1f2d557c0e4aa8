/* The transformer of DALLE-pytorch: hyper-parameters, parameters, forward pass. */
#include "models/dalle_pytorch.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/config.h"

#define LAYERS_MOST 64 /* config_put_ints' lists */
#define CONV_SIDE   5  /* SparseConvCausalAttention's default, which DALLE never changes */
static const float EPS = 1e-5f;

/* ---- forward ---- */

static tensor branch_in(run *r, const dalle_pytorch *d, const dalle_pytorch_branch *b, tensor x, tensor history,
                        tensor position)
{
    x = op_layer_norm(r, x, &b->norm);
    return d->shift_tokens ? op_shift_tokens(r, x, history, position, d->text_length, d->grid_width) : x;
}

static tensor branch_out(run *r, const dalle_pytorch *d, const dalle_pytorch_branch *b, tensor x, tensor residual)
{
    if (d->sandwich)
        x = op_layer_norm(r, x, &b->norm_out);
    return op_add(r, residual, op_multiply(r, x, b->scale));
}

/* residual + attention of x[b,t,dim] */
static tensor attention(run *r, const dalle_pytorch *d, const dalle_pytorch_layer *k, tensor x, tensor residual,
                        const dalle_pytorch_state *s, tensor position)
{
    const dalle_pytorch_layer *set = &d->list[k->attention.set];
    tensor qkv = op_linear(r, branch_in(r, d, &k->attention, x, s->attention_history, position), &set->qkv, ACT_NONE);
    if (d->turned)
        qkv = op_rotate(r, qkv, d->head_dim, d->angles, position); /* the values too */
    tensor y = op_attention(r, qkv, d->heads, &s->cache, position, &k->mask);
    return branch_out(r, d, &k->attention, op_linear(r, y, &set->out, ACT_NONE), residual);
}

static tensor mlp(run *r, const dalle_pytorch *d, const dalle_pytorch_layer *k, tensor x, tensor residual,
                  const dalle_pytorch_state *s, tensor position)
{
    const dalle_pytorch_layer *set = &d->list[k->mlp.set];
    tensor up = op_linear(r, branch_in(r, d, &k->mlp, x, s->mlp_history, position), &set->up, ACT_NONE);
    tensor down = op_linear(r, op_glu(r, up, ACT_GELU_ERF), &set->down, ACT_NONE);
    return branch_out(r, d, &k->mlp, down, residual);
}

tensor dalle_pytorch_forward(run *r, const dalle_pytorch *d, tensor ids, tensor codes,
                             const dalle_pytorch_state *states, tensor position, int64_t t)
{
    tensor x = op_embed_sequence(r, &d->embedding, ids, codes, position, t), other = x;
    for (int i = 0; i < d->layers; i++) {
        const dalle_pytorch_layer *k = &d->list[i];
        run_next(r);
        if (d->reversible) { /* two streams (Gomez et al. 2017): each branch reads one and adds to the other */
            x = attention(r, d, k, other, x, &states[i], position);
            other = mlp(r, d, k, x, other, &states[i], position);
        } else {
            x = attention(r, d, k, x, x, &states[i], position);
            x = mlp(r, d, k, x, x, &states[i], position);
        }
    }
    run_next(r);
    if (d->reversible)
        x = op_scale_add(r, x, 0.5f, other, 0.5f);
    return op_layer_norm(r, d->stable ? op_divide_max(r, x) : x, &d->final);
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.dalle_pytorch.layers", offsetof(dalle_pytorch, layers), 1, LAYERS_MOST},
    {"limn.dalle_pytorch.dim", offsetof(dalle_pytorch, dim), 1, 1 << 16},
    {"limn.dalle_pytorch.heads", offsetof(dalle_pytorch, heads), 1, 1 << 12},
    {"limn.dalle_pytorch.head_dim", offsetof(dalle_pytorch, head_dim), 1, 1024},
    {"limn.dalle_pytorch.mlp", offsetof(dalle_pytorch, mlp), 1, 1 << 20},
    {"limn.dalle_pytorch.text_length", offsetof(dalle_pytorch, text_length), 1, 1 << 16},
    {"limn.dalle_pytorch.text_vocabulary", offsetof(dalle_pytorch, vocabulary), 1, 1 << 24},
    {"limn.dalle_pytorch.grid_width", offsetof(dalle_pytorch, grid_width), 1, 1024},
    {"limn.dalle_pytorch.codes", offsetof(dalle_pytorch, codes), 2, 1 << 20},
    {"limn.dalle_pytorch.rotary", offsetof(dalle_pytorch, turned), 0, 1024},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const struct {
    const char *key;
    size_t at;
} flags[] = {
    {"limn.dalle_pytorch.shift_tokens", offsetof(dalle_pytorch, shift_tokens)},
    {"limn.dalle_pytorch.sandwich_norm", offsetof(dalle_pytorch, sandwich)},
    {"limn.dalle_pytorch.stable", offsetof(dalle_pytorch, stable)},
    {"limn.dalle_pytorch.reversible", offsetof(dalle_pytorch, reversible)},
};
enum { FLAGS = sizeof flags / sizeof *flags };

/* One number a layer: mask_kind, and the layers whose weights it has. */
static const char *const list_keys[3] = {"limn.dalle_pytorch.attention", "limn.dalle_pytorch.attention_sets",
                                         "limn.dalle_pytorch.mlp_sets"};

static int *list_entry(dalle_pytorch_layer *k, int list)
{
    return list == 1 ? &k->attention.set : &k->mlp.set;
}

void dalle_pytorch_write(const dalle_pytorch *d, gguf_writer *w)
{
    config_put(w, fields, FIELDS, d);
    for (int i = 0; i < FLAGS; i++)
        gguf_put_bool(w, flags[i].key, *(const bool *)((const char *)d + flags[i].at));
    int values[LAYERS_MOST];
    for (int list = 0; list < 3; list++) {
        for (int i = 0; i < d->layers; i++)
            values[i] = list ? *list_entry(&d->list[i], list) : (int)d->list[i].mask.kind;
        config_put_ints(w, list_keys[list], values, d->layers);
    }
}

bool dalle_pytorch_prepare(dalle_pytorch *d, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, d, e))
        return false;
    if (d->turned > d->head_dim || d->turned % 2)
        return err_set(e, ERR_FAILED, "%s: limn.dalle_pytorch.rotary: %d is odd, or more than a head's %d", file,
                       d->turned, d->head_dim);
    free(d->list);
    d->list = calloc((size_t)d->layers, sizeof *d->list);
    if (!d->list)
        return err_no_memory(e, "transformer", (size_t)d->layers * sizeof *d->list);
    for (int i = 0; i < d->layers; i++) {
        d->list[i].mask = (attention_mask){
            .kind = MASK_FULL, .text = d->text_length, .grid_width = d->grid_width, .kernel = CONV_SIDE};
        d->list[i].attention.set = d->list[i].mlp.set = i;
    }
    return true;
}

bool dalle_pytorch_check_layers(const dalle_pytorch *d, const char *file, err *e)
{
    for (int i = 0; i < d->layers; i++)
        for (int list = 1; list < 3; list++) {
            int set = *list_entry(&d->list[i], list);
            if (set < 0 || set > i || *list_entry(&d->list[set], list) != set)
                return err_set(e, ERR_FAILED, "%s: key '%s': layer %d has the weights of %d, which has none of its own",
                               file, list_keys[list], i, set);
        }
    return true;
}

static bool read_lists(dalle_pytorch *d, const gguf *g, err *e)
{
    int values[LAYERS_MOST], n;
    for (int list = 0; list < 3; list++) {
        if (!config_ints(g, list_keys[list], 0, list ? d->layers - 1 : MASK_COUNT - 1, LAYERS_MOST, values, &n, e))
            return false;
        if (n != d->layers)
            return err_set(e, ERR_FAILED, "%s: key '%s': %d numbers for %d layers", gguf_name(g), list_keys[list], n,
                           d->layers);
        for (int i = 0; i < n; i++) {
            if (list)
                *list_entry(&d->list[i], list) = values[i];
            else
                d->list[i].mask.kind = (mask_kind)values[i];
        }
    }
    return dalle_pytorch_check_layers(d, gguf_name(g), e);
}

bool dalle_pytorch_open(dalle_pytorch **out, const gguf *g, param_table *p, err *e)
{
    *out = NULL;
    if (!config_has_section(g, "limn.dalle_pytorch."))
        return true;
    dalle_pytorch *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    bool ok = config_fields(g, fields, FIELDS, d, e);
    for (int i = 0; ok && i < FLAGS; i++)
        ok = gguf_get_bool(g, flags[i].key, (bool *)((char *)d + flags[i].at), e);
    if (!ok || !dalle_pytorch_prepare(d, gguf_name(g), e) || !read_lists(d, g, e)) {
        dalle_pytorch_free(d);
        return false;
    }
    dalle_pytorch_params(d, p);
    *out = d;
    return true;
}

void dalle_pytorch_free(dalle_pytorch *d)
{
    if (d)
        free(d->list);
    free(d);
}

/* ---- parameters ---- */

static void declare_branch(const dalle_pytorch *d, param_table *p, dalle_pytorch_branch *b, int layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "transformer.%d.%s.norm", layer, part);
    param_norm(p, &b->norm, d->dim, EPS, name);
    snprintf(name, sizeof name, "transformer.%d.%s.norm_out", layer, part);
    if (d->sandwich)
        param_norm(p, &b->norm_out, d->dim, EPS, name);
    param_vector(p, &b->scale, d->dim, "transformer.%d.%s.scale", layer, part);
}

void dalle_pytorch_params(dalle_pytorch *d, param_table *p)
{
    int inner = d->heads * d->head_dim, ids = d->vocabulary + d->text_length - 1;
    sequence_embedding *s = &d->embedding;
    *s = (sequence_embedding){.text_length = d->text_length, .grid_width = d->grid_width, .grid_height = d->grid_width};
    param_matrix(p, &s->text, ids, d->dim, PARAM_MATRIX, "transformer.text_embedding.weight");
    param_matrix(p, &s->image, d->codes, d->dim, PARAM_MATRIX, "transformer.image_embedding.weight");
    if (d->turned) {
        param_matrix(p, &d->angles, dalle_pytorch_positions(d) + 1, d->turned, PARAM_VECTOR, "transformer.angles");
    } else {
        param_matrix(p, &s->text_position, d->text_length, d->dim, PARAM_VECTOR, "transformer.text_position.weight");
        param_matrix(p, &s->row_position, d->grid_width, d->dim, PARAM_VECTOR, "transformer.row_position.weight");
        param_matrix(p, &s->column_position, d->grid_width, d->dim, PARAM_VECTOR, "transformer.column_position.weight");
    }
    for (int i = 0; i < d->layers; i++) {
        dalle_pytorch_layer *k = &d->list[i];
        declare_branch(d, p, &k->attention, i, "attention");
        if (k->attention.set == i) {
            param_matrix(p, &k->qkv.w, 3 * (int64_t)inner, d->dim, PARAM_MATRIX, "transformer.%d.qkv.weight", i);
            param_matrix(p, &k->out.w, d->dim, inner, PARAM_MATRIX, "transformer.%d.out.weight", i);
            param_vector(p, &k->out.b, d->dim, "transformer.%d.out.bias", i);
        }
        declare_branch(d, p, &k->mlp, i, "mlp");
        char name[64];
        snprintf(name, sizeof name, "transformer.%d.up", i);
        if (k->mlp.set == i)
            param_linear(p, &k->up, d->dim, 2 * (int64_t)d->mlp, name);
        snprintf(name, sizeof name, "transformer.%d.down", i);
        if (k->mlp.set == i)
            param_linear(p, &k->down, d->mlp, d->dim, name);
    }
    param_norm(p, &d->final, d->dim, EPS, "transformer.norm");
    param_linear(p, &d->text_head, d->dim, ids, "transformer.text_head");
    param_linear(p, &d->image_head, d->dim, d->codes, "transformer.image_head");
}

/* ---- text and state ---- */

int dalle_pytorch_positions(const dalle_pytorch *d)
{
    return d->text_length + d->grid_width * d->grid_width - 1;
}

bool dalle_pytorch_text_row(const dalle_pytorch *d, const int32_t *ids, size_t n, int32_t *row, err *e)
{
    while (n && ids[n - 1] == 0)
        n--;
    if (n > (size_t)d->text_length - 1)
        return err_set(e, ERR_USAGE, "prompt: %zu tokens, and the model takes %d (shorten it)", n, d->text_length - 1);
    row[0] = 0; /* <bos> */
    for (int i = 0; i < d->text_length - 1; i++) {
        int32_t id = (size_t)i < n ? ids[i] : 0;
        if (id < 0 || id >= d->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %d is outside of the vocabulary of %d", id, i,
                           d->vocabulary);
        row[i + 1] = id ? id : d->vocabulary + i;
    }
    return true;
}

bool dalle_pytorch_state_new(const dalle_pytorch *d, device *dev, int rows, dalle_pytorch_state **states, err *e)
{
    int64_t length = dalle_pytorch_positions(d), kept = (d->dim + 3) / 4 * 2;
    dalle_pytorch_state *s = *states = calloc((size_t)d->layers, sizeof *s);
    bool ok = s ? true : err_no_memory(e, "session", (size_t)d->layers * sizeof *s);
    for (int i = 0; ok && i < d->layers; i++) {
        int64_t shape[] = {rows, d->heads, length, d->head_dim}, history[] = {rows, length, kept};
        ok = tensor_new(&s[i].cache.k, dev, DTYPE_F32, 4, shape, NULL, false, "key cache", e) &&
             tensor_new(&s[i].cache.v, dev, DTYPE_F32, 4, shape, NULL, false, "value cache", e) &&
             (!d->shift_tokens ||
              (tensor_new(&s[i].attention_history, dev, DTYPE_F32, 3, history, NULL, false, "shifted tokens", e) &&
               tensor_new(&s[i].mlp_history, dev, DTYPE_F32, 3, history, NULL, false, "shifted tokens", e)));
    }
    if (!ok) {
        dalle_pytorch_state_free(d, s);
        *states = NULL;
    }
    return ok;
}

void dalle_pytorch_state_free(const dalle_pytorch *d, dalle_pytorch_state *s)
{
    for (int i = 0; s && i < d->layers; i++) {
        buffer_free(s[i].cache.k.buf);
        buffer_free(s[i].cache.v.buf);
        buffer_free(s[i].attention_history.buf);
        buffer_free(s[i].mlp_history.buf);
    }
    free(s);
}
