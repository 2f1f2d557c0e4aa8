/* Importing the transformers of DALLE-pytorch: that of its DALLE, and the two of its CLIP. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/codecs.h"
#include "models/clip.h"
#include "models/transformers/dalle_pytorch.h"

/* What the weights' names look like: wrappers come and go with the options. */
typedef struct naming {
    const char *root; /* "transformer." */
    bool reversible, shift;
    int depth[2]; /* of "fn." before attention's and mlp's weights */
} naming;

static void branch_prefix(char out[96], const naming *n, int layer, int branch)
{
    if (n->reversible)
        snprintf(out, 96, "%slayers.blocks.%d.%c.net.", n->root, layer, branch ? 'g' : 'f');
    else
        snprintf(out, 96, "%slayers.layers.%d.%d.", n->root, layer, branch);
}

/* NAME below the wrappers of that branch. */
static void weight_name(char out[160], const naming *n, int layer, int branch, const char *name)
{
    char prefix[96];
    branch_prefix(prefix, n, layer, branch);
    snprintf(out, 160, "%s%.*s%s", prefix, 3 * n->depth[branch], "fn.fn.fn.fn.fn.fn.fn.", name);
}

static bool find_naming(const source *s, const char *root, naming *n, err *e)
{
    static const char *const names[2] = {"to_qkv.weight", "net.0.weight"};
    char name[160];
    n->root = root;
    snprintf(name, sizeof name, "%slayers.blocks.0.f.net.scale", root);
    n->reversible = source_has(s, name);
    for (int branch = 0; branch < 2; branch++) {
        n->depth[branch] = 0;
        do {
            if (++n->depth[branch] > 7)
                return err_set(e, ERR_FAILED, "convert: %s*: the first layer has no %s", root, names[branch]);
            weight_name(name, n, 0, branch, names[branch]);
        } while (!source_has(s, name));
    }
    n->shift = n->depth[1] > 2; /* scale and norm; the shift and what names its cache */
    return true;
}

static int count_layers(const source *s, const naming *n)
{
    char prefix[96], name[160];
    int i = 0;
    do {
        branch_prefix(prefix, n, i, 0);
        snprintf(name, sizeof name, "%sscale", prefix);
    } while (source_has(s, name) && ++i < 4096);
    return i;
}

static int hyper_int(const pickle_value *hyper, const char *key, int otherwise)
{
    int64_t v = 0;
    return pickle_int(pickle_get(hyper, key), &v) && v > 0 && v < 1 << 24 ? (int)v : otherwise;
}

/* Rotary angles tell text from cells: a cell is at 8192 for the text's part, whose first frequency is 1. */
static int count_text_positions(const file_tensor *t)
{
    int n = 0;
    if (t->nd != 3 || t->shape[2] < 1)
        return 0;
    for (float first = 0; n < t->shape[1]; n++) {
        file_tensor_read(t, n * t->shape[2], 1, &first);
        if (first >= 8192)
            break;
    }
    return n;
}

/* Lengths and vocabularies. */
static bool read_sizes(import *im, int codes, dalle_pytorch *d, err *e)
{
    int total = import_size(im, 0, "to_logits.1.weight"), positions = 0;
    d->dim = import_size(im, 1, "to_logits.1.weight");
    const file_tensor *angles =
        source_has(im->from, "transformer.pos_emb") ? import_find(im, "transformer.pos_emb") : NULL;
    if (angles) {
        d->text_length = count_text_positions(angles);
        positions = import_size(im, 1, "transformer.pos_emb");
        d->turned = import_size(im, 2, "transformer.pos_emb");
        d->grid_width = (int)lround(sqrt(positions - d->text_length));
    } else {
        const char *old = "image_pos_emb.weights_0",
                   *name = source_has(im->from, old) ? old : "image_pos_emb.weights.0";
        d->text_length = import_size(im, 0, "text_pos_emb.weight");
        d->grid_width = import_size(im, 1, "%s", name);
        positions = d->text_length + d->grid_width * d->grid_width;
    }
    /* where the embedding is shared with the head, the codec alone tells */
    d->codes = source_has(im->from, "image_emb.weight") ? import_size(im, 0, "image_emb.weight") : codes;
    d->vocabulary = total - d->codes - (d->text_length - 1);
    if (im->error.code)
        return err_set(e, im->error.code, "%s", im->error.text);
    return positions == d->text_length + d->grid_width * d->grid_width ||
           err_set(e, ERR_FAILED, "convert: transformer.pos_emb: %d rows, and no square grid follows %d of text",
                   positions, d->text_length);
}

static bool read_kind(const char *name, size_t length, mask_kind *kind, err *e)
{
    static const char *const names[] = {"full", "axial_row", "axial_col", "conv_like"};
    static const mask_kind kinds[] = {MASK_FULL, MASK_ROW, MASK_COLUMN, MASK_CORNER};
    for (int i = 0; i < 4; i++)
        if (strlen(names[i]) == length && !strncmp(names[i], name, length)) {
            *kind = kinds[i];
            return true;
        }
    return err_set(e, ERR_FAILED,
                   "convert: attn_types: \"%.*s\" is none that limn has (full, axial_row, axial_col, conv_like)",
                   (int)(length < 64 ? length : 64), name);
}

/* Attention types cycle over the layers. */
static bool read_types(import *im, dalle_pytorch *d, const pickle_value *hyper, err *e)
{
    const pickle_value *list = pickle_get(hyper, "attn_types");
    const char *text = list ? pickle_text(list) : import_setting_text(im, "attn_types"), *at = text;
    size_t n = 0;
    if (!text && !(pickle_length(list, &n) && n))
        return true;
    for (int i = 0; i < d->layers; i++) {
        const char *name = text ? at : pickle_text(pickle_at(list, (size_t)i % n));
        size_t length = name ? strcspn(name, ",") : 0;
        if (!read_kind(name ? name : "", length, &d->list[i].mask.kind, e))
            return false;
        if (text)
            at = name[length] ? name + length + 1 : text;
    }
    return true;
}

/* Layers whose ids are equal share: the first of them has the weights. */
static void read_sets(dalle_pytorch *d, const pickle_value *ids, bool mlp)
{
    size_t n = 0;
    if (!pickle_length(ids, &n) || n == 0)
        return;
    for (int i = 0; i < d->layers; i++)
        for (int k = 0; k <= i; k++) {
            int64_t a = -1, b = -2;
            pickle_int(pickle_at(ids, (size_t)i % n), &a);
            pickle_int(pickle_at(ids, (size_t)k % n), &b);
            if (k == i || a == b) {
                *(mlp ? &d->list[i].mlp.set : &d->list[i].attention.set) = k;
                break;
            }
        }
}

/* Copies of shared weights in other layers' places are left out. */
static void skip_copies(import *im, const naming *n, const dalle_pytorch *d)
{
    char name[160];
    for (int i = 0; i < d->layers; i++)
        for (int branch = 0; branch < 2; branch++)
            if ((branch ? d->list[i].mlp.set : d->list[i].attention.set) != i) {
                weight_name(name, n, i, branch, branch ? "net." : "to_");
                import_skip(im, name);
            }
}

/* ---- tensors ---- */

static void source_name(char out[160], const param *p, const naming *n, const import *im)
{
    const char *name = p->name + strlen("transformer."), *last = strrchr(name, '.') + 1;
    char prefix[96], part[32] = "", what[32] = "";
    int layer = 0;
    if (sscanf(name, "%d.%31[^.].%31[^.]", &layer, part, what) == 3) {
        int branch = strcmp(part, "mlp") == 0 || strcmp(part, "up") == 0 || strcmp(part, "down") == 0;
        branch_prefix(prefix, n, layer, branch);
        if (!strcmp(what, "scale"))
            snprintf(out, 160, "%sscale", prefix);
        else if (!strncmp(what, "norm", 4))
            snprintf(out, 160, "%sfn.%s.%s", prefix, what, last);
        else {
            char inner[40];
            const char *from = !strcmp(part, "qkv")   ? "to_qkv"
                               : !strcmp(part, "out") ? "to_out.0"
                               : !strcmp(part, "up")  ? "net.0"
                                                      : "net.3";
            snprintf(inner, sizeof inner, "%s.%s", from, last);
            weight_name(out, n, layer, branch, inner);
        }
        return;
    }
    bool shared = !source_has(im->from, "text_emb.weight");
    bool old = source_has(im->from, "image_pos_emb.weights_0");
    const char *from = NULL;
    if (!strcmp(name, "angles"))
        from = "transformer.pos_emb";
    else if (!strncmp(name, "text_embedding", 14))
        from = shared ? "to_logits.1.weight" : "text_emb.weight";
    else if (!strncmp(name, "image_embedding", 15))
        from = shared ? "to_logits.1.weight" : "image_emb.weight";
    else if (!strncmp(name, "text_position", 13))
        from = "text_pos_emb.weight";
    else if (!strncmp(name, "row_position", 12))
        from = old ? "image_pos_emb.weights_0" : "image_pos_emb.weights.0";
    else if (!strncmp(name, "column_position", 15))
        from = old ? "image_pos_emb.weights_1" : "image_pos_emb.weights.1";
    if (from)
        snprintf(out, 160, "%s", from);
    else
        snprintf(out, 160, "to_logits.%d.%s", !strncmp(name, "norm.", 5) ? 0 : 1, last);
}

static void import_tensors(import *im, const param_table *params, const naming *n, const dalle_pytorch *d)
{
    bool shared = !source_has(im->from, "text_emb.weight");
    for (size_t i = 0; i < params->n; i++) {
        const param *p = &params->list[i];
        char from[160];
        source_name(from, p, n, im);
        bool image = strstr(p->name, ".image_head.") || (shared && strstr(p->name, ".image_embedding."));
        import_part(im, p, from, image ? d->vocabulary + d->text_length - 1 : 0);
    }
    if (shared) { /* the head under other names */
        import_skip(im, "text_emb.linear.");
        import_skip(im, "image_emb.linear.");
    }
    skip_copies(im, n, d);
}

/* A DiscreteVAE's file has some too. */
static const pickle_value *find_hyper(const source *s)
{
    for (size_t i = 0; i < s->n_files; i++) {
        const pickle_value *hyper = pickle_get(model_file_root(s->files[i]), "hparams");
        if (pickle_get(hyper, "dim"))
            return hyper;
    }
    return NULL;
}

bool import_dalle_pytorch_transformer(import *im, int codes, dalle_pytorch *d, err *e)
{
    const pickle_value *hyper = find_hyper(im->from);
    param_table params = {0};
    naming n = {0};
    char name[160], norm_out[160];
    bool truth = false;
    if (!find_naming(im->from, "transformer.", &n, e))
        return false;
    weight_name(name, &n, 0, 0, "to_qkv.weight");
    branch_prefix(norm_out, &n, 0, 0);
    strcat(norm_out, "fn.norm_out.weight");
    d->layers = count_layers(im->from, &n);
    d->heads = hyper ? hyper_int(hyper, "heads", 8) : import_setting(im, "heads", 8);
    int inner = import_size(im, 0, "%s", name) / 3;
    d->head_dim = d->heads > 0 && inner % d->heads == 0 ? inner / d->heads : 0;
    weight_name(name, &n, 0, 1, "net.3.weight");
    d->mlp = import_size(im, 1, "%s", name);
    d->shift_tokens = n.shift;
    d->reversible = n.reversible;
    d->sandwich = source_has(im->from, norm_out);
    d->stable =
        hyper ? pickle_truth(pickle_get(hyper, "stable"), &truth) && truth : import_setting(im, "stable", 0) > 0;
    bool ok = read_sizes(im, codes, d, e) && dalle_pytorch_prepare(d, "convert", e) && read_types(im, d, hyper, e);
    if (ok) {
        read_sets(d, pickle_get(hyper, "shared_attn_ids"), false);
        read_sets(d, pickle_get(hyper, "shared_ff_ids"), true);
        ok = dalle_pytorch_check_layers(d, "convert", e);
    }
    if (ok) {
        dalle_pytorch_params(d, &params);
        dalle_pytorch_write(d, im->to);
        import_tensors(im, &params, &n, d);
    }
    if (im->error.code)
        ok = err_set(e, im->error.code, "%s", im->error.text);
    else if (params.error.code)
        ok = err_set(e, params.error.code, "%s", params.error.text);
    params_release(&params);
    free(d->list);
    d->list = NULL;
    return ok;
}

/* ---- CLIP ---- */

#define CLIP_HEAD 64 /* Transformer's default, which CLIP never changes */

typedef struct clip_naming {
    naming image, text;
} clip_naming;

static void read_tower(import *im, const naming *n, clip_tower *w)
{
    char name[160];
    weight_name(name, n, 0, 0, "to_qkv.weight");
    w->width = import_size(im, 1, "%s", name);
    w->heads = import_size(im, 0, "%s", name) / (3 * CLIP_HEAD);
    w->head_dim = CLIP_HEAD;
    weight_name(name, n, 0, 1, "net.3.weight");
    w->mlp = import_size(im, 1, "%s", name);
    w->layers = count_layers(im->from, n);
    w->pooling = CLIP_MEAN;
}

static int root_of(int n)
{
    return (int)lround(sqrt(n));
}

static clip read_clip(import *im, const clip_naming *n)
{
    clip c = {.dim = import_size(im, 0, "to_text_latent.weight"),
              .patch = root_of(import_size(im, 1, "to_visual_embedding.weight") / 3),
              .std = {1, 1, 1},
              .text_length = import_size(im, 0, "text_pos_emb.weight"),
              .vocabulary = import_size(im, 0, "text_emb.weight"),
              .start_id = -1,
              .end_id = -1,
              .act = ACT_GELU_ERF,
              .gated = true,
              .no_qkv_bias = true,
              .eps = 1e-5f};
    c.image_size = root_of(import_size(im, 0, "visual_pos_emb.weight")) * c.patch;
    read_tower(im, &n->image, &c.image);
    read_tower(im, &n->text, &c.text);
    return c;
}

/* clip.SIDE.block.I.PART.LAST.  What a layer adds is scaled by a vector: that goes into the weights that make it. */
static void put_block(import *im, const param *p, const naming *n, int layer, const char *part)
{
    static const struct {
        const char *ours, *theirs;
        int branch;
        bool scaled;
    } parts[] = {{"qkv", "to_qkv", 0, false},
                 {"out", "to_out.0", 0, true},
                 {"up", "net.0", 1, false},
                 {"down", "net.3", 1, true}};
    char from[160], inner[40], prefix[96], scale[160];
    const char *last = strrchr(p->name, '.') + 1;
    if (!strncmp(part, "norm", 4)) {
        branch_prefix(prefix, n, layer, part[4] == '2');
        snprintf(from, sizeof from, "%sfn.norm.%s", prefix, last);
        import_param(im, p, from, NULL);
        return;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t length = strlen(parts[i].ours);
        if (strncmp(part, parts[i].ours, length) != 0 || part[length] != '.')
            continue;
        snprintf(inner, sizeof inner, "%s.%s", parts[i].theirs, last);
        weight_name(from, n, layer, parts[i].branch, inner);
        branch_prefix(prefix, n, layer, parts[i].branch);
        snprintf(scale, sizeof scale, "%sscale", prefix);
        import_shaped(im, p, from, parts[i].scaled ? scale : NULL);
    }
}

static void put_clip(import *im, const param_table *params, const clip_naming *n)
{
    for (size_t i = 0; i < params->n; i++) {
        const param *p = &params->list[i];
        bool text = !strncmp(p->name, "clip.text.", 10);
        const char *name = p->name + strlen(text ? "clip.text." : "clip.image.");
        int layer = 0, at = 0;
        if (sscanf(name, "block.%d.%n", &layer, &at) == 1 && at)
            put_block(im, p, text ? &n->text : &n->image, layer, name + at);
        else if (!strcmp(p->name, "clip.log_scale"))
            import_shaped(im, p, "temperature", NULL);
        else if (!strcmp(name, "patches.weight"))
            import_shaped(im, p, "to_visual_embedding.weight", NULL);
        else if (!strcmp(name, "position.weight")) /* a patch's bias too */
            import_rows(im, p, text ? "text_pos_emb.weight" : "visual_pos_emb.weight", NULL,
                        text ? NULL : "to_visual_embedding.bias", false);
        else if (!strcmp(name, "embedding.weight"))
            import_param(im, p, "text_emb.weight", NULL);
        else
            import_param(im, p, text ? "to_text_latent.weight" : "to_visual_latent.weight", NULL);
    }
}

bool import_dalle_pytorch_clip(import *im, int *vocabulary, err *e)
{
    clip_naming n = {0};
    param_table params = {0};
    if (!find_naming(im->from, "visual_transformer.", &n.image, e) ||
        !find_naming(im->from, "text_transformer.", &n.text, e))
        return false;
    clip c = read_clip(im, &n);
    bool ok = !im->error.code && clip_prepare(&c, "convert", e);
    if (ok) {
        clip_declare(&c, &params);
        clip_put(&c, im->to);
        put_clip(im, &params, &n);
        *vocabulary = c.vocabulary;
    }
    if (im->error.code)
        ok = err_set(e, im->error.code, "%s", im->error.text);
    else if (params.error.code)
        ok = err_set(e, params.error.code, "%s", params.error.text);
    params_release(&params);
    clip_release(&c);
    return ok;
}
