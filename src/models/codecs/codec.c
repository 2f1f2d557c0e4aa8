/* The registry of codec kinds. */
#include "models/codecs/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/codecs/dalle_pytorch_vae.h"
#include "models/codecs/dvae.h"
#include "models/codecs/openai_dvae.h"
#include "models/codecs/pixels.h"
#include "models/codecs/vqgan.h"
#include "models/codecs/vqvae.h"
#include "weights/config.h"

static const codec_kind *const kinds[] = {
    &codec_dvae, &codec_vqvae, &codec_openai_dvae, &codec_resnet_vq, &codec_dalle_pytorch, &codec_pixels,
};

bool codec_open(codec *c, const gguf *g, param_table *p, err *e)
{
    const char *name;
    *c = (codec){0};
    if (!config_has_section(g, "limn.codec."))
        return true;
    if (!gguf_get_string(g, "limn.codec.kind", &name, e))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i]->open(c, g, p, e);
    return err_set(e, ERR_FAILED, "%s: key 'limn.codec.kind': \"%.64s\" is not a kind that this version knows",
                   gguf_name(g), name);
}

bool codec_start(codec *c, const codec_kind *kind, int width, int height, int step, size_t state, const char *file,
                 err *e)
{
    if (width % step || height % step)
        return err_set(e, ERR_FAILED, "%s: limn.image.width, height: %d x %d is not a multiple of %d, the codec's step",
                       file, width, height, step);
    void *made = calloc(1, state);
    if (!made)
        return err_no_memory(e, "codec", state);
    *c = (codec){.kind = kind,
                 .width = width,
                 .height = height,
                 .grid_width = width / step,
                 .grid_height = height / step,
                 .channels = 3,
                 .input = {2, -1},
                 .output = {0.5f, 0.5f},
                 .state = made};
    return true;
}

void codec_release(codec *c)
{
    free(c->state);
    *c = (codec){0};
}

int codec_input_width(const codec *c)
{
    return c->doubles ? c->width / 2 : c->width;
}

int codec_input_height(const codec *c)
{
    return c->doubles ? c->height / 2 : c->height;
}

/* ---- pictures ---- */

bool codec_owns_key(const char *key)
{
    return !strncmp(key, "limn.codec.", 11) || !strncmp(key, "limn.image.", 11);
}

bool codec_owns_tensor(const char *name)
{
    return !strncmp(name, "codec.", 6);
}

int codec_columns(const codec *c)
{
    return c->latents ? c->grid_width * c->latents : c->grid_width;
}

int64_t codec_numbers(const codec *c)
{
    return (int64_t)codec_columns(c) * c->grid_height;
}

tensor codec_decode(run *r, const codec *c, tensor codes)
{
    int64_t shape[] = {codes.shape[0], c->grid_height, c->grid_width, c->latents ? c->latents : c->codebook->shape[1]};
    tensor x = c->latents ? codes : op_embed(r, codes, *c->codebook);
    tensor y = c->kind->decode_grid(r, c, tensor_shaped(x, 4, shape));
    return c->logits ? op_activate(r, y, ACT_SIGMOID) : y;
}

tensor codec_decode_soft(run *r, const codec *c, tensor q)
{
    return c->kind->decode_grid(r, c, op_matmul_table(r, q, *c->codebook));
}

void codec_floats(float *out, const uint8_t *rgb, int64_t n, pixel_map map)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = rgb[i] / 255.0f * map.scale + map.shift;
}

static tensor uploaded(run *r, const codec *c, const float *pixels, int n)
{
    const int64_t shape[] = {n, codec_input_height(c), codec_input_width(c), 3};
    run_reset(r);
    return run_upload(r, DTYPE_F32, 4, shape, pixels);
}

/* What a codec of codes chooses; of latents nothing is chosen. */
static tensor choose(run *r, const codec *c, tensor x)
{
    if (c->latents)
        return c->kind->encode(r, c, x);
    return c->kind->choose ? c->kind->choose(r, c, x) : op_argmax(r, c->kind->encode(r, c, x));
}

bool codec_moments(run *r, const codec *c, const float *pixels, int n, float *moments, err *e)
{
    run_read(r, c->kind->encode(r, c, uploaded(r, c, pixels, n)), moments);
    if (!run_finish(r, e))
        return false;
    int64_t count = 2 * n * codec_numbers(c);
    for (int64_t i = 0; i < count; i++)
        if (i % (2 * c->latents) >= c->latents)
            moments[i] = fminf(fmaxf(moments[i], -30), 20);
    return true;
}

/* The most likely latents. */
static bool encode_latents(run *r, const codec *c, const float *pixels, int n, int32_t *codes, err *e)
{
    int64_t count = n * codec_numbers(c);
    float *moments = malloc(2 * (size_t)count * sizeof *moments);
    bool ok = moments ? codec_moments(r, c, pixels, n, moments, e)
                      : err_no_memory(e, "latents", 2 * (size_t)count * sizeof *moments);
    for (int64_t i = 0; ok && i < count; i++) {
        float z = moments[i / c->latents * 2 * c->latents + i % c->latents] * c->scale;
        memcpy(&codes[i], &z, sizeof z);
    }
    free(moments);
    return ok;
}

static bool encode_codes(run *r, const codec *c, const float *pixels, int n, int32_t *codes, float *logits, err *e)
{
    tensor x = uploaded(r, c, pixels, n), q = logits ? c->kind->encode(r, c, x) : (tensor){0};
    run_read(r, logits ? op_argmax(r, q) : choose(r, c, x), codes);
    if (logits)
        run_read(r, q, logits);
    return run_finish(r, e);
}

bool codec_encode(run *r, const codec *c, const uint8_t *rgb, int n, int32_t *codes, float *logits, err *e)
{
    int64_t count = (int64_t)n * codec_input_height(c) * codec_input_width(c) * 3;
    float *host = malloc((size_t)count * sizeof *host);
    if (!host)
        return err_no_memory(e, "pictures", (size_t)count * sizeof *host);
    codec_floats(host, rgb, count, c->input);
    bool ok = c->latents ? encode_latents(r, c, host, n, codes, e) : encode_codes(r, c, host, n, codes, logits, e);
    free(host);
    return ok;
}

bool codec_encode_walk(void *context, run *r, int n, err *e)
{
    const codec *c = context;
    choose(r, c, TENSOR(r, DTYPE_F32, n, codec_input_height(c), codec_input_width(c), 3));
    return run_finish(r, e);
}

bool codec_logits_walk(void *context, run *r, int n, err *e)
{
    const codec *c = context;
    op_argmax(r, c->kind->encode(r, c, TENSOR(r, DTYPE_F32, n, codec_input_height(c), codec_input_width(c), 3)));
    return run_finish(r, e);
}
