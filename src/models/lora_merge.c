/* Adapters of files, added to a model's weights. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "io/json_file.h"
#include "models/lora_internal.h"
#include "models/transformers/diffusion.h"

#define PAGE ((size_t)4096)

/* ---- the files ---- */

static char *joined(const char *folder, size_t n, const char *name, err *e)
{
    char *path = malloc(n + strlen(name) + 2);
    if (!path) {
        err_no_memory(e, name, n);
        return NULL;
    }
    sprintf(path, "%.*s%s%s", (int)n, folder, n && folder[n - 1] != '/' ? "/" : "", name);
    return path;
}

/* In a folder PEFT's file, or that of diffusers. */
static bool find_files(adapter *a, const char *path, err *e)
{
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    size_t n = folder ? strlen(path) : (size_t)(file_base_name(path) - path);
    a->path = folder ? joined(path, n, LORA_FILE, e) : strdup(path);
    if (folder && a->path && access(a->path, F_OK) != 0) {
        char *other = joined(path, n, LORA_UNET, e);
        if (other && access(other, F_OK) == 0) {
            free(a->path);
            a->path = other;
        } else {
            free(other);
        }
    }
    a->config_path = a->path ? joined(path, n, LORA_CONFIG, e) : NULL;
    return a->config_path != NULL || err_no_memory(e, path, n);
}

/* A setting that changes what an adapter computes, into what limn doesn't. */
static bool check_kind(const adapter *a, err *e)
{
    static const char *const flags[] = {"use_dora", "fan_in_fan_out", "use_qalora"};
    const char *type = json_string_value(json_object_get(a->config, "peft_type"));
    const char *bias = json_string_value(json_object_get(a->config, "bias"));
    if (!type || strcmp(type, "LORA"))
        return err_set(e, ERR_FAILED, "%s: peft_type: %.64s, and limn adds adapters of the type LORA alone",
                       a->config_path, type ? type : "none");
    if (bias && strcmp(bias, "none"))
        return err_set(e, ERR_FAILED, "%s: bias: \"%.64s\": limn adds no biases (train it with \"none\")",
                       a->config_path, bias);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(a->config, flags[i])))
            return err_set(e, ERR_FAILED, "%s: %s: limn doesn't have it (train the adapter without)", a->config_path,
                           flags[i]);
    return true;
}

/* Whether it may do without a config: PEFT's own file has one. */
static bool has_config(const adapter *a, const transformer *d)
{
    return !d->latents || (!strcmp(file_base_name(a->path), LORA_FILE) && access(a->config_path, F_OK) == 0);
}

static bool open_adapter(adapter *a, const limn_adapter *from, const transformer *d, err *e)
{
    a->scale = from->scale;
    if (!from->path || !isfinite(from->scale))
        return err_set(e, ERR_USAGE, "`lora`: it has no path, or a scale that is no number");
    if (!find_files(a, from->path, e) || !(a->file = model_file_open(a->path, e)))
        return false;
    if (!has_config(a, d))
        return true;
    a->config = json_file_load(a->config_path, 0, "it is beside " LORA_FILE ", and says how strong the adapter is", e);
    return a->config && check_kind(a, e);
}

static void close_adapter(adapter *a)
{
    json_decref(a->config);
    model_file_free(a->file);
    free(a->path);
    free(a->config_path);
}

/* PEFT reads the names of these tables as regular expressions, and people write plain ones: others are refused. */
static bool check_patterns(const adapter *a, const json_t *config, const char *table, err *e)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(config, table), key, value)
    {
        if (key[strspn(key, plain)])
            return err_set(e, ERR_FAILED,
                           "%s: %s: \"%.100s\" is a regular expression, and limn reads the ends of layers' names "
                           "(write a line for each layer)",
                           a->config ? a->config_path : a->path, table, key);
    }
    return true;
}

/* The value of a pattern that the layer's name ends in, or `otherwise`. */
static double by_pattern(const json_t *patterns, const char *layer, double otherwise)
{
    const char *key;
    json_t *value;
    size_t n = strlen(layer);
    json_object_foreach((json_t *)patterns, key, value)
    {
        size_t k = strlen(key);
        if (k <= n && !strcmp(layer + n - k, key) && (k == n || layer[n - k - 1] == '.'))
            return json_number_value(value);
    }
    return otherwise;
}

bool lora_scale_of(const adapter *a, const json_t *config, const char *layer, int64_t rank, float *scale, err *e)
{
    const json_t *alpha = json_object_get(config, "lora_alpha"), *r = json_object_get(config, "r");
    if (!check_patterns(a, config, "rank_pattern", e) || !check_patterns(a, config, "alpha_pattern", e))
        return false;
    double wanted = by_pattern(json_object_get(config, "rank_pattern"), layer, json_number_value(r));
    if (!json_is_number(alpha) || !json_is_number(r))
        return err_set(e, ERR_FAILED, "%s: r and lora_alpha, which say how strong the adapter is, are missing",
                       a->config_path);
    if ((double)rank != wanted)
        return err_set(e, ERR_FAILED, "%s: %s: its rank is %lld, and %s says %g (they aren't of one adapter)", a->path,
                       layer, (long long)rank, a->config ? LORA_CONFIG : "its metadata", wanted);
    double strength = by_pattern(json_object_get(config, "alpha_pattern"), layer, json_number_value(alpha));
    bool stable = json_is_true(json_object_get(config, "use_rslora"));
    *scale = a->scale * (float)(strength / (stable ? sqrt((double)rank) : (double)rank));
    return true;
}

/* ---- whose they are ---- */

/* The layer in the name of a tensor, "base_model.model.LAYER.lora_A.weight", and whether it is B.  False: no such name.
 */
static bool read_name(const char *name, char layer[256], bool *b)
{
    static const char before[] = "base_model.model.";
    const char *end = strstr(name, ".lora_A."), *from = name;
    *b = !end;
    end = end ? end : strstr(name, ".lora_B.");
    if (!end || strcmp(strrchr(end, '.'), ".weight"))
        return false;
    if (!strncmp(from, before, strlen(before)))
        from += strlen(before);
    snprintf(layer, 256, "%.*s", (int)(end - from), from);
    return true;
}

/* Whether the layer is the module, behind what may stand before a language model's. */
static bool is_module(const char *layer, const char *module)
{
    static const char *const before[] = {"",
                                         "model.",
                                         "language_model.",
                                         "language_model.model.",
                                         "model.language_model.",
                                         "model.language_model.model."};
    size_t n = strlen(layer), m = strlen(module);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (n == strlen(before[i]) + m && !strncmp(layer, before[i], n - m) && !strcmp(layer + n - m, module))
            return true;
    return false;
}

static bool find_module(const merging *m, const char *layer, param **p, lora_module *module)
{
    lora_module parts[LOW_RANK_PARTS];
    for (size_t i = 0; i < m->t->n; i++)
        for (int k = 0, n = lora_modules(m->d, &m->t->list[i], true, parts); k < n; k++)
            if (is_module(layer, parts[k].name)) {
                *p = &m->t->list[i];
                *module = parts[k];
                return true;
            }
    return false;
}

static bool is_matrix(const file_tensor *t)
{
    return t->nd == 2 && t->shape[0] > 0 && t->shape[1] > 0 && t->type != DTYPE_OTHER &&
           dtype_table[t->type].block == 1;
}

/* The pair's shapes: a [rank, in], b [out, rank]; where queries share keys, files made before limn knew that repeat
 * them. */
static bool check_shapes(const adapter *a, const char *layer, change *c, err *e)
{
    int64_t in = c->p->shape[1];
    if (!is_matrix(&c->a) || !is_matrix(&c->b) || c->a.shape[0] != c->b.shape[1])
        return err_set(e, ERR_FAILED,
                       "%s: %s: no pair of lora_A [rank, in] and lora_B [out, rank] (is the file whole?)", a->path,
                       layer);
    int64_t out = c->b.shape[0];
    c->repeats = out < c->rows && c->rows % out == 0 && out % c->head == 0 ? c->rows / out : 1;
    if (c->a.shape[1] != in || c->repeats * out != c->rows)
        return err_set(
            e, ERR_FAILED,
            "%s: %s: it adapts %lld numbers to %lld, and the model's layer makes %lld of %lld (the adapter is "
            "of a model of another size)",
            a->path, layer, (long long)c->a.shape[1], (long long)out, (long long)c->rows, (long long)in);
    return true;
}

bool lora_add_change(merging *m, const change *c, err *e)
{
    if (!isfinite(c->scale))
        return err_set(e, ERR_FAILED,
                       "%s: what it is multiplied by, alpha over the rank and its strength, is no number (is the file "
                       "whole?)",
                       c->path);
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        change *grown = realloc(m->list, room * sizeof *grown);
        if (!grown)
            return err_no_memory(e, "adapters", room * sizeof *grown);
        m->list = grown;
        m->room = room;
    }
    m->list[m->n] = *c;
    m->list[m->n].order = m->n;
    m->n++;
    return true;
}

/* The other one of a pair. */
static const file_tensor *partner(const adapter *a, const char *name)
{
    char other[512];
    snprintf(other, sizeof other, "%s", name);
    char *at = strstr(other, ".lora_");
    at[6] = at[6] == 'A' ? 'B' : 'A';
    return model_file_find(a->file, other);
}

static bool read_pair(merging *m, const adapter *a, const file_tensor *t, err *e)
{
    char layer[256];
    bool b;
    change c = {.path = a->path, .a = *t};
    lora_module module;
    if (strlen(t->name) > 255 || !read_name(t->name, layer, &b))
        return err_set(e, ERR_FAILED,
                       "%s: tensor %.200s: limn adds pairs of lora_A and lora_B alone (train the adapter "
                       "without modules_to_save)",
                       a->path, t->name);
    const file_tensor *other = partner(a, t->name);
    if (b && other)
        return true; /* with its A */
    if (other)
        c.b = *other;
    if (!find_module(m, layer, &c.p, &module))
        return err_set(
            e, ERR_FAILED,
            "%s: it adapts the layer %s, which %s doesn't have (give the model that it was trained for; limn "
            "adapts what is in a transformer's blocks)",
            a->path, layer, m->model);
    c.first = module.first;
    c.rows = module.n;
    c.head = m->d->head_dim;
    if (!check_shapes(a, layer, &c, e) || !lora_scale_of(a, a->config, layer, c.a.shape[0], &c.scale, e))
        return false;
    return c.scale == 0 || lora_add_change(m, &c, e);
}

static bool read_adapter(merging *m, const adapter *a, err *e)
{
    for (size_t i = 0; i < model_file_count(a->file); i++)
        if (!read_pair(m, a, model_file_tensor(a->file, i), e))
            return false;
    return model_file_count(a->file) > 0 || err_set(e, ERR_FAILED, "%s: there are no adapters in it", a->path);
}

/* ---- the sums ---- */

/* The numbers of a tensor of that file, a new array. */
static float *floats_of(const char *path, const file_tensor *t, err *e)
{
    int64_t n = file_tensor_count(t), odd = 0;
    float *x = malloc((size_t)n * sizeof *x);
    if (!x) {
        err_no_memory(e, t->name, (size_t)n * sizeof *x);
        return NULL;
    }
    file_tensor_read(t, 0, n, x);
    for (int64_t i = 0; i < n; i++)
        odd += !isfinite(x[i]);
    if (!odd)
        return x;
    err_set(
        e, ERR_FAILED,
        "%s: tensor %s: %lld of %lld values are no numbers (NaN or infinite): the model couldn't draw with it (take "
        "an adapter of an earlier step)",
        path, t->name, (long long)odd, (long long)n);
    free(x);
    return NULL;
}

int64_t lora_row(const param *p)
{
    int64_t n = 1;
    for (int i = 1; i < p->nd; i++)
        n *= p->shape[i];
    return n;
}

/* sum += what the change adds to row o of its parameter; whether that is anything. */
static bool add_row(const change *c, int64_t o, float *restrict sum)
{
    int64_t in = lora_row(c->p), rank = c->a.shape[0];
    if (o < c->first || o >= c->first + c->rows)
        return false;
    o -= c->first;
    const float *from = c->of_b + (o / (c->repeats * c->head) * c->head + o % c->head) * rank;
    bool any = false;
    for (int64_t k = 0; k < rank; k++) {
        const float factor = c->scale * from[k], *restrict x = c->of_a + k * in;
        any = any || factor != 0;
        for (int64_t i = 0; i < in; i++)
            sum[i] += factor * x[i];
    }
    return any;
}

/* The rows of p in its own type, each changed by what all of the n changes add; others stay as they are, to the bit. */
static void change_rows(const param *p, const change *list, size_t n, uint8_t *data, float *row, float *sum)
{
    dtype type = p->file->type;
    int64_t in = lora_row(p);
    size_t bytes = dtype_row_bytes(type, in);
    for (int64_t o = 0; o < p->shape[0]; o++) {
        uint8_t *to = data + (size_t)o * bytes;
        bool any = false;
        memset(sum, 0, (size_t)in * sizeof *sum);
        for (size_t i = 0; i < n; i++)
            any = add_row(&list[i], o, sum) || any;
        if (!any)
            continue;
        dtype_to_float(row, type, to, in);
        for (int64_t i = 0; i < in; i++)
            row[i] += sum[i];
        dtype_from_float(type, to, row, in);
    }
}

/* Adds changes list[0, n), which are all those of their parameter. */
static bool merge(change *list, size_t n, err *e)
{
    param *p = list->p;
    size_t bytes = dtype_row_bytes(p->file->type, file_tensor_count(p->file)), row = (size_t)lora_row(p);
    /* whole pages, which devices that share the host's memory read in place */
    uint8_t *data = os_aligned_new(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
    float *rows = malloc(2 * row * sizeof *rows);
    bool ok = data && rows ? true : err_no_memory(e, p->name, bytes);
    for (size_t i = 0; ok && i < n; i++)
        ok = (list[i].of_a = floats_of(list[i].path, &list[i].a, e)) &&
             (list[i].of_b = floats_of(list[i].path, &list[i].b, e));
    if (ok) {
        memcpy(data, p->file->data, bytes);
        change_rows(p, list, n, data, rows, rows + row);
        params_replace(p, data);
        data = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        free(list[i].of_a);
        free(list[i].of_b);
    }
    free(rows);
    os_aligned_free(data);
    return ok;
}

static int by_param(const void *a, const void *b)
{
    const change *x = a, *y = b;
    return x->p != y->p ? (x->p > y->p) - (x->p < y->p) : (x->order > y->order) - (x->order < y->order);
}

bool lora_merge(param_table *t, const transformer *d, const char *name, const limn_adapter *adapters, size_t n, err *e)
{
    merging m = {.t = t, .d = d, .model = name};
    adapter *list = calloc(n + 1, sizeof *list);
    bool ok = list ? true : err_no_memory(e, "adapters", n * sizeof *list);
    if (ok && n && !d)
        ok = err_set(e, ERR_USAGE,
                     "%s: no transformer inside, which an adapter would change (give a model file that "
                     "has one)",
                     name);
    else if (ok && n && d->latents && !diffusion_of(d))
        ok = err_set(e, ERR_USAGE,
                     "%s: `lora`: limn adds adapters to models that draw codes and to those of Stable Diffusion, and "
                     "this is unCLIP (leave it out)",
                     name);
    for (size_t i = 0; ok && i < n; i++)
        ok = open_adapter(&list[i], &adapters[i], d, e) &&
             (d->latents ? lora_read_diffusion(&m, &list[i], e) : read_adapter(&m, &list[i], e));
    if (m.n)
        qsort(m.list, m.n, sizeof *m.list, by_param);
    for (size_t i = 0, next; ok && i < m.n; i = next) {
        for (next = i + 1; next < m.n && m.list[next].p == m.list[i].p;)
            next++;
        ok = merge(m.list + i, next - i, e);
    }
    for (size_t i = 0; list && i < n; i++)
        close_adapter(&list[i]);
    free(list);
    free(m.list);
    return ok;
}
