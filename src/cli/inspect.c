/* limn inspect: what a file holds, told by its content: models (GGUF, safetensors, PyTorch), arrays (npy), pictures. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inspect_model.h"
#include "convert/convert.h"
#include "io/file_kind.h"
#include "io/gguf.h"
#include "io/model_file.h"
#include "io/safetensors.h"
#include "io/torch.h"
#include "models/model.h"

/* ---- tensor tables --------------------------------------------------------------------------------------------- */

typedef const file_tensor *tensor_at(const void *file, size_t i);

static const file_tensor *gguf_at(const void *file, size_t i)
{
    return gguf_tensor(file, i);
}

static const file_tensor *safetensors_at(const void *file, size_t i)
{
    return safetensors_tensor(file, i);
}

static const file_tensor *model_at(const void *file, size_t i)
{
    return model_file_tensor(file, i);
}

typedef struct totals {
    int64_t tensors, elements;
    uint64_t bytes;
} totals;

static totals count_tensors(tensor_at *at, const void *file, size_t n, totals by_type[DTYPE_COUNT])
{
    totals all = {0};
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = at(file, i);
        totals *sums[2] = {&all, &by_type[t->type]};
        for (int k = 0; k < 2; k++) {
            sums[k]->tensors++;
            sums[k]->elements += file_tensor_count(t);
            sums[k]->bytes += t->bytes;
        }
    }
    return all;
}

static void print_tensors(tensor_at *at, const void *file, size_t n)
{
    totals by_type[DTYPE_COUNT] = {{0}};
    totals all = count_tensors(at, file, n, by_type);
    char shape[128], size[32];
    printf("tensors:\n");
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = at(file, i);
        file_tensor_shape_text(t, shape);
        printf("  %-5s %-20s ", file_tensor_type_name(t), shape);
        print_clean(t->name);
        putchar('\n');
    }
    printf("totals:\n");
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (by_type[t].tensors)
            printf("  %-5s %6" PRId64 " tensors %14" PRId64 " parameters %12s\n", dtype_table[t].name,
                   by_type[t].tensors, by_type[t].elements, size_text(by_type[t].bytes, size));
    }
    printf("  all   %6" PRId64 " tensors %14" PRId64 " parameters %12s\n", all.tensors, all.elements,
           size_text(all.bytes, size));
}

static void put_tensors(json_t *root, tensor_at *at, const void *file, size_t n)
{
    totals by_type[DTYPE_COUNT] = {{0}};
    totals all = count_tensors(at, file, n, by_type);
    json_t *list = json_array(), *types = json_object();
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = at(file, i);
        json_t *j = json_object(), *shape = json_array();
        for (int d = 0; d < t->nd; d++)
            json_array_append_new(shape, json_integer(t->shape[d]));
        json_object_set_new(j, "name", json_text(t->name));
        json_object_set_new(j, "type", json_text(file_tensor_type_name(t)));
        json_object_set_new(j, "shape", shape);
        json_object_set_new(j, "bytes", json_integer((json_int_t)t->bytes));
        json_array_append_new(list, j);
    }
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (!by_type[t].tensors)
            continue;
        json_t *j = json_object();
        json_object_set_new(j, "tensors", json_integer(by_type[t].tensors));
        json_object_set_new(j, "parameters", json_integer(by_type[t].elements));
        json_object_set_new(j, "bytes", json_integer((json_int_t)by_type[t].bytes));
        json_object_set_new(types, dtype_table[t].name, j);
    }
    json_object_set_new(root, "tensors", list);
    json_object_set_new(root, "types", types);
    json_object_set_new(root, "parameters", json_integer(all.elements));
    json_object_set_new(root, "bytes", json_integer((json_int_t)all.bytes));
}

/* ---- formats ---------------------------------------------------------------------------------------------------- */

static json_t *gguf_value(const gguf *g, size_t i)
{
    const char *key = gguf_key(g, i), *type = gguf_key_type(g, i), *text;
    int64_t integer;
    double number;
    bool flag;
    if ((type[0] == 'u' || type[0] == 'i') && gguf_get_int(g, key, INT64_MIN, INT64_MAX, &integer, NULL))
        return json_integer(integer);
    if (type[0] == 'f' && gguf_get_float(g, key, &number, NULL))
        return json_finite(number);
    if (type[0] == 'b' && gguf_get_bool(g, key, &flag, NULL))
        return json_boolean(flag);
    if (type[0] == 's' && gguf_get_string(g, key, &text, NULL))
        return json_text(text);
    char *value = gguf_key_text(g, i);
    json_t *j = value ? json_text(value) : json_null();
    free(value);
    return j;
}

static bool inspect_gguf(const char *path, const file_map *map, json_t *root, err *e)
{
    gguf *g = gguf_open(map->data, map->size, path, e);
    if (!g)
        return false;
    if (!root) {
        printf("format: GGUF\n");
        print_model(g);
        printf("keys:\n");
    }
    json_t *keys = json_array();
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        char *value = gguf_key_text(g, i);
        if (!root) {
            printf("  %-9s ", gguf_key_type(g, i));
            print_clean(gguf_key(g, i));
            printf(" = ");
            print_clean(value ? value : "?");
            putchar('\n');
        }
        free(value);
        json_t *j = json_object();
        json_object_set_new(j, "key", json_text(gguf_key(g, i)));
        json_object_set_new(j, "type", json_text(gguf_key_type(g, i)));
        json_object_set_new(j, "value", gguf_value(g, i));
        json_array_append_new(keys, j);
    }
    if (root) {
        json_object_set_new(root, "format", json_text("gguf"));
        json_object_set(root, "keys", keys);
        put_tensors(root, gguf_at, g, gguf_tensor_count(g));
    } else {
        print_tensors(gguf_at, g, gguf_tensor_count(g));
    }
    json_decref(keys);
    gguf_free(g);
    return true;
}

/* What limn convert would make of it, or why it wouldn't. */
static void tell_family(const char *path, json_t *root)
{
    char what[128];
    err why = {0};
    bool known = import_describe(path, what, &why), none = strstr(why.text, "of no family") != NULL;
    const char *name = known ? strstr(what, "family ") : NULL;
    name = name ? name + strlen("family ") : NULL;
    if (root) {
        json_object_set_new(root, "family", name ? json_text(name) : json_null());
        if (!known && !none)
            json_object_set_new(root, "note", json_said(why.text));
        return;
    }
    if (name)
        printf("family: %s (limn convert makes a model of it)\n", name);
    else if (none)
        printf("family: none that limn knows\n");
    else {
        printf("family: ");
        print_said(why.text);
        putchar('\n');
    }
}

static bool inspect_safetensors(const char *path, const file_map *map, json_t *root, err *e)
{
    safetensors *s = safetensors_open(map->data, map->size, path, e);
    if (!s)
        return false;
    /* safetensors_open has checked the length and the JSON */
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | map->data[i];
    json_t *header = json_loadb((const char *)map->data + 8, (size_t)length, 0, NULL);
    json_t *metadata = json_object_get(header, "__metadata__");
    if (root) {
        json_object_set_new(root, "format", json_text("safetensors"));
        tell_family(path, root);
        json_object_set_new(root, "metadata", metadata ? json_incref(metadata) : json_object());
        put_tensors(root, safetensors_at, s, safetensors_count(s));
    } else {
        const char *key;
        json_t *value;
        printf("format: safetensors\n");
        tell_family(path, root);
        printf("metadata:\n");
        json_object_foreach(metadata, key, value)
        {
            printf("  ");
            print_clean(key);
            printf(" = ");
            print_clean(json_is_string(value) ? json_string_value(value) : "?");
            putchar('\n');
        }
        print_tensors(safetensors_at, s, safetensors_count(s));
    }
    json_decref(header);
    safetensors_free(s);
    return true;
}

/* What a checkpoint holds beside tensors, as flat keys: "hparams.dim". */
typedef struct values {
    json_t *list; /* {key, value} */
    int left;
    char key[256];
} values;

enum { VALUES_LIMIT = 1000, VALUES_DEPTH = 8 };

static json_t *value_of(const pickle_value *v)
{
    int64_t integer;
    double number;
    bool truth;
    if (v->kind == PICKLE_NONE)
        return json_null();
    if (pickle_truth(v, &truth))
        return json_boolean(truth);
    if (pickle_int(v, &integer))
        return json_integer(integer);
    if (pickle_number(v, &number))
        return json_finite(number);
    char *text = pickle_text(v) ? NULL : pickle_to_text(v);
    json_t *j = json_text(pickle_text(v) ? pickle_text(v) : text ? text : "?");
    free(text);
    return j;
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
static void collect_values(values *v, const pickle_value *d, size_t at, int depth)
{
    for (uint32_t i = 0; i < d->n && v->left > 0 && depth < VALUES_DEPTH; i++) {
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
        if (item->kind == PICKLE_DICT) {
            collect_values(v, item, at + (size_t)n, depth + 1);
            continue;
        }
        json_t *j = json_object();
        json_object_set_new(j, "key", json_text(v->key));
        json_object_set_new(j, "value", value_of(item));
        json_array_append_new(v->list, j);
    }
}

static void print_values(const json_t *list)
{
    size_t i;
    json_t *entry;
    printf("values:\n");
    json_array_foreach(list, i, entry)
    {
        const json_t *value = json_object_get(entry, "value");
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
        printf("  ");
        print_clean(json_string_value(json_object_get(entry, "key")));
        printf(" = ");
        print_clean(json_is_string(value) ? json_string_value(value) : text ? text : "?");
        putchar('\n');
        free(text);
    }
}

/* A PyTorch file, or the index of shards. */
static bool inspect_checkpoint(const char *path, json_t *root, err *e)
{
    model_file *m = model_file_open(path, e);
    if (!m)
        return false;
    bool torch = model_file_format(m) == MODEL_TORCH;
    const char *shards = strstr(path, ".bin.") ? "PyTorch, in shards" : "safetensors, in shards";
    const pickle_value *all = model_file_root(m);
    values v = {.list = json_array(), .left = VALUES_LIMIT};
    if (all && all->kind == PICKLE_DICT)
        collect_values(&v, all, 0, 0);
    if (root) {
        json_object_set_new(root, "format", json_text(torch ? "pytorch" : "safetensors"));
        tell_family(path, root);
        if (torch)
            json_object_set(root, "values", v.list);
        put_tensors(root, model_at, m, model_file_count(m));
    } else {
        printf("format: %s\n", torch ? "PyTorch" : shards);
        tell_family(path, root);
        if (json_array_size(v.list))
            print_values(v.list);
        print_tensors(model_at, m, model_file_count(m));
    }
    json_decref(v.list);
    model_file_free(m);
    return true;
}

/* The type as the header has it, "<f4"; npy_read has checked the header. */
static void npy_descr(const file_map *map, char out[16])
{
    char header[256];
    size_t start = map->data[6] == 1 ? 10 : 12, n = map->size - start < 255 ? map->size - start : 255;
    memcpy(header, map->data + start, n);
    header[n] = '\0';
    const char *p = strstr(header, "'descr'");
    p = p ? strchr(p + 7, '\'') : NULL;
    snprintf(out, 16, "%.*s", p ? (int)(strcspn(p + 1, "'") < 15 ? strcspn(p + 1, "'") : 15) : 1, p ? p + 1 : "?");
}

static bool inspect_npy(const char *path, const file_map *map, json_t *root, err *e)
{
    npy a = {0};
    char descr[16];
    /* integers are tried first: what they can't hold is read as float, and that error counts */
    if (!npy_read(&a, path, DTYPE_I32, NULL) && !npy_read(&a, path, DTYPE_F32, e))
        return false;
    npy_descr(map, descr);
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < a.count; i++) {
        double v = a.type == DTYPE_I32 ? ((int32_t *)a.data)[i] : (double)((float *)a.data)[i];
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    json_t *shape = json_array();
    for (int i = 0; i < a.nd; i++)
        json_array_append_new(shape, json_integer(a.shape[i]));
    if (root) {
        json_object_set_new(root, "format", json_text("npy"));
        json_object_set_new(root, "type", json_text(descr));
        json_object_set(root, "shape", shape);
        bool whole = a.type == DTYPE_I32 && low <= high;
        json_object_set_new(root, "min", whole ? json_integer((json_int_t)low) : json_finite(low));
        json_object_set_new(root, "max", whole ? json_integer((json_int_t)high) : json_finite(high));
    } else {
        char *text = json_dumps(shape, JSON_COMPACT);
        printf("format: npy\ntype:   ");
        print_clean(descr);
        printf("\nshape:  %s\n", text ? text : "?");
        if (low <= high)
            printf("values: %g to %g\n", low, high);
        free(text);
    }
    json_decref(shape);
    npy_release(&a);
    return true;
}

static bool inspect_picture(const char *path, const char *format, json_t *root, err *e)
{
    static const char *const keywords[] = {"parameters", "Software"};
    image im = {0};
    if (!image_read(&im, path, e))
        return false;
    if (root) {
        json_object_set_new(root, "format", json_text(format));
        json_object_set_new(root, "width", json_integer(im.width));
        json_object_set_new(root, "height", json_integer(im.height));
    } else {
        printf("format: %s\nsize:   %d x %d pixels\n", format, im.width, im.height);
    }
    for (int i = 0; i < 2; i++) {
        char *text = image_read_text(path, keywords[i]);
        if (text && root)
            json_object_set_new(root, keywords[i], json_text(text));
        if (text && !root) {
            printf("%s:\n", keywords[i]);
            print_clean(text);
            putchar('\n');
        }
        free(text);
    }
    image_release(&im);
    return true;
}

/* A model's folder. */
static bool inspect_folder(const char *path, json_t *root, err *e)
{
    char what[128];
    err why = {0};
    size_t n = strlen(path);
    if (!import_describe(path, what, &why))
        return err_set(e, ERR_FAILED, "%s: is a directory, and not a model's: %s", path,
                       !strncmp(why.text, path, n) && why.text[n] == ':' ? why.text + n + 2 : why.text);
    if (root)
        json_object_set_new(root, "format", json_text("folder"));
    else
        printf("format: folder\n");
    tell_family(path, root);
    return true;
}

static bool inspect(const char *path, json_t *root, err *e)
{
    file_map map = {0};
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return inspect_folder(path, root, e);
    if (!input_check(path, e) || !file_map_open(&map, path, e))
        return false;
    file_kind k = file_kind_of(map.data, map.size, path);
    bool ok;
    if (model_file_is_index(path) || k.format == FILE_TORCH)
        ok = inspect_checkpoint(path, root, e);
    else if (k.format == FILE_GGUF)
        ok = inspect_gguf(path, &map, root, e);
    else if (k.format == FILE_SAFETENSORS)
        ok = inspect_safetensors(path, &map, root, e);
    else if (k.format == FILE_NPY)
        ok = inspect_npy(path, &map, root, e);
    else if (k.format == FILE_PNG)
        ok = inspect_picture(path, "png", root, e);
    else if (k.format == FILE_JPEG)
        ok = inspect_picture(path, "jpeg", root, e);
    else if (k.format == FILE_WEBP)
        ok = inspect_picture(path, "webp", root, e);
    else
        ok = file_kind_refuse(&k, path, "GGUF, safetensors, PyTorch's files, npy, PNG, JPEG, WebP", e);
    file_map_release(&map);
    return ok;
}

static bool inspect_builtin(json_t *root, err *e)
{
    const file_map map = {.data = limn_builtin_model, .size = (size_t)(limn_builtin_model_end - limn_builtin_model)};
    return inspect_gguf("the built-in model", &map, root, e);
}

int command_inspect(const options *o)
{
    err e = {0};
    const char *path = o->n_operands ? o->operands[0] : NULL;
    json_t *root = options_given(o, "json") ? json_object() : NULL;
    if (root)
        json_object_set_new(root, "file", json_text(path ? path : "the built-in model"));
    bool ok = path ? inspect(path, root, &e) : inspect_builtin(root, &e);
    if (ok && root)
        print_json(json_incref(root));
    json_decref(root);
    return ok ? 0 : report(&e);
}
