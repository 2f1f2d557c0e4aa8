/* Conversion: opening inputs, choosing the family, streaming tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "convert/convert_internal.h"
#include "convert/names.h"
#include "io/file_kind.h"
#include "models/clip.h"
#include "models/codecs/codec.h"
#include "models/transformers/dalle.h"

static const family *const families[] = {&family_dalle_pytorch, &family_openai_dvae, &family_dalle_mini,
                                         &family_mindalle,      &family_rudalle,     &family_llamagen,
                                         &family_taming,        &family_clip,        &family_limn};
enum { FAMILIES = sizeof families / sizeof *families };

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

void import_leave_out(import *im, const char *prefix)
{
    for (size_t i = 0; i < im->from->n; i++) {
        source_tensor *t = &im->from->tensors[i];
        if (!strncmp(t->own.name, prefix, strlen(prefix)) && !t->used)
            t->used = t->left_out = true;
    }
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
static struct import_part *plan_data(import *im, const param *p, const file_tensor *t, const int *order)
{
    if (im->error.code || !check_shape(im, p, t, order))
        return NULL;
    if (t->type == DTYPE_OTHER) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s, which limn can't read (save it as float32 or float16)",
                t->name, file_tensor_type_name(t));
        return NULL;
    }
    if (im->n_plan == im->capacity) {
        size_t capacity = im->capacity ? 2 * im->capacity : 256;
        struct import_part *grown = realloc(im->plan, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return NULL;
        }
        im->plan = grown;
        im->capacity = capacity;
    }
    struct import_part *to = &im->plan[im->n_plan++];
    *to = (struct import_part){.from = order ? file_tensor_permuted(t, order) : *t, .output = im->n_outputs};
    if (dtype_table[t->type].block > 1 && !file_tensor_contiguous(&to->from)) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s can't be put in another order (give it as f32 or f16)",
                t->name, dtype_table[t->type].name);
        return NULL;
    }
    return to;
}

/* The parts that were planned last are p, all of it. */
static void declare(import *im, const param *p, dtype own)
{
    if (im->n_outputs == im->outputs_capacity) {
        size_t capacity = im->outputs_capacity ? 2 * im->outputs_capacity : 256;
        struct import_output *grown = realloc(im->outputs, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return;
        }
        im->outputs = grown;
        im->outputs_capacity = capacity;
    }
    struct import_output *o = &im->outputs[im->n_outputs];
    *o = (struct import_output){.name = strdup(p->name), .nd = p->nd, .type = stored_type(im, p, own)};
    memcpy(o->shape, p->shape, (size_t)p->nd * sizeof *o->shape);
    if (o->name)
        im->n_outputs++;
    else
        err_no_memory(&im->error, "convert", strlen(p->name));
}

/* p's tensor is t. */
static struct import_part *plan(import *im, const param *p, const file_tensor *t, const int *order)
{
    struct import_part *to = plan_data(im, p, t, order);
    if (to)
        declare(im, p, t->type);
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
    dtype own = DTYPE_F32;
    bool ok = true;
    part.shape[0] /= n;
    for (int i = 0; ok && i < n; i++) {
        const file_tensor *t = import_find(im, from[i]);
        ok = t && plan_data(im, &part, t, NULL);
        if (i == 0 && ok)
            own = t->type;
    }
    if (ok)
        declare(im, p, own);
}

void import_ones(import *im, const param *p)
{
    static const float one = 1;
    file_tensor t = {.name = "ones", .type = DTYPE_F32, .nd = p->nd, .data = &one, .bytes = sizeof one};
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
    struct import_part *to = plan(im, p, &table, order);
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
    struct import_part *to = plan(im, p, fits ? &shaped : t, NULL);
    if (to && times && file_tensor_count(times) != p->shape[0])
        check_shape(im, &(param){.nd = 1, .shape = {p->shape[0]}}, times, NULL);
    else if (to)
        to->times = times;
}

/* ---- converting ---- */

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
        bool known = !strcmp(key, "general.alignment") || gguf_is_description(key) || import_is_replaced(im, key);
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
        return err_set(e, ERR_FAILED,
                       "%s: key 'general.architecture': \"%.64s\": a GGUF file of another program, of no family that "
                       "limn converts (give "
                       "safetensors or a PyTorch checkpoint)",
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

const char *import_family_name(size_t i)
{
    return i < FAMILIES ? families[i]->name : NULL;
}

bool family_fits(const family *f, unsigned int set)
{
    bool alone = set & NETWORK_DALLE_CLIP && set != NETWORK_DALLE_CLIP; /* DALLE-pytorch's two models */
    return !(set & ~f->networks) && !alone;
}

/* No family knows the tensors: says what there is. */
static bool refuse_unknown(const source *s, const char *input, const char *known, err *e)
{
    char names[256] = "";
    size_t at = 0, all = s->n_all > s->n ? s->n_all : s->n;
    for (size_t i = 0; i < all && i < 3; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%.70s", i ? ", " : "", s->tensors[i].original);
    return err_set(e, ERR_FAILED,
                   "convert: %s: its tensors are of no family that limn knows (known: %s): it has %zu, %s%s", input,
                   known, all, names, all > 3 ? ", …" : "");
}

/* The family that was asked for, or whose tensors these are. */
static const family *choose(const import *im, const import_request *q, err *e)
{
    char known[256] = "";
    const family *found = NULL;
    for (size_t i = 0; i < sizeof families / sizeof *families && !found; i++) {
        const family *f = families[i];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", f->name);
        if (q->family ? !strcasecmp(q->family, f->name) : f->recognise(im->from))
            found = f;
    }
    if (!found && q->family)
        err_set(e, ERR_USAGE, "convert: --family %s: no such family (known: %s)", q->family, known);
    else if (!found)
        refuse_unknown(im->from, q->inputs[0], known, e);
    return found;
}

/* Networks of another family in the same files: which model was meant? */
static bool check_one_model(import *im, const family *f, const import_request *q, err *e)
{
    unsigned int set = import_names_set(im->from), other = set & ~f->networks;
    char names[256];
    if (family_fits(f, set))
        return true;
    if (q->family)
        return import_names_keep(im->from, f->networks, e);
    if (!other)
        other = NETWORK_DALLE_CLIP;
    import_names_text(set, names);
    return err_set(
        e, ERR_FAILED,
        "convert: %s: it holds %s, which are more than one model (give the files of one, or choose: --family "
        "%s, or --set part=PREFIX)",
        q->inputs[0], names, f->name);
}

static bool check_request(const import_request *q, err *e)
{
    if (!q->n_inputs)
        return err_set(e, ERR_USAGE, "convert: no input file");
    if (q->typed && q->type > DTYPE_Q4_0)
        return err_set(e, ERR_USAGE, "convert: --type %s: weights are f32, f16, q8_0 or q4_0",
                       dtype_table[q->type].name);
    for (size_t i = 0; i < q->n_settings; i++)
        if (!import_check_setting(q->settings[i], e))
            return false;
    return true;
}

/* The names that the families know, and the family. */
static const family *recognise(import *im, const import_request *q, err *e)
{
    const name_choice c = {
        .ema = import_setting(im, "ema", 1), .part = import_setting_text(im, "part"), .quiet = q->quiet};
    if (!import_names_resolve(im->from, &c, e))
        return NULL;
    const family *f = choose(im, q, e);
    return f && check_one_model(im, f, q, e) ? f : NULL;
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
    ok = ok && ((own && !q->family) || (f = recognise(&im, q, e)));
    ok = ok && (own ? copy_own(&im, e) : f->run(&im, e));
    ok = ok && (!im.error.code || err_set(e, im.error.code, "%s", im.error.text));
    ok = ok && import_check_used(&im, e) && import_check_asked(&im, e) && import_write(&im, e);
    import_release(&im);
    return ok;
}

bool import_convert(const import_request *q, err *e)
{
    source s = {0};
    bool ok = check_request(q, e) && source_open(&s, q, families, FAMILIES, e) &&
              source_check_output(&s, q->output, q->tokenizer, e) && convert(q, &s, e);
    source_close(&s);
    return ok;
}

/* What made the files, for a sentence. */
static const char *origin(const source *s)
{
    model_format f = model_file_format(s->files[0]);
    return s->folder                ? "a folder with a model"
           : f == MODEL_TORCH       ? "a PyTorch checkpoint"
           : f == MODEL_SAFETENSORS ? "a safetensors file"
                                    : "an index of shards";
}

bool import_describe(const char *path, char out[128], err *e)
{
    source s = {0};
    const import_request q = {.inputs = &path, .n_inputs = 1, .quiet = true};
    struct import im = {.from = &s};
    const family *f = NULL;
    bool ok = source_open(&s, &q, families, FAMILIES, e) && !model_file_gguf(s.files[0]) && (f = recognise(&im, &q, e));
    if (ok)
        snprintf(out, 128, "%s of the family %s", origin(&s), f->name);
    source_close(&s);
    return ok;
}

bool import_refuse_model(const char *path, const char *more, err *e)
{
    char what[128];
    err why = {0};
    file_map map = {0};
    if (file_map_open(&map, path, NULL)) {
        file_kind k = file_kind_of(map.data, map.size, path);
        bool weights = k.format == FILE_TORCH || k.format == FILE_SAFETENSORS || k.format == FILE_GGUF ||
                       model_file_is_index(path);
        file_map_release(&map);
        if (!weights && file_kind_is_partial(path))
            return err_set(e, ERR_FAILED, "%s: a download that isn't complete (let it end, or download the file again)",
                           path);
        if (!weights)
            return err_set(e, ERR_FAILED, "%s: not a GGUF file%s%s%s%s%s", path, *k.what ? ", but " : "", k.what,
                           *k.what ? " (" : "", k.remedy, *k.what ? ")" : "");
    }
    if (import_describe(path, what, &why))
        return err_set(e, ERR_FAILED, "%s: %s, no GGUF file (limn convert %s -o model.gguf makes a model of it%s)",
                       path, what, path, more);
    return why.code ? err_set(e, (err_code)why.code, "%s", why.text)
                    : err_set(e, ERR_FAILED, "%s: this is not a GGUF file", path);
}

bool import_cached(const char *from, char **path, bool *found, err *e)
{
    source s = {0};
    const import_request q = {.inputs = &from, .n_inputs = 1, .quiet = true};
    bool ok = source_open(&s, &q, families, FAMILIES, e);
    *path = ok ? source_cache_path(&s, from, e) : NULL;
    source_close(&s);
    *found = *path && access(*path, R_OK) == 0;
    if (!*path || *found)
        return *path;
    char name[160];
    const char *slash = strrchr(from, '/'), *setting = name;
    snprintf(name, sizeof name, "name=%.150s", slash && slash[1] ? slash + 1 : from);
    ok = import_convert(
        &(import_request){.inputs = &from, .n_inputs = 1, .output = *path, .settings = &setting, .n_settings = 1}, e);
    if (!ok) {
        free(*path);
        *path = NULL;
    }
    return ok;
}
