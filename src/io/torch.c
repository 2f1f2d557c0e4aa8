/* PyTorch's two containers: the zip archive with data.pkl, and the older row of pickles with storages behind. */
#include "io/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/torch_internal.h"

/* What the older container begins with: the pickle of its magic number, under protocol 2 or later. */
static const uint8_t magic[] = {0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

bool torch_recognise(const void *data, size_t size)
{
    const uint8_t *d = data;
    return size >= 4 && (!memcmp(d, "PK\3\4", 4) ||
                         (size >= 2 + sizeof magic && d[0] == 0x80 && !memcmp(d + 2, magic, sizeof magic)));
}

/* ---- element types ---- */

static const struct {
    const char *storage, *name, *alias;
    dtype type;
    size_t bytes; /* of an element of DTYPE_OTHER */
} types[] = {
    {"FloatStorage", "float32", "float", DTYPE_F32, 0},
    {"HalfStorage", "float16", "half", DTYPE_F16, 0},
    {"BFloat16Storage", "bfloat16", NULL, DTYPE_BF16, 0},
    {"DoubleStorage", "float64", "double", DTYPE_F64, 0},
    {"LongStorage", "int64", "long", DTYPE_I64, 0},
    {"IntStorage", "int32", "int", DTYPE_I32, 0},
    {"ShortStorage", "int16", "short", DTYPE_I16, 0},
    {"CharStorage", "int8", NULL, DTYPE_I8, 0},
    {"ByteStorage", "uint8", NULL, DTYPE_U8, 0},
    {"BoolStorage", "bool", NULL, DTYPE_BOOL, 0},
    {"UntypedStorage", "uint8", NULL, DTYPE_U8, 0}, /* counts bytes */
    {"UInt16Storage", "uint16", NULL, DTYPE_U16, 0},
    {"UInt32Storage", "uint32", NULL, DTYPE_U32, 0},
    {"UInt64Storage", "uint64", NULL, DTYPE_U64, 0},
    {"Float8_e4m3fnStorage", "float8_e4m3fn", NULL, DTYPE_F8_E4M3, 0},
    {"Float8_e5m2Storage", "float8_e5m2", NULL, DTYPE_F8_E5M2, 0},
    {"ComplexFloatStorage", "complex64", "cfloat", DTYPE_OTHER, 8},
    {"ComplexDoubleStorage", "complex128", "cdouble", DTYPE_OTHER, 16},
    {"ComplexHalfStorage", "complex32", "chalf", DTYPE_OTHER, 4},
    {"QInt8Storage", "qint8", NULL, DTYPE_OTHER, 1},
    {"QUInt8Storage", "quint8", NULL, DTYPE_OTHER, 1},
    {"QInt32Storage", "qint32", NULL, DTYPE_OTHER, 4},
    {"QUInt4x2Storage", "quint4x2", NULL, DTYPE_OTHER, 1},
    {"QUInt2x4Storage", "quint2x4", NULL, DTYPE_OTHER, 1},
};
enum { TYPES = sizeof types / sizeof *types };

bool torch_storage_type(const char *class_name, dtype *type, size_t *bytes)
{
    const char *dot = strrchr(class_name, '.'), *name = dot ? dot + 1 : class_name;
    for (size_t i = 0; i < TYPES; i++)
        if (!strncmp(class_name, "torch.", 6) && !strcmp(name, types[i].storage)) {
            *type = types[i].type;
            *bytes = types[i].type == DTYPE_OTHER ? types[i].bytes : (size_t)dtype_table[*type].bytes;
            return true;
        }
    return false;
}

bool torch_dtype(const char *name, dtype *type)
{
    if (strncmp(name, "torch.", 6) != 0)
        return false;
    *type = DTYPE_OTHER;
    for (size_t i = 0; i < TYPES; i++)
        if (!strcmp(name + 6, types[i].name) || (types[i].alias && !strcmp(name + 6, types[i].alias))) {
            *type = types[i].type;
            break;
        }
    return true;
}

/* ---- storages ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const torch_storage *)a)->key, ((const torch_storage *)b)->key);
}

bool torch_storage_data(torch_file *f, const char *key, const uint8_t **data, size_t *bytes, err *e)
{
    char name[4400];
    size_t i;
    if (f->zip) {
        int n = snprintf(name, sizeof name, "%sdata/%s", f->folder, key);
        if (n < (int)sizeof name && zip_find(f->zip, name, &i))
            return zip_data(f->zip, i, data, bytes, e);
    } else {
        const torch_storage wanted = {.key = key};
        const torch_storage *s = bsearch(&wanted, f->storages, f->n_storages, sizeof *s, by_key);
        if (s) {
            *data = s->data;
            *bytes = s->bytes;
            return true;
        }
    }
    return err_set(e, ERR_FAILED, "%s: storage '%.100s': it is not in the file", f->name, key);
}

/* ---- the zip archive ---- */

/* The entry whose name is "data.pkl", or that in a folder. */
static bool find_pickle(torch_file *f, size_t *at, err *e)
{
    for (size_t i = 0; i < zip_count(f->zip); i++) {
        const char *name = zip_name(f->zip, i), *slash = strchr(name, '/');
        if (strcmp(slash ? slash + 1 : name, "data.pkl") != 0)
            continue;
        size_t n = slash ? (size_t)(slash + 1 - name) : 0;
        f->folder = calloc(1, n + 1);
        if (!f->folder)
            return err_no_memory(e, f->name, n + 1);
        memcpy(f->folder, name, n);
        *at = i;
        return true;
    }
    return err_set(e, ERR_FAILED, "%s: zip: there is no data.pkl in it (is this a PyTorch file?)", f->name);
}

static bool check_byte_order(torch_file *f, err *e)
{
    char name[4400];
    size_t i, bytes = 0;
    const uint8_t *text = NULL;
    snprintf(name, sizeof name, "%sbyteorder", f->folder);
    if (!zip_find(f->zip, name, &i))
        return true;
    if (!zip_data(f->zip, i, &text, &bytes, e))
        return false;
    return (bytes == 6 && !memcmp(text, "little", 6)) ||
           err_set(e, ERR_FAILED, "%s: byteorder: not \"little\": big-endian files are not supported", f->name);
}

static bool open_zip(torch_file *f, const void *data, size_t size, err *e)
{
    size_t at = 0, bytes = 0, used;
    const uint8_t *text = NULL;
    char name[256];
    f->zip = zip_open(data, size, f->name, e);
    if (!f->zip || !find_pickle(f, &at, e) || !check_byte_order(f, e) || !zip_data(f->zip, at, &text, &bytes, e))
        return false;
    snprintf(name, sizeof name, "%s: data.pkl", f->name);
    f->pickle = pickle_read(text, bytes, &used, name, e);
    return f->pickle;
}

/* ---- the older container ---- */

/* The next pickle in data; *at moves behind it. */
static pickle *next_pickle(torch_file *f, const uint8_t *data, size_t size, size_t *at, const char *what, err *e)
{
    char name[256];
    size_t used = 0;
    snprintf(name, sizeof name, "%s: %s, at %zu", f->name, what, *at);
    pickle *p = pickle_read(data + *at, size - *at, &used, name, e);
    *at += used;
    return p;
}

/* Magic number, version and the machine that wrote it. */
static bool check_head(torch_file *f, const uint8_t *data, size_t size, size_t *at, err *e)
{
    int64_t version = 0;
    bool little = false;
    pickle *number = next_pickle(f, data, size, at, "magic number", e);
    pickle *protocol = number ? next_pickle(f, data, size, at, "protocol version", e) : NULL;
    pickle *machine = protocol ? next_pickle(f, data, size, at, "sys info", e) : NULL;
    bool ok = machine;
    if (ok && (!pickle_int(pickle_root(protocol), &version) || version != 1001))
        ok = err_set(e, ERR_FAILED, "%s: protocol version: not 1001, the only one known", f->name);
    if (ok && (!pickle_truth(pickle_get(pickle_root(machine), "little_endian"), &little) || !little))
        ok = err_set(e, ERR_FAILED, "%s: sys info: big-endian files are not supported", f->name);
    pickle_free(number);
    pickle_free(protocol);
    pickle_free(machine);
    return ok;
}

/* The storages that the object refers to, by key; without their data yet. */
static bool declare_storages(torch_file *f, err *e)
{
    size_t n, kept = 0;
    const pickle_value *const *ids = pickle_persistents(f->pickle, &n);
    f->storages = calloc(n ? n : 1, sizeof *f->storages);
    if (!f->storages)
        return err_no_memory(e, f->name, n * sizeof *f->storages);
    for (size_t i = 0; i < n; i++) {
        const pickle_value *class = pickle_at(ids[i]->args, 1);
        const char *key = pickle_text(pickle_at(ids[i]->args, 2));
        torch_storage *s = &f->storages[f->n_storages];
        if (!key || !class || class->kind != PICKLE_CLASS)
            return err_set(e, ERR_FAILED, "%s: the id of a storage is not (\"storage\", class, key, ...)", f->name);
        if (!torch_storage_type(class->text, &s->type, &s->element))
            return err_set(e, ERR_FAILED, "%s: storage '%.100s': %.100s is not supported", f->name, key, class->text);
        s->key = key;
        f->n_storages++;
    }
    qsort(f->storages, f->n_storages, sizeof *f->storages, by_key);
    for (size_t i = 0; i < f->n_storages; i++) {
        torch_storage *s = &f->storages[i], *last = kept ? &f->storages[kept - 1] : NULL;
        if (!last || strcmp(last->key, s->key) != 0)
            f->storages[kept++] = *s;
        else if (last->type != s->type || last->element != s->element)
            return err_set(e, ERR_FAILED, "%s: storage '%.100s': it has two types", f->name, s->key);
    }
    f->n_storages = kept;
    return true;
}

/* The list of keys, then for each its elements' number and the elements. */
static bool place_storages(torch_file *f, const uint8_t *data, size_t size, size_t at, err *e)
{
    pickle *keys = next_pickle(f, data, size, &at, "storage keys", e);
    bool ok = keys;
    size_t n = 0;
    if (ok && !pickle_length(pickle_root(keys), &n))
        ok = err_set(e, ERR_FAILED, "%s: storage keys: not a list", f->name);
    for (size_t i = 0; ok && i < n; i++) {
        const char *key = pickle_text(pickle_at(pickle_root(keys), i));
        const torch_storage wanted = {.key = key ? key : ""};
        torch_storage *s = bsearch(&wanted, f->storages, f->n_storages, sizeof *s, by_key);
        uint64_t count;
        if (!s || s->data) {
            ok = err_set(e, ERR_FAILED, "%s: storage keys: '%.100s' is none of the file's, or comes twice", f->name,
                         wanted.key);
        } else if (size - at < sizeof count) {
            ok = err_set(e, ERR_FAILED, "%s: storage '%.100s': its size is missing (is the file incomplete?)", f->name,
                         key);
        } else {
            memcpy(&count, data + at, sizeof count);
            at += sizeof count;
            s->data = data + at;
            if (count > (size - at) / s->element)
                ok = err_set(e, ERR_FAILED,
                             "%s: storage '%.100s': %llu elements reach over the end (is the file "
                             "incomplete?)",
                             f->name, key, (unsigned long long)count);
            else
                s->bytes = (size_t)count * s->element;
            at += s->bytes;
        }
    }
    pickle_free(keys);
    return ok;
}

static bool open_row(torch_file *f, const uint8_t *data, size_t size, err *e)
{
    size_t at = 0;
    if (!check_head(f, data, size, &at, e))
        return false;
    f->pickle = next_pickle(f, data, size, &at, "pickle", e);
    if (!f->pickle || !declare_storages(f, e) || !place_storages(f, data, size, at, e))
        return false;
    for (size_t i = 0; i < f->n_storages; i++)
        if (!f->storages[i].data)
            return err_set(e, ERR_FAILED, "%s: storage '%.100s': it is not in the file", f->name, f->storages[i].key);
    return true;
}

/* ---- the file ---- */

/* Functions of these would run code or reach into the system. */
static bool runs_code(const char *class_name)
{
    static const char *const modules[] = {"os",      "posix",    "nt",     "sys",    "subprocess", "pty",
                                          "runpy",   "commands", "ctypes", "socket", "shutil",     "importlib",
                                          "marshal", "platform", "code",   "codeop", "webbrowser", "multiprocessing"};
    static const char *const functions[] = {"eval",       "exec", "execfile", "compile",
                                            "__import__", "open", "input",    "breakpoint"};
    const char *dot = strchr(class_name, '.'), *last = strrchr(class_name, '.');
    size_t n = dot ? (size_t)(dot - class_name) : 0;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strlen(modules[i]) == n && !memcmp(modules[i], class_name, n))
            return true;
    bool builtin = !strncmp(class_name, "builtins.", 9) || !strncmp(class_name, "__builtin__.", 12);
    for (size_t i = 0; builtin && i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(last + 1, functions[i]))
            return true;
    return false;
}

/* Reading runs nothing, whatever a file names; but who gets such a file should know. */
static bool refuse_code(const torch_file *f, err *e)
{
    size_t n;
    const pickle_value *const *classes = pickle_classes(f->pickle, &n);
    for (size_t i = 0; i < n; i++)
        if (runs_code(classes[i]->text))
            return err_set(e, ERR_FAILED,
                           "%s: it names %.100s, which would run code if Python loaded the file (nothing was run; get "
                           "the file from a source that you trust)",
                           f->name, classes[i]->text);
    return true;
}

static torch_file *open_file(const void *data, size_t size, const char *name, bool whole, err *e)
{
    torch_file *f = calloc(1, sizeof *f);
    if (!f) {
        err_no_memory(e, name, sizeof *f);
        return NULL;
    }
    f->name = name;
    bool zipped = size >= 2 && !memcmp(data, "PK", 2);
    bool ok = zipped ? open_zip(f, data, size, e) : open_row(f, data, size, e);
    if (ok && refuse_code(f, e) && torch_collect(f, whole, e))
        return f;
    torch_free(f);
    return NULL;
}

torch_file *torch_open(const void *data, size_t size, const char *name, err *e)
{
    return open_file(data, size, name, false, e);
}

torch_file *torch_open_whole(const void *data, size_t size, const char *name, err *e)
{
    return open_file(data, size, name, true, e);
}

void torch_free(torch_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++)
        free((char *)f->tensors[i].name);
    free(f->tensors);
    free(f->index);
    free(f->storages);
    free(f->folder);
    pickle_free(f->pickle);
    zip_free(f->zip);
    free(f);
}

size_t torch_count(const torch_file *f)
{
    return f->n;
}

const file_tensor *torch_tensor(const torch_file *f, size_t i)
{
    return i < f->n ? &f->tensors[i] : NULL;
}

const file_tensor *torch_find(const torch_file *f, const char *name)
{
    return file_tensor_find(f->index, f->n, name);
}

const pickle_value *torch_root(const torch_file *f)
{
    return pickle_root(f->pickle);
}
