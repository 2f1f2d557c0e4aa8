/* Importing the transformers of DALLE-pytorch: that of its DALLE, and the two of its CLIP. */
#include "convert/dalle_pytorch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/mapping.h"
#include "models/transformers/clip.h"

enum { LAYERS_MOST = 4095 };

/* What the weights' names look like: wrappers come and go with the options.  A branch is what a layer adds, by
 * attention or by its mlp; its scale and norms are named alike, and its weights stand behind "fn." once or more. */
typedef struct naming {
    const char *root; /* "transformer." */
    bool reversible, shift;
    char weights[2][40]; /* "{attention}fn.fn.", "{mlp}fn.fn." */
} naming;

/* Sets the texts that rows refer to: "{attention}" and "{mlp}" are the prefixes of a layer's two branches, … */
static void set_values(const naming *n, import_map *m)
{
    m->values[0] = (import_value){"attention", n->reversible ? "layers.blocks.{i}.f.net." : "layers.layers.{i}.0."};
    m->values[1] = (import_value){"mlp", n->reversible ? "layers.blocks.{i}.g.net." : "layers.layers.{i}.1."};
    m->values[2] = (import_value){"attention_weights", n->weights[0]};
    m->values[3] = (import_value){"mlp_weights", n->weights[1]};
}

static bool find_naming(const import *im, const char *root, naming *n, err *e)
{
    static const char *const names[2] = {"to_qkv.weight", "net.0.weight"}, *const branches[2] = {"attention", "mlp"};
    n->root = root;
    n->reversible = import_has(im, "%slayers.blocks.0.f.net.scale", root);
    for (int branch = 0; branch < 2; branch++) {
        const char *prefix = n->reversible ? (branch ? "layers.blocks.0.g.net." : "layers.blocks.0.f.net.")
                                           : (branch ? "layers.layers.0.1." : "layers.layers.0.0.");
        int depth = 0;
        do {
            if (++depth > 7)
                return err_set(e, ERR_FAILED, "convert: %s*: the first layer has no %s", root, names[branch]);
        } while (!import_has(im, "%s%s%.*s%s", root, prefix, 3 * depth, "fn.fn.fn.fn.fn.fn.fn.", names[branch]));
        snprintf(n->weights[branch], sizeof n->weights[branch], "{%s}%.*s", branches[branch], 3 * depth,
                 "fn.fn.fn.fn.fn.fn.fn.");
        n->shift = depth > 2; /* the mlp's: scale and norm; the shift and what names its cache */
    }
    return true;
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
    d->base.dim = import_size(im, 1, "to_logits.1.weight");
    const file_tensor *angles =
        source_has(im->from, "transformer.pos_emb") ? import_find(im, "transformer.pos_emb") : NULL;
    if (angles) {
        d->base.text_length = count_text_positions(angles);
        positions = import_size(im, 1, "transformer.pos_emb");
        d->turned = import_size(im, 2, "transformer.pos_emb");
        d->base.grid_width = (int)lround(sqrt(positions - d->base.text_length));
    } else {
        const char *old = "image_pos_emb.weights_0",
                   *name = source_has(im->from, old) ? old : "image_pos_emb.weights.0";
        d->base.text_length = import_size(im, 0, "text_pos_emb.weight");
        d->base.grid_width = import_size(im, 1, "%s", name);
        positions = d->base.text_length + d->base.grid_width * d->base.grid_width;
    }
    /* where the embedding is shared with the head, the codec alone tells */
    d->base.codes = source_has(im->from, "image_emb.weight") ? import_size(im, 0, "image_emb.weight") : codes;
    d->base.vocabulary = total - d->base.codes - (d->base.text_length - 1);
    if (im->error.code)
        return false;
    return positions == d->base.text_length + d->base.grid_width * d->base.grid_width ||
           err_set(e, ERR_FAILED, "convert: transformer.pos_emb: %d rows, and no square grid follows %d of text",
                   positions, d->base.text_length);
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
    for (int i = 0; i < d->base.layers; i++) {
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
    for (int i = 0; i < d->base.layers; i++)
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

/* ---- tensors ---- */

static const import_row layer_rows[] = {
    {"{i}.attention.scale", {"{attention}scale"}},
    {"{i}.attention.norm.*", {"{attention}fn.norm.*"}},
    {"{i}.attention.norm_out.*", {"{attention}fn.norm_out.*"}},
    {"{i}.qkv.*", {"{attention_weights}to_qkv.*"}},
    {"{i}.out.*", {"{attention_weights}to_out.0.*"}},
    {"{i}.mlp.scale", {"{mlp}scale"}},
    {"{i}.mlp.norm.*", {"{mlp}fn.norm.*"}},
    {"{i}.mlp.norm_out.*", {"{mlp}fn.norm_out.*"}},
    {"{i}.up.*", {"{mlp_weights}net.0.*"}},
    {"{i}.down.*", {"{mlp_weights}net.3.*"}},
    {"angles", {"pos_emb"}, .first = "0"},
};
/* The embeddings may be the head's rows. */
static const import_row rest_rows[] = {
    {"text_embedding.weight", {"{text}"}, .first = "0"},
    {"image_embedding.weight", {"{image}"}, .first = "image_first"},
    {"text_position.weight", {"text_pos_emb.weight"}, .first = "0"},
    {"row_position.weight", {"image_pos_emb.weights{dot}0"}, .first = "0"},
    {"column_position.weight", {"image_pos_emb.weights{dot}1"}, .first = "0"},
    {"norm.*", {"to_logits.0.*"}},
    {"text_head.*", {"to_logits.1.*"}, .first = "0"},
    {"image_head.*", {"to_logits.1.*"}, .first = "ids"},
};
static const import_row shared_rows[] = {{NULL, {"text_emb.linear.", "image_emb.linear."}}}; /* the head's names */

enum { MAPS = 4 };

static void map_names(const import *im, const naming *n, const dalle_pytorch *d, import_map maps[MAPS])
{
    bool shared = !source_has(im->from, "text_emb.weight"), old = source_has(im->from, "image_pos_emb.weights_0");
    int ids = d->base.vocabulary + d->base.text_length - 1;
    maps[0] = (import_map){"transformer.", n->root, IMPORT_ROWS(layer_rows)};
    set_values(n, &maps[0]);
    maps[1] = (import_map){"transformer.",
                           "",
                           IMPORT_ROWS(rest_rows),
                           {{"text", shared ? "to_logits.1.weight" : "text_emb.weight"},
                            {"image", shared ? "to_logits.1.weight" : "image_emb.weight"},
                            {"image_first", .number = shared ? ids : 0},
                            {"ids", .number = ids},
                            {"dot", old ? "_" : "."}}};
    maps[2] = shared ? (import_map){"transformer.", "", IMPORT_ROWS(shared_rows)} : (import_map){0};
    maps[3] = (import_map){0};
}

/* Copies of shared weights in other layers' places are left out. */
static void skip_copies(import *im, const import_map *maps, const dalle_pytorch *d)
{
    static const char *const parts[] = {"qkv", "out", "up", "down"};
    char ours[64], theirs[IMPORT_NAME];
    for (int i = 0; i < d->base.layers; i++)
        for (int part = 0; part < 4; part++)
            if ((part < 2 ? d->list[i].attention.set : d->list[i].mlp.set) != i) {
                snprintf(ours, sizeof ours, "transformer.%d.%s.", i, parts[part]);
                import_their_name(maps, ours, theirs);
                import_skip(im, theirs);
            }
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

static bool read_options(import *im, const naming *n, const pickle_value *hyper, dalle_pytorch *d)
{
    import_map maps[2] = {{"transformer.", n->root, IMPORT_ROWS(layer_rows)}, {0}};
    bool truth = false;
    set_values(n, maps);
    d->base.layers = import_mapped_count(im, maps, "transformer.{i}.attention.scale", LAYERS_MOST);
    d->base.heads = hyper ? hyper_int(hyper, "heads", 8) : import_setting(im, "heads", 8);
    int inner = import_mapped_size(im, maps, 0, "transformer.0.qkv.weight") / 3;
    d->base.head_dim = d->base.heads > 0 && inner % d->base.heads == 0 ? inner / d->base.heads : 0;
    d->mlp = import_mapped_size(im, maps, 1, "transformer.0.down.weight");
    d->shift_tokens = n->shift;
    d->reversible = n->reversible;
    d->sandwich = import_mapped_has(im, maps, "transformer.0.attention.norm_out.weight");
    d->stable =
        hyper ? pickle_truth(pickle_get(hyper, "stable"), &truth) && truth : import_setting(im, "stable", 0) > 0;
    return !im->error.code;
}

bool import_dalle_pytorch_transformer(import *im, int codes, dalle_pytorch *d, err *e)
{
    const pickle_value *hyper = find_hyper(im->from);
    param_table params = {0};
    naming n = {0};
    import_map maps[MAPS];
    bool ok = find_naming(im, "transformer.", &n, e) && read_options(im, &n, hyper, d) && read_sizes(im, codes, d, e) &&
              dalle_pytorch_prepare(d, "convert", e) && read_types(im, d, hyper, e);
    if (ok) {
        read_sets(d, pickle_get(hyper, "shared_attn_ids"), false);
        read_sets(d, pickle_get(hyper, "shared_ff_ids"), true);
        ok = dalle_pytorch_check_layers(d, "convert", e);
    }
    if (ok) {
        dalle_pytorch_declare(d, &params);
        dalle_pytorch_put(d, im->to);
        map_names(im, &n, d, maps);
        import_tensors(im, maps, &params);
        skip_copies(im, maps, d);
    }
    params_release(&params);
    free(d->list);
    d->list = NULL;
    return ok;
}

/* ---- CLIP ---- */

#define CLIP_HEAD 64 /* Transformer's default, which CLIP never changes */

/* What a layer adds is scaled by a vector: that goes into the weights that make it. */
static const import_row tower_rows[] = {
    {"block.{i}.norm1.*", {"{attention}fn.norm.*"}},
    {"block.{i}.qkv.*", {"{attention_weights}to_qkv.*"}, IMPORT_SHAPED},
    {"block.{i}.out.*", {"{attention_weights}to_out.0.*"}, .times = "{attention}scale"},
    {"block.{i}.norm2.*", {"{mlp}fn.norm.*"}},
    {"block.{i}.up.*", {"{mlp_weights}net.0.*"}, IMPORT_SHAPED},
    {"block.{i}.down.*", {"{mlp_weights}net.3.*"}, .times = "{mlp}scale"},
};
static const import_row clip_rows[] = {
    {"image.patches.weight", {"to_visual_embedding.weight"}, IMPORT_SHAPED},
    {"image.position.weight", {"visual_pos_emb.weight"}, .plus = "to_visual_embedding.bias"},
    {"image.projection.weight", {"to_visual_latent.weight"}},
    {"text.embedding.weight", {"text_emb.weight"}},
    {"text.position.weight", {"text_pos_emb.weight"}},
    {"text.projection.weight", {"to_text_latent.weight"}},
    {"log_scale", {"temperature"}, IMPORT_SHAPED},
};

static void read_tower(import *im, const import_map *maps, const char *side, clip_tower *w)
{
    char first[64];
    snprintf(first, sizeof first, "clip.%s.block.{i}.norm1.weight", side);
    w->width = import_mapped_size(im, maps, 1, "clip.%s.block.0.qkv.weight", side);
    w->heads = import_mapped_size(im, maps, 0, "clip.%s.block.0.qkv.weight", side) / (3 * CLIP_HEAD);
    w->head_dim = CLIP_HEAD;
    w->mlp = import_mapped_size(im, maps, 1, "clip.%s.block.0.down.weight", side);
    w->layers = import_mapped_count(im, maps, first, LAYERS_MOST);
    w->pooling = CLIP_MEAN;
}

static int root_of(int n)
{
    return (int)lround(sqrt(n));
}

static clip read_clip(import *im, const import_map *maps)
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
    read_tower(im, maps, "image", &c.image);
    read_tower(im, maps, "text", &c.text);
    return c;
}

bool import_dalle_pytorch_clip(import *im, int *vocabulary, err *e)
{
    naming image = {0}, text = {0};
    param_table params = {0};
    if (!find_naming(im, "visual_transformer.", &image, e) || !find_naming(im, "text_transformer.", &text, e))
        return false;
    import_map maps[] = {{"clip.image.", image.root, IMPORT_ROWS(tower_rows)},
                         {"clip.text.", text.root, IMPORT_ROWS(tower_rows)},
                         {"clip.", "", IMPORT_ROWS(clip_rows)},
                         {0}};
    set_values(&image, &maps[0]);
    set_values(&text, &maps[1]);
    clip c = read_clip(im, maps);
    bool ok = !im->error.code && clip_prepare(&c, "convert", e);
    if (ok) {
        clip_declare(&c, &params);
        clip_put(&c, im->to);
        import_tensors(im, maps, &params);
        *vocabulary = c.vocabulary;
    }
    params_release(&params);
    clip_release(&c);
    return ok;
}
