/* The tensors in a checkpoint's tree: the records that rebuild them, and the walk that names them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/torch_internal.h"

enum { DEPTH_LIMIT = 64, STEP_LIMIT = 1 << 22, NAME_LIMIT = 1024 };

typedef struct walk {
    torch_file *f;
    err *e;
    int64_t steps;
    const char *unknown;                       /* the class of a record that was passed over */
    bool whole;                                /* what refers to itself is passed over */
    const pickle_value *path[DEPTH_LIMIT + 1]; /* the containers that the visited value is in, where `whole` */
    char name[NAME_LIMIT];                     /* of the value that is visited */
} walk;

/* "FILE: tensor 'NAME': reason".  Returns false. */
__attribute__((format(printf, 2, 3))) static bool fail(walk *w, const char *fmt, ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return err_set(w->e, ERR_FAILED, "%s: tensor '%.100s': %s", w->f->name, w->name, reason);
}

/* ---- rebuilding ---- */

/* The function that rebuilds the tensor and its arguments, behind parameters and subclasses of tensors; false where v
 * is no tensor. */
static bool rebuild_of(const pickle_value *v, const char **function, const pickle_value **args)
{
    static const char *const wrappers[] = {"torch._utils._rebuild_parameter",
                                           "torch._utils._rebuild_parameter_with_state",
                                           "torch._utils._rebuild_device_tensor_from_cpu_tensor"};
    if (!v || v->kind != PICKLE_OBJECT)
        return false;
    *function = v->class_name;
    *args = v->args;
    for (int depth = 0; depth < 8; depth++) {
        bool typed = !strcmp(*function, "torch._tensor._rebuild_from_type_v2"), wrapped = false;
        for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
            wrapped |= !strcmp(*function, wrappers[i]);
        if (!typed && !wrapped)
            break;
        const pickle_value *first = pickle_at(*args, 0);
        if (typed && first && first->kind == PICKLE_CLASS) { /* (function, type, args, state) */
            *function = first->text;
            *args = pickle_at(*args, 2);
        } else if (wrapped && first && first->kind == PICKLE_OBJECT) { /* (tensor, ...) */
            *function = first->class_name;
            *args = first->args;
        } else {
            return false;
        }
    }
    return !strncmp(*function, "torch._utils._rebuild_", 22);
}

typedef struct storage {
    dtype type;
    const char *name; /* of DTYPE_OTHER */
    const uint8_t *data;
    int64_t count; /* elements */
} storage;

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* ("storage", class, key, location, elements[, view]); type: of v3's tensors, whose storages have none; or NULL. */
static bool read_storage(walk *w, const pickle_value *id, const dtype *type, storage *s)
{
    const pickle_value *args = id && id->kind == PICKLE_PERSISTENT ? id->args : NULL, *class = pickle_at(args, 1);
    const pickle_value *view = pickle_at(args, 5);
    const char *key = pickle_text(pickle_at(args, 2));
    int64_t stated, offset = 0;
    size_t bytes;
    if (!key || !class || class->kind != PICKLE_CLASS || !pickle_int(pickle_at(args, 4), &stated) || stated < 0)
        return fail(w, "its storage is not (\"storage\", class, key, device, size)");
    size_t size = 1;
    if (!torch_storage_type(class->text, &s->type, &size))
        s->type = DTYPE_OTHER;
    s->name = last_part(class->text);
    if (s->type == DTYPE_OTHER)
        return true; /* it can't be read, so its data aren't looked up */
    if (!torch_storage_data(w->f, key, &s->data, &bytes, w->e))
        return false;
    if (w->f->zip ? bytes / size != (uint64_t)stated || bytes % size : bytes / size < (uint64_t)stated)
        return fail(w, "storage '%.100s' has %zu bytes, and %lld elements of %zu are stated", key, bytes,
                    (long long)stated, size);
    s->count = (int64_t)(bytes / size);
    if (view && view->kind == PICKLE_TUPLE) { /* the older container: (key, first element, elements) of the storage */
        if (!pickle_int(pickle_at(view, 1), &offset) || !pickle_int(pickle_at(view, 2), &stated) || offset < 0 ||
            stated < 0 || offset > s->count || stated > s->count - offset)
            return fail(w, "its view is not inside storage '%.100s'", key);
        s->data += (size_t)offset * size;
        s->count = stated;
    }
    if (type && *type == DTYPE_OTHER) {
        s->type = *type;
    } else if (type) {
        s->count = s->count * (int64_t)size / dtype_table[*type].bytes;
        s->type = *type;
    }
    return true;
}

/* A tensor that is named and not read: of a type, or of a kind, that limn doesn't know. */
static bool describe(walk *w, const char *name, const pickle_value *sizes, file_tensor *t)
{
    size_t n = 0;
    bool ok = pickle_length(sizes, &n) && n <= TENSOR_DIMS;
    t->type = DTYPE_OTHER;
    t->type_name = name;
    t->data = "";
    for (size_t i = 0; i < n && ok; i++)
        ok = pickle_int(pickle_at(sizes, i), &t->shape[i]) && t->shape[i] >= 0;
    t->nd = ok ? (int)n : 0;
    if (!ok)
        t->shape[0] = 0;
    ok = file_tensor_measure(t, w->f->name, w->e);
    t->bytes = 0;
    return ok;
}

static bool read_sizes(walk *w, const pickle_value *v, const char *what, int *nd, int64_t sizes[TENSOR_DIMS])
{
    size_t n;
    if (!pickle_length(v, &n))
        return fail(w, "%s: missing, or no tuple", what);
    if (n > TENSOR_DIMS)
        return fail(w, "%s: %zu dimensions, but at most %d are supported", what, n, TENSOR_DIMS);
    *nd = (int)n;
    for (size_t i = 0; i < n; i++)
        if (!pickle_int(pickle_at(v, i), &sizes[i]) || sizes[i] < 0)
            return fail(w, "%s: entry %zu is not an integer from 0", what, i);
    return true;
}

/* The offset of the last element from the first must be inside the storage, and so must all between. */
static bool check_reach(walk *w, const file_tensor *t, int64_t offset, const storage *s)
{
    int64_t last = offset, step;
    for (int i = 0; i < t->nd; i++) {
        if (t->shape[i] == 0)
            return true;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) || __builtin_add_overflow(last, step, &last))
            return fail(w, "its strides overflow");
    }
    return last < s->count ||
           fail(w, "it reaches to element %lld of a storage of %lld", (long long)last, (long long)s->count);
}

/* _rebuild_tensor(storage, offset, size, stride), v2 with more behind, v3 with the type at 6. */
static bool rebuild(walk *w, const char *function, const pickle_value *args, file_tensor *t)
{
    const char *version = function + strlen("torch._utils._rebuild_");
    bool v3 = !strcmp(version, "tensor_v3");
    if (!v3 && strcmp(version, "tensor") != 0 && strcmp(version, "tensor_v2") != 0)
        return describe(w, version, !strcmp(version, "qtensor") ? pickle_at(args, 2) : NULL, t);
    const pickle_value *name = pickle_at(args, 6);
    storage s = {0};
    dtype type = DTYPE_F32;
    int64_t offset, stride[TENSOR_DIMS] = {0};
    int strides;
    if (v3 && (!name || name->kind != PICKLE_CLASS || !torch_dtype(name->text, &type)))
        return fail(w, "dtype: it is not supported");
    if (!read_storage(w, pickle_at(args, 0), v3 ? &type : NULL, &s))
        return false;
    if (s.type == DTYPE_OTHER)
        return describe(w, v3 ? last_part(name->text) : s.name, pickle_at(args, 2), t);
    if (!read_sizes(w, pickle_at(args, 2), "size", &t->nd, t->shape) ||
        !read_sizes(w, pickle_at(args, 3), "stride", &strides, stride))
        return false;
    if (!pickle_int(pickle_at(args, 1), &offset) || offset < 0 || offset > s.count)
        return fail(w, "its offset is not inside its storage");
    if (strides != t->nd)
        return fail(w, "%d strides for %d dimensions", strides, t->nd);
    t->type = s.type;
    if (!file_tensor_measure(t, w->f->name, w->e))
        return false;
    memcpy(t->stride, stride, sizeof stride);
    t->data = s.data + (size_t)offset * (size_t)dtype_table[s.type].bytes;
    return check_reach(w, t, offset, &s);
}

static bool add_tensor(walk *w, const char *function, const pickle_value *args)
{
    torch_file *f = w->f;
    if (!*w->name)
        strcpy(w->name, "tensor"); /* the file is a tensor, and nothing else */
    if (!file_tensor_name_valid(w->name))
        return err_set(w->e, ERR_FAILED, "%s: the name of a tensor: control characters", f->name);
    if (f->n == f->capacity) {
        size_t capacity = f->capacity ? 2 * f->capacity : 256;
        file_tensor *grown = realloc(f->tensors, capacity * sizeof *grown);
        if (!grown)
            return err_no_memory(w->e, f->name, capacity * sizeof *grown);
        f->tensors = grown;
        f->capacity = capacity;
    }
    file_tensor t = {.name = w->name};
    if (!rebuild(w, function, args, &t))
        return false;
    t.name = strdup(w->name);
    if (!t.name)
        return err_no_memory(w->e, f->name, strlen(w->name) + 1);
    f->tensors[f->n++] = t;
    return true;
}

/* ---- the walk ---- */

static bool is_module(const pickle_value *v)
{
    const pickle_value *parameters = pickle_get(v, "_parameters"), *modules = pickle_get(v, "_modules");
    return v->kind == PICKLE_OBJECT && parameters && parameters->kind == PICKLE_DICT && modules &&
           modules->kind == PICKLE_DICT;
}

static bool visit(walk *w, const pickle_value *v, size_t at, int depth);

/* What a step of the walk may lead to; other values aren't worth a name. */
static bool is_container(const pickle_value *v)
{
    return v->kind == PICKLE_DICT || v->kind == PICKLE_OBJECT || v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE;
}

/* Visits v as the part `key` of what w->name[0, at) is. */
static bool visit_part(walk *w, const pickle_value *v, const char *key, size_t at, int depth)
{
    size_t n = strlen(key), dot = at ? 1 : 0;
    if (++w->steps > STEP_LIMIT)
        return err_set(w->e, ERR_FAILED, "%s: its pickle refers to the same things too often", w->f->name);
    if (!is_container(v))
        return true;
    if (n >= NAME_LIMIT - at - dot)
        return fail(w, "a name of more than %d characters", NAME_LIMIT);
    if (dot)
        w->name[at] = '.';
    memcpy(w->name + at + dot, key, n + 1);
    return visit(w, v, at + dot + n, depth + 1);
}

/* A dict's parts by key: texts and numbers.  `without`: a set of keys to leave out, or NULL. */
static bool visit_items(walk *w, const pickle_value *v, const pickle_value *without, size_t at, int depth)
{
    for (uint32_t i = 0; v->keys && i < v->n; i++) {
        char number[32];
        const char *key = pickle_text(v->keys[i]);
        int64_t index;
        if (!key && pickle_int(v->keys[i], &index)) {
            snprintf(number, sizeof number, "%lld", (long long)index);
            key = number;
        }
        bool skip = !key;
        for (size_t k = 0; !skip && without && k < without->n; k++) {
            const char *other = pickle_text(without->items[k]);
            skip = other && !strcmp(other, key);
        }
        if (!skip && !visit_part(w, v->items[i], key, at, depth))
            return false;
    }
    return true;
}

static bool visit_module(walk *w, const pickle_value *v, size_t at, int depth)
{
    const pickle_value *buffers = pickle_get(v, "_buffers"), *without = pickle_get(v, "_non_persistent_buffers_set");
    bool has_buffers = buffers && buffers->kind == PICKLE_DICT;
    if (without && without->kind != PICKLE_SET)
        without = NULL;
    return visit_items(w, pickle_get(v, "_parameters"), NULL, at, depth) &&
           (!has_buffers || visit_items(w, buffers, without, at, depth)) &&
           visit_items(w, pickle_get(v, "_modules"), NULL, at, depth);
}

static bool visit_list(walk *w, const pickle_value *v, size_t at, int depth)
{
    for (uint32_t i = 0; i < v->n; i++) {
        char number[32];
        snprintf(number, sizeof number, "%u", i);
        if (!visit_part(w, v->items[i], number, at, depth))
            return false;
    }
    return true;
}

/* Whether v contains itself, or is too deep to be a model's: what surrounds one may be of any form. */
static bool is_on_path(const walk *w, const pickle_value *v, int depth)
{
    for (int i = 0; i < depth && i <= DEPTH_LIMIT; i++)
        if (w->path[i] == v)
            return true;
    return depth > DEPTH_LIMIT;
}

/* w->name[0, at) is v's name. */
static bool visit(walk *w, const pickle_value *v, size_t at, int depth)
{
    const char *function;
    const pickle_value *args;
    w->name[at] = 0;
    if (w->whole && is_on_path(w, v, depth))
        return true;
    if (depth > DEPTH_LIMIT)
        return fail(w, "nested in more than %d others, or in itself", DEPTH_LIMIT);
    w->path[depth] = v;
    if (rebuild_of(v, &function, &args))
        return add_tensor(w, function, args);
    if (v->kind == PICKLE_DICT)
        return visit_items(w, v, NULL, at, depth);
    if (v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE)
        return visit_list(w, v, at, depth);
    if (v->kind != PICKLE_OBJECT)
        return true;
    if (is_module(v))
        return visit_module(w, v, at, depth);
    if (!strncmp(v->class_name, "__torch__.", 10) && v->state && v->state->kind == PICKLE_DICT)
        return visit_items(w, v->state, NULL, at, depth); /* TorchScript's modules have their parts as attributes */
    if (!w->unknown)
        w->unknown = v->class_name;
    return visit_items(w, v, NULL, at, depth); /* a kind of dict */
}

/* Whether v is a module, or a dict with a tensor in it. */
static bool is_model(const pickle_value *v)
{
    const char *function;
    const pickle_value *args;
    if (!v || is_module(v))
        return v;
    for (uint32_t i = 0; v->keys && i < v->n; i++)
        if (rebuild_of(v->items[i], &function, &args))
            return true;
    return false;
}

/* The part of a checkpoint that is the model. */
static const pickle_value *model_of(const pickle_value *root)
{
    static const char *const wrappers[] = {"ema", "state_dict", "weights", "model", "module"};
    if (is_module(root))
        return root;
    for (size_t i = 0; root->kind == PICKLE_DICT && i < sizeof wrappers / sizeof *wrappers; i++) {
        const pickle_value *part = pickle_get(root, wrappers[i]);
        if (is_model(part))
            return part;
    }
    return root;
}

bool torch_collect(torch_file *f, bool whole, err *e)
{
    walk w = {.f = f, .e = e, .whole = whole};
    const pickle_value *root = pickle_root(f->pickle);
    if (!visit(&w, whole ? root : model_of(root), 0, 0))
        return false;
    if (!f->n && w.unknown)
        return err_set(e, ERR_FAILED, "%s: it holds no tensors, but a record of class %.100s, which limn does not know",
                       f->name, w.unknown);
    if (!f->n)
        return err_set(e, ERR_FAILED, "%s: it holds no tensors", f->name);
    f->index = file_tensor_index(f->tensors, f->n, f->name, e);
    return f->index;
}
