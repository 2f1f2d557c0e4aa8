/* Conversion: opening inputs, choosing the family, streaming tensors. */
#include "models/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/clip.h"
#include "models/codec.h"
#include "models/dalle.h"
#include "text/bpe.h"

static const family *const families[] = {&family_dalle_pytorch, &family_openai_dvae, &family_dalle_mini,
                                         &family_mindalle,      &family_rudalle,     &family_llamagen,
                                         &family_taming,        &family_clip,        &family_limn};

/* A tensor of the output. */
struct planned {
    file_tensor from; /* in the order of the output */
    dtype type;
    const file_tensor *plus;  /* added to each row; or NULL */
    bool unit;                /* rows become as long as 1 */
    const file_tensor *times; /* a number for each of the first dimension, by which all there is multiplied; or NULL */
};

/* ---- settings ---- */

/* What --set may say, and the key that it becomes; no key: for the family to ask for. */
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
    {"image_size", NULL, SETTING_INT, 16384},
    {"heads", NULL, SETTING_INT, 65536},
    {"stable", NULL, SETTING_INT, 1},
    {"attn_types", NULL, SETTING_TEXT, 0},
    {"version", NULL, SETTING_TEXT, 0},
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
        const char *value = s->key ? given_value(im, s) : NULL;
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

const char *import_setting_text(import *im, const char *name)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(known_settings[i].name, name) != 0)
            continue;
        im->asked |= 1u << i;
        return given_value(im, &known_settings[i]);
    }
    return NULL;
}

int import_setting(import *im, const char *name, int otherwise)
{
    const char *value = import_setting_text(im, name);
    return value ? (int)strtod(value, NULL) : otherwise;
}

/* A setting that changes nothing is a mistake. */
static bool check_asked(const import *im, err *e)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!known_settings[i].key && !(im->asked & 1u << i) && given_value(im, &known_settings[i]))
            return err_set(e, ERR_USAGE, "convert: --set %s: the files tell it themselves", known_settings[i].name);
    return true;
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

const pickle_value *source_get(const source *s, const char *key)
{
    const pickle_value *found = NULL;
    for (size_t i = 0; !found && i < s->n_files; i++)
        found = pickle_get(model_file_root(s->files[i]), key);
    return found;
}

const file_tensor *import_find(import *im, const char *name)
{
    source *s = im->from;
    source_tensor *found = source_find(s, name);
    if (!found) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s is missing (are all files of the model given?)", name);
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
    bool blocks = param_is_matrix(p) && p->shape[p->nd - 1] % 32 == 0;
    return dtype_table[type].block > 1 && !blocks ? DTYPE_F16 : type;
}

/* p's data, or the next part of it, is t, in another order where that isn't NULL.  Declares nothing. */
static struct planned *plan_data(import *im, const param *p, const file_tensor *t, const int *order)
{
    if (im->error.code || !check_shape(im, p, t, order))
        return NULL;
    if (im->n_plan == im->capacity) {
        size_t capacity = im->capacity ? 2 * im->capacity : 256;
        struct planned *grown = realloc(im->plan, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return NULL;
        }
        im->plan = grown;
        im->capacity = capacity;
    }
    struct planned *to = &im->plan[im->n_plan++];
    *to = (struct planned){.from = order ? file_tensor_permuted(t, order) : *t, .type = stored_type(im, p, t->type)};
    if (dtype_table[t->type].block > 1 && !file_tensor_contiguous(&to->from)) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s can't be put in another order (give it as f32 or f16)",
                t->name, dtype_table[t->type].name);
        return NULL;
    }
    return to;
}

/* p's tensor is t. */
static struct planned *plan(import *im, const param *p, const file_tensor *t, const int *order)
{
    struct planned *to = plan_data(im, p, t, order);
    if (to)
        gguf_add_tensor(im->to, p->name, to->type, p->nd, p->shape);
    return to;
}

void import_param(import *im, const param *p, const char *from, const int *order)
{
    const file_tensor *t = import_find(im, from);
    if (t)
        plan(im, p, t, order);
}

/* Drops dimensions of size 1, the first ones first, as long as there are more than nd. */
static void squeeze(file_tensor *t, int nd)
{
    for (int i = 0; i < t->nd && t->nd > nd;) {
        if (t->shape[i] != 1) {
            i++;
            continue;
        }
        t->nd--;
        for (int k = i; k < t->nd; k++) {
            t->shape[k] = t->shape[k + 1];
            t->stride[k] = t->stride[k + 1];
        }
    }
}

void import_part(import *im, const param *p, const char *from, int64_t first)
{
    const file_tensor *t = import_find(im, from);
    if (!t)
        return;
    file_tensor part = *t;
    squeeze(&part, p->nd);
    if (part.nd == p->nd && part.nd && first + p->shape[0] <= part.shape[0]) { /* else the shapes differ */
        part.data = (const uint8_t *)part.data + dtype_row_bytes(part.type, first * part.stride[0]);
        part.shape[0] = p->shape[0];
        part.bytes = dtype_row_bytes(part.type, file_tensor_count(&part));
    }
    plan(im, p, &part, NULL);
}

void import_stack(import *im, const param *p, const char *const *from, int n)
{
    param part = *p;
    dtype type = DTYPE_F32;
    bool ok = true;
    part.shape[0] /= n;
    for (int i = 0; ok && i < n; i++) {
        const file_tensor *t = import_find(im, from[i]);
        struct planned *to = t ? plan_data(im, &part, t, NULL) : NULL;
        ok = to;
        if (i == 0 && ok)
            type = to->type;
        if (ok)
            to->type = type;
    }
    if (ok)
        gguf_add_tensor(im->to, p->name, type, p->nd, p->shape);
}

void import_ones(import *im, const param *p)
{
    static const float one = 1;
    file_tensor t = {.name = p->name, .type = DTYPE_F32, .nd = p->nd, .data = &one, .bytes = sizeof one};
    for (int i = 0; i < p->nd; i++) /* strides of 0 */
        t.shape[i] = p->shape[i];
    plan(im, p, &t, NULL);
}

void import_rows(import *im, const param *p, const char *from, const int *order, const char *plus, bool unit)
{
    const file_tensor *t = import_find(im, from), *added = plus ? import_find(im, plus) : NULL;
    if (!t || (plus && !added))
        return;
    file_tensor table = *t;
    while (table.nd > p->nd && table.shape[table.nd - 1] == 1)
        table.nd--;
    struct planned *to = plan(im, p, &table, order);
    if (to && added && (added->nd != 1 || added->shape[0] != p->shape[p->nd - 1]))
        check_shape(im, &(param){.nd = 1, .shape = {p->shape[p->nd - 1]}}, added, NULL);
    else if (to) {
        to->plus = added;
        to->unit = unit;
    }
}

void import_shaped(import *im, const param *p, const char *from, const char *scale)
{
    const file_tensor *t = import_find(im, from), *times = scale ? import_find(im, scale) : NULL;
    if (!t || (scale && !times))
        return;
    file_tensor shaped = {.nd = p->nd};
    int64_t count = 1;
    for (int i = p->nd; i-- > 0; count *= p->shape[i]) {
        shaped.shape[i] = p->shape[i];
        shaped.stride[i] = count;
    }
    bool fits = file_tensor_count(t) == count && file_tensor_contiguous(t);
    if (fits) {
        shaped.name = t->name;
        shaped.type = t->type;
        shaped.data = t->data;
        shaped.bytes = t->bytes;
    }
    struct planned *to = plan(im, p, fits ? &shaped : t, NULL);
    if (to && times && file_tensor_count(times) != p->shape[0])
        check_shape(im, &(param){.nd = 1, .shape = {p->shape[0]}}, times, NULL);
    else if (to)
        to->times = times;
}

/* ---- streaming ---- */

enum { FORGET_AFTER = 1 << 25 };

/* Whole blocks, and few enough that a tensor of any size needs little memory. */
enum { PIECE = 1 << 16 };

/* values[n] are rows of d; plus[d]; times: of the first of the rows, or NULL. */
static void change_rows(const struct planned *p, float *values, int64_t n, int64_t d, const float *plus,
                        const float *times)
{
    for (float *row = values; row < values + n; row += d) {
        double squares = 0;
        for (int64_t i = 0; i < d; i++) {
            row[i] += plus[i];
            squares += (double)row[i] * row[i];
        }
        double scale = times ? *times++ : p->unit ? 1 / fmax(sqrt(squares), 1e-12) : 1; /* as PyTorch's normalize */
        for (int64_t i = 0; scale != 1 && i < d; i++)
            row[i] = (float)(row[i] * scale);
    }
}

/* One tensor, converted piece by piece; bytes that stay as they are go through untouched. */
static bool write_tensor(gguf_writer *w, const struct planned *p, err *e)
{
    const file_tensor *t = &p->from;
    bool change = p->plus || p->unit || p->times;
    if (p->type == t->type && !change && file_tensor_contiguous(t)) {
        gguf_write_data(w, t->data, t->bytes);
        return true;
    }
    int64_t count = file_tensor_count(t), d = p->times ? count / t->shape[0] : change ? t->shape[t->nd - 1] : 1;
    int64_t piece = d < PIECE ? PIECE / d * d : d, rows = p->times ? t->shape[0] : 1; /* whole rows */
    float *values = malloc((size_t)piece * sizeof *values), *plus = calloc((size_t)d, sizeof *plus);
    float *times = malloc((size_t)rows * sizeof *times);
    void *stored = malloc((size_t)piece * sizeof *values);
    bool ok = (values && stored && plus && times) || err_no_memory(e, t->name, 2 * (size_t)piece * sizeof *values);
    if (ok && p->plus)
        file_tensor_read(p->plus, 0, d, plus);
    if (ok && p->times)
        file_tensor_read(p->times, 0, rows, times);
    for (int64_t at = 0; ok && at < count; at += piece) {
        int64_t n = count - at < piece ? count - at : piece;
        file_tensor_read(t, at, n, values);
        if (change)
            change_rows(p, values, n, d, plus, p->times ? times + at / d : NULL);
        dtype_from_float(p->type, stored, values, n);
        gguf_write_data(w, stored, dtype_row_bytes(p->type, n));
    }
    free(stored);
    free(times);
    free(plus);
    free(values);
    return ok;
}

/* ---- inputs ---- */

/* The tensors of all inputs as one list. */
static bool join(source *s, const char *const *paths, err *e)
{
    size_t all = 0;
    for (size_t i = 0; i < s->n_files; i++)
        all += model_file_count(s->files[i]);
    s->tensors = calloc(all ? all : 1, sizeof *s->tensors);
    if (!s->tensors)
        return err_no_memory(e, "convert", all * sizeof *s->tensors);
    for (size_t i = 0; i < s->n_files; i++)
        for (size_t k = 0; k < model_file_count(s->files[i]); k++) {
            source_tensor *t = &s->tensors[s->n++];
            *t = (source_tensor){.file = paths[i], .input = i, .own = *model_file_tensor(s->files[i], k)};
            t->t = &t->own;
        }
    return true;
}

static bool open_all(source *s, const import_request *q, err *e)
{
    s->files = calloc(q->n_inputs, sizeof *s->files);
    if (!s->files)
        return err_no_memory(e, "convert", q->n_inputs * sizeof *s->files);
    for (size_t i = 0; i < q->n_inputs; i++) {
        if (!(s->files[i] = model_file_open(q->inputs[i], e)))
            return false;
        s->n_files++;
    }
    return join(s, q->inputs, e);
}

static void close_all(source *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->tensors[i].renamed);
    for (size_t i = 0; i < s->n_files; i++)
        model_file_free(s->files[i]);
    free(s->tensors);
    free(s->files);
}

/* ---- converting ---- */

/* Whether a setting replaces the key. */
static bool is_replaced(const import *im, const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (known_settings[i].key && !strcmp(known_settings[i].key, key) && given_value(im, &known_settings[i]))
            return true;
    return false;
}

/* Whether both have the same strings at key, or neither has any. */
static bool same_strings(const gguf *a, const gguf *b, const char *key)
{
    const char *const *x = NULL, *const *y = NULL;
    size_t n = 0, m = 0;
    gguf_get_strings(a, key, &x, &n, NULL);
    gguf_get_strings(b, key, &y, &m, NULL);
    for (size_t i = 0; i < n && n == m; i++)
        if (strcmp(x[i], y[i]) != 0)
            return false;
    return n == m;
}

/* A file has one tokenizer. */
static bool same_tokenizer(const gguf *a, const gguf *b, err *e)
{
    static const char *const tokens = "tokenizer.ggml.tokens", *const merges = "tokenizer.ggml.merges",
                             *const lowercase = "limn.tokenizer.lowercase", *const verbatim = "limn.tokenizer.verbatim";
    bool x = false, y = false, u = false, v = false;
    if (!gguf_has(a, tokens) || !gguf_has(b, tokens))
        return true;
    gguf_get_bool(a, lowercase, &x, NULL);
    gguf_get_bool(b, lowercase, &y, NULL);
    gguf_get_bool(a, verbatim, &u, NULL);
    gguf_get_bool(b, verbatim, &v, NULL);
    return (x == y && u == v && same_strings(a, b, tokens) && same_strings(a, b, merges)) ||
           err_set(e, ERR_FAILED, "%s: its tokenizer is another one than that of %s (train both with the same)",
                   gguf_name(b), gguf_name(a));
}

/* The keys of file number `file`, but for the container's own, those that --set replaces, and those of the files before
 * it. */
static bool copy_keys(import *im, size_t file, err *e)
{
    const gguf *g = model_file_gguf(im->from->files[file]);
    for (size_t k = 0; k < file; k++)
        if (!same_tokenizer(model_file_gguf(im->from->files[k]), g, e))
            return false;
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i);
        bool known = !strcmp(key, "general.alignment") || is_replaced(im, key);
        for (size_t k = 0; k < file; k++)
            known = known || gguf_has(model_file_gguf(im->from->files[k]), key);
        if (!known)
            gguf_put_copy(im->to, g, i);
    }
    return true;
}

typedef struct own_parts {
    codec c;
    transformer *t;
    clip *k;
    param_table params;
} own_parts;

static bool open_own(own_parts *o, const import *im, size_t file, err *e)
{
    const gguf *g = model_file_gguf(im->from->files[file]);
    const char *architecture;
    if (!g)
        return err_set(e, ERR_USAGE, "convert: input %zu is no GGUF file (limn's own files go with their like alone)",
                       file + 1);
    if (!gguf_get_string(g, "general.architecture", &architecture, e))
        return false;
    if (strcmp(architecture, "limn"))
        return err_set(e, ERR_FAILED, "%s: key 'general.architecture': \"%.64s\" is of no family that limn converts",
                       gguf_name(g), architecture);
    if (im->tokenizer)
        return err_set(e, ERR_USAGE, "convert: --tokenizer: %s has its own", gguf_name(g));
    return (o->c.kind || codec_open(&o->c, g, &o->params, e)) && (o->t || transformer_open(&o->t, g, &o->params, e)) &&
           (o->k || clip_open(&o->k, g, &o->params, e));
}

/* limn's own file with other weight types, or several that together are one model: their keys, and every parameter. */
static bool copy_own(import *im, err *e)
{
    own_parts o = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < im->from->n_files; i++)
        ok = open_own(&o, im, i, e) && copy_keys(im, i, e);
    if (ok)
        import_put_settings(im, NULL, 0);
    for (size_t i = 0; ok && i < o.params.n; i++)
        import_param(im, &o.params.list[i], o.params.list[i].name, NULL);
    ok = ok && (!o.params.error.code || err_set(e, o.params.error.code, "%s", o.params.error.text));
    params_release(&o.params);
    codec_release(&o.c);
    transformer_free(o.t);
    clip_free(o.k);
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
    size_t read = 0;
    for (size_t i = 0; i < im->n_plan; i++) {
        if (!write_tensor(im->to, &im->plan[i], e))
            return false;
        read += im->plan[i].from.bytes;
        for (size_t k = 0; k < im->from->n_files && read > FORGET_AFTER; k++)
            model_file_forget(im->from->files[k]); /* else all of the file would be resident in the end */
        read = read > FORGET_AFTER ? 0 : read;
    }
    return gguf_writer_commit(im->to, e);
}

static bool convert(const import_request *q, source *s, err *e)
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
    const gguf *own = model_file_gguf(s->files[0]);
    ok = ok && ((own && !q->family) || (f = choose(&im, q, e)));
    ok = ok && (own ? copy_own(&im, e) : f->run(&im, e));
    ok = ok && (!im.error.code || err_set(e, im.error.code, "%s", im.error.text));
    ok = ok && check_asked(&im, e) && write_all(&im, e);
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
    bool ok = open_all(&s, q, e) && convert(q, &s, e);
    close_all(&s);
    return ok;
}
