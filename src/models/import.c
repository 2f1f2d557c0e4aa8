/* Conversion: opening inputs, choosing the family, streaming tensors. */
#include "models/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const family *const families[] = {&family_limn};

struct planned {
    char name[96];
    const file_tensor *from;
    dtype type;
    int order[TENSOR_DIMS];
};

/* ---- declaring ---- */

bool source_has(const source *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].t->name, name))
            return true;
    return false;
}

const file_tensor *import_find(import *im, const char *name)
{
    for (size_t i = 0; i < im->from->n; i++)
        if (!strcmp(im->from->tensors[i].t->name, name)) {
            im->from->tensors[i].used = true;
            return im->from->tensors[i].t;
        }
    err_set(&im->error, ERR_FAILED, "convert: tensor %s is missing (are all files of the model given?)", name);
    return NULL;
}

const char *import_setting(const import *im, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < im->n_settings; i++)
        if (!strncmp(im->settings[i], key, n) && im->settings[i][n] == '=')
            return im->settings[i] + n + 1;
    return NULL;
}

void import_tensor(import *im, const char *out, const char *from, weight_use use, const int *order)
{
    const file_tensor *t = import_find(im, from);
    if (!t || im->error.code)
        return;
    if (im->n_plan == im->capacity) {
        size_t capacity = im->capacity ? 2 * im->capacity : 256;
        struct planned *grown = realloc(im->plan, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return;
        }
        im->plan = grown;
        im->capacity = capacity;
    }
    struct planned *p = &im->plan[im->n_plan++];
    snprintf(p->name, sizeof p->name, "%s", out);
    p->from = t;
    int64_t shape[TENSOR_DIMS] = {0}, row = 1;
    for (int i = 0; i < t->nd; i++) {
        p->order[i] = order ? order[i] : i;
        shape[i] = t->shape[p->order[i]];
        if (i)
            row *= shape[i];
    }
    dtype wanted = use == WEIGHT && t->nd > 1 ? im->type : DTYPE_F32;
    if (dtype_table[wanted].block > 1 && (shape[t->nd - 1] % 32 || t->nd > 2))
        wanted = DTYPE_F16; /* rows that blocks don't divide, and convolutions */
    p->type = wanted;
    gguf_add_tensor(im->to, p->name, wanted, t->nd, shape);
}

/* ---- streaming ---- */

/* Rows of the output, permuted and converted, a megabyte or so at a time. */
static void write_tensor(gguf_writer *w, const struct planned *p, err *e)
{
    const file_tensor *t = p->from;
    int64_t count = file_tensor_count(t), shape[TENSOR_DIMS], stride[TENSOR_DIMS] = {0}, step = 1;
    float *all = malloc((size_t)count * sizeof *all + 4), *out = all;
    if (!all) {
        err_no_memory(e, t->name, (size_t)count * sizeof *all);
        return;
    }
    dtype_to_float(all, t->type, t->data, count);
    bool permuted = false;
    for (int i = t->nd - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->shape[i];
        permuted |= p->order[i] != i;
    }
    if (permuted && !(out = malloc((size_t)count * sizeof *out))) {
        err_no_memory(e, t->name, (size_t)count * sizeof *out);
        free(all);
        return;
    }
    for (int i = 0; i < t->nd; i++)
        shape[i] = t->shape[p->order[i]];
    for (int64_t i = 0; permuted && i < count; i++) {
        int64_t from = 0, rest = i;
        for (int k = t->nd - 1; k >= 0; k--) {
            from += rest % shape[k] * stride[p->order[k]];
            rest /= shape[k];
        }
        out[i] = all[from];
    }
    if (p->type == DTYPE_F32) {
        gguf_write_data(w, out, (size_t)count * sizeof *out);
    } else {
        dtype_from_float(p->type, all == out ? (void *)all : (void *)all, out,
                         count); /* shrinks, so it fits in place */
        gguf_write_data(w, all, dtype_row_bytes(p->type, count));
    }
    if (out != all)
        free(out);
    free(all);
}

/* ---- inputs ---- */

typedef struct input {
    file_map map;
    safetensors *safetensors;
    gguf *gguf;
} input;

static bool add_tensor(source *s, const file_tensor *t, const char *file, err *e)
{
    if (source_has(s, t->name))
        return err_set(e, ERR_FAILED, "%s: tensor %s is in two of the files", file, t->name);
    source_tensor *grown = realloc(s->tensors, (s->n + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, file, (s->n + 1) * sizeof *grown);
    s->tensors = grown;
    s->tensors[s->n++] = (source_tensor){.t = t, .file = file};
    return true;
}

static bool open_input(input *in, source *s, const char *path, err *e)
{
    if (!file_map_open(&in->map, path, e))
        return false;
    bool is_gguf = in->map.size >= 4 && !memcmp(in->map.data, "GGUF", 4);
    if (is_gguf)
        in->gguf = gguf_open(in->map.data, in->map.size, path, e);
    else
        in->safetensors = safetensors_open(in->map.data, in->map.size, path, e);
    if (!in->gguf && !in->safetensors)
        return false;
    size_t n = is_gguf ? gguf_tensor_count(in->gguf) : safetensors_count(in->safetensors);
    for (size_t i = 0; i < n; i++)
        if (!add_tensor(s, is_gguf ? gguf_tensor(in->gguf, i) : safetensors_tensor(in->safetensors, i), path, e))
            return false;
    return true;
}

/* limn's own file with other weight types: every key but those of the container, every tensor by its name. */
static bool copy_own(import *im, const gguf *g, err *e)
{
    for (size_t i = 0; i < gguf_key_count(g); i++)
        if (strcmp(gguf_key(g, i), "general.alignment"))
            gguf_put_copy(im->to, g, i);
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const file_tensor *t = gguf_tensor(g, i);
        bool vector = t->nd < 2 || strstr(t->name, "_position");
        import_tensor(im, t->name, t->name, vector ? KEEP_F32 : WEIGHT, NULL);
    }
    return im->error.code ? err_set(e, im->error.code, "%s", im->error.text) : true;
}

static bool choose_and_run(import *im, const import_request *q, err *e)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const family *f = families[i];
        if (q->family ? strcmp(q->family, f->name) : !f->recognise(im->from))
            continue;
        return f->run(im, e) && (!im->error.code || err_set(e, im->error.code, "%s", im->error.text));
    }
    char known[256] = "";
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", families[i]->name);
    if (q->family)
        return err_set(e, ERR_USAGE, "convert: --family %s: no such family (known: %s)", q->family, known);
    return err_set(e, ERR_FAILED, "convert: %s: its tensors are of no family that limn knows (known: %s)", q->inputs[0],
                   known);
}

/* The type of the first matrix: what "keep the source's type" means for a whole file. */
static dtype source_type(const source *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->tensors[i].t->nd == 2) {
            dtype t = s->tensors[i].t->type;
            return t == DTYPE_F32 || t == DTYPE_Q8_0 || t == DTYPE_Q4_0 ? t : DTYPE_F16;
        }
    return DTYPE_F32;
}

bool import_convert(const import_request *q, err *e)
{
    source s = {0};
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", q->inputs[0]);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = 0;
    s.directory = slash ? directory : ".";
    input *inputs = calloc(q->n_inputs, sizeof *inputs);
    bool ok = inputs ? true : err_no_memory(e, "convert", q->n_inputs * sizeof *inputs);
    for (size_t i = 0; ok && i < q->n_inputs; i++)
        ok = open_input(&inputs[i], &s, q->inputs[i], e);
import im = {.from = & s, .type = q->typed ? q->type:source_type(& s), .tokenizer = q->tokenizer, .settings = q->settings, .n_settings = q->n_settings };
    ok = ok && (im.to = gguf_writer_new(q->output)) ? true : ok && err_no_memory(e, "convert", 1);
    if (ok)
        ok = inputs[0].gguf ? copy_own(&im, inputs[0].gguf, e) : choose_and_run(&im, q, e);
    for (size_t i = 0; ok && i < s.n; i++)
        if (!s.tensors[i].used)
            ok = err_set(e, ERR_FAILED, "%s: tensor %s belongs to nothing in this family", s.tensors[i].file,
                         s.tensors[i].t->name);
    if (ok)
        gguf_begin_data(im.to);
    for (size_t i = 0; ok && i < im.n_plan; i++) {
        write_tensor(im.to, &im.plan[i], &im.error);
        ok = !im.error.code || err_set(e, im.error.code, "%s", im.error.text);
    }
    ok = ok && gguf_writer_commit(im.to, e);
    gguf_writer_free(im.to);
    free(im.plan);
    for (size_t i = 0; inputs && i < q->n_inputs; i++) {
        safetensors_free(inputs[i].safetensors);
        gguf_free(inputs[i].gguf);
        file_map_release(&inputs[i].map);
    }
    free(inputs);
    free(s.tensors);
    return ok;
}
