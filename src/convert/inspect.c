/* What a file holds: formats, keys, tensors. */
#include "convert/inspect.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "convert/convert.h"
#include "io/file_kind.h"
#include "models/model.h"

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* A place for one more; name is copied, text becomes the key's.  False with e filled. */
static limn_key *add_key(inspection *in, const char *name, const char *type, char *text, err *e)
{
    size_t n = in->info.keys;
    limn_key *grown = n & (n - 1) ? in->keys : realloc(in->keys, (n ? 2 * n : 1) * sizeof *grown); /* powers of two */
    char *copy = strdup(name);
    in->keys = grown ? grown : in->keys;
    if (!grown || !copy || !text) {
        free(copy);
        free(text);
        err_no_memory(e, "inspect", (n + 1) * sizeof *grown);
        return NULL;
    }
    in->keys[n] = (limn_key){.name = copy, .type = type, .text = text, .kind = LIMN_VALUE_OTHER};
    in->info.keys++;
    return &in->keys[n];
}

static bool add_gguf_keys(inspection *in, err *e)
{
    const gguf *g = in->g;
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *name = gguf_key(g, i), *type = gguf_key_type(g, i);
        limn_key *k = add_key(in, name, type, gguf_key_text(g, i), e);
        if (!k)
            return false;
        if ((type[0] == 'u' || type[0] == 'i') && gguf_get_int(g, name, INT64_MIN, INT64_MAX, &k->integer, NULL))
            k->kind = LIMN_VALUE_INTEGER;
        else if (type[0] == 'f' && gguf_get_float(g, name, &k->number, NULL))
            k->kind = LIMN_VALUE_NUMBER;
        else if (type[0] == 'b' && gguf_get_bool(g, name, &k->truth, NULL))
            k->kind = LIMN_VALUE_BOOL;
        else if (type[0] == 's')
            k->kind = LIMN_VALUE_TEXT;
    }
    return true;
}

/* The strings of "__metadata__". */
static bool add_metadata(inspection *in, err *e)
{
    uint64_t length = 0; /* safetensors_open has checked it, and the JSON */
    for (int i = 7; i >= 0; i--)
        length = length << 8 | in->map.data[i];
    json_t *header = json_loadb((const char *)in->map.data + 8, (size_t)length, 0, NULL), *value;
    const char *name;
    bool ok = header || err_no_memory(e, "inspect", length);
    json_object_foreach(json_object_get(header, "__metadata__"), name, value)
    {
        limn_key *k = ok ? add_key(in, name, "str", strdup(json_string_value(value)), e) : NULL;
        ok = k != NULL;
        if (k)
            k->kind = LIMN_VALUE_TEXT;
    }
    json_decref(header);
    return ok;
}

/* What a PyTorch file holds beside tensors, as flat keys: "hparams.dim". */
typedef struct values {
    inspection *in;
    int left;
    char key[256];
} values;

enum { VALUES_LIMIT = 1000, VALUES_DEPTH = 8 };

/* Its kind, and where it is a number or a truth value, which, in k. */
static limn_value_kind read_value(const pickle_value *v, limn_key *k)
{
    return v->kind == PICKLE_NONE         ? LIMN_VALUE_NONE
           : pickle_truth(v, &k->truth)   ? LIMN_VALUE_BOOL
           : pickle_int(v, &k->integer)   ? LIMN_VALUE_INTEGER
           : pickle_number(v, &k->number) ? LIMN_VALUE_NUMBER
           : pickle_text(v)               ? LIMN_VALUE_TEXT
                                          : LIMN_VALUE_OTHER;
}

static bool add_value(inspection *in, const char *name, const pickle_value *v, err *e)
{
    static const char *const types[] = {"none", "bool", "int", "float", "str", "other"}; /* by limn_value_kind */
    limn_key read = {0};
    char number[32] = "none", *text;
    read.kind = read_value(v, &read);
    if (read.kind == LIMN_VALUE_INTEGER)
        snprintf(number, sizeof number, "%lld", (long long)read.integer);
    else if (read.kind == LIMN_VALUE_NUMBER)
        snprintf(number, sizeof number, "%.10g", read.number);
    else if (read.kind == LIMN_VALUE_BOOL)
        snprintf(number, sizeof number, "%s", read.truth ? "true" : "false");
    text = read.kind == LIMN_VALUE_OTHER  ? pickle_to_text(v)
           : read.kind == LIMN_VALUE_TEXT ? strdup(pickle_text(v))
                                          : strdup(number);
    limn_key *k = add_key(in, name, types[read.kind], text, e);
    if (k) {
        read.name = k->name;
        read.type = k->type;
        read.text = k->text;
        *k = read;
    }
    return k != NULL;
}

static bool has_records(const pickle_value *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (v->items[i]->kind == PICKLE_OBJECT || v->items[i]->kind == PICKLE_DICT ||
            v->items[i]->kind == PICKLE_PERSISTENT)
            return true;
    return false;
}

/* v->key[0, at) is the name of d. */
static bool add_values(values *v, const pickle_value *d, size_t at, int depth, err *e)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < d->n && v->left > 0 && depth < VALUES_DEPTH; i++) {
        const pickle_value *item = d->items[i];
        const char *name = pickle_text(d->keys[i]);
        bool list = item->kind == PICKLE_LIST || item->kind == PICKLE_TUPLE, truth;
        double number;
        bool record = item->kind == PICKLE_OBJECT && !pickle_number(item, &number) && !pickle_truth(item, &truth);
        if (!name || record || item->kind == PICKLE_PERSISTENT || (list && has_records(item)))
            continue;
        int n = snprintf(v->key + at, sizeof v->key - at, "%s%s", at ? "." : "", name);
        if (n < 0 || (size_t)n >= sizeof v->key - at)
            continue;
        v->left--; /* empty dicts count, so that this ends whatever refers to itself */
        ok = item->kind == PICKLE_DICT ? add_values(v, item, at + (size_t)n, depth + 1, e)
                                       : add_value(v->in, v->key, item, e);
    }
    return ok;
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

static bool add_tensors(inspection *in, err *e)
{
    size_t n = in->g ? gguf_tensor_count(in->g) : in->s ? safetensors_count(in->s) : model_file_count(in->m);
    in->tensors = calloc(n + 1, sizeof *in->tensors);
    if (!in->tensors)
        return err_no_memory(e, "inspect", n * sizeof *in->tensors);
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = in->g   ? gguf_tensor(in->g, i)
                               : in->s ? safetensors_tensor(in->s, i)
                                       : model_file_tensor(in->m, i);
        limn_tensor *to = &in->tensors[i];
        *to = (limn_tensor){.name = t->name, .type = file_tensor_type_name(t), .dims = t->nd, .bytes = t->bytes};
        for (int d = 0; d < t->nd; d++)
            to->shape[d] = t->shape[d];
    }
    in->info.tensors = n;
    return true;
}

/* ---- formats --------------------------------------------------------------------------------------------------- */

/* What limn_convert would make of it, or why it wouldn't. */
static bool add_family(inspection *in, err *e)
{
    char what[128];
    err why = {0};
    bool known = import_describe(in->path, what, &why);
    const char *name = known ? strstr(what, "family ") : NULL;
    if (name)
        in->info.family = in->family = strdup(name + strlen("family "));
    else if (!known && !strstr(why.text, "of no family"))
        in->info.note = in->note = strdup(why.text);
    return !name || in->family || err_no_memory(e, "inspect", strlen(what));
}

static bool open_gguf(inspection *in, const void *data, size_t size, const char *name, err *e)
{
    in->info.format = "gguf";
    return (in->g = gguf_open(data, size, name, e)) && add_gguf_keys(in, e) && add_tensors(in, e);
}

static bool open_safetensors(inspection *in, err *e)
{
    in->info.format = "safetensors";
    return (in->s = safetensors_open(in->map.data, in->map.size, in->path, e)) && add_family(in, e) &&
           add_metadata(in, e) && add_tensors(in, e);
}

/* A PyTorch file, or the index of shards. */
static bool open_checkpoint(inspection *in, err *e)
{
    if (!(in->m = model_file_open(in->path, e)))
        return false;
    in->info.shards = model_file_format(in->m) == MODEL_SHARDS;
    in->info.format = in->info.shards && !strstr(in->path, ".bin.") ? "safetensors" : "pytorch";
    const pickle_value *all = model_file_root(in->m);
    values v = {.in = in, .left = VALUES_LIMIT};
    return add_family(in, e) && (!all || all->kind != PICKLE_DICT || add_values(&v, all, 0, 0, e)) &&
           add_tensors(in, e);
}

/* A model's folder. */
static bool open_folder(inspection *in, err *e)
{
    char what[128];
    err why = {0};
    size_t n = strlen(in->path);
    in->info.format = "folder";
    if (!import_describe(in->path, what, &why))
        return err_set(e, ERR_FAILED, "%s: is a directory, and not a model's: %s", in->path,
                       !strncmp(why.text, in->path, n) && why.text[n] == ':' ? why.text + n + 2 : why.text);
    return add_family(in, e);
}

static bool open_path(inspection *in, err *e)
{
    struct stat st;
    if (stat(in->path, &st) == 0 && S_ISDIR(st.st_mode))
        return open_folder(in, e);
    if (!file_map_open(&in->map, in->path, e))
        return false;
    file_kind k = file_kind_of(in->map.data, in->map.size, in->path);
    if (model_file_is_index(in->path) || k.format == FILE_TORCH)
        return open_checkpoint(in, e);
    if (k.format == FILE_GGUF)
        return open_gguf(in, in->map.data, in->map.size, in->path, e);
    if (k.format == FILE_SAFETENSORS)
        return open_safetensors(in, e);
    return file_kind_refuse(&k, in->path, "GGUF, safetensors, PyTorch's files", e);
}

inspection *inspection_open(const char *path, err *e)
{
    inspection *in = calloc(1, sizeof *in);
    bool ok = in && (!path || (in->path = strdup(path)));
    if (!ok)
        err_no_memory(e, "inspect", sizeof *in);
    size_t size = (size_t)(limn_builtin_model_end - limn_builtin_model);
    ok = ok && (path ? open_path(in, e) : open_gguf(in, limn_builtin_model, size, "the built-in model", e));
    if (!ok) {
        inspection_free(in);
        return NULL;
    }
    return in;
}

void inspection_free(inspection *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->info.keys; i++) {
        free((char *)in->keys[i].name);
        free((char *)in->keys[i].text);
    }
    free(in->keys);
    free(in->tensors);
    gguf_free(in->g);
    safetensors_free(in->s);
    model_file_free(in->m);
    file_map_release(&in->map);
    free(in->path);
    free(in->family);
    free(in->note);
    free(in);
}
