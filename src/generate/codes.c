/* Pictures to codes and back, some at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/log.h"
#include "generate/generate.h"
#include "models/plan.h"

/* A bound for the memory of activations. */
#define IMAGES_AT_ONCE 8
#define PIXELS_AT_ONCE (512 * 512)

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

/* Room for so many numbers of each of images_at_once pictures: their pixels, or their logits. */
static float *scratch_for(const codec *c, size_t each, err *e)
{
    size_t bytes = (size_t)images_at_once(c) * each * sizeof(float);
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
    job.help = "take another device: `device`";
    return plan_make(p, m, m->run, &job, e);
}

static bool encode(model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, const limn_control *k, err *e)
{
    const codec *c = &m->codec;
    int64_t cells = codec_numbers(c);
    bool ok = model_needs_encoder(m, e);
    if (ok && c->latents && logits)
        return err_set(e, ERR_USAGE, "%s: its pictures are latents, which have no `logits`", gguf_name(m->gguf));
    float *host = ok && logits ? scratch_for(c, (size_t)cells * (size_t)c->codes, e) : NULL;
    int64_t pixels = (int64_t)codec_input_width(c) * codec_input_height(c) * 3;
    const plan_job job = {
        .what = "encode", .uses = USE_ENCODER, .walk = logits ? codec_logits_walk : codec_encode_walk};
    plan p = {0};
    ok = ok && (host || !logits) && (n <= 0 || make_room(&p, m, job, n, e));
    for (int done = 0; ok && done < n; done += p.n) {
        int some = n - done < p.n ? n - done : p.n;
        ok = encode_some(m, rgb + done * pixels, some, codes + done * cells,
                         logits ? logits + done * cells * c->codes : NULL, host, e) &&
             control_goes_on(k, "encode", done + some, n, e);
    }
    free(host);
    return ok;
}

bool codes_encode(model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, const limn_control *k, err *e)
{
    err why = {0};
    while (!encode(m, rgb, n, codes, logits, k, &why))
        if (!plan_smaller(m, "encode", &why))
            return err_copy(e, &why);
    return true;
}

bool codes_moments(model *m, const float *pixels, float *moments, err *e)
{
    const plan_job job = {.what = "encode", .uses = USE_ENCODER, .walk = codec_encode_walk};
    err why = {0};
    plan p = {0};
    while (!(make_room(&p, m, job, 1, &why) && codec_moments(m->run, &m->codec, pixels, 1, moments, &why)))
        if (!plan_smaller(m, "encode", &why))
            return err_copy(e, &why);
    return true;
}

/* To the nearest; NaN becomes 0. */
static uint8_t byte_of(float v)
{
    return (uint8_t)lrintf(255 * (v > 0 ? (v < 1 ? v : 1) : 0));
}

/* host[n,area,3] as the caller wants it, from picture `first` on. */
static void put_pixels(const pixel_place *to, const float *host, int64_t first, int64_t n, int64_t area)
{
    int64_t from = first * area * 3, count = n * area * 3;
    if (to->bytes)
        for (int64_t i = 0; i < count; i++)
            to->bytes[from + i] = byte_of(host[i]);
    else if (!to->channels_first)
        memcpy(to->floats + from, host, (size_t)count * sizeof *host);
    else
        for (int64_t i = 0; i < n; i++)
            for (int64_t p = 0; p < area; p++)
                for (int64_t k = 0; k < 3; k++)
                    to->floats[from + (i * 3 + k) * area + p] = host[(i * area + p) * 3 + k];
}

static void report_tiles(const model *m, int cuts)
{
    const codec *c = &m->codec;
    int width, height, n = codec_tiles(c, cuts, &width, &height);
    if (c->overlap)
        log_write(
            LOG_WARNING,
            "decode: a picture of %d x %d cells exceeds the limit: %d tiles of %d x %d are blended, and colours may "
            "differ a little from those of the whole (%s)",
            c->grid_width, c->grid_height, n, width, height,
            m->dev->memory_refused ? "close other programs" : "raise `memory_limit`");
    else
        log_write(LOG_INFO,
                  "decode: a picture of %d x %d cells exceeds the limit: %d tiles of %d x %d, of which %d on each side "
                  "are margin",
                  c->grid_width, c->grid_height, n, width, height, codec_margin(c));
}

static bool check_codes(const codec *c, const int32_t *codes, int n, err *e)
{
    int64_t cells = codec_numbers(c);
    for (int64_t i = 0; i < n * cells; i++) {
        float latent;
        memcpy(&latent, &codes[i], sizeof latent);
        if (c->latents && !isfinite(latent))
            return err_set(e, ERR_USAGE, "codes: number %d in row %d is no latent: they are the bits of floats",
                           (int)(i % cells), (int)(i / cells));
        if (!c->latents && (codes[i] < 0 || codes[i] >= c->codes))
            return err_set(e, ERR_USAGE, "codes: %d in row %d is outside of the codebook of %d", codes[i],
                           (int)(i / cells), c->codes);
    }
    return true;
}

static bool decode(model *m, const int32_t *codes, int n, const pixel_place *to, const limn_control *k, err *e)
{
    const codec *c = &m->codec;
    if (!model_needs_codec(m, e))
        return false;
    int64_t cells = codec_numbers(c), area = (int64_t)c->width * c->height;
    if (!check_codes(c, codes, n, e))
        return false;
    float *host = scratch_for(c, (size_t)area * 3, e);
    const plan_job job = {.what = "decode", .uses = USE_DECODER, .cuts = codec_most_cuts(c), .walk = codec_walk_decode};
    plan p = {0};
    bool ok = host && (n <= 0 || make_room(&p, m, job, n, e));
    int most = p.n > 0 ? p.n : 1, cuts = count_cuts(p.n);
    bool tiled = n > 0 && cuts > 1;
    if (ok && tiled)
        report_tiles(m, cuts);
    for (int done = 0; ok && done < n; done += most) {
        int some = n - done < most ? n - done : most;
        ok = tiled ? codec_decode_tiles(m->run, c, codes + done * cells, cuts, host, e)
                   : codec_decode_pictures(m->run, c, codes + done * cells, some, host, e);
        if (ok)
            put_pixels(to, host, done, some, area);
        ok = ok && control_goes_on(k, "decode", done + some, n, e);
    }
    free(host);
    return ok;
}

bool codes_decode(model *m, const int32_t *codes, int n, const pixel_place *to, const limn_control *k, err *e)
{
    err why = {0};
    while (!decode(m, codes, n, to, k, &why))
        if (!plan_smaller(m, "decode", &why))
            return err_copy(e, &why);
    return true;
}

/* Red, green and blue, on -1..1, of the four latents of Stable Diffusion's autoencoder: fitted to its pictures by those
 * who use it for previews. */
static const float latent_colours[4][3] = {
    {0.298f, 0.207f, 0.208f}, {0.187f, 0.286f, 0.173f}, {-0.158f, 0.189f, 0.264f}, {-0.184f, -0.271f, -0.473f}};

static void preview_latents(const codec *c, const int32_t *codes, uint8_t *rgb)
{
    const int step = c->width / c->grid_width;
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++, rgb += 3) {
            float latents[4], sum[3] = {0};
            memcpy(latents, codes + (y / step * c->grid_width + x / step) * c->latents, sizeof latents);
            for (int i = 0; i < 12; i++)
                sum[i % 3] += latents[i / 3] * latent_colours[i / 3][i % 3];
            for (int i = 0; i < 3; i++)
                rgb[i] = byte_of(sum[i] / 2 + 0.5f);
        }
}

bool codes_preview(model *m, const int32_t *codes, int n, uint8_t *rgb, err *e)
{
    const codec *c = &m->codec;
    if (c->latents != 4) {
        const pixel_place to = {.bytes = rgb};
        return codes_decode(m, codes, n, &to, NULL, e);
    }
    for (int i = 0; i < n; i++)
        preview_latents(c, codes + i * codec_numbers(c), rgb + (size_t)i * 3 * (size_t)c->width * (size_t)c->height);
    return true;
}

const uint8_t *pixel_bytes(limn_pixel_type type, const void *pixels, size_t count, uint8_t **own, err *e)
{
    const float *floats = pixels;
    *own = NULL;
    if (type == LIMN_U8)
        return pixels;
    if (type != LIMN_F32) {
        err_set(e, ERR_USAGE, "pixels: there is no type %d", (int)type);
        return NULL;
    }
    *own = malloc(count + 1);
    for (size_t i = 0; *own && i < count; i++)
        (*own)[i] = byte_of(floats[i]);
    if (!*own)
        err_no_memory(e, "pictures", count);
    return *own;
}

bool codes_encode_pixels(model *m, limn_pixel_type type, const void *pixels, int n, int32_t *codes,
                         const limn_control *k, err *e)
{
    size_t count = 3 * (size_t)m->info.encode_width * (size_t)m->info.encode_height * (size_t)(n > 0 ? n : 0);
    uint8_t *own;
    const uint8_t *bytes = pixel_bytes(type, pixels, count, &own, e);
    bool ok = bytes && codes_encode(m, bytes, n, codes, NULL, k, e);
    free(own);
    return ok;
}
