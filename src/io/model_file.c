/* Model files of any format as one table of tensors; those that are cut in shards by their index. */
#include "io/model_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "io/torch.h"

/* One mapped file, with the reader of its format. */
typedef struct part {
    char *path; /* of a shard; else NULL */
    file_map map;
    gguf *gguf;
    safetensors *safetensors;
    torch_file *torch;
} part;

struct model_file {
    const char *path;
    model_format format;
    part *parts; /* the shards, or one */
    size_t n_parts;
    file_tensor *tensors;
    size_t n;
    const file_tensor **index;
};

/* ---- one file ---- */

static bool open_part(part *p, const char *path, err *e)
{
    if (!file_map_open(&p->map, path, e))
        return false;
    if (p->map.size >= 4 && !memcmp(p->map.data, "GGUF", 4))
        p->gguf = gguf_open(p->map.data, p->map.size, path, e);
    else if (torch_recognise(p->map.data, p->map.size))
        p->torch = torch_open(p->map.data, p->map.size, path, e);
    else
        p->safetensors = safetensors_open(p->map.data, p->map.size, path, e);
    return p->gguf || p->torch || p->safetensors;
}

static void close_part(part *p)
{
    safetensors_free(p->safetensors);
    torch_free(p->torch);
    gguf_free(p->gguf);
    file_map_release(&p->map);
    free(p->path);
}

static size_t part_count(const part *p)
{
    return p->gguf ? gguf_tensor_count(p->gguf) : p->torch ? torch_count(p->torch) : safetensors_count(p->safetensors);
}

static const file_tensor *part_tensor(const part *p, size_t i)
{
    return p->gguf    ? gguf_tensor(p->gguf, i)
           : p->torch ? torch_tensor(p->torch, i)
                      : safetensors_tensor(p->safetensors, i);
}

/* ---- shards ---- */

bool model_file_is_index(const char *path)
{
    static const char end[] = ".index.json";
    size_t n = strlen(path), m = sizeof end - 1;
    return n > m && !strcmp(path + n - m, end);
}

static bool add_part(model_file *m, char *path, err *e)
{
    part *grown = realloc(m->parts, (m->n_parts + 1) * sizeof *grown);
    if (!grown) {
        free(path);
        return err_no_memory(e, m->path, (m->n_parts + 1) * sizeof *grown);
    }
    m->parts = grown;
    part *p = &m->parts[m->n_parts++];
    *p = (part){.path = path};
    return open_part(p, path ? path : m->path, e);
}

/* The shard of that name, which lies beside the index; opened where it isn't yet. */
static const part *shard(model_file *m, const char *file, err *e)
{
    const char *slash = strrchr(m->path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - m->path) : 0, n = strlen(file);
    for (size_t i = 0; i < m->n_parts; i++)
        if (!strcmp(m->parts[i].path + folder, file))
            return &m->parts[i];
    if (strchr(file, '/') || !*file) {
        err_set(e, ERR_FAILED, "%s: weight_map: '%.100s' is not the name of a file beside it", m->path, file);
        return NULL;
    }
    char *path = malloc(folder + n + 1);
    if (!path) {
        err_no_memory(e, m->path, folder + n + 1);
        return NULL;
    }
    memcpy(path, m->path, folder);
    memcpy(path + folder, file, n + 1);
    if (!add_part(m, path, e))
        return NULL;
    const part *p = &m->parts[m->n_parts - 1];
    if (!p->safetensors) {
        err_set(e, ERR_FAILED, "%s: it is no safetensors file, as its index says", path);
        return NULL;
    }
    return p;
}

/* {"weight_map": {tensor: file}}: every tensor must be in the file that it is said to be in. */
static bool open_shards(model_file *m, err *e)
{
    json_error_t why;
    json_t *root = json_load_file(m->path, JSON_REJECT_DUPLICATES, &why), *value;
    json_t *map = json_object_get(root, "weight_map");
    const char *name;
    bool ok = root || err_set(e, ERR_FAILED, "%s: line %d: %s", m->path, why.line, why.text);
    if (ok && !json_object_size(map))
        ok = err_set(e, ERR_FAILED, "%s: weight_map: missing, or empty", m->path);
    json_object_foreach(map, name, value)
    {
        const part *p = NULL;
        if (ok && !json_is_string(value))
            ok = err_set(e, ERR_FAILED, "%s: weight_map: '%.100s': not the name of a file", m->path, name);
        if (ok)
            p = shard(m, json_string_value(value), e);
        ok = ok && p;
        if (ok && !safetensors_find(p->safetensors, name))
            ok = err_set(e, ERR_FAILED, "%s: weight_map: tensor '%.100s' is not in %.100s", m->path, name, p->path);
    }
    json_decref(root);
    return ok;
}

/* ---- the whole ---- */

static bool make_table(model_file *m, err *e)
{
    for (size_t i = 0; i < m->n_parts; i++)
        m->n += part_count(&m->parts[i]);
    m->tensors = calloc(m->n ? m->n : 1, sizeof *m->tensors);
    if (!m->tensors)
        return err_no_memory(e, m->path, m->n * sizeof *m->tensors);
    for (size_t i = 0, k = 0; i < m->n_parts; i++)
        for (size_t j = 0; j < part_count(&m->parts[i]); j++)
            m->tensors[k++] = *part_tensor(&m->parts[i], j);
    m->index = file_tensor_index(m->tensors, m->n, m->path, e);
    return m->index;
}

model_file *model_file_open(const char *path, err *e)
{
    model_file *m = calloc(1, sizeof *m);
    if (!m) {
        err_no_memory(e, path, sizeof *m);
        return NULL;
    }
    m->path = path;
    bool shards = model_file_is_index(path);
    bool ok = (shards ? open_shards(m, e) : add_part(m, NULL, e)) && make_table(m, e);
    if (!ok) {
        model_file_free(m);
        return NULL;
    }
    m->format = shards              ? MODEL_SHARDS
                : m->parts[0].gguf  ? MODEL_GGUF
                : m->parts[0].torch ? MODEL_TORCH
                                    : MODEL_SAFETENSORS;
    return m;
}

void model_file_free(model_file *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_parts; i++)
        close_part(&m->parts[i]);
    free(m->parts);
    free(m->tensors);
    free(m->index);
    free(m);
}

void model_file_forget(const model_file *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        file_map_forget(&m->parts[i].map);
}

model_format model_file_format(const model_file *m)
{
    return m->format;
}

size_t model_file_count(const model_file *m)
{
    return m->n;
}

const file_tensor *model_file_tensor(const model_file *m, size_t i)
{
    return i < m->n ? &m->tensors[i] : NULL;
}

const file_tensor *model_file_find(const model_file *m, const char *name)
{
    return file_tensor_find(m->index, m->n, name);
}

const gguf *model_file_gguf(const model_file *m)
{
    return m->format == MODEL_GGUF ? m->parts[0].gguf : NULL;
}

const pickle_value *model_file_root(const model_file *m)
{
    return m->format == MODEL_TORCH ? torch_root(m->parts[0].torch) : NULL;
}
