/* The U-Net of diffusion models: hyper-parameters and parameters. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "models/diffusion/unet.h"
#include "weights/config.h"

#define TRANSFORMER_EPS 1e-6f /* of the norm before a transformer, as published */
#define LAYER_EPS       1e-5f

static const char *const middle_names[UNET_MIDDLES] = {"attention", "none", "resnets"};

/* Files of models whose transformers have a block each don't say so. */
static bool is_deep(const unet_config *k)
{
    for (int i = 0; i < k->levels; i++)
        if (k->depth[i] != 1)
            return true;
    return false;
}

/* Behind "limn.NAME." */
static const config_field fields[] = {
    {"in", offsetof(unet_config, in), 1, 4096},
    {"out", offsetof(unet_config, out), 1, 4096},
    {"layers", offsetof(unet_config, layers), 1, UNET_LAYERS},
    {"context", offsetof(unet_config, context), 0, 1 << 16},
    {"groups", offsetof(unet_config, groups), 1, 1 << 16},
    {"norm_eps", offsetof(unet_config, eps), 0, 1, CONFIG_FLOAT},
    {"guidance", offsetof(unet_config, guidance), 0, 1 << 16, .optional = true},
    {"middle", offsetof(unet_config, middle), 0, UNET_MIDDLES, CONFIG_CHOICE, middle_names, .optional = true},
    {"scale_shift", offsetof(unet_config, shifts), .kind = CONFIG_BOOL, .optional = true},
    {"resamples", offsetof(unet_config, resamples), .kind = CONFIG_BOOL, .optional = true},
    {"joint", offsetof(unet_config, joint), .kind = CONFIG_BOOL, .optional = true},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* The keys of a network: of the fields, then of the lists. */
enum { CONTEXT = 3, CHANNELS = FIELDS, HEADS, ATTENDS, DEPTH, KEYS };
typedef struct keys {
    char names[KEYS][64];
    config_field fields[FIELDS];
} keys;

static void name_keys(keys *k, const char *network)
{
    static const char *const lists[] = {"channels", "heads", "attention", "depth"};
    for (int i = 0; i < KEYS; i++)
        snprintf(k->names[i], sizeof *k->names, "limn.%s.%s", network, i < FIELDS ? fields[i].key : lists[i - FIELDS]);
    for (int i = 0; i < FIELDS; i++) {
        k->fields[i] = fields[i];
        k->fields[i].key = k->names[i];
    }
}

void unet_put(const unet *u, gguf_writer *w)
{
    const unet_config *k = &u->k;
    keys of;
    name_keys(&of, u->name);
    config_put(w, of.fields, FIELDS, k);
    config_put_ints(w, of.names[CHANNELS], k->channels, k->levels);
    config_put_ints(w, of.names[HEADS], k->heads, k->levels);
    config_put_ints(w, of.names[ATTENDS], k->attends, k->levels);
    if (is_deep(k))
        config_put_ints(w, of.names[DEPTH], k->depth, k->levels);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

static bool check_levels(const unet_config *k, const keys *of, const char *file, err *e)
{
    const char *channels_key = of->names[CHANNELS], *heads_key = of->names[HEADS];
    if (k->levels < 1 || k->levels > UNET_LEVELS)
        return err_set(e, ERR_FAILED, "%s: %s: %d levels, and 1 to %d are possible", file, channels_key, k->levels,
                       UNET_LEVELS);
    if (k->channels[0] % 2 || k->guidance % 2 || k->guidance == 2)
        return err_set(e, ERR_FAILED, "%s: %s: %d, and guidance %d: sinusoids stand in pairs", file, channels_key,
                       k->channels[0], k->guidance);
    if (k->middle == UNET_MIDDLE_ATTENDS && !k->context)
        return err_set(e, ERR_FAILED, "%s: %s: 0, and its middle attends to a text", file, of->names[CONTEXT]);
    for (int i = 0; i < k->levels; i++) {
        int c = k->channels[i], heads = k->heads[i];
        if (c < 1 || c > 1 << 16 || c % k->groups)
            return err_set(e, ERR_FAILED, "%s: %s: a level has %d, and up to 65536 that %d groups divide are possible",
                           file, channels_key, c, k->groups);
        if (heads < 1 || c % heads || c / heads > HEAD_MOST)
            return err_set(e, ERR_FAILED, "%s: %s: %d do not divide %d channels into heads of at most %d", file,
                           heads_key, heads, c, HEAD_MOST);
        if (k->depth[i] < 1 || k->depth[i] > UNET_DEPTH)
            return err_set(e, ERR_FAILED, "%s: %s: transformers of %d blocks, and 1 to %d are possible", file,
                           of->names[DEPTH], k->depth[i], UNET_DEPTH);
        if (k->joint && k->depth[i] != 1)
            return err_set(e, ERR_FAILED, "%s: %s: attention to text and places at once has 1 block, not %d", file,
                           of->names[DEPTH], k->depth[i]);
        if (k->attends[i] && !k->context)
            return err_set(e, ERR_FAILED, "%s: %s: there is no text to attend to", file, of->names[ATTENDS]);
    }
    return true;
}

/* Its blocks follow each other; NULL: there is no room for them. */
static unet_transformer *add_transformer(unet *u, int level)
{
    const int depth = u->k.depth[level], first = u->transformers;
    u->transformers += depth;
    if (u->transformers > UNET_TRANSFORMERS)
        return NULL;
    unet_transformer *t = &u->transformer[first];
    for (int i = 0; i < depth; i++) {
        t[i].channels = u->k.channels[level];
        t[i].heads = u->k.heads[level];
        t[i].level = level;
        t[i].more = i + 1 < depth ? &t[i + 1] : NULL;
    }
    return t;
}

static void add_skip(unet *u, int channels, int level)
{
    u->skip_channels[u->skips] = channels;
    u->skip_level[u->skips++] = level;
}

bool unet_prepare(unet *u, const char *name, const char *file, err *e)
{
    const unet_config *k = &u->k;
    keys of;
    u->name = name;
    name_keys(&of, name);
    if (!config_check(file, of.fields, FIELDS, k, e) || !check_levels(k, &of, file, e))
        return false;
    u->skips = u->transformers = 0;
    add_skip(u, k->channels[0], 0);
    for (int i = 0; i < k->levels; i++) {
        for (int j = 0; j < k->layers; j++) {
            u->level[i].down_attention[j] = k->attends[i] ? add_transformer(u, i) : NULL;
            add_skip(u, k->channels[i], i);
        }
        if (i + 1 < k->levels)
            add_skip(u, k->channels[i], i + 1);
    }
    u->middle_attention = k->middle == UNET_MIDDLE_ATTENDS ? add_transformer(u, k->levels - 1) : NULL;
    for (int i = k->levels - 1; i >= 0; i--)
        for (int j = 0; j <= k->layers; j++)
            u->level[i].up_attention[j] = k->attends[i] ? add_transformer(u, i) : NULL;
    return u->transformers <= UNET_TRANSFORMERS ||
           err_set(e, ERR_FAILED, "%s: %s: %d blocks of transformers in all, and %d are possible", file,
                   of.names[DEPTH], u->transformers, UNET_TRANSFORMERS);
}

static bool read_levels(const gguf *g, const char *key, int min, int *values, int levels, err *e)
{
    int n = 0;
    return config_ints(g, key, min, 1 << 16, UNET_LEVELS, values, &n, e) &&
           (n == levels ||
            err_set(e, ERR_FAILED, "%s: key '%s': %d numbers, and there are %d levels", gguf_name(g), key, n, levels));
}

static bool read_depth(unet_config *k, const char *key, const gguf *g, err *e)
{
    for (int i = 0; i < k->levels; i++)
        k->depth[i] = 1;
    return !gguf_has(g, key) || read_levels(g, key, 1, k->depth, k->levels, e);
}

bool unet_read(unet *u, const char *name, const gguf *g, err *e)
{
    unet_config *k = &u->k;
    keys of;
    name_keys(&of, name);
    return config_fields(g, of.fields, FIELDS, k, e) &&
           config_ints(g, of.names[CHANNELS], 1, 1 << 16, UNET_LEVELS, k->channels, &k->levels, e) &&
           read_levels(g, of.names[HEADS], 1, k->heads, k->levels, e) &&
           read_levels(g, of.names[ATTENDS], 0, k->attends, k->levels, e) && read_depth(k, of.names[DEPTH], g, e) &&
           unet_prepare(u, name, gguf_name(g), e);
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */

/* Declares under a path of names: "unet.down.0". */
typedef struct declarer {
    param_table *p;
    const unet *u;
    int layer; /* the next one that may be streamed */
} declarer;

#define NAMED(...) (snprintf(name, sizeof name, __VA_ARGS__), name)

static void unbiased(param_table *p, linear *l, int64_t in, int64_t out, const char *name)
{
    param_weight(p, l, in, out, "%s.weight", name);
}

static void declare_resnet(const declarer *d, unet_resnet *b, int in, int out, const char *path)
{
    char name[96];
    const unet_config *k = &d->u->k;
    const int64_t time = k->shifts ? 2 * (int64_t)out : out;
    param_norm(d->p, &b->norm1, in, k->eps, NAMED("%s.norm1", path));
    param_conv(d->p, &b->conv1, in, out, 3, 1, 1, NAMED("%s.conv1", path));
    param_linear(d->p, &b->time, 4 * (int64_t)k->channels[0], time, NAMED("%s.time", path));
    param_norm(d->p, &b->norm2, out, k->eps, NAMED("%s.norm2", path));
    param_conv(d->p, &b->conv2, out, out, 3, 1, 1, NAMED("%s.conv2", path));
    if (in != out)
        param_linear(d->p, &b->skip, in, out, NAMED("%s.skip", path));
}

static void declare_joint(declarer *d, unet_transformer *t, const char *path)
{
    char name[96];
    int64_t c = t->channels;
    params_layer(d->p, d->layer++);
    param_norm(d->p, &t->norm, c, LAYER_EPS, NAMED("%s.norm", path));
    param_linear(d->p, &t->q, c, c, NAMED("%s.q", path));
    param_linear(d->p, &t->own, c, 2 * c, NAMED("%s.own", path));
    param_linear(d->p, &t->kv, d->u->k.context, 2 * c, NAMED("%s.kv", path));
    param_linear(d->p, &t->out, c, c, NAMED("%s.out", path));
    params_layer(d->p, -1);
}

static void declare_block(declarer *d, unet_transformer *t, const char *path)
{
    char name[96];
    int64_t c = t->channels;
    param_norm(d->p, &t->norm1, c, LAYER_EPS, NAMED("%s.norm1", path));
    unbiased(d->p, &t->qkv, c, 3 * c, NAMED("%s.qkv", path));
    param_linear(d->p, &t->self_out, c, c, NAMED("%s.self_out", path));
    param_norm(d->p, &t->norm2, c, LAYER_EPS, NAMED("%s.norm2", path));
    unbiased(d->p, &t->q, c, c, NAMED("%s.q", path));
    unbiased(d->p, &t->kv, d->u->k.context, 2 * c, NAMED("%s.kv", path));
    param_linear(d->p, &t->cross_out, c, c, NAMED("%s.cross_out", path));
    param_norm(d->p, &t->norm3, c, LAYER_EPS, NAMED("%s.norm3", path));
    param_linear(d->p, &t->up, c, 8 * c, NAMED("%s.up", path));
    param_linear(d->p, &t->down, 4 * c, c, NAMED("%s.down", path));
}

/* The first block is named as if it were the only one. */
static void declare_transformer(declarer *d, unet_transformer *t, const char *path)
{
    char name[96];
    int64_t c = t ? t->channels : 0;
    if (t && d->u->k.joint)
        declare_joint(d, t, path);
    if (!t || d->u->k.joint)
        return;
    params_layer(d->p, d->layer++);
    param_norm(d->p, &t->norm, c, TRANSFORMER_EPS, NAMED("%s.norm", path));
    param_linear(d->p, &t->in, c, c, NAMED("%s.in", path));
    declare_block(d, t, path);
    for (int i = 1; t[i - 1].more; i++) {
        char block[80];
        snprintf(block, sizeof block, "%s.block.%d", path, i);
        declare_block(d, &t[i], block);
    }
    param_linear(d->p, &t->out, c, c, NAMED("%s.out", path));
    params_layer(d->p, -1);
}

/* What halves or doubles a level's places. */
static void declare_sample(const declarer *d, unet_resnet *b, unet_sampling how, conv *c, int channels,
                           const char *path)
{
    b->sampling = how;
    if (d->u->k.resamples)
        declare_resnet(d, b, channels, channels, path);
    else
        param_conv(d->p, c, channels, channels, 3, how == UNET_HALVES ? 2 : 1, 1, path);
}

static void declare_down(declarer *d, unet *u)
{
    char path[64];
    for (int i = 0, in = u->k.channels[0]; i < u->k.levels; i++) {
        unet_level *l = &u->level[i];
        int c = u->k.channels[i];
        for (int j = 0; j < u->k.layers; j++, in = c) {
            snprintf(path, sizeof path, "%s.down.%d.resnet.%d", u->name, i, j);
            declare_resnet(d, &l->down[j], in, c, path);
            snprintf(path, sizeof path, "%s.down.%d.transformer.%d", u->name, i, j);
            declare_transformer(d, l->down_attention[j], path);
        }
        snprintf(path, sizeof path, "%s.down.%d.sample", u->name, i);
        if (i + 1 < u->k.levels)
            declare_sample(d, &l->shrink, UNET_HALVES, &l->halve, c, path);
    }
}

static void declare_up(declarer *d, unet *u)
{
    char path[64];
    int at = u->skips, in = u->k.channels[u->k.levels - 1];
    for (int i = u->k.levels - 1; i >= 0; i--) {
        unet_level *l = &u->level[i];
        int c = u->k.channels[i];
        for (int j = 0; j <= u->k.layers; j++, in = c) {
            snprintf(path, sizeof path, "%s.up.%d.resnet.%d", u->name, i, j);
            declare_resnet(d, &l->up[j], in + u->skip_channels[--at], c, path);
            snprintf(path, sizeof path, "%s.up.%d.transformer.%d", u->name, i, j);
            declare_transformer(d, l->up_attention[j], path);
        }
        snprintf(path, sizeof path, "%s.up.%d.sample", u->name, i);
        if (i > 0)
            declare_sample(d, &l->grow, UNET_DOUBLES, &l->twice, c, path);
    }
}

void unet_declare(unet *u, param_table *p)
{
    declarer d = {.p = p, .u = u};
    char name[64];
    const unet_config *k = &u->k;
    int c = k->channels[0], last = k->channels[k->levels - 1];
    param_linear(p, &u->time[0], c, 4 * (int64_t)c, NAMED("%s.time.0", u->name));
    param_linear(p, &u->time[1], 4 * (int64_t)c, 4 * (int64_t)c, NAMED("%s.time.1", u->name));
    if (k->guidance)
        unbiased(p, &u->guidance, k->guidance, c, NAMED("%s.guidance", u->name));
    param_conv(p, &u->in, k->in, c, 3, 1, 1, NAMED("%s.in", u->name));
    params_blocks(p, true);
    declare_down(&d, u);
    if (k->middle != UNET_MIDDLE_NONE) {
        declare_resnet(&d, &u->middle[0], last, last, NAMED("%s.mid.resnet.0", u->name));
        declare_transformer(&d, u->middle_attention, NAMED("%s.mid.transformer.0", u->name));
        declare_resnet(&d, &u->middle[1], last, last, NAMED("%s.mid.resnet.1", u->name));
    }
    declare_up(&d, u);
    params_blocks(p, false);
    param_norm(p, &u->norm_out, c, k->eps, NAMED("%s.norm_out", u->name));
    param_conv(p, &u->out, c, k->out, 3, 1, 1, NAMED("%s.out", u->name));
}
