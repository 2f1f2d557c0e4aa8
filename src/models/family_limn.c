/* The family "limn": models of our own architecture as PyTorch writes them: safetensors with PyTorch's layouts, and
 * config.json, vocab.json and merges.txt in the same folder (or the last two where --tokenizer says). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/import.h"
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

static json_int_t integer(reader *r, const char *key)
{
    const json_t *v = json_object_get(r->root, key);
    if (!json_is_integer(v) && r->ok)
        r->ok = err_set(r->e, ERR_FAILED, "%s: \"%s\": no integer", r->path, key);
    return json_integer_value(v);
}

static const char *string(reader *r, const char *key)
{
    const json_t *v = json_object_get(r->root, key);
    if (!json_is_string(v) && r->ok)
        r->ok = err_set(r->e, ERR_FAILED, "%s: \"%s\": no text", r->path, key);
    return json_is_string(v) ? json_string_value(v) : "";
}

static void put_int(import *im, reader *r, const char *to, const char *from)
{
    gguf_put_int(im->to, to, integer(r, from));
}

static void put_ints(import *im, reader *r, const char *to, const char *from)
{
    const json_t *v = json_object_get(r->root, from);
    int64_t values[64];
    size_t n = json_array_size(v);
    if ((n == 0 || n > 64) && r->ok)
        r->ok = err_set(r->e, ERR_FAILED, "%s: \"%s\": no list of 1 to 64 integers", r->path, from);
    for (size_t i = 0; i < n && i < 64; i++)
        values[i] = json_integer_value(json_array_get(v, i));
    if (n <= 64)
        gguf_put_ints(im->to, to, values, n);
}

static void put_codec(import *im, reader *r)
{
    gguf_put_string(im->to, "limn.codec.kind", "dvae");
    put_int(im, r, "limn.image.width", "image_size");
    put_int(im, r, "limn.image.height", "image_size");
    put_int(im, r, "limn.codec.codes", "codes");
    put_int(im, r, "limn.codec.code_dim", "code_dim");
    const file_tensor *t = import_find(im, "encoder.res.0.conv3.weight");
    gguf_put_int(im->to, "limn.codec.block_width", t ? t->shape[0] : 0);
    put_ints(im, r, "limn.codec.encoder_channels", "encoder_down");
    put_ints(im, r, "limn.codec.decoder_channels", "decoder_up");
    put_int(im, r, "limn.codec.encoder_blocks", "encoder_res");
    put_int(im, r, "limn.codec.decoder_blocks", "decoder_res");
    gguf_put_string(im->to, "limn.codec.activation", string(r, "codec_activation"));
}

static void put_transformer(import *im, reader *r)
{
    static const char *const pairs[][2] = {
        {"limn.transformer.layers", "layers"},
        {"limn.transformer.dim", "dim"},
        {"limn.transformer.heads", "heads"},
        {"limn.transformer.mlp", "mlp"},
        {"limn.transformer.text_length", "text_length"},
        {"limn.transformer.text_vocabulary", "text_vocab"},
        {"limn.transformer.codes", "codes"},
        {"limn.transformer.pad_id", "pad_id"},
        {"limn.transformer.image_id", "img_id"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        put_int(im, r, pairs[i][0], pairs[i][1]);
    const json_t *grid = json_object_get(r->root, "grid");
    gguf_put_int(im->to, "limn.transformer.grid_height", json_integer_value(json_array_get(grid, 0)));
    gguf_put_int(im->to, "limn.transformer.grid_width", json_integer_value(json_array_get(grid, 1)));
    gguf_put_string(im->to, "limn.transformer.activation", string(r, "activation"));
    const json_t *eps = json_object_get(r->root, "norm_eps");
    gguf_put_float(im->to, "limn.transformer.norm_eps", json_is_number(eps) ? json_number_value(eps) : 1e-5);
    const char *temperature = import_setting(im, "temperature"), *top_k = import_setting(im, "top_k");
    gguf_put_float(im->to, "limn.sampling.temperature", temperature ? strtod(temperature, NULL) : 0.7);
    gguf_put_int(im->to, "limn.sampling.top_k", top_k ? strtol(top_k, NULL, 10) : 32);
}

/* ---- tensors ---- */

/* PyTorch's convolution is [out,in,h,w], its transposed one [in,out,h,w]; ours are [out,h,w,in]. */
static void put_tensor(import *im, const file_tensor *t)
{
    static const int conv[] = {0, 2, 3, 1}, transposed[] = {1, 2, 3, 0};
    const char *name = t->name;
    char out[128];
    bool own = !strncmp(name, "transformer.", 12);
    snprintf(out, sizeof out, "%s%s", own ? "" : "codec.", name);
    const int *order = t->nd != 4 ? NULL : !strncmp(name, "decoder.up.", 11) ? transposed : conv;
    import_tensor(im, out, name, strstr(name, "_position") ? KEEP_F32 : WEIGHT, order);
}

static bool put_tokenizer(import *im, err *e)
{
    char vocab[4200], merges[4200];
    const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
    snprintf(vocab, sizeof vocab, "%s/vocab.json", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    bpe *b = bpe_from_files(vocab, merges, true, e);
    if (b)
        bpe_put(b, im->to);
    bpe_free(b);
    return b != NULL;
}

static bool run(import *im, err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/config.json", im->from->directory);
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(e, ERR_FAILED, "%s: line %d: %s (the family limn needs it beside its tensors)", path, why.line,
                       why.text);
    }
    reader r = {.root = root, .path = path, .e = e, .ok = true};
    gguf_put_string(im->to, "general.architecture", "limn");
    const char *name = import_setting(im, "name");
    if (name)
        gguf_put_string(im->to, "general.name", name);
    if (source_has(im->from, "encoder.down.0.weight"))
        put_codec(im, &r);
    bool transformer = source_has(im->from, "transformer.block.0.qkv.weight");
    if (transformer)
        put_transformer(im, &r);
    for (size_t i = 0; i < im->from->n; i++)
        put_tensor(im, im->from->tensors[i].t);
    bool ok = r.ok && (!transformer || put_tokenizer(im, e));
    json_decref(root);
    return ok;
}

const family family_limn = {"limn", recognise, run};
