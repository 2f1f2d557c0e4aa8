/* The family "limn": models of our own architecture as PyTorch writes them: safetensors with PyTorch's layouts, and
 * config.json, vocab.json and merges.txt in the same folder (or the last two in that of --tokenizer). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/mapping.h"
#include "convert/names.h"
#include "io/json_file.h"
#include "models/codecs/dvae.h"
#include "models/transformers/gpt.h"
#include "text/bpe.h"

static bool recognise(const source *s)
{
    return source_has(s, "transformer.block.0.qkv.weight") || source_has(s, "encoder.down.0.weight");
}

/* ---- config.json ---- */

typedef struct reader {
    const json_t *root;
    const char *path;
    err *e;
    bool ok;
} reader;

/* "PATH: "KEY": REASON", once. */
static void wrong(reader *r, const char *key, const char *reason)
{
    r->ok = r->ok && err_set(r->e, ERR_FAILED, "%s: \"%s\": %s", r->path, key, reason);
}

/* Ranges are checked where the model is declared; here only that an int can hold the value. */
static int integer_of(reader *r, const char *key, const json_t *v)
{
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < INT32_MIN || i > INT32_MAX)
        wrong(r, key, v ? "no integer" : "it is missing");
    return (int)i;
}

static int integer(reader *r, const char *key)
{
    return integer_of(r, key, json_object_get(r->root, key));
}

static double number(reader *r, const char *key)
{
    const json_t *v = json_object_get(r->root, key);
    if (!json_is_number(v))
        wrong(r, key, v ? "no number" : "it is missing");
    return json_number_value(v);
}

static activation activation_of(reader *r, const char *key)
{
    const json_t *v = json_object_get(r->root, key);
    for (int i = 0; json_is_string(v) && i < ACT_COUNT; i++)
        if (!strcmp(json_string_value(v), activation_names[i]))
            return (activation)i;
    wrong(r, key, v ? "no activation that limn knows (relu, gelu_erf, gelu_tanh, silu, …)" : "it is missing");
    return ACT_NONE;
}

/* A list of 1 to `most` integers; how many. */
static int integers(reader *r, const char *key, int *values, size_t most)
{
    const json_t *v = json_object_get(r->root, key);
    size_t n = json_array_size(v);
    if (n == 0 || n > most) {
        wrong(r, key, v ? "no list, or one of another length than the model has" : "it is missing");
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = integer_of(r, key, json_array_get(v, i));
    return (int)n;
}

static autoencoder_config read_codec(const source *s, reader *r)
{
    autoencoder_config k = {.width = integer(r, "image_size"),
                            .height = integer(r, "image_size"),
                            .codes = integer(r, "codes"),
                            .code_dim = integer(r, "code_dim"),
                            .encoder_blocks = integer(r, "encoder_res"),
                            .decoder_blocks = integer(r, "decoder_res"),
                            .block_width = 1,
                            .act = activation_of(r, "codec_activation")};
    k.stages = integers(r, "encoder_down", k.encoder_channels, AUTOENCODER_STAGES);
    if (integers(r, "decoder_up", k.decoder_channels, AUTOENCODER_STAGES) != k.stages)
        wrong(r, "decoder_up", "another length than encoder_down");
    for (size_t i = 0; i < s->n; i++) /* config.json doesn't tell; the first dimension is the output's */
        if (!strcmp(s->tensors[i].t->name, "encoder.res.0.conv3.weight") ||
            !strcmp(s->tensors[i].t->name, "decoder.res.0.conv3.weight"))
            k.block_width = s->tensors[i].t->shape[0] <= 65536 ? (int)s->tensors[i].t->shape[0] : 0;
    return k;
}

static void read_transformer(gpt *d, reader *r)
{
    int grid[2] = {0};
    if (integers(r, "grid", grid, 2) != 2)
        wrong(r, "grid", "not [height, width]");
    *d = (gpt){.base.layers = integer(r, "layers"),
               .base.dim = integer(r, "dim"),
               .base.heads = integer(r, "heads"),
               .mlp = integer(r, "mlp"),
               .base.text_length = integer(r, "text_length"),
               .base.vocabulary = integer(r, "text_vocab"),
               .base.codes = integer(r, "codes"),
               .pad_id = integer(r, "pad_id"),
               .end_id = integer(r, "img_id"),
               .base.grid_height = grid[0],
               .base.grid_width = grid[1],
               .act = activation_of(r, "activation"),
               .eps = (float)number(r, "norm_eps")};
    gpt_preset_dalle(d);
}

/* ---- tensors and tokenizer ---- */

/* The names are ours. */
static const import_row codec_rows[] = {
    {"decoder.up.{i}.*", {"decoder.up.{i}.*"}, IMPORT_TRANSPOSED},
    {"*", {"*"}},
};
static const import_row transformer_rows[] = {{"*", {"*"}}};
static const import_map maps[] = {
    {"codec.", "", IMPORT_ROWS(codec_rows)}, {"transformer.", "transformer.", IMPORT_ROWS(transformer_rows)}, {0}};

static bool put_tokenizer(import *im, const gpt *d, err *e)
{
    char vocab[4200], merges[4200];
    const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
    snprintf(vocab, sizeof vocab, "%s/vocab.json", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    bpe *b = bpe_from_files(vocab, merges, true, e);
    bool ok = b;
    if (ok && bpe_size(b) > (size_t)d->base.vocabulary)
        ok = err_set(e, ERR_FAILED, "%s: %zu tokens, and the transformer's vocabulary has %d", vocab, bpe_size(b),
                     d->base.vocabulary);
    if (ok)
        bpe_put(b, im->to);
    bpe_free(b);
    return ok;
}

static bool put_codec(import *im, reader *r)
{
    codec c = {0};
    param_table params = {0};
    autoencoder_config k = read_codec(im->from, r);
    bool ok = r->ok && dvae_prepare(&c, &k, r->path, r->e);
    if (ok) {
        autoencoder_declare(&c, &params);
        autoencoder_put(&k, &codec_dvae, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    codec_release(&c);
    return ok;
}

static bool put_transformer(import *im, reader *r)
{
    static const char *const defaults[] = {"temperature=0.7", "top_k=32"};
    param_table params = {0};
    gpt *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(r->e, "transformer", sizeof *d);
    read_transformer(d, r);
    bool ok = r->ok && gpt_prepare(d, r->path, r->e);
    if (ok) {
        gpt_declare(d, &params);
        gpt_put(d, im->to);
        import_put_settings(im, defaults, 2);
    }
    ok = ok && put_tokenizer(im, d, r->e);
    if (ok)
        import_tensors(im, maps, &params);
    params_release(&params);
    gpt_free(d);
    return ok;
}

static bool convert(import *im, err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/config.json", im->from->directory);
    json_t *root = json_file_load(path, 0, "the family limn needs it beside its tensors", e);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(e, ERR_FAILED, "%s: not a JSON object", path);
    }
    reader r = {.root = root, .path = path, .e = e, .ok = true};
    bool has_codec = source_has(im->from, "encoder.down.0.weight");
    bool has_transformer = source_has(im->from, "transformer.block.0.qkv.weight");
    bool ok = has_codec || has_transformer ||
              err_set(e, ERR_FAILED,
                      "convert: tensor transformer.block.0.qkv.weight and encoder.down.0.weight are "
                      "missing: neither transformer nor codec (are all files of the model given?)");
    ok = ok && (!has_codec || put_codec(im, &r)) && (!has_transformer || put_transformer(im, &r));
    if (ok && !has_transformer)
        import_put_settings(im, NULL, 0);
    json_decref(root);
    return ok;
}

const family family_limn = {
    .recognise = recognise, .run = convert, .networks = NETWORK_LIMN_CODEC | NETWORK_LIMN_TRANSFORMER};
