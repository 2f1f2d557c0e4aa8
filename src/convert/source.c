/* The tensors of the inputs by their names, and what else PyTorch's files hold. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "convert/convert_internal.h"
#include "convert/names.h"

static source_tensor *source_find(const source *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].t->name, name))
            return &s->tensors[i];
    return NULL;
}

struct source_made {
    struct source_made *next;
    file_tensor t;
    float *data;
    char name[];
};

static const file_tensor *find_made(const source *s, const char *name)
{
    for (const struct source_made *m = s->made; m; m = m->next)
        if (!strcmp(m->name, name))
            return &m->t;
    return NULL;
}

bool source_make(source *s, const char *name, int nd, const int64_t *shape, float *data, err *e)
{
    struct source_made *m = calloc(1, sizeof *m + strlen(name) + 1);
    if (!m) {
        free(data);
        return err_no_memory(e, name, sizeof *m);
    }
    strcpy(m->name, name);
    m->data = data;
    m->t = (file_tensor){.name = m->name, .type = DTYPE_F32, .nd = nd, .data = data};
    int64_t stride = 1;
    for (int i = nd - 1; i >= 0; stride *= shape[i--]) {
        m->t.shape[i] = shape[i];
        m->t.stride[i] = stride;
    }
    m->t.bytes = (size_t)stride * sizeof *data;
    m->next = s->made;
    s->made = m;
    return true;
}

void source_release_made(source *s)
{
    for (struct source_made *m = s->made, *next; m; m = next) {
        next = m->next;
        free(m->data);
        free(m);
    }
}

const file_tensor *source_tensor_of(const source *s, const char *name)
{
    const source_tensor *found = source_find(s, name);
    return found ? found->t : find_made(s, name);
}

bool source_has(const source *s, const char *name)
{
    return source_tensor_of(s, name) != NULL;
}

bool source_stand_beside(source *s, const char *name, err *e)
{
    const source_tensor *t = source_find(s, name);
    const char *slash = t ? strrchr(t->file, '/') : NULL;
    char *folder = !t                 ? strdup(s->directory)
                   : slash == t->file ? strdup("/")
                   : slash            ? strndup(t->file, (size_t)(slash - t->file))
                                      : strdup(".");
    if (!folder)
        return err_no_memory(e, name, 4096);
    free(s->own_folder);
    s->directory = s->own_folder = folder;
    return true;
}

bool source_file_has(const source *s, size_t file, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->tensors[i].input == file && !strcmp(s->tensors[i].t->name, name))
            return true;
    return false;
}

bool source_prefix(source *s, size_t file, const char *prefix, err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        source_tensor *t = &s->tensors[i];
        size_t size = strlen(prefix) + strlen(t->own.name) + 1;
        char *name = t->input == file ? malloc(size) : NULL;
        if (t->input != file)
            continue;
        if (!name)
            return err_no_memory(e, t->file, size);
        snprintf(name, size, "%s%s", prefix, t->own.name);
        free(t->renamed);
        t->own.name = t->renamed = name;
    }
    return true;
}

/* The entry at the root, or beside one of what the prefix of the file's model goes through. */
static const pickle_value *get_around(const source *s, size_t file, const char *key)
{
    const pickle_value *at = model_file_root(s->files[file]), *found = pickle_get(at, key);
    const network_root *r = NULL;
    for (size_t i = 0; i < s->n && !r; i++)
        if (s->tensors[i].input == file && s->tensors[i].root)
            r = &s->roots[s->tensors[i].root - 1];
    for (const char *part = r ? r->prefix : ""; !found && at && *part;) {
        char name[256];
        size_t n = strcspn(part, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, part);
        at = pickle_get(at, name);
        found = pickle_get(at, key);
        part += n + (part[n] != 0);
    }
    return found;
}

const pickle_value *source_get(const source *s, const char *key)
{
    const pickle_value *found = NULL;
    for (size_t i = 0; !found && i < s->n_files; i++)
        found = get_around(s, i, key);
    return found;
}

const file_tensor *import_find(import *im, const char *name)
{
    source *s = im->from;
    source_tensor *found = source_find(s, name);
    if (!found && find_made(s, name))
        return find_made(s, name);
    if (!found) {
        char whole[256];
        import_names_full(s, name, whole);
        err_set(&im->error, ERR_FAILED, "convert: tensor %s is missing (are all files of the model given?)", whole);
        return NULL;
    }
    for (source_tensor *t = found + 1; t < s->tensors + s->n; t++)
        if (!strcmp(t->t->name, name)) {
            err_set(&im->error, ERR_FAILED, "%s: tensor %s is in %s too", t->file, name, found->file);
            return NULL;
        }
    found->used = true;
    return found->t;
}

void import_skip(import *im, const char *prefix)
{
    for (size_t i = 0; i < im->from->n; i++)
        if (!strncmp(im->from->tensors[i].t->name, prefix, strlen(prefix)))
            im->from->tensors[i].used = true;
}

int import_size(import *im, int i, const char *format, ...)
{
    char name[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    const file_tensor *t = import_find(im, name);
    if (!t || i >= t->nd)
        return 0; /* of too few dimensions: its shape is checked where it is imported */
    return t->shape[i] <= INT32_MAX ? (int)t->shape[i] : 0;
}

bool import_has(const import *im, const char *format, ...)
{
    char name[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    return source_has(im->from, name);
}
