/* The public API, where it is more than another name. */
#include "limn/limn.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "convert/convert.h"
#include "models/plan.h"

/* In encode and decode, a bound for the memory of activations. */
#define IMAGES_AT_ONCE 8
#define PIXELS_AT_ONCE (512 * 512)

const char *limn_version(void)
{
    return LIMN_VERSION;
}

static struct {
    limn_log_function *function;
    void *context;
} caller_log;

static void to_caller(void *context, log_level level, const char *line)
{
    (void)context;
    caller_log.function(caller_log.context, (int)level, line);
}

void limn_set_log(limn_log_function *function, void *context)
{
    caller_log.function = function;
    caller_log.context = context;
    log_set_sink(function ? to_caller : NULL, NULL);
}

bool limn_devices(limn_device_info **list, size_t *n, limn_error *e)
{
    device_entry *entries = NULL;
    *list = NULL;
    *n = 0;
    if (!device_find(&entries, n, e))
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
    return device_open(spec, options, e);
}

void limn_device_free(limn_device **d)
{
    device_free(*d);
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

limn_model *limn_model_open(limn_device *d, const char *path, limn_error *e)
{
    if (path && model_is_foreign(path) && !import_refuse_model(path, "", e))
        return NULL;
    return model_open(d, path, e);
}

void limn_model_free(limn_model **m)
{
    model_free(*m);
    *m = NULL;
}

bool limn_model_rest(limn_model *m, limn_error *e)
{
    if (m->busy)
        return err_set(e, ERR_USAGE, "%s: it is at work (rest it when that is done)", gguf_name(m->gguf));
    return run_reserve(m->run, NULL, e) && params_unload(&m->params, m->run, 0, e);
}

const limn_model_info *limn_model_get_info(const limn_model *m)
{
    return &m->info;
}

bool limn_tokenize(const limn_model *m, const char *text, int32_t **ids, size_t *n, limn_error *e)
{
    bool ok = model_tokenize(m, text, ids, n, e);
    if (ok)
        tokenizer_warn(m->tokenizer, gguf_name(m->gguf), text);
    return ok;
}

const char *limn_token(const limn_model *m, int32_t id)
{
    return m->tokenizer ? tokenizer_token(m->tokenizer, id) : NULL;
}

limn_generate_options limn_generate_defaults(const limn_model *m)
{
    const limn_model_info *i = &m->info;
    return (limn_generate_options){.count = 1,
                                   .temperature = i->default_temperature,
                                   .top_k = i->default_top_k,
                                   .top_p = i->default_top_p,
                                   .guidance = i->default_guidance};
}

/* Up to IMAGES_AT_ONCE pictures; host is scratch for their logits. */
static bool encode_some(model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, float *host, err *e)
{
    const codec *c = &m->codec;
    int64_t cells = c->grid_width * c->grid_height;
    if (!codec_encode(m->run, c, rgb, n, codes, logits ? host : NULL, e))
        return false;
    for (int64_t i = 0; logits && i < n; i++) /* channels-last to channels-first */
        for (int64_t p = 0; p < cells; p++)
            for (int64_t k = 0; k < c->codes; k++)
                logits[(i * c->codes + k) * cells + p] = host[(i * cells + p) * c->codes + k];
    return true;
}

/* How many pictures go through the codec together. */
static int images_at_once(const codec *c)
{
    int64_t fit = PIXELS_AT_ONCE / ((int64_t)c->width * c->height);
    return fit < 1 ? 1 : fit < IMAGES_AT_ONCE ? (int)fit : IMAGES_AT_ONCE;
}

/* Room for the pixels of images_at_once pictures, or for their logits. */
static float *scratch_for(const codec *c, err *e)
{
    size_t pixels = (size_t)c->width * (size_t)c->height * 3;
    size_t logits = (size_t)c->grid_width * (size_t)c->grid_height * (size_t)c->codes;
    size_t bytes = (size_t)images_at_once(c) * (pixels > logits ? pixels : logits) * sizeof(float);
    float *host = malloc(bytes);
    if (!host)
        err_no_memory(e, "pictures", bytes);
    return host;
}

/* Room for up to n pictures at once, or for the parts of one. */
static bool make_room(plan *p, model *m, plan_job job, int n, err *e)
{
    int most = images_at_once(&m->codec);
    job.most = n < most ? n : most;
    job.context = &m->codec;
    job.help = "take another device: --device";
    return plan_make(p, m, m->run, &job, e);
}

static bool encode(model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, err *e)
{
    const codec *c = &m->codec;
    float *host = model_needs_encoder(m, e) ? scratch_for(c, e) : NULL;
    bool ok = host;
    int64_t cells = (int64_t)c->grid_width * c->grid_height;
    int64_t pixels = (int64_t)codec_input_width(c) * codec_input_height(c) * 3;
    const plan_job job = {.what = "encode", .uses = USE_ENCODER, .walk = codec_encode_walk};
    plan p = {0};
    ok = ok && (n <= 0 || make_room(&p, m, job, n, e));
    for (int done = 0; ok && done < n; done += p.n) {
        int some = n - done < p.n ? n - done : p.n;
        ok = encode_some(m, rgb + done * pixels, some, codes + done * cells,
                         logits ? logits + done * cells * c->codes : NULL, host, e);
    }
    free(host);
    return ok;
}

bool limn_encode(limn_model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, limn_error *e)
{
    err why = {0};
    while (!encode(m, rgb, n, codes, logits, &why))
        if (!plan_smaller(m, "encode", &why))
            return err_copy(e, &why);
    return true;
}

/* way: the plan's. */
static bool decode_some(model *m, const int32_t *codes, int n, int way, float *pixels, float *host, err *e)
{
    const codec *c = &m->codec;
    int64_t area = (int64_t)c->width * c->height;
    if (!codec_decode_way(m->run, c, codes, n, way, host, e))
        return false;
    for (int64_t i = 0; i < n; i++) /* channels-last to channels-first */
        for (int64_t p = 0; p < area; p++)
            for (int64_t k = 0; k < 3; k++)
                pixels[(i * 3 + k) * area + p] = host[(i * area + p) * 3 + k];
    return true;
}

static void report_tiles(const codec *c, int way)
{
    int width, height, n = codec_tiles(c, way, &width, &height);
    log_write(LOG_INFO,
              "decode: a picture of %d x %d cells exceeds the limit: %d tiles of %d x %d, of which %d on each side are "
              "margin",
              c->grid_width, c->grid_height, n, width, height, c->reach);
}

static bool decode(model *m, const int32_t *codes, int n, float *pixels, err *e)
{
    const codec *c = &m->codec;
    if (!model_needs_codec(m, e))
        return false;
    int64_t cells = (int64_t)c->grid_width * c->grid_height, area = (int64_t)c->width * c->height;
    for (int64_t i = 0; i < n * cells; i++)
        if (codes[i] < 0 || codes[i] >= c->codes)
            return err_set(e, ERR_USAGE, "codes: %d in row %d is outside of the codebook of %d", codes[i],
                           (int)(i / cells), c->codes);
    float *host = scratch_for(c, e);
    const plan_job job = {.what = "decode", .uses = USE_DECODER, .parts = codec_tilings(c), .walk = codec_walk_decode};
    plan p = {0};
    bool ok = host && (n <= 0 || make_room(&p, m, job, n, e));
    if (ok && n > 0 && p.n < 1)
        report_tiles(c, p.n);
    int most = p.n > 0 ? p.n : 1;
    for (int done = 0; ok && done < n; done += most) {
        int some = n - done < most ? n - done : most;
        ok = decode_some(m, codes + done * cells, some, p.n, pixels + done * 3 * area, host, e);
    }
    free(host);
    return ok;
}

bool limn_decode(limn_model *m, const int32_t *codes, int n, float *pixels, limn_error *e)
{
    err why = {0};
    while (!decode(m, codes, n, pixels, &why))
        if (!plan_smaller(m, "decode", &why))
            return err_copy(e, &why);
    return true;
}
