/* The public API, where it is more than another name. */
#include "limn/limn.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/control.h"
#include "base/log.h"
#include "convert/convert.h"
#include "device/profile.h"
#include "generate/generate.h"
#include "generate/generation.h"
#include "models/guard.h"
#include "models/rest.h"

const char *limn_version(void)
{
    /* what is behind it is read in the file, by who builds a Python package with this library (src/python) */
    static const char text[] = LIMN_VERSION "\0limn.h " LIMN_HEADER;
    return text;
}

void limn_set_log(limn_log_function *function, void *context)
{
    static caller_log everybodys;
    everybodys = (caller_log){function, context};
    const log_place to = log_of(&everybodys);
    log_set_sink(to.sink, to.context);
}

/* Drivers are asked by one thread at a time. */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;

bool limn_devices(limn_device_info **list, size_t *n, limn_error *e)
{
    device_entry *entries = NULL;
    *list = NULL;
    *n = 0;
    pthread_mutex_lock(&asking);
    bool found = device_find(&entries, n, e);
    pthread_mutex_unlock(&asking);
    if (!found)
        return false;
    limn_device_info *out = calloc(*n, sizeof *out);
    for (size_t i = 0; out && i < *n; i++)
        out[i] = entries[i].info;
    free(entries);
    *list = out;
    return out || err_no_memory(e, "devices", *n * sizeof *out);
}

limn_device *limn_device_open(const char *spec, const limn_device_options *options, limn_error *e)
{
    limn_device_options o = {0};
    control_copy(&o, sizeof o, options);
    const caller_log log = {o.log, o.log_context};
    const log_place before = log_redirect(log_of(&log));
    pthread_mutex_lock(&asking);
    device *d = device_open(spec, &o, e);
    pthread_mutex_unlock(&asking);
    log_redirect(before);
    if (d)
        d->log = log;
    return d;
}

void limn_device_free(limn_device **d)
{
    guard_free_device(*d);
    *d = NULL;
}

const limn_device_info *limn_device_get_info(const limn_device *d)
{
    return &d->info;
}

const char *limn_device_reason(const limn_device *d)
{
    return d->reason;
}

void limn_free(void *array)
{
    free(array);
}

/* ---- each call that uses a device: guarded -------------------------------------------------------------------- */

/* What a call returns while the device, or the model, is the caller's. */
#define GUARDED(d, call)                                                                                               \
    device *used = (d);                                                                                                \
    if (!guard_enter(used, e))                                                                                         \
        return 0;                                                                                                      \
    bool ok = (call);                                                                                                  \
    guard_leave(used);                                                                                                 \
    return ok
#define GUARDED_MODEL(m, call)                                                                                         \
    model *used = (m);                                                                                                 \
    if (!guard_enter_model(used, e))                                                                                   \
        return 0;                                                                                                      \
    bool ok = (call);                                                                                                  \
    guard_leave_model(used);                                                                                           \
    return ok

bool limn_device_profile(limn_device *d, limn_kernel_profile **rows, size_t *n, limn_error *e)
{
    GUARDED(d, device_profile(d, rows, n, e));
}

bool limn_device_write_trace(limn_device *d, const char *path, limn_error *e)
{
    GUARDED(d, device_write_trace(d, path, e));
}

limn_model *limn_model_open_with(limn_device *d, const char *path, const limn_model_options *options, limn_error *e)
{
    limn_model_options o = {0};
    control_copy(&o, sizeof o, options);
    if (path && !o.data && model_is_foreign(path) && !import_refuse_model(path, "", e))
        return NULL;
    if (!guard_enter(d, e))
        return NULL;
    const caller_log log = {o.log, o.log_context};
    const log_place before = log_redirect(log_of(log.function ? &log : &d->log));
    model *m = model_open_with(d, path, &o, e);
    log_redirect(before);
    if (m) {
        m->log = log;
        model_share(m);
    }
    guard_leave(d);
    return m;
}

limn_model *limn_model_open(limn_device *d, const char *path, limn_error *e)
{
    return limn_model_open_with(d, path, NULL, e);
}

limn_model *limn_model_open_memory(limn_device *d, const void *data, size_t size, const char *name, limn_error *e)
{
    const limn_model_options o = {.data = data ? data : "", .data_size = data ? size : 0};
    return limn_model_open_with(d, name, &o, e);
}

void limn_model_free(limn_model **m)
{
    guard_free_model(*m);
    *m = NULL;
}

bool limn_model_rest(limn_model *m, limn_error *e)
{
    GUARDED_MODEL(m, model_rest(m, e));
}

const limn_model_info *limn_model_get_info(const limn_model *m)
{
    return &m->info;
}

bool limn_tokenize(const limn_model *m, const char *text, int32_t **ids, size_t *n, limn_error *e)
{
    const log_place before = log_redirect(guard_log(m));
    bool ok = model_tokenize_warned(m, text, ids, n, e);
    log_redirect(before);
    return ok;
}

const char *limn_token(const limn_model *m, int32_t id)
{
    for (size_t i = 0; i < m->form.n_words; i++)
        if (id >= m->words[i].first && id - m->words[i].first < m->words[i].n)
            return m->words[i].text;
    return m->tokenizer ? tokenizer_token(m->tokenizer, id) : NULL;
}

bool limn_encode(limn_model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, limn_error *e)
{
    GUARDED_MODEL(m, codes_encode(m, rgb, n, codes, logits, NULL, e));
}

bool limn_encode_pixels(limn_model *m, limn_pixel_type type, const void *pixels, int n, int32_t *codes,
                        const limn_control *control, limn_error *e)
{
    GUARDED_MODEL(m, codes_encode_pixels(m, type, pixels, n, codes, control, e));
}

bool limn_decode(limn_model *m, const int32_t *codes, int n, float *pixels, limn_error *e)
{
    const pixel_place to = {.floats = pixels, .channels_first = true};
    GUARDED_MODEL(m, codes_decode(m, codes, n, &to, NULL, e));
}

bool limn_decode_pixels(limn_model *m, const int32_t *codes, int n, limn_pixel_type type, void *pixels,
                        const limn_control *control, limn_error *e)
{
    const pixel_place to = {.bytes = type == LIMN_U8 ? pixels : NULL, .floats = type == LIMN_F32 ? pixels : NULL};
    if (type != LIMN_U8 && type != LIMN_F32)
        return err_set(e, ERR_USAGE, "decode: there is no pixel type %d", (int)type);
    GUARDED_MODEL(m, codes_decode(m, codes, n, &to, control, e));
}

bool limn_preview(limn_model *m, const int32_t *codes, int n, uint8_t *rgb, limn_error *e)
{
    GUARDED_MODEL(m, codes_preview(m, codes, n, rgb, e));
}

limn_generate_options limn_generate_defaults(const limn_model *m)
{
    return model_generate_defaults(m);
}

bool limn_generate(limn_model *m, const limn_generate_options *o, int32_t *codes, limn_error *e)
{
    GUARDED_MODEL(m, generate_pictures(m, o, codes, e));
}

bool limn_generate_check(limn_model *m, const limn_generate_options *o, limn_error *e)
{
    const log_place before = log_redirect(guard_log(m));
    bool ok = generate_check(m, o, e);
    log_redirect(before);
    return ok;
}

bool limn_score_codes(limn_model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, float *logits,
                      limn_score *result, limn_error *e)
{
    GUARDED_MODEL(m, score_codes(m, text_ids, n_text_ids, codes, logits, result, e));
}

bool limn_rank(limn_model *m, const char *text, const uint8_t *rgb, int n, int width, int height, float *scores,
               limn_error *e)
{
    GUARDED_MODEL(m, rank_pictures(m, text, rgb, n, width, height, scores, NULL, e));
}

bool limn_next_logits(limn_model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, int n_codes,
                      float *logits, limn_error *e)
{
    GUARDED_MODEL(m, score_next(m, text_ids, n_text_ids, codes, n_codes, logits, e));
}

bool limn_embed_texts(limn_model *m, const char *const *texts, int n, float *embeddings, const limn_control *control,
                      limn_error *e)
{
    GUARDED_MODEL(m, embed_texts(m, texts, n, embeddings, control, e));
}

/* Numbers of the pixels of n pictures. */
static size_t pixel_count(int n, int width, int height)
{
    return n > 0 && width > 0 && height > 0 ? 3 * (size_t)width * (size_t)height * (size_t)n : 0;
}

static bool embed_any_pixels(model *m, limn_pixel_type type, const void *pixels, int n, int width, int height,
                             float *embeddings, const limn_control *k, err *e)
{
    uint8_t *own;
    const uint8_t *bytes = pixel_bytes(type, pixels, pixel_count(n, width, height), &own, e);
    bool ok = bytes && embed_pixels(m, bytes, n, width, height, embeddings, k, e);
    free(own);
    return ok;
}

bool limn_embed_pixels(limn_model *m, limn_pixel_type type, const void *pixels, int n, int width, int height,
                       float *embeddings, const limn_control *control, limn_error *e)
{
    GUARDED_MODEL(m, embed_any_pixels(m, type, pixels, n, width, height, embeddings, control, e));
}

static bool rank_pixels(model *m, const char *text, limn_pixel_type type, const void *pixels, int n, int width,
                        int height, float *scores, const limn_control *k, err *e)
{
    uint8_t *own;
    const uint8_t *bytes = pixel_bytes(type, pixels, pixel_count(n, width, height), &own, e);
    bool ok = bytes && rank_pictures(m, text, bytes, n, width, height, scores, k, e);
    free(own);
    return ok;
}

bool limn_rank_pixels(limn_model *m, const char *text, limn_pixel_type type, const void *pixels, int n, int width,
                      int height, float *scores, const limn_control *control, limn_error *e)
{
    GUARDED_MODEL(m, rank_pixels(m, text, type, pixels, n, width, height, scores, control, e));
}

/* ---- generation as an object: it holds its model --------------------------------------------------------------- */

limn_generation *limn_generation_open(limn_model *m, const limn_generation_options *options, limn_error *e)
{
    if (!guard_enter_model(m, e))
        return NULL;
    generation *g = generation_open(m, options, e);
    if (g)
        m->guard.held++;
    guard_leave_model(m);
    return g;
}

static void release_generation(guarded *at)
{
    generation *g = (generation *)(void *)((char *)at - offsetof(generation, guard));
    g->m->guard.held--;
    generation_free(&g);
}

void limn_generation_free(limn_generation **at)
{
    generation *g = *at;
    *at = NULL;
    if (!g)
        return;
    g->guard.release = release_generation;
    guard_free(g->m->dev, &g->guard);
}

bool limn_generation_add(limn_generation *g, const limn_request *q, uint64_t *id, limn_error *e)
{
    GUARDED_MODEL(g->m, generation_add_request(g, q, id, e));
}

bool limn_generation_step(limn_generation *g, int *left, limn_error *e)
{
    GUARDED_MODEL(g->m, generation_step(g, left, e));
}

bool limn_generation_take(limn_generation *g, uint64_t *id, int *number, int32_t *codes)
{
    return generation_take(g, id, number, codes);
}

const limn_generation_status *limn_generation_get_status(limn_generation *g)
{
    return generation_get_status(g);
}

bool limn_generation_peek(limn_generation *g, uint64_t id, int number, int32_t *codes, int *done, limn_error *e)
{
    GUARDED_MODEL(g->m, generation_peek(g, id, number, codes, done, e));
}

bool limn_generation_cancel(limn_generation *g, uint64_t id, limn_error *e)
{
    GUARDED_MODEL(g->m, generation_cancel(g, id, e));
}
