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
#include "io/file_kind.h"
#include "io/model_file.h"

/* ---- tensor tables --------------------------------------------------------------------------------------------- */

typedef struct totals {
    int64_t tensors, elements;
    uint64_t bytes;
} totals;

static totals count_tensors(const limn_inspection *in, totals by_type[DTYPE_COUNT])
{
    totals all = {0};
    const limn_tensor *t;
    for (size_t i = 0; (t = limn_inspection_tensor(in, i)); i++) {
        dtype type = DTYPE_OTHER;
        int64_t elements = 1;
        dtype_from_name(t->type, &type);
        for (int d = 0; d < t->dims; d++)
            elements *= t->shape[d];
        totals *sums[2] = {&all, &by_type[type]};
        for (int k = 0; k < 2; k++) {
            sums[k]->tensors++;
            sums[k]->elements += elements;
            sums[k]->bytes += t->bytes;
        }
    }
    return all;
}

static void print_tensors(const limn_inspection *in)
{
    totals by_type[DTYPE_COUNT] = {{0}};
    totals all = count_tensors(in, by_type);
    char size[32];
    const limn_tensor *t;
    printf("tensors:\n");
    for (size_t i = 0; (t = limn_inspection_tensor(in, i)); i++) {
        char shape[128] = "[";
        size_t n = 1;
        for (int d = 0; d < t->dims; d++)
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRId64, d ? ", " : "", t->shape[d]);
        snprintf(shape + n, sizeof shape - n, "]");
        printf("  %-5s %-20s ", t->type, shape);
        print_clean(t->name);
        putchar('\n');
    }
    printf("totals:\n");
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (by_type[type].tensors)
            printf("  %-5s %6" PRId64 " tensors %14" PRId64 " parameters %12s\n", dtype_table[type].name,
                   by_type[type].tensors, by_type[type].elements, size_text(by_type[type].bytes, size));
    }
    printf("  all   %6" PRId64 " tensors %14" PRId64 " parameters %12s\n", all.tensors, all.elements,
           size_text(all.bytes, size));
}

static void put_tensors(json_t *root, const limn_inspection *in)
{
    totals by_type[DTYPE_COUNT] = {{0}};
    totals all = count_tensors(in, by_type);
    json_t *list = json_array(), *types = json_object();
    const limn_tensor *t;
    for (size_t i = 0; (t = limn_inspection_tensor(in, i)); i++) {
        json_t *j = json_object(), *shape = json_array();
        for (int d = 0; d < t->dims; d++)
            json_array_append_new(shape, json_integer(t->shape[d]));
        json_object_set_new(j, "name", json_text(t->name));
        json_object_set_new(j, "type", json_text(t->type));
        json_object_set_new(j, "shape", shape);
        json_object_set_new(j, "bytes", json_integer((json_int_t)t->bytes));
        json_array_append_new(list, j);
    }
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!by_type[type].tensors)
            continue;
        json_t *j = json_object();
        json_object_set_new(j, "tensors", json_integer(by_type[type].tensors));
        json_object_set_new(j, "parameters", json_integer(by_type[type].elements));
        json_object_set_new(j, "bytes", json_integer((json_int_t)by_type[type].bytes));
        json_object_set_new(types, dtype_table[type].name, j);
    }
    json_object_set_new(root, "tensors", list);
    json_object_set_new(root, "types", types);
    json_object_set_new(root, "parameters", json_integer(all.elements));
    json_object_set_new(root, "bytes", json_integer((json_int_t)all.bytes));
}

/* ---- models ---------------------------------------------------------------------------------------------------- */

static json_t *json_value(const limn_key *k)
{
    switch (k->kind) {
    case LIMN_VALUE_NONE:
        return json_null();
    case LIMN_VALUE_BOOL:
        return json_boolean(k->truth);
    case LIMN_VALUE_INTEGER:
        return json_integer(k->integer);
    case LIMN_VALUE_NUMBER:
        return json_finite(k->number);
    default:
        return json_text(k->text);
    }
}

/* The formats: as text calls them, and their keys. */
typedef struct kind_of_file {
    const char *name, *title, *keys;
} kind_of_file;
static const kind_of_file formats[] = {
    {"gguf", "GGUF", "keys"},
    {"safetensors", "safetensors", "metadata"},
    {"pytorch", "PyTorch", "values"},
    {"folder", "folder", NULL},
};

static const kind_of_file *format_of(const limn_inspection_info *i)
{
    const kind_of_file *f = formats;
    while (strcmp(f->name, i->format) != 0)
        f++;
    return f;
}

/* "  u32       limn.image.width = 64", or "  hparams.dim = 64". */
static void print_key(const limn_key *k, const kind_of_file *f)
{
    bool own = f == formats, torch = !strcmp(f->name, "pytorch");
    json_t *value = torch ? json_value(k) : NULL;
    char *text = value && !json_is_string(value) ? json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10)) : NULL;
    printf("  ");
    if (own)
        printf("%-9s ", k->type);
    print_clean(k->name);
    printf(" = ");
    print_clean(text ? text : k->text);
    putchar('\n');
    free(text);
    json_decref(value);
}

static void print_inspection(const limn_inspection *in)
{
    const limn_inspection_info *i = limn_inspection_get_info(in);
    const kind_of_file *f = format_of(i);
    const limn_key *k;
    printf("format: %s%s\n", f->title, i->shards ? ", in shards" : "");
    if (f == formats) {
        print_model(in);
    } else if (i->family) {
        printf("family: %s (limn convert makes a model of it)\n", i->family);
    } else {
        printf("family: ");
        print_said(i->note ? i->note : "none that limn knows");
        putchar('\n');
    }
    if (!f->keys)
        return;
    if (i->keys || (!i->shards && strcmp(f->keys, "values") != 0))
        printf("%s:\n", f->keys);
    for (size_t n = 0; (k = limn_inspection_key(in, n)); n++)
        print_key(k, f);
    print_tensors(in);
}

static void put_keys(json_t *root, const limn_inspection *in, const kind_of_file *f)
{
    bool object = !strcmp(f->keys, "metadata");
    json_t *keys = object ? json_object() : json_array();
    const limn_key *k;
    for (size_t n = 0; (k = limn_inspection_key(in, n)); n++) {
        json_t *j = object ? NULL : json_object();
        if (object)
            json_object_set_new(keys, k->name, json_text(k->text));
        else
            json_object_set_new(j, "key", json_text(k->name));
        if (f == formats)
            json_object_set_new(j, "type", json_text(k->type));
        if (!object) {
            json_object_set_new(j, "value", json_value(k));
            json_array_append_new(keys, j);
        }
    }
    json_object_set_new(root, f->keys, keys);
}

static void put_inspection(json_t *root, const limn_inspection *in)
{
    const limn_inspection_info *i = limn_inspection_get_info(in);
    const kind_of_file *f = format_of(i);
    json_object_set_new(root, "format", json_text(i->shards ? "safetensors" : i->format)); /* as it has always been */
    if (f != formats)
        json_object_set_new(root, "family", i->family ? json_text(i->family) : json_null());
    if (i->note)
        json_object_set_new(root, "note", json_said(i->note));
    if (f->keys && !i->shards)
        put_keys(root, in, f);
    if (f->keys)
        put_tensors(root, in);
}

/* path NULL: the built-in model. */
static bool inspect_model(const char *path, json_t *root, err *e)
{
    limn_inspection *in = limn_inspection_open(path, e);
    if (in && root)
        put_inspection(root, in);
    else if (in)
        print_inspection(in);
    bool ok = in != NULL;
    limn_inspection_free(&in);
    return ok;
}

/* ---- arrays and pictures --------------------------------------------------------------------------------------- */

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

static bool inspect(const char *path, json_t *root, err *e)
{
    file_map map = {0};
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return inspect_model(path, root, e);
    if (!input_check(path, e) || !file_map_open(&map, path, e))
        return false;
    file_kind k = file_kind_of(map.data, map.size, path);
    bool ok;
    if (k.format == FILE_NPY)
        ok = inspect_npy(path, &map, root, e);
    else if (k.format == FILE_PNG)
        ok = inspect_picture(path, "png", root, e);
    else if (k.format == FILE_JPEG)
        ok = inspect_picture(path, "jpeg", root, e);
    else if (k.format == FILE_WEBP)
        ok = inspect_picture(path, "webp", root, e);
    else if (k.format == FILE_UNKNOWN && !model_file_is_index(path))
        ok = file_kind_refuse(&k, path, "GGUF, safetensors, PyTorch's files, npy, PNG, JPEG, WebP", e);
    else
        ok = inspect_model(path, root, e);
    file_map_release(&map);
    return ok;
}

int command_inspect(const options *o)
{
    err e = {0};
    const char *path = o->n_operands ? o->operands[0] : NULL;
    json_t *root = options_given(o, "json") ? json_object() : NULL;
    if (root)
        json_object_set_new(root, "file", json_text(path ? path : "the built-in model"));
    bool ok = path ? inspect(path, root, &e) : inspect_model(NULL, root, &e);
    if (ok && root)
        print_json(json_incref(root));
    json_decref(root);
    return ok ? 0 : report(&e);
}
