/* Steps of a diffusion model's picture. */
#include "generate/denoise.h"

#include <stdlib.h>

static bool latents_new(denoiser *n, tensor *t, err *e)
{
    const int64_t shape[] = {1, n->d->height, n->d->width, n->d->base.latents};
    return tensor_new(t, run_device(n->r), DTYPE_F32, 4, shape, NULL, false, "latents", e);
}

bool denoiser_open(denoiser *n, const diffusion *d, run *r, int rows, err *e)
{
    *n = (denoiser){.d = d, .r = r, .rows = rows};
    bool ok = unet_memory_open(&n->memory, &d->net, run_device(r), rows, d->height, d->width, d->text.text_length, e) &&
              latents_new(n, &n->x, e) && latents_new(n, &n->clean, e) && latents_new(n, &n->kept, e);
    for (int i = 0; ok && i < SAMPLER_HISTORY; i++)
        ok = latents_new(n, &n->history[i], e);
    ok = ok && latents_new(n, &n->mask, e) && latents_new(n, &n->stays, e) && latents_new(n, &n->noise, e);
    const int64_t behind[] = {1, d->height, d->width, d->net.k.in - d->net.k.out};
    if (ok && behind[3] > 0)
        ok = tensor_new(&n->behind, run_device(r), DTYPE_F32, 4, behind, NULL, false, "latents", e);
    if (!ok)
        denoiser_release(n);
    return ok;
}

void denoiser_release(denoiser *n)
{
    unet_memory_release(&n->memory);
    buffer_free(n->x.buf);
    buffer_free(n->clean.buf);
    buffer_free(n->kept.buf);
    for (int i = 0; i < SAMPLER_HISTORY; i++)
        buffer_free(n->history[i].buf);
    tensor *const painting[] = {&n->mask, &n->stays, &n->noise, &n->behind};
    for (size_t i = 0; i < sizeof painting / sizeof *painting; i++)
        buffer_free(painting[i]->buf);
    *n = (denoiser){0};
}

void denoiser_begin(denoiser *n, const int32_t *text, int rows, const float *latents)
{
    const clip *c = &n->d->text;
    run *r = n->r;
    run_reset(r);
    tensor ids = run_upload(r, DTYPE_I32, 2, (int64_t[]){rows, c->text_length}, text);
    unet_read_text(r, &n->d->net, &n->memory, clip_text_context(r, c, ids), NULL);
    run_write(r, n->x, latents);
    op_fill(r, n->clean, 0);
    n->newest = 0;
}

tensor denoiser_ask(denoiser *n, const sampler_step *k, int rows, float guidance)
{
    run *r = n->r;
    int64_t shape[] = {rows, n->d->height, n->d->width, n->d->net.k.in};
    run_reset(r);
    unet_set_time(r, &n->d->net, &n->memory, k->time, guidance);
    tensor x = op_scale_add(r, n->x, k->scale_in, (tensor){0}, 0);
    if (n->behind.buf)
        x = op_join(r, x, n->behind);
    if (rows > 1) {
        tensor both = run_tensor(r, DTYPE_F32, 4, shape);
        if (!run_failed(r))
            op_repeat(r, both, x);
        x = both;
    }
    x = unet_forward(r, &n->d->net, &n->memory, x);
    if (rows > 1 && !run_failed(r))
        x = op_scale_add(r, tensor_rows(x, 0, 1), guidance, tensor_rows(x, 1, 1), 1 - guidance);
    return x;
}

void denoiser_paint(denoiser *n, const float *mask, const float *latents, const float *noise)
{
    int channels = n->d->base.latents;
    int64_t count = tensor_count(&n->x);
    float *host = malloc(3 * (size_t)count * sizeof *host);
    if (!host) {
        if (!run_failed(n->r))
            err_no_memory(run_error(n->r), "mask", 3 * (size_t)count * sizeof *host);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float own = mask[i / channels];
        host[i] = own;
        host[count + i] = (1 - own) * latents[i];
        host[2 * count + i] = (1 - own) * noise[i];
    }
    run_write(n->r, n->mask, host);
    run_write(n->r, n->stays, host + count);
    run_write(n->r, n->noise, host + 2 * count);
    free(host);
}

void denoiser_put_behind(denoiser *n, const float *behind)
{
    run_write(n->r, n->behind, behind);
}

void denoiser_blend(denoiser *n, float latents, float noise)
{
    run *r = n->r;
    tensor x = op_multiply(r, n->x, n->mask);
    x = op_scale_add(r, x, 1, n->stays, latents);
    x = op_scale_add(r, x, 1, n->noise, noise);
    if (!run_failed(r))
        op_repeat(r, n->x, x);
}

/* to = a x + b o */
static void put(run *r, tensor to, tensor x, float a, tensor o, float b)
{
    tensor y = op_scale_add(r, x, a, o, b);
    if (!run_failed(r))
        op_repeat(r, to, y);
}

void denoiser_go_on(denoiser *n, const sampler_step *k, tensor said, const float *noise)
{
    run *r = n->r;
    tensor next = op_scale_add(r, n->x, k->x, said, k->o);
    for (int i = 0; i < SAMPLER_HISTORY; i++)
        if (k->history[i] != 0)
            next = op_scale_add(r, next, 1, n->history[(n->newest + i) % SAMPLER_HISTORY], k->history[i]);
    if (k->kept != 0)
        next = op_scale_add(r, next, 1, n->kept, k->kept);
    if (noise && k->noise != 0)
        next = op_scale_add(r, next, 1, run_upload(r, DTYPE_F32, 4, n->x.shape, noise), k->noise);
    put(r, n->clean, n->x, k->clean_x, said, k->clean_o);
    if (k->keep && !run_failed(r))
        op_repeat(r, n->kept, n->x);
    if (k->push) {
        n->newest = (n->newest + SAMPLER_HISTORY - 1) % SAMPLER_HISTORY;
        put(r, n->history[n->newest], n->x, k->push_x, said, k->push_o);
    }
    if (!run_failed(r))
        op_repeat(r, n->x, next);
}
