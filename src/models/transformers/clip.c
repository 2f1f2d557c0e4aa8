/* CLIP: hyper-parameters, parameters, forward passes. */
#include "models/transformers/clip.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "weights/config.h"

#define POSITION_MOST 65536 /* patches, text positions */

/* ---- forward ---- */

/* Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).  x[b,t,width] */
static tensor block_forward(run *r, const clip *c, const clip_tower *w, const clip_block *k, tensor x)
{
    int64_t b = x.shape[0], t = x.shape[1], head = w->head_dim;
    kv_cache cache = {TENSOR(r, DTYPE_F32, b, w->heads, t, head), TENSOR(r, DTYPE_F32, b, w->heads, t, head)};
    tensor start = tensor_rows(run_zeros(r, 1), 0, 1);
    start.type = DTYPE_I32; /* all sequences are whole: the same zero */
    tensor qkv = op_linear(r, op_layer_norm(r, x, &k->norm1), &k->qkv, ACT_NONE);
    x = op_linear_add(r, op_attention(r, qkv, w->heads, &cache, start, &k->mask), &k->out, x);
    tensor up = op_linear(r, op_layer_norm(r, x, &k->norm2), &k->up, c->gated ? ACT_NONE : c->act);
    return op_linear_add(r, c->gated ? op_glu(r, up, c->act) : up, &k->down, x);
}

/* The rows x[i, ends[i]] of x[b,t,width]. */
static tensor rows_at(run *r, tensor x, const int32_t *ends)
{
    int64_t b = x.shape[0], t = x.shape[1];
    int32_t *rows = run_failed(r) ? NULL : malloc((size_t)b * sizeof *rows);
    if (!rows) {
        if (!run_failed(r))
            err_no_memory(run_error(r), "text", (size_t)b * sizeof *rows);
        return (tensor){0};
    }
    for (int64_t i = 0; i < b; i++)
        rows[i] = (int32_t)(i * t + ends[i]);
    tensor ids = run_upload(r, DTYPE_I32, 1, &b, rows);
    free(rows);
    return op_embed(r, ids, tensor_shaped(x, 2, (int64_t[]){b * t, x.shape[2]}));
}

/* The states before block n of the embedded sequence x[b,t,width]. */
static tensor states_before(run *r, const clip *c, const clip_tower *w, tensor x, int n)
{
    if (w->norm_before)
        x = op_layer_norm(r, x, &w->before);
    for (int i = 0; i < n; i++) {
        run_next(r);
        x = block_forward(r, c, w, &w->blocks[i], x);
    }
    return x;
}

/* y[b,dim] of the blocks' result x[b,t,width]; ends: for CLIP_END. */
static tensor project(run *r, const clip_tower *w, tensor x, const int32_t *ends)
{
    int64_t b = x.shape[0];
    switch (w->pooling) {
    case CLIP_CLASS:
        x = tensor_shaped(op_slice(r, x, 0, 1), 2, (int64_t[]){b, w->width});
        break;
    case CLIP_END:
        x = rows_at(r, x, ends);
        break;
    default:
        x = op_mean_rows(r, x);
    }
    if (w->norm_after)
        x = op_layer_norm(r, x, &w->after);
    return op_linear(r, x, &w->out, ACT_NONE);
}

/* y[b,dim] of the embedded sequence x[b,t,width]; ends: for CLIP_END. */
static tensor tower_forward(run *r, const clip *c, const clip_tower *w, tensor x, const int32_t *ends)
{
    x = states_before(r, c, w, x, w->layers);
    run_next(r);
    return op_l2_normalise(r, project(r, w, x, ends), 1e-12f);
}

/* The sequence that the image tower reads. */
static tensor embed_patches(run *r, const clip *c, tensor patches)
{
    const clip_tower *w = &c->image;
    const linear embed = {.w = tensor_shaped(c->patches, 2, (int64_t[]){w->width, c->patch * c->patch * 3})};
    return op_add_position(r, op_linear(r, patches, &embed, ACT_NONE), c->class_token, w->position);
}

tensor clip_image(run *r, const clip *c, tensor patches)
{
    return tower_forward(r, c, &c->image, embed_patches(r, c, patches), NULL);
}

tensor clip_text(run *r, const clip *c, tensor ids, const int32_t *ends)
{
    tensor x = op_embed(r, ids, c->tokens);
    return tower_forward(r, c, &c->text, op_add_position(r, x, (tensor){0}, c->text.position), ends);
}

tensor clip_text_states(run *r, const clip *c, tensor ids, const int32_t *ends, tensor *projected)
{
    const clip_tower *w = &c->text;
    tensor x = op_add_position(r, op_embed(r, ids, c->tokens), (tensor){0}, w->position);
    tensor states = states_before(r, c, w, x, w->layers - 1);
    run_next(r);
    *projected = project(r, w, block_forward(r, c, w, &w->blocks[w->layers - 1], states), ends);
    return states;
}

tensor clip_text_all(run *r, const clip *c, tensor ids, const int32_t *ends, tensor *projected)
{
    const clip_tower *w = &c->text;
    tensor x = op_add_position(r, op_embed(r, ids, c->tokens), (tensor){0}, w->position);
    x = states_before(r, c, w, x, w->layers);
    if (projected)
        *projected = project(r, w, x, ends);
    return w->norm_after ? op_layer_norm(r, x, &w->after) : x;
}

tensor clip_text_context(run *r, const clip *c, tensor ids)
{
    return clip_text_all(r, c, ids, NULL, NULL);
}

tensor clip_image_projected(run *r, const clip *c, tensor patches)
{
    const clip_tower *w = &c->image;
    tensor x = states_before(r, c, w, embed_patches(r, c, patches), w->layers);
    run_next(r);
    return project(r, w, x, NULL);
}

void clip_pixels(const clip *c, float *out, const uint8_t *rgb)
{
    int side = c->image_size, p = c->patch;
    for (int y = 0; y < side; y += p)
        for (int x = 0; x < side; x += p)
            for (int ky = 0; ky < p; ky++)
                for (int kx = 0; kx < p; kx++)
                    for (int i = 0; i < 3; i++)
                        *out++ = (rgb[((y + ky) * side + x + kx) * 3 + i] / 255.0f - c->mean[i]) / c->std[i];
}

size_t clip_text_tokens(const clip *c, const int32_t *ids, size_t n)
{
    bool start = n && c->start_id >= 0 && ids[0] == c->start_id;
    bool end = n > start && c->end_id >= 0 && ids[n - 1] == c->end_id;
    return n - start - end + (c->start_id >= 0) + (c->end_id >= 0);
}

int clip_text_row(const clip *c, const int32_t *ids, size_t n, int32_t *row)
{
    int at = 0, length = c->text_length - (c->end_id >= 0);
    if (n && c->start_id >= 0 && ids[0] == c->start_id) {
        ids++;
        n--;
    }
    if (n && c->end_id >= 0 && ids[n - 1] == c->end_id)
        n--;
    if (c->start_id >= 0)
        row[at++] = c->start_id;
    for (size_t i = 0; i < n && at < length; i++)
        row[at++] = ids[i];
    if (c->end_id >= 0)
        row[at++] = c->end_id;
    for (int i = at; i < c->text_length; i++)
        row[i] = c->pad_id;
    return at > 0 ? at - 1 : 0;
}

/* ---- hyper-parameters ---- */

#define TOWER(side)                                                                                                    \
    {"limn.clip." #side ".width", offsetof(clip, side.width), 1, 1 << 16},                                             \
        {"limn.clip." #side ".layers", offsetof(clip, side.layers), 1, 1024},                                          \
        {"limn.clip." #side ".heads", offsetof(clip, side.heads), 1, 1 << 16},                                         \
    {                                                                                                                  \
        "limn.clip." #side ".mlp", offsetof(clip, side.mlp), 1, 1 << 20                                                \
    }

static const char *const pooling_names[CLIP_POOLINGS] = {"class", "end", "mean"};
static const char *const filter_names[IMAGE_FILTERS] = {"lanczos", "bicubic", "bilinear"};

/* What is optional came later: files without it mean heads of width / heads, no gate, and lanczos. */
static const config_field fields[] = {
    {"limn.clip.dim", offsetof(clip, dim), 1, 1 << 16},
    {"limn.clip.image.size", offsetof(clip, image_size), 1, 4096},
    {"limn.clip.image.patch", offsetof(clip, patch), 1, 4096},
    TOWER(image),
    TOWER(text),
    {"limn.clip.text.length", offsetof(clip, text_length), 2, POSITION_MOST},
    {"limn.clip.text.vocabulary", offsetof(clip, vocabulary), 2, 1 << 24},
    {"limn.clip.text.start_id", offsetof(clip, start_id), -1, (1 << 24) - 1},
    {"limn.clip.text.end_id", offsetof(clip, end_id), -1, (1 << 24) - 1},
    {"limn.clip.text.pad_id", offsetof(clip, pad_id), 0, (1 << 24) - 1},
    {"limn.clip.image.norm_before", offsetof(clip, image.norm_before), .kind = CONFIG_BOOL},
    {"limn.clip.image.norm_after", offsetof(clip, image.norm_after), .kind = CONFIG_BOOL},
    {"limn.clip.text.causal", offsetof(clip, text.causal), .kind = CONFIG_BOOL},
    {"limn.clip.text.norm_after", offsetof(clip, text.norm_after), .kind = CONFIG_BOOL},
    {"limn.clip.gated", offsetof(clip, gated), .kind = CONFIG_BOOL, .optional = true},
    {"limn.clip.no_qkv_bias", offsetof(clip, no_qkv_bias), .kind = CONFIG_BOOL, .optional = true},
    {"limn.clip.image.head_dim", offsetof(clip, image.head_dim), 1, HEAD_MOST, .optional = true},
    {"limn.clip.text.head_dim", offsetof(clip, text.head_dim), 1, HEAD_MOST, .optional = true},
    {"limn.clip.image.pooling", offsetof(clip, image.pooling), 0, CLIP_POOLINGS, CONFIG_CHOICE, pooling_names},
    {"limn.clip.text.pooling", offsetof(clip, text.pooling), 0, CLIP_POOLINGS, CONFIG_CHOICE, pooling_names},
    {"limn.clip.image.filter", offsetof(clip, filter), 0, IMAGE_FILTERS, CONFIG_CHOICE, filter_names, .optional = true},
    {"limn.clip.image.mean", offsetof(clip, mean), .kind = CONFIG_COLOUR},
    {"limn.clip.image.std", offsetof(clip, std), .kind = CONFIG_COLOUR},
    {"limn.clip.activation", offsetof(clip, act), 0, ACT_COUNT, CONFIG_CHOICE, activation_names},
    {"limn.clip.norm_eps", offsetof(clip, eps), 0, 1, CONFIG_FLOAT},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* A head that is width / heads goes without saying. */
static void drop_head(clip_tower *t)
{
    if (t->head_dim * t->heads == t->width)
        t->head_dim = 0;
}

void clip_put(const clip *c, gguf_writer *w)
{
    clip copy = *c;
    drop_head(&copy.image);
    drop_head(&copy.text);
    config_put(w, fields, FIELDS, &copy);
}

static bool prepare_tower(clip_tower *w, int positions, const char *side, const char *file, err *e)
{
    if (!w->head_dim && w->width % w->heads == 0)
        w->head_dim = w->width / w->heads;
    if (w->head_dim < 1 || w->head_dim > HEAD_MOST)
        return err_set(e, ERR_FAILED, "%s: limn.clip.%s.heads: %d do not divide the width %d into heads of at most %d",
                       file, side, w->heads, w->width, HEAD_MOST);
    w->positions = positions;
    free(w->blocks);
    w->blocks = calloc((size_t)w->layers, sizeof *w->blocks);
    if (!w->blocks)
        return err_no_memory(e, "CLIP", (size_t)w->layers * sizeof *w->blocks);
    for (int i = 0; i < w->layers; i++)
        w->blocks[i].mask =
            (attention_mask){.kind = w->causal ? MASK_FULL : MASK_ALL, .text = positions, .grid_width = 1, .kernel = 1};
    return true;
}

/* What ranges alone don't tell. */
static bool check_together(const clip *c, const char *file, err *e)
{
    int64_t side = c->image_size / c->patch;
    if (c->image_size % c->patch || side * side > POSITION_MOST)
        return err_set(e, ERR_FAILED,
                       "%s: limn.clip.image.patch: %d doesn't divide pictures of %d pixels (or into too "
                       "many parts)",
                       file, c->patch, c->image_size);
    if (c->image.pooling == CLIP_END)
        return err_set(e, ERR_FAILED, "%s: limn.clip.image.pooling: pictures have no end token", file);
    if (c->text.pooling == CLIP_CLASS || (c->text.pooling == CLIP_END && c->end_id < 0))
        return err_set(e, ERR_FAILED, "%s: limn.clip.text.pooling: \"%s\" wants a token that texts don't have", file,
                       pooling_names[c->text.pooling]);
    if (c->start_id >= c->vocabulary || c->end_id >= c->vocabulary || c->pad_id >= c->vocabulary)
        return err_set(e, ERR_FAILED, "%s: limn.clip.text.vocabulary: %d, and start_id, end_id or pad_id is outside",
                       file, c->vocabulary);
    for (int i = 0; i < 3; i++)
        if (!(c->std[i] > 0 && c->std[i] < 1e6 && c->mean[i] > -1e6 && c->mean[i] < 1e6)) /* NaN too */
            return err_set(e, ERR_FAILED, "%s: limn.clip.image.std: %g, mean %g: no pixel map", file, c->std[i],
                           c->mean[i]);
    return true;
}

bool clip_prepare_text(clip *c, const char *file, err *e)
{
    return prepare_tower(&c->text, c->text_length, "text", file, e);
}

bool clip_prepare_image(clip *c, const char *file, err *e)
{
    int side = c->image_size / c->patch;
    return prepare_tower(&c->image, side * side + (c->image.pooling == CLIP_CLASS), "image", file, e);
}

bool clip_prepare(clip *c, const char *file, err *e)
{
    return config_check(file, fields, FIELDS, c, e) && check_together(c, file, e) && clip_prepare_image(c, file, e) &&
           clip_prepare_text(c, file, e);
}

/* ---- parameters ---- */

/* side: the beginning of its parameters' names, "clip.text" */
static void declare_tower(const clip *c, clip_tower *w, const char *side, param_table *p)
{
    char name[96];
    int inner = w->heads * w->head_dim;
#define NAMED(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
    param_matrix(p, &w->position, w->positions, w->width, PARAM_VECTOR, "%s.position.weight", side);
    if (w->norm_before)
        param_norm(p, &w->before, w->width, c->eps, NAMED("%s.norm_before", side));
    for (int i = 0; i < w->layers; i++) {
        clip_block *b = &w->blocks[i];
        params_layer(p, i);
        param_norm(p, &b->norm1, w->width, c->eps, NAMED("%s.block.%d.norm1", side, i));
        if (c->no_qkv_bias)
            param_matrix(p, &b->qkv.w, 3 * (int64_t)inner, w->width, PARAM_MATRIX, "%s.block.%d.qkv.weight", side, i);
        else
            param_linear(p, &b->qkv, w->width, 3 * (int64_t)inner, NAMED("%s.block.%d.qkv", side, i));
        param_linear(p, &b->out, inner, w->width, NAMED("%s.block.%d.out", side, i));
        param_norm(p, &b->norm2, w->width, c->eps, NAMED("%s.block.%d.norm2", side, i));
        param_linear(p, &b->up, w->width, (int64_t)w->mlp << c->gated, NAMED("%s.block.%d.up", side, i));
        param_linear(p, &b->down, w->mlp, w->width, NAMED("%s.block.%d.down", side, i));
    }
    params_layer(p, -1);
    if (w->norm_after)
        param_norm(p, &w->after, w->width, c->eps, NAMED("%s.norm_after", side));
#undef NAMED
    if (c->dim)
        param_matrix(p, &w->out.w, c->dim, w->width, PARAM_MATRIX, "%s.projection.weight", side);
}

void clip_declare_text(clip *c, const char *name, param_table *p)
{
    param_matrix(p, &c->tokens, c->vocabulary, c->text.width, PARAM_TABLE, "%s.embedding.weight", name);
    declare_tower(c, &c->text, name, p);
}

void clip_declare_image(clip *c, const char *name, param_table *p)
{
    char patches[96];
    snprintf(patches, sizeof patches, "%s.patches.weight", name);
    param_patches(p, &c->patches, c->image.width, c->patch, 3, patches);
    if (c->image.pooling == CLIP_CLASS)
        param_vector(p, &c->class_token, c->image.width, "%s.class_token", name);
    declare_tower(c, &c->image, name, p);
}

void clip_declare(clip *c, param_table *p)
{
    params_use(p, USE_CLIP);
    clip_declare_image(c, "clip.image", p);
    clip_declare_text(c, "clip.text", p);
    param_vector(p, &c->log_scale, 1, "clip.log_scale");
    if (!p->error.code)
        p->list[p->n - 1].mean = 2.6592600f; /* ln(1 / 0.07): Radford et al., 2.5 */
}

bool clip_open(clip **out, const gguf *g, param_table *p, err *e)
{
    *out = NULL;
    if (!config_has_section(g, "limn.clip."))
        return true;
    clip *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e, "CLIP", sizeof *c);
    if (!config_fields(g, fields, FIELDS, c, e) || !clip_prepare(c, gguf_name(g), e)) {
        clip_free(c);
        return false;
    }
    clip_declare(c, p);
    *out = c;
    return true;
}

void clip_release(clip *c)
{
    free(c->image.blocks);
    free(c->text.blocks);
    *c = (clip){0};
}

void clip_free(clip *c)
{
    if (c)
        clip_release(c);
    free(c);
}
