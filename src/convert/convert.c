/* Conversion: opening inputs, choosing the family, streaming tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "convert/convert_internal.h"
#include "convert/names.h"
#include "io/file_kind.h"

/* Networks of another family in the same files: which model was meant? */
static bool check_one_model(import *im, const family *f, const import_request *q, err *e)
{
    uint64_t set = import_names_set(im->from), other = set & ~f->networks;
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
        "convert: %s: it holds %s, which are more than one model (give the files of one, or choose: `family` "
        "%s, or `settings` part=PREFIX)",
        q->inputs[0], names, family_name(f));
}

static bool check_request(const import_request *q, err *e)
{
    if (!q->n_inputs)
        return err_set(e, ERR_USAGE, "convert: no input file");
    if (q->typed && q->type > DTYPE_Q4_0)
        return err_set(e, ERR_USAGE, "convert: `type` %s: weights are f32, f16, q8_0 or q4_0",
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
    const family *f = family_choose(im->from, q, e);
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
                        .n_settings = q->n_settings,
                        .control = q->control};
    const family *f = NULL;
    bool ok = im.to ? true : err_no_memory(e, "convert", 1);
    const gguf *own = model_file_gguf(s->files[0]);
    ok = ok && ((own && !q->family) || (f = recognise(&im, q, e)));
    if (ok && !own)
        gguf_put_string(im.to, "general.architecture", "limn");
    ok = ok && (own ? import_own(&im, &im.error) : f->run(&im, &im.error)) && !im.error.code;
    if (im.error.code)
        err_copy(e, &im.error);
    ok = ok && import_check_used(&im, e) && import_check_asked(&im, e) && import_write(&im, e);
    import_release(&im);
    return ok;
}

bool import_convert(const import_request *q, err *e)
{
    source s = {0};
    bool ok = check_request(q, e) && source_open(&s, q, e) && source_check_output(&s, q->output, q->tokenizer, e) &&
              convert(q, &s, e);
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
    bool ok = source_open(&s, &q, e) && !model_file_gguf(s.files[0]) && (f = recognise(&im, &q, e));
    if (ok)
        snprintf(out, 128, "%s of the family %s", origin(&s), family_name(f));
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
    bool ok = source_open(&s, &q, e);
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
