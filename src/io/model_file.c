/* Model files of any format as one table of tensors; those that are cut in shards by their index. */
#include "io/model_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file_kind.h"
#include "io/json_file.h"
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
    bool whole;
    part *parts; /* the shards, or one */
    size_t n_parts;
    file_tensor *tensors;
    size_t n;
    const file_tensor **index;
};

/* ---- one file ---- */

static bool open_map(part *p, const char *path, bool whole, err *e)
{
    const void *data = p->map.data;
    size_t size = p->map.size;
    file_kind k = file_kind_of(data, size, path);
    if (k.format == FILE_GGUF)
        p->gguf = gguf_open(data, size, path, e);
    else if (k.format == FILE_TORCH)
        p->torch = whole ? torch_open_whole(data, size, path, e) : torch_open(data, size, path, e);
    else if (k.format == FILE_SAFETENSORS)
        p->safetensors = safetensors_open(data, size, path, e);
    else
        return file_kind_refuse(&k, path, "GGUF, safetensors and PyTorch's checkpoints", e);
    return p->gguf || p->torch || p->safetensors;
}

static bool open_part(part *p, const char *path, bool whole, err *e)
{
    err own = {0};
    if (!file_map_open(&p->map, path, e))
        return false;
    if (open_map(p, path, whole, &own))
        return true;
    if (file_kind_is_partial(path))
        return err_set(e, ERR_FAILED, "%s: a download that isn't complete (let it end, or download the file again)",
                       own.text);
    return err_copy(e, &own);
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

static bool part_has(const part *p, const char *name)
{
    return p->torch ? torch_find(p->torch, name) != NULL
                    : p->safetensors && safetensors_find(p->safetensors, name) != NULL;
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
    return open_part(p, path ? path : m->path, m->whole, e);
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
    if (access(path, F_OK) != 0) {
        err_set(e, ERR_FAILED, "%s: cannot open: %s: %s names this shard (download all files of the model)", path,
                strerror(errno), slash ? slash + 1 : m->path);
        free(path);
        return NULL;
    }
    if (!add_part(m, path, e))
        return NULL;
    const part *p = &m->parts[m->n_parts - 1];
    if (p->gguf) {
        err_set(e, ERR_FAILED, "%s: a GGUF file, and shards are safetensors or PyTorch's", path);
        return NULL;
    }
    return p;
}

/* {"weight_map": {tensor: file}}: every tensor must be in the file that it is said to be in. */
static bool open_shards(model_file *m, err *e)
{
    json_t *root = json_file_load(m->path, JSON_REJECT_DUPLICATES, "an index names the shard of each tensor", e),
           *value;
    json_t *map = json_object_get(root, "weight_map");
    const char *name;
    bool ok = root;
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
        if (ok && !part_has(p, name))
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

static model_file *open_file(const char *path, bool whole, err *e)
{
    model_file *m = calloc(1, sizeof *m);
    if (!m) {
        err_no_memory(e, path, sizeof *m);
        return NULL;
    }
    m->path = path;
    m->whole = whole;
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

model_file *model_file_open(const char *path, err *e)
{
    return open_file(path, false, e);
}

model_file *model_file_open_whole(const char *path, err *e)
{
    return open_file(path, true, e);
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

const char *model_file_metadata(const model_file *m, const char *key)
{
    return m->n_parts && m->parts[0].safetensors ? safetensors_metadata(m->parts[0].safetensors, key) : NULL;
}

const pickle_value *model_file_root(const model_file *m)
{
    return m->format == MODEL_TORCH ? torch_root(m->parts[0].torch) : NULL;
}

const char *model_file_path(const model_file *m, size_t i)
{
    if (i == 0)
        return m->path;
    size_t at = m->format == MODEL_SHARDS ? i - 1 : m->n_parts;
    return at < m->n_parts ? m->parts[at].path : NULL;
}
