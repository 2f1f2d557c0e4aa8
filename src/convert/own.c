/* limn's own files: with other weight types, or several as one model. */
#include <string.h>

#include "convert/convert_internal.h"
#include "models/codecs/codec.h"
#include "models/transformers/clip.h"
#include "models/transformers/transformer.h"

/* Whether both have the same strings at key, or neither has any. */
static bool same_strings(const gguf *a, const gguf *b, const char *key)
{
    const char *const *x = NULL, *const *y = NULL;
    size_t n = 0, m = 0;
    gguf_get_strings(a, key, &x, &n, NULL);
    gguf_get_strings(b, key, &y, &m, NULL);
    for (size_t i = 0; i < n && n == m; i++)
        if (strcmp(x[i], y[i]) != 0)
            return false;
    return n == m;
}

/* A file has one tokenizer. */
static bool same_tokenizer(const gguf *a, const gguf *b, err *e)
{
    static const char *const tokens = "tokenizer.ggml.tokens", *const merges = "tokenizer.ggml.merges",
                             *const lowercase = "limn.tokenizer.lowercase", *const verbatim = "limn.tokenizer.verbatim";
    bool x = false, y = false, u = false, v = false;
    if (!gguf_has(a, tokens) || !gguf_has(b, tokens))
        return true;
    gguf_get_bool(a, lowercase, &x, NULL);
    gguf_get_bool(b, lowercase, &y, NULL);
    gguf_get_bool(a, verbatim, &u, NULL);
    gguf_get_bool(b, verbatim, &v, NULL);
    return (x == y && u == v && same_strings(a, b, tokens) && same_strings(a, b, merges)) ||
           err_set(e, ERR_FAILED, "%s: its tokenizer is another one than that of %s (train both with the same)",
                   gguf_name(b), gguf_name(a));
}

/* The keys of file number `file`, but for the container's own, those that --set replaces, and those of the files before
 * it. */
static bool copy_keys(import *im, size_t file, err *e)
{
    const gguf *g = model_file_gguf(im->from->files[file]);
    for (size_t k = 0; k < file; k++)
        if (!same_tokenizer(model_file_gguf(im->from->files[k]), g, e))
            return false;
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i);
        bool known = !strcmp(key, "general.alignment") || gguf_is_description(key) || import_is_replaced(im, key);
        for (size_t k = 0; k < file; k++)
            known = known || gguf_has(model_file_gguf(im->from->files[k]), key);
        if (!known)
            gguf_put_copy(im->to, g, i);
    }
    return true;
}

typedef struct own_parts {
    codec c;
    transformer *t;
    clip *k;
    param_table params;
} own_parts;

static bool open_own(own_parts *o, const import *im, size_t file, err *e)
{
    const gguf *g = model_file_gguf(im->from->files[file]);
    const char *architecture;
    if (!g)
        return err_set(e, ERR_USAGE, "convert: input %zu is no GGUF file (limn's own files go with their like alone)",
                       file + 1);
    if (!gguf_get_string(g, "general.architecture", &architecture, e))
        return false;
    if (strcmp(architecture, "limn"))
        return err_set(e, ERR_FAILED,
                       "%s: key 'general.architecture': \"%.64s\": a GGUF file of another program, of no family that "
                       "limn converts (give "
                       "safetensors or a PyTorch checkpoint)",
                       gguf_name(g), architecture);
    if (im->tokenizer)
        return err_set(e, ERR_USAGE, "convert: `tokenizer`: %s has its own", gguf_name(g));
    return (o->c.kind || codec_open(&o->c, g, &o->params, e)) && (o->t || transformer_open(&o->t, g, &o->params, e)) &&
           (o->k || clip_open(&o->k, g, &o->params, e));
}

/* Their keys, and every parameter. */
bool import_own(import *im, err *e)
{
    own_parts o = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < im->from->n_files; i++)
        ok = open_own(&o, im, i, e) && copy_keys(im, i, e);
    if (ok)
        import_put_settings(im, NULL, 0);
    for (size_t i = 0; ok && i < o.params.n; i++)
        import_param(im, &o.params.list[i], o.params.list[i].name, NULL);
    if (o.params.error.code)
        ok = err_copy(e, &o.params.error);
    params_release(&o.params);
    codec_release(&o.c);
    transformer_free(o.t);
    clip_free(o.k);
    return ok;
}
