/* Adapters of diffusion models, in the layouts that are about: kohya's ("lora_unet_…_to_q.lora_down.weight"), those of
 * diffusers and PEFT ("unet.….to_q.lora_A.weight", "….processor.to_q_lora.down.weight"), and both with names of the
 * authors' single files ("lora_unet_input_blocks_1_1_…").  Convolutions may have them too (LoCon). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "models/lora_internal.h"

enum { NAME_BYTES = 256 };

/* A layer of the model by a name without dots, and where it is. */
typedef struct layer {
    char name[LORA_NAME];
    param *p;
    int64_t first, rows;
} layer;

typedef struct reading {
    merging *m;
    const adapter *a;
    layer *layers; /* by name */
    size_t n_layers;
    json_t *told;       /* what newer files of diffusers say in their metadata, or NULL */
    size_t pairs, lost; /* pairs of the file, and those whose layer the model doesn't have */
    size_t others;      /* tensors that are nothing of an adapter's */
    char lost_name[NAME_BYTES], other_name[NAME_BYTES];
} reading;

/* ---- the model's layers ----------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const layer *)a)->name, ((const layer *)b)->name);
}

/* Dots become underscores: kohya's names have none. */
static void flatten(char *name)
{
    for (; *name; name++)
        *name = *name == '.' ? '_' : *name;
}

static void add_layer(reading *r, const char *name, param *p, const lora_module *module)
{
    layer *l = &r->layers[r->n_layers];
    if (!*name)
        return;
    *l = (layer){.p = p, .first = module->first, .rows = module->n};
    memcpy(l->name, name, strlen(name) + 1); /* names of modules are as long */
    flatten(l->name);
    r->n_layers++;
}

static bool list_layers(reading *r, err *e)
{
    param_table *t = r->m->t;
    r->layers = calloc(2 * LOW_RANK_PARTS * t->n + 1, sizeof *r->layers);
    if (!r->layers)
        return err_no_memory(e, "adapters", 2 * LOW_RANK_PARTS * t->n * sizeof *r->layers);
    for (size_t i = 0; i < t->n; i++) {
        lora_module parts[LOW_RANK_PARTS];
        for (int k = 0, n = lora_modules(r->m->d, &t->list[i], true, parts); k < n; k++) {
            add_layer(r, parts[k].name, &t->list[i], &parts[k]);
            add_layer(r, parts[k].other, &t->list[i], &parts[k]);
        }
    }
    qsort(r->layers, r->n_layers, sizeof *r->layers, by_name);
    return true;
}

/* ---- their names ------------------------------------------------------------------------------------------------ */

static const struct {
    const char *down, *up;
} pairs[] = {{".lora_down.weight", ".lora_up.weight"},
             {".lora_A.weight", ".lora_B.weight"},
             {".lora.down.weight", ".lora.up.weight"},
             {"_lora.down.weight", "_lora.up.weight"},
             {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
             {".lora_A.default.weight", ".lora_B.default.weight"}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* Whether text ends so; then *before is how long the rest is. */
static bool ends_in(const char *text, const char *end, size_t *before)
{
    size_t n = strlen(text), m = strlen(end);
    *before = n - m;
    return n > m && !strcmp(text + n - m, end);
}

/* Which of the pairs the name is one of. */
static int find_pair(const char *name, bool *up, size_t *before)
{
    for (int i = 0; i < PAIRS; i++) {
        *up = ends_in(name, pairs[i].up, before);
        if (*up || ends_in(name, pairs[i].down, before))
            return i;
    }
    return -1;
}

/* Adapters of other kinds (LyCORIS, DoRA), which aren't products of two matrices. */
static const char *other_kind(const char *name)
{
    static const struct {
        const char *part, *kind;
    } kinds[] = {{"hada_", "LoHa"},        {"lokr_", "LoKr"},
                 {"oft_", "OFT"},          {"lora_mid", "a LoCon with a core of its own (Tucker)"},
                 {"dora_scale", "DoRA"},   {"lora_magnitude_vector", "DoRA"},
                 {"on_input", "IA3"},      {"lora_embedding_", "an adapter of embeddings"},
                 {"lora_B.bias", "a bias"}};
    size_t before;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(name, kinds[i].part))
            return kinds[i].kind;
    return ends_in(name, ".diff", &before) || ends_in(name, ".diff_b", &before) ? "whole weights" : NULL;
}

/* name[0, n) begins with one of the words, which *at then is behind. */
static bool skip(const char *name, const char *const *words, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++)
        if (!strncmp(name + *at, words[i], strlen(words[i]))) {
            *at += strlen(words[i]);
            return true;
        }
    return false;
}

static void replace(char *text, const char *what, const char *by)
{
    char *at = strstr(text, what), rest[NAME_BYTES];
    if (!at)
        return;
    snprintf(rest, sizeof rest, "%s", at + strlen(what));
    snprintf(at, NAME_BYTES - (size_t)(at - text), "%s%s", by, rest);
}

/* The layer's name as the list has it: "lora_te_text_model_…" becomes "text_encoder_text_model_…". */
static void name_layer(const char *theirs, size_t length, char out[NAME_BYTES])
{
    static const char *const wrappers[] = {"base_model_model_"};
    static const char *const unet[] = {"lora_unet_", "model_diffusion_model_", "diffusion_model_", "unet_"};
    static const char *const text[] = {"lora_te1_",
                                       "lora_te_",
                                       "text_encoder_",
                                       "cond_stage_model_transformer_",
                                       "text_encoders_clip_l_transformer_", /* ComfyUI's */
                                       "text_encoders_clip_h_transformer_"};
    char flat[NAME_BYTES];
    size_t at = 0, end;
    snprintf(flat, sizeof flat, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1), theirs);
    flatten(flat);
    replace(flat, "_processor_", "_");
    skip(flat, wrappers, 1, &at);
    bool words = skip(flat, text, sizeof text / sizeof *text, &at);
    const bool bare = !strncmp(flat + at, "encoder_layers_", 15); /* transformers from 5 on */
    words = words || bare || !strncmp(flat + at, "text_model_", 11);
    if (!words)
        skip(flat, unet, sizeof unet / sizeof *unet, &at);
    snprintf(out, NAME_BYTES, "%s%s%.200s", words ? "text_encoder_" : "unet_", bare ? "text_model_" : "", flat + at);
    if (words) { /* diffusers' first ones */
        replace(out, "_self_attn_to_q", "_self_attn_q_proj");
        replace(out, "_self_attn_to_k", "_self_attn_k_proj");
        replace(out, "_self_attn_to_v", "_self_attn_v_proj");
        replace(out, "_self_attn_to_out", "_self_attn_out_proj");
    } else if (ends_in(out, "_to_out", &end)) {
        snprintf(out + strlen(out), NAME_BYTES - strlen(out), "_0");
    }
}

static bool is_larger(const char *name)
{
    return strstr(name, "lora_te2_") || strstr(name, "text_encoder_2") || strstr(name, "label_emb") ||
           strstr(name, "add_embedding") || strstr(name, "transformer_blocks_1_") ||
           strstr(name, "transformer_blocks.1.");
}

/* ---- pairs ------------------------------------------------------------------------------------------------------ */

static bool is_matrix(const file_tensor *t)
{
    return t->nd >= 2 && t->type != DTYPE_OTHER && dtype_table[t->type].block == 1 && file_tensor_count(t) > 0;
}

/* The shapes of a layer and of its pair: a is [rank, in] or a convolution's [rank, in, k, k], b [out, rank] with
 * dimensions of 1 behind it. */
static bool check_shapes(const reading *r, const char *name, change *c, err *e)
{
    static const int order[] = {0, 2, 3, 1};
    const param *p = c->p;
    char a[128], b[128];
    file_tensor_shape_text(&c->a, a);
    file_tensor_shape_text(&c->b, b);
    bool ok = is_matrix(&c->a) && is_matrix(&c->b) && c->a.shape[0] == c->b.shape[1] &&
              file_tensor_count(&c->b) == c->b.shape[0] * c->b.shape[1];
    if (!ok)
        return err_set(e, ERR_FAILED, "%s: %s: %s and %s are no pair of an adapter's matrices (is the file whole?)",
                       r->a->path, name, a, b);
    if (p->nd == 4)
        ok = c->a.nd == 4 && c->a.shape[1] == p->shape[3] && c->a.shape[2] == p->shape[1] &&
             c->a.shape[3] == p->shape[2];
    else
        ok = file_tensor_count(&c->a) == c->a.shape[0] * c->a.shape[1] && c->a.shape[1] == p->shape[1];
    if (!ok || c->b.shape[0] != c->rows)
        return err_set(e, ERR_FAILED,
                       "%s: %s: its matrices are %s and %s, and the layer of %s makes %lld numbers of %lld (the "
                       "adapter is of another model: of Stable Diffusion 1, 2, XL or another)",
                       r->a->path, name, a, b, r->m->model, (long long)c->rows,
                       (long long)p->shape[p->nd == 4 ? 3 : 1]);
    if (p->nd == 4)
        c->a = file_tensor_permuted(&c->a, order);
    return true;
}

/* The number of NAME.alpha; *alpha stays where there is none. */
static bool read_alpha(const reading *r, const char *name, size_t length, float *alpha, err *e)
{
    char whole[NAME_BYTES];
    snprintf(whole, sizeof whole, "%.*s.alpha", (int)length, name);
    const file_tensor *t = model_file_find(r->a->file, whole);
    if (!t)
        return true;
    if (file_tensor_count(t) != 1 || t->type == DTYPE_OTHER)
        return err_set(e, ERR_FAILED, "%s: %s: it isn't one number", r->a->path, whole);
    file_tensor_read(t, 0, 1, alpha);
    return isfinite(*alpha) || err_set(e, ERR_FAILED, "%s: %s: its value is no number", r->a->path, whole);
}

/* Of diffusers' metadata what PEFT's config would have, for the network of that name. */
static json_t *told_of(const reading *r, const char *network)
{
    static const char *const keys[] = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"};
    json_t *config = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s.%s", network, keys[i]);
        json_t *value = json_object_get(r->told, key);
        if (value && !json_is_null(value))
            json_object_set(config, keys[i], value);
    }
    if (!json_is_number(json_object_get(config, "lora_alpha")) || !json_is_number(json_object_get(config, "r"))) {
        json_decref(config);
        return NULL;
    }
    return config;
}

/* What the pair is multiplied by: alpha over its rank, where anything tells alpha. */
static bool read_scale(const reading *r, const char *name, size_t length, const layer *l, change *c, err *e)
{
    const int64_t rank = c->a.shape[0];
    float alpha = NAN;
    char theirs[NAME_BYTES];
    if (!read_alpha(r, name, length, &alpha, e))
        return false;
    if (!isnan(alpha)) {
        c->scale = r->a->scale * alpha / (float)rank;
        return true;
    }
    snprintf(theirs, sizeof theirs, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1), name);
    json_t *config = r->a->config ? json_incref(r->a->config)
                     : r->told    ? told_of(r, strncmp(l->name, "unet_", 5) ? "text_encoder" : "unet")
                                  : NULL;
    c->scale = r->a->scale;
    bool ok = !config || lora_scale_of(r->a, config, theirs, rank, &c->scale, e);
    json_decref(config);
    return ok;
}

static bool read_pair(reading *r, const file_tensor *t, int pair, bool up, size_t before, err *e)
{
    char other[NAME_BYTES], name[NAME_BYTES];
    layer key;
    snprintf(other, sizeof other, "%.*s%s", (int)before, t->name, up ? pairs[pair].down : pairs[pair].up);
    const file_tensor *second = model_file_find(r->a->file, other);
    if (!second)
        return err_set(e, ERR_FAILED, "%s: %s: its other half, %s, isn't there (is the file whole?)", r->a->path,
                       t->name, other);
    if (up)
        return true; /* with the other */
    name_layer(t->name, before, name);
    snprintf(key.name, sizeof key.name, "%.127s", name);
    const layer *l = bsearch(&key, r->layers, r->n_layers, sizeof *r->layers, by_name);
    r->pairs++;
    if (!l && is_larger(t->name))
        return err_set(
            e, ERR_FAILED,
            "%s: %s: an adapter of Stable Diffusion XL, or of another model that is larger than %s (give the "
            "model that it was trained for)",
            r->a->path, t->name, r->m->model);
    if (!l) {
        if (!r->lost++)
            snprintf(r->lost_name, sizeof r->lost_name, "%.*s", (int)before, t->name);
        return true;
    }
    change c = {.p = l->p,
                .first = l->first,
                .rows = l->rows,
                .repeats = 1,
                .head = 1,
                .path = r->a->path,
                .a = *t,
                .b = *second};
    return check_shapes(r, t->name, &c, e) && read_scale(r, t->name, before, l, &c, e) &&
           (c.scale == 0 || lora_add_change(r->m, &c, e));
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static bool read_tensor(reading *r, const file_tensor *t, err *e)
{
    bool up;
    size_t before;
    const char *kind = other_kind(t->name);
    if (strlen(t->name) >= NAME_BYTES - 32)
        return err_set(e, ERR_FAILED, "%s: tensor %.80s…: no name of a layer", r->a->path, t->name);
    if (kind)
        return err_set(e, ERR_FAILED,
                       "%s: tensor %s: %s, and limn adds products of two matrices alone (LoRA and LoCon)", r->a->path,
                       t->name, kind);
    int pair = find_pair(t->name, &up, &before);
    if (pair >= 0)
        return read_pair(r, t, pair, up, before, e);
    if (!ends_in(t->name, ".alpha", &before) && !r->others++)
        snprintf(r->other_name, sizeof r->other_name, "%s", t->name);
    return true;
}

static bool check_fits(const reading *r, err *e)
{
    if (!r->pairs)
        return err_set(e, ERR_FAILED, "%s: there are no adapters in it", r->a->path);
    if (2 * r->lost >= r->pairs) /* what is there of others fits by chance */
        return err_set(
            e, ERR_FAILED,
            "%s: of the %zu layers that it adapts %s has %zu, and %s is none of them (give the model that it "
            "was trained for)",
            r->a->path, r->pairs, r->m->model, r->pairs - r->lost, r->lost_name);
    if (r->lost)
        log_write(LOG_WARNING, "%s: of the %zu layers that it adapts %zu aren't in %s, and change nothing: %s%s",
                  r->a->path, r->pairs, r->lost, r->m->model, r->lost_name, r->lost > 1 ? ", …" : "");
    if (r->others)
        log_write(LOG_WARNING, "%s: %zu tensor%s no adapter's, and change%s nothing: %s%s", r->a->path, r->others,
                  r->others > 1 ? "s are" : " is", r->others > 1 ? "" : "s", r->other_name, r->others > 1 ? ", …" : "");
    return true;
}

bool lora_read_diffusion(merging *m, const adapter *a, err *e)
{
    const char *told = model_file_metadata(a->file, "lora_adapter_metadata");
    reading r = {.m = m, .a = a, .told = told ? json_loads(told, 0, NULL) : NULL};
    bool ok = list_layers(&r, e);
    for (size_t i = 0; ok && i < model_file_count(a->file); i++)
        ok = read_tensor(&r, model_file_tensor(a->file, i), e);
    ok = ok && check_fits(&r, e);
    json_decref(r.told);
    free(r.layers);
    return ok;
}
