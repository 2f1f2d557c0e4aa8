/* Conversion: opening inputs, choosing the family, streaming tensors. */
#include "models/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "models/codec.h"
#include "models/dalle.h"
#include "text/bpe.h"

static const family *const families[] = {&family_limn};

/* A tensor of the output. */
struct planned {
    const file_tensor *from;
    dtype type;
    bool permuted;
    int order[TENSOR_DIMS];
};

/* ---- settings ---- */

/* What --set may say, and the key that it becomes. */
static const struct setting {
    const char *name, *key;
    enum { SETTING_TEXT, SETTING_INT, SETTING_FLOAT } kind;
    double max;
} known_settings[] = {
    {"name", "general.name", SETTING_TEXT, 0},
    {"temperature", "limn.sampling.temperature", SETTING_FLOAT, 1e6},
    {"top_k", "limn.sampling.top_k", SETTING_INT, 1 << 24},
    {"top_p", "limn.sampling.top_p", SETTING_FLOAT, 1},
    {"guidance", "limn.sampling.guidance", SETTING_FLOAT, 1e6},
};
enum { SETTINGS = sizeof known_settings / sizeof *known_settings };

/* Whether text is "NAME=…" of that setting. */
static bool is_setting(const char *text, const struct setting *s)
{
    size_t n = strlen(s->name);
    return !strncmp(text, s->name, n) && text[n] == '=';
}

/* The value that --set gives, the last one where there are several; or NULL. */
static const char *given_value(const import *im, const struct setting *s)
{
    for (size_t i = im->n_settings; i-- > 0;)
        if (is_setting(im->settings[i], s))
            return im->settings[i] + strlen(s->name) + 1;
    return NULL;
}

static bool check_setting(const char *text, err *e)
{
    char known[256] = "";
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", s->name);
        if (!is_setting(text, s))
            continue;
        const char *value = text + strlen(s->name) + 1;
        char *end;
        double v = strtod(value, &end);
        if (s->kind == SETTING_TEXT ||
            (*value && !*end && v >= 0 && v <= s->max && (s->kind == SETTING_FLOAT || v == floor(v))))
            return true;
        return err_set(e, ERR_USAGE, "convert: --set %.128s: the value is no %snumber from 0 to %g", text,
                       s->kind == SETTING_INT ? "whole " : "", s->max);
    }
    return err_set(e, ERR_USAGE, "convert: --set %.128s: no such setting (known: %s; each as NAME=VALUE)", text, known);
}

void import_put_settings(import *im, const char *const *defaults, size_t n)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        const char *value = given_value(im, s);
        for (size_t k = 0; !value && k < n; k++)
            if (is_setting(defaults[k], s))
                value = defaults[k] + strlen(s->name) + 1;
        if (value && s->kind == SETTING_TEXT)
            gguf_put_string(im->to, s->key, value);
        else if (value && s->kind == SETTING_INT)
            gguf_put_int(im->to, s->key, (int64_t)strtod(value, NULL));
        else if (value)
            gguf_put_float(im->to, s->key, strtod(value, NULL));
    }
}

/* ---- declaring ---- */

static source_tensor *source_find(const source *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].t->name, name))
            return &s->tensors[i];
    return NULL;
}

bool source_has(const source *s, const char *name)
{
    return source_find(s, name) != NULL;
}

const file_tensor *import_find(import *im, const char *name)
{
    source_tensor *found = source_find(im->from, name);
    if (!found) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s is missing (are all files of the model given?)", name);
        return NULL;
    }
    found->used = true;
    return found->t;
}

static bool check_shape(import *im, const param *p, const file_tensor *t, const int *order)
{
    file_tensor wanted = {.nd = p->nd};
    bool same = t->nd == p->nd;
    for (int i = 0; i < p->nd; i++) {
        int at = order ? order[i] : i;
        wanted.shape[at] = p->shape[i];
        same = same && t->shape[at] == p->shape[i];
    }
    char have[128], want[128];
    if (same)
        return true;
    file_tensor_shape_text(t, have);
    file_tensor_shape_text(&wanted, want);
    return err_set(&im->error, ERR_FAILED, "convert: tensor %s: shape %s, and the model's sizes ask for %s", t->name,
                   have, want);
}

/* What a tensor is stored as: vectors as F32, convolutions and rows that blocks don't divide no smaller than F16. */
static dtype stored_type(const import *im, const param *p, dtype own)
{
    if (p->use == PARAM_VECTOR)
        return DTYPE_F32;
    bool has_own = own == DTYPE_F32 || own == DTYPE_F16 || own == DTYPE_Q8_0 || own == DTYPE_Q4_0;
    dtype type = im->typed ? im->type : has_own ? own : own == DTYPE_BF16 ? DTYPE_F16 : DTYPE_F32;
    bool blocks = p->use == PARAM_MATRIX && p->shape[p->nd - 1] % 32 == 0;
    return dtype_table[type].block > 1 && !blocks ? DTYPE_F16 : type;
}

void import_param(import *im, const param *p, const char *from, const int *order)
{
    const file_tensor *t = import_find(im, from);
    if (!t || im->error.code || !check_shape(im, p, t, order))
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
    struct planned *to = &im->plan[im->n_plan++];
    *to = (struct planned){.from = t, .type = stored_type(im, p, t->type)};
    for (int i = 0; i < p->nd; i++) {
        to->order[i] = order ? order[i] : i;
        to->permuted |= to->order[i] != i;
    }
    gguf_add_tensor(im->to, p->name, to->type, p->nd, p->shape);
}

/* ---- streaming ---- */

/* to[...] = from[...] with the dimensions in p's order. */
static void permute(const struct planned *p, float *to, const float *from)
{
    const file_tensor *t = p->from;
    int64_t count = file_tensor_count(t), stride[TENSOR_DIMS] = {0}, step = 1;
    for (int i = t->nd - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->shape[i];
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0, rest = i;
        for (int k = t->nd - 1; k >= 0; k--) {
            at += rest % t->shape[p->order[k]] * stride[p->order[k]];
            rest /= t->shape[p->order[k]];
        }
        to[i] = from[at];
    }
}

/* One tensor, permuted and converted; bytes that stay as they are go through untouched. */
static bool write_tensor(gguf_writer *w, const struct planned *p, err *e)
{
    const file_tensor *t = p->from;
    if (p->type == t->type && !p->permuted) {
        gguf_write_data(w, t->data, t->bytes);
        return true;
    }
    int64_t count = file_tensor_count(t);
    size_t floats = (size_t)count * sizeof(float), bytes = dtype_row_bytes(p->type, count);
    float *values = malloc(floats), *permuted = p->permuted ? malloc(floats) : NULL;
    void *stored = malloc(bytes);
    bool ok = values && stored && (permuted || !p->permuted) ? true : err_no_memory(e, t->name, 2 * floats + bytes);
    if (ok) {
        dtype_to_float(values, t->type, t->data, count);
        if (permuted)
            permute(p, permuted, values);
        dtype_from_float(p->type, stored, permuted ? permuted : values, count);
        gguf_write_data(w, stored, bytes);
    }
    free(stored);
    free(permuted);
    free(values);
    return ok;
}

/* ---- inputs ---- */

typedef struct input {
    const char *path;
    file_map map;
    safetensors *safetensors;
    gguf *gguf;
} input;

static size_t input_count(const input *in)
{
    return in->gguf ? gguf_tensor_count(in->gguf) : safetensors_count(in->safetensors);
}

static const file_tensor *input_tensor(const input *in, size_t i)
{
    return in->gguf ? gguf_tensor(in->gguf, i) : safetensors_tensor(in->safetensors, i);
}

static const file_tensor *input_find(const input *in, const char *name)
{
    return in->gguf ? gguf_find(in->gguf, name) : safetensors_find(in->safetensors, name);
}

static bool open_input(input *in, const char *path, err *e)
{
    in->path = path;
    if (!file_map_open(&in->map, path, e))
        return false;
    if (in->map.size >= 4 && !memcmp(in->map.data, "GGUF", 4))
        in->gguf = gguf_open(in->map.data, in->map.size, path, e);
    else
        in->safetensors = safetensors_open(in->map.data, in->map.size, path, e);
    return in->gguf || in->safetensors;
}

static void close_input(input *in)
{
    safetensors_free(in->safetensors);
    gguf_free(in->gguf);
    file_map_release(&in->map);
}

/* The tensors of all inputs as one list. */
static bool join(source *s, const input *inputs, size_t n, err *e)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += input_count(&inputs[i]);
    s->tensors = calloc(all ? all : 1, sizeof *s->tensors);
    if (!s->tensors)
        return err_no_memory(e, "convert", all * sizeof *s->tensors);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < input_count(&inputs[i]); k++) {
            const file_tensor *t = input_tensor(&inputs[i], k);
            for (size_t j = 0; j < i; j++)
                if (input_find(&inputs[j], t->name))
                    return err_set(e, ERR_FAILED, "%s: tensor %s is in %s too", inputs[i].path, t->name,
                                   inputs[j].path);
            s->tensors[s->n++] = (source_tensor){.t = t, .file = inputs[i].path};
        }
    return true;
}

/* ---- converting ---- */

/* Whether a setting replaces the key. */
static bool is_replaced(const import *im, const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!strcmp(known_settings[i].key, key) && given_value(im, &known_settings[i]))
            return true;
    return false;
}

/* limn's own file with other weight types: the keys, but for the container's own and those that --set replaces, and
 * every parameter. */
static bool copy_own(import *im, const gguf *g, err *e)
{
    codec c = {0};
    dalle *d = NULL;
    param_table params = {0};
    const char *architecture;
    bool ok = gguf_get_string(g, "general.architecture", &architecture, e);
    if (ok && strcmp(architecture, "limn"))
        ok = err_set(e, ERR_FAILED, "%s: key 'general.architecture': \"%.64s\" is of no family that limn converts",
                     gguf_name(g), architecture);
    if (ok && im->tokenizer)
        ok = err_set(e, ERR_USAGE, "convert: --tokenizer: %s has its own", gguf_name(g));
    ok = ok && codec_open(&c, g, &params, e) && dalle_open(&d, g, &params, e);
    for (size_t i = 0; ok && i < gguf_key_count(g); i++)
        if (strcmp(gguf_key(g, i), "general.alignment") != 0 && !is_replaced(im, gguf_key(g, i)))
            gguf_put_copy(im->to, g, i);
    if (ok)
        import_put_settings(im, NULL, 0);
    for (size_t i = 0; ok && i < params.n; i++)
        import_param(im, &params.list[i], params.list[i].name, NULL);
    ok = ok && (!params.error.code || err_set(e, params.error.code, "%s", params.error.text));
    params_release(&params);
    codec_release(&c);
    dalle_free(d);
    return ok;
}

/* The family that was asked for, or whose tensors these are. */
static const family *choose(const import *im, const import_request *q, err *e)
{
    char known[256] = "";
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const family *f = families[i];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", f->name);
        if (q->family ? !strcmp(q->family, f->name) : f->recognise(im->from))
            return f;
    }
    if (q->family)
        err_set(e, ERR_USAGE, "convert: --family %s: no such family (known: %s)", q->family, known);
    else
        err_set(e, ERR_FAILED, "convert: %s: its tensors are of no family that limn knows (known: %s)", q->inputs[0],
                known);
    return NULL;
}

static bool check_request(const import_request *q, err *e)
{
    if (!q->n_inputs)
        return err_set(e, ERR_USAGE, "convert: no input file");
    if (q->typed && q->type > DTYPE_Q4_0)
        return err_set(e, ERR_USAGE, "convert: --type %s: weights are f32, f16, q8_0 or q4_0",
                       dtype_table[q->type].name);
    for (size_t i = 0; i < q->n_settings; i++)
        if (!check_setting(q->settings[i], e))
            return false;
    return true;
}

/* Keys and tensors are declared: the data, and the file takes its place. */
static bool write_all(import *im, err *e)
{
    for (size_t i = 0; i < im->from->n; i++)
        if (!im->from->tensors[i].used)
            return err_set(e, ERR_FAILED, "%s: tensor %s belongs to nothing in this family", im->from->tensors[i].file,
                           im->from->tensors[i].t->name);
    gguf_begin_data(im->to);
    for (size_t i = 0; i < im->n_plan; i++)
        if (!write_tensor(im->to, &im->plan[i], e))
            return false;
    return gguf_writer_commit(im->to, e);
}

static bool convert(const import_request *q, const input *inputs, source *s, err *e)
{
    struct import im = {.from = s,
                        .to = gguf_writer_new(q->output),
                        .typed = q->typed,
                        .type = q->type,
                        .tokenizer = q->tokenizer,
                        .settings = q->settings,
                        .n_settings = q->n_settings};
    const family *f = NULL;
    bool ok = im.to ? true : err_no_memory(e, "convert", 1);
    ok = ok && ((inputs[0].gguf && !q->family) || (f = choose(&im, q, e)));
    ok = ok && (inputs[0].gguf ? copy_own(&im, inputs[0].gguf, e) : f->run(&im, e));
    ok = ok && (!im.error.code || err_set(e, im.error.code, "%s", im.error.text));
    ok = ok && write_all(&im, e);
    gguf_writer_free(im.to);
    free(im.plan);
    return ok;
}

bool import_convert(const import_request *q, err *e)
{
    if (!check_request(q, e))
        return false;
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
        ok = open_input(&inputs[i], q->inputs[i], e);
    ok = ok && join(&s, inputs, q->n_inputs, e) && convert(q, inputs, &s, e);
    for (size_t i = 0; inputs && i < q->n_inputs; i++)
        close_input(&inputs[i]);
    free(inputs);
    free(s.tensors);
    return ok;
}
