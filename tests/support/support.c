/* Devices, files and tiny models for tests. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "support.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/gguf.h"
#include "io/image.h"
#include "text/bpe_split.h"

/* ---- devices ---- */

size_t support_styles(const device *d, support_style styles[SUPPORT_STYLES])
{
    styles[0] = (support_style){"default", d->tune};
    if (!d->tune.cpu_form || d->info.max_work_group < 64 || getenv("LIMN_TEST_BRIEF"))
        return 1;
    styles[1] = (support_style){"gpu", device_form_tuning(&d->info, false)};
    return 2;
}

limn_device_options support_options(void)
{
    const bool lazy = getenv("LIMN_TEST_LAZY");
    if (lazy) { /* before the first call of OpenCL */
        setenv("OPENCL_LAYERS", LIMN_LAYER, 0);
        setenv("LIMN_LAYER_GROUP", "8", 0);
    }
    return (limn_device_options){.no_cache = lazy};
}

device *support_device(void)
{
    err e = {0};
    const limn_device_options options = support_options();
    device *d = device_open(getenv("LIMN_DEVICE"), &options, &e);
    if (!d) {
        fprintf(stderr, "%s\n", e.text);
        exit(e.code == ERR_DEVICE ? 77 : 1);
    }
    return d;
}

const char *support_styled(device **d, size_t i)
{
    support_style styles[SUPPORT_STYLES];
    if (!*d)
        *d = support_device();
    if (i >= support_styles(*d, styles))
        return NULL;
    if (i) {
        device_free(*d);
        *d = support_device();
    }
    (*d)->tune = styles[i].tune;
    return styles[i].name;
}

autoencoder_config support_autoencoder(int side)
{
    return (autoencoder_config){.width = side,
                                .height = side,
                                .codes = 16,
                                .code_dim = 8,
                                .stages = 2,
                                .encoder_channels = {8, 16},
                                .decoder_channels = {16, 8},
                                .encoder_blocks = 1,
                                .decoder_blocks = 1,
                                .block_width = 8,
                                .act = ACT_GELU_ERF};
}

/* ---- files ---- */

enum { PATHS = 40 };

static char directory[] = "/tmp/limn-test-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool support_same_files(const char *a, const char *b)
{
    file_map x = {0}, y = {0};
    bool same =
        file_map_open(&x, a, NULL) && file_map_open(&y, b, NULL) && x.size == y.size && !memcmp(x.data, y.data, x.size);
    file_map_release(&x);
    file_map_release(&y);
    return same;
}

const char *support_path(const char *name)
{
    static char paths[PATHS][256];
    static int n;
    if (n == 0) {
        if (!mkdtemp(directory)) {
            perror(directory);
            exit(1);
        }
        atexit(remove_directory);
    }
    for (int i = 0; i < n; i++)
        if (!strcmp(strrchr(paths[i], '/') + 1, name))
            return paths[i];
    if (n == PATHS) {
        fprintf(stderr, "support_path: more than %d names\n", PATHS);
        exit(1);
    }
    snprintf(paths[n], sizeof paths[n], "%s/%s", directory, name);
    return paths[n++];
}

void support_write_values(gguf_writer *w, const param_table *t, dtype type)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->n; i++) {
            const param *p = &t->list[i];
            dtype of = param_is_matrix(p) ? type : DTYPE_F32;
            int64_t n = 1;
            for (int k = 0; k < p->nd; k++)
                n *= p->shape[k];
            if (pass == 0) {
                gguf_add_tensor(w, p->name, of, p->nd, p->shape);
                continue;
            }
            float *values = malloc((size_t)n * sizeof *values);
            void *bytes = malloc(dtype_row_bytes(of, n));
            if (!values || !bytes)
                abort();
            for (int64_t k = 0; k < n; k++)
                values[k] =
                    p->mean + (p->use == PARAM_VECTOR ? 0.1f : 0.15f) * rng_normal(7, (uint32_t)i, 0, (uint32_t)k);
            dtype_from_float(of, bytes, values, n);
            gguf_write_data(w, bytes, dtype_row_bytes(of, n));
            free(values);
            free(bytes);
        }
        if (pass == 0)
            gguf_begin_data(w);
    }
}

void support_pictures(const char *folder)
{
    enum { PICTURES = 12, SIDE = SUPPORT_SIDE };
    static const char *const names[] = {"red", "green", "blue"};
    err e = {0};
    bool ok = file_make_directory(folder, &e);
    for (int i = 0; ok && i < PICTURES; i++) {
        char path[600];
        image im = {0};
        ok = image_new(&im, SIDE, SIDE, &e);
        for (int p = 0; ok && p < SIDE * SIDE; p++) {
            bool inside = p % SIDE >= 4 && p % SIDE < 12 && p / SIDE >= 4 && p / SIDE < 12;
            for (int c = 0; c < 3; c++)
                im.pixels[p * 3 + c] = c == (inside ? i % 3 : i / 3 % 3) ? 220 : 30;
        }
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        ok = ok && image_write_png(&im, path, NULL, 0, &e);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%02d.txt", folder, i);
        FILE *f = ok ? fopen(path, "w") : NULL;
        ok = f && fprintf(f, "%s on %s\n", names[i % 3], names[i / 3 % 3]) > 0 && fclose(f) == 0;
    }
    if (!ok) {
        fprintf(stderr, "%s: no test pictures: %s\n", folder, e.text);
        exit(1);
    }
}

/* ---- parameters ---- */

static unsigned uses_by_name(const char *name)
{
    static const struct {
        const char *prefix;
        unsigned uses;
    } parts[] = {{"transformer.", USE_TRANSFORMER},
                 {"codec.encoder.", USE_ENCODER},
                 {"codec.decoder.", USE_DECODER},
                 {"codec.", USE_ENCODER | USE_DECODER},
                 {"clip.", USE_CLIP}};
    bool text = strstr(name, ".text_head.") || strstr(name, ".encoder.") || strstr(name, ".cross.kv.");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strncmp(name, parts[i].prefix, strlen(parts[i].prefix)))
            return parts[i].uses | (i == 0 && text ? USE_TEXT : 0);
    return ~0u;
}

/* The first number in the name, counted from 1; 0: there is none. */
static int layer_by_name(const char *name)
{
    for (const char *p = strchr(name, '.'); p; p = strchr(p + 1, '.'))
        if (p[1] >= '0' && p[1] <= '9')
            return atoi(p + 1) + 1;
    return 0;
}

const param *support_misplaced(const param_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const param *p = &t->list[i];
        unsigned uses = uses_by_name(p->name);
        int layer = uses & (USE_TRANSFORMER | USE_CLIP) ? layer_by_name(p->name) : 0;
        if (p->uses != uses || p->layer != layer)
            return p;
    }
    return NULL;
}

/* ---- tiny models ---- */

/* Tensors are declared first and filled later: between, they wait here. */
typedef struct pending {
    int64_t count;
    float scale, shift;
} pending;

typedef struct maker {
    gguf_writer *w;
    tiny_edit edit;
    uint64_t seed;
    bool edited;
    pending list[128];
    int n;
} maker;

/* Writes what the edit says in place of the key; false where the edit isn't about it. */
static bool edited(maker *m, const char *key)
{
    const tiny_edit *t = &m->edit;
    int64_t integer = (int64_t)t->number;
    if (m->edited || t->what == TINY_NOTHING || t->what >= TINY_RESHAPE || strcmp(key, t->name) != 0)
        return false;
    m->edited = true;
    switch (t->what) {
    case TINY_INT:
        gguf_put_int(m->w, key, integer);
        break;
    case TINY_FLOAT:
        gguf_put_float(m->w, key, t->number);
        break;
    case TINY_STRING:
        gguf_put_string(m->w, key, t->text);
        break;
    case TINY_BOOL:
        gguf_put_bool(m->w, key, t->number != 0);
        break;
    case TINY_INTS:
        gguf_put_ints(m->w, key, &integer, 1);
        break;
    case TINY_STRINGS:
        gguf_put_strings(m->w, key, &t->text, t->text != NULL);
        break;
    default: /* removed */
        break;
    }
    return true;
}

static void put_int(maker *m, const char *key, int64_t value)
{
    if (!edited(m, key))
        gguf_put_int(m->w, key, value);
}

static void put_string(maker *m, const char *key, const char *value)
{
    if (!edited(m, key))
        gguf_put_string(m->w, key, value);
}

static void put_ints(maker *m, const char *key, const int64_t *values, size_t n)
{
    if (!edited(m, key))
        gguf_put_ints(m->w, key, values, n);
}

/* Values: shift + scale * normal. */
static void put_tensor(maker *m, const char *name, int nd, const int64_t *shape, float scale, float shift)
{
    int64_t sizes[5] = {1, 1, 1, 1, 1}, count = 1;
    bool mine = m->edit.name && !strcmp(name, m->edit.name);
    if (mine && m->edit.what == TINY_REMOVE)
        return;
    memcpy(sizes, shape, (size_t)nd * sizeof *sizes);
    if (mine && m->edit.what == TINY_RESHAPE)
        sizes[0]++;
    if (mine && m->edit.what == TINY_RANK)
        nd++;
    for (int i = 0; i < nd; i++)
        count *= sizes[i];
    gguf_add_tensor(m->w, name, DTYPE_F32, nd, sizes);
    m->list[m->n++] = (pending){count, scale, shift};
}

static void fill(maker *m)
{
    for (int i = 0; i < m->n; i++) {
        const pending *p = &m->list[i];
        for (int64_t k = 0; k < p->count; k++) {
            float v = p->shift + p->scale * rng_normal(m->seed, (uint32_t)i, 0, (uint32_t)k);
            gguf_write_data(m->w, &v, sizeof v);
        }
    }
}

/* NAME.weight[shape], NAME.bias[shape[0]] for sums of `in` numbers */
static void put_layer(maker *m, const char *name, int nd, const int64_t *shape, int64_t in)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    put_tensor(m, full, nd, shape, 1.5f / sqrtf((float)in), 0);
    snprintf(full, sizeof full, "%s.bias", name);
    put_tensor(m, full, 1, shape, 0.2f, 0);
}

static void put_conv(maker *m, const char *name, int64_t out, int64_t kernel, int64_t in)
{
    put_layer(m, name, 4, (int64_t[]){out, kernel, kernel, in}, kernel * kernel * in);
}

static void put_residual(maker *m, const char *side, int64_t channels, int64_t inner)
{
    char name[64];
    snprintf(name, sizeof name, "codec.%s.res.0.conv3", side);
    put_conv(m, name, inner, 3, channels);
    snprintf(name, sizeof name, "codec.%s.res.0.conv1", side);
    put_conv(m, name, channels, 1, inner);
}

enum { WIDTH = 6, INNER = 4, CODE_DIM = 5, DIM = 32, HEADS = 4, MLP = 64 };

static void put_codec(maker *m, int stages)
{
    int64_t channels[8];
    char name[64];
    for (int i = 0; i < stages; i++)
        channels[i] = WIDTH;
    put_string(m, "limn.codec.kind", "dvae");
    put_int(m, "limn.image.width", 8);
    put_int(m, "limn.image.height", 8);
    put_int(m, "limn.codec.codes", TINY_CODES);
    put_int(m, "limn.codec.code_dim", CODE_DIM);
    put_int(m, "limn.codec.block_width", INNER);
    put_int(m, "limn.codec.encoder_blocks", 1);
    put_int(m, "limn.codec.decoder_blocks", 1);
    put_ints(m, "limn.codec.encoder_channels", channels, (size_t)stages);
    put_ints(m, "limn.codec.decoder_channels", channels, (size_t)stages);
    put_string(m, "limn.codec.activation", "gelu_erf");
    for (int i = 0; i < stages; i++) {
        snprintf(name, sizeof name, "codec.encoder.down.%d", i);
        put_conv(m, name, WIDTH, 4, i ? WIDTH : 3);
    }
    put_residual(m, "encoder", WIDTH, INNER);
    put_conv(m, "codec.encoder.logits", TINY_CODES, 1, WIDTH);
    put_tensor(m, "codec.codebook.weight", 2, (int64_t[]){TINY_CODES, CODE_DIM}, 1, 0);
    put_conv(m, "codec.decoder.in", WIDTH, 1, CODE_DIM);
    put_residual(m, "decoder", WIDTH, INNER);
    for (int i = 0; i < stages; i++) {
        snprintf(name, sizeof name, "codec.decoder.up.%d", i);
        put_conv(m, name, WIDTH, 4, WIDTH);
    }
    put_conv(m, "codec.decoder.out", 3, 1, WIDTH);
}

static void put_norm(maker *m, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    put_tensor(m, full, 1, (int64_t[]){DIM}, 0.1f, 1);
    snprintf(full, sizeof full, "%s.bias", name);
    put_tensor(m, full, 1, (int64_t[]){DIM}, 0.1f, 0);
}

static void put_block(maker *m, int layer)
{
    static const struct {
        const char *name;
        int64_t shape[2];
    } layers[] = {{"qkv", {3 * DIM, DIM}}, {"out", {DIM, DIM}}, {"up", {MLP, DIM}}, {"down", {DIM, MLP}}};
    char name[96];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "transformer.block.%d.norm%d", layer, i + 1);
        put_norm(m, name);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "transformer.block.%d.%s", layer, layers[i].name);
        put_layer(m, name, 2, layers[i].shape, layers[i].shape[1]);
    }
}

static void put_transformer(maker *m, const tiny_config *c, int layers, int side)
{
    int64_t ids = TINY_TOKENS + (c->pad_per_position ? TINY_TEXT : 0);
    put_int(m, "limn.transformer.layers", layers);
    put_int(m, "limn.transformer.dim", DIM);
    put_int(m, "limn.transformer.heads", HEADS);
    put_int(m, "limn.transformer.mlp", MLP);
    put_int(m, "limn.transformer.text_length", TINY_TEXT);
    put_int(m, "limn.transformer.text_vocabulary", TINY_TOKENS);
    put_int(m, "limn.transformer.grid_width", side);
    put_int(m, "limn.transformer.grid_height", side);
    put_int(m, "limn.transformer.codes", TINY_CODES);
    put_int(m, "limn.transformer.pad_id", TINY_PAD);
    put_int(m, "limn.transformer.image_id", TINY_IMAGE);
    put_string(m, "limn.transformer.activation", "gelu_tanh");
    if (!edited(m, "limn.transformer.norm_eps"))
        gguf_put_float(m->w, "limn.transformer.norm_eps", 1e-5);
    if (c->pad_per_position)
        gguf_put_bool(m->w, "limn.transformer.pad_per_position", true);
    if (c->attention)
        gguf_put_strings(m->w, "limn.transformer.attention", &c->attention, 1);
    put_tensor(m, "transformer.text_embedding.weight", 2, (int64_t[]){ids, DIM}, 1, 0);
    put_tensor(m, "transformer.image_embedding.weight", 2, (int64_t[]){TINY_CODES, DIM}, 1, 0);
    put_tensor(m, "transformer.text_position.weight", 2, (int64_t[]){TINY_TEXT, DIM}, 0.5f, 0);
    put_tensor(m, "transformer.row_position.weight", 2, (int64_t[]){side, DIM}, 0.5f, 0);
    put_tensor(m, "transformer.column_position.weight", 2, (int64_t[]){side, DIM}, 0.5f, 0);
    for (int i = 0; i < layers; i++)
        put_block(m, i);
    put_norm(m, "transformer.norm");
    put_layer(m, "transformer.text_head", 2, (int64_t[]){ids, DIM}, DIM);
    put_layer(m, "transformer.image_head", 2, (int64_t[]){TINY_CODES, DIM}, DIM);
}

static void put_tokenizer(maker *m)
{
    const char *tokens[TINY_TOKENS] = {"<pad>", "<img>"};
    char bytes[256][8] = {{0}};
    for (int i = 0; i < 256; i++) {
        uint32_t c = (uint32_t)bpe_byte_to_char((uint8_t)i); /* below 0x800 */
        snprintf(bytes[i], sizeof bytes[i], c < 0x80 ? "%c" : "%c%c", (int)(c < 0x80 ? c : 0xC0 | c >> 6),
                 (int)(0x80 | (c & 63)));
        tokens[2 + i] = bytes[i];
    }
    put_string(m, "tokenizer.ggml.model", "gpt2");
    if (!edited(m, "tokenizer.ggml.tokens"))
        gguf_put_strings(m->w, "tokenizer.ggml.tokens", tokens, TINY_TOKENS);
    if (!edited(m, "tokenizer.ggml.merges"))
        gguf_put_strings(m->w, "tokenizer.ggml.merges", NULL, 0);
}

bool tiny_model_write(const char *path, const tiny_config *c, err *e)
{
    int layers = c->layers ? c->layers : 2, stages = c->stages ? c->stages : 1;
    maker m = {.w = gguf_writer_new(path), .edit = c->edit, .seed = c->seed};
    put_string(&m, "general.architecture", "limn");
    put_string(&m, "general.name", "tiny");
    if (!c->no_codec)
        put_codec(&m, stages);
    if (!c->no_transformer)
        put_transformer(&m, c, layers, 8 >> stages);
    if (!c->no_tokenizer)
        put_tokenizer(&m);
    if (c->edit.name && c->edit.what != TINY_REMOVE)
        edited(&m, c->edit.name); /* a key that is not there by itself */
    if (c->edit.what == TINY_ADD)
        put_tensor(&m, c->edit.name, 1, (int64_t[]){3}, 1, 0);
    gguf_begin_data(m.w);
    fill(&m);
    bool ok = gguf_writer_commit(m.w, e);
    gguf_writer_free(m.w);
    return ok;
}

limn_model *support_tiny(device *d)
{
    err e = {0};
    const char *path = support_path("tiny.gguf");
    limn_model *m = tiny_model_write(path, &(tiny_config){0}, &e) ? limn_model_open(d, path, &e) : NULL;
    if (!m)
        fprintf(stderr, "%s\n", e.text);
    return m;
}
