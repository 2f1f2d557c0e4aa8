/* Stages of an unCLIP picture. */
#include "generate/unclip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

static bool new_tensor(tensor *t, run *r, int nd, const int64_t *shape, err *e)
{
    return tensor_new(t, run_device(r), DTYPE_F32, nd, shape, NULL, false, "picture", e);
}

/* Whether two networks keep the same. */
static bool is_like(const unet_config *a, const unet_config *b)
{
    return a->levels == b->levels && a->layers == b->layers &&
           !memcmp(a->channels, b->channels, (size_t)a->levels * sizeof *a->channels);
}

static bool open_networks(unclip_drawing *w, err *e)
{
    const unclip *u = w->u;
    device *d = run_device(w->r);
    const int words = u->context.tokens + u->text.text_length;
    return (!u->imagines || prior_memory_open(&w->prior, &u->prior, d, w->rows, e)) &&
           unet_memory_open(&w->decoder, &u->decoder, d, w->rows, u->small_height, u->small_width, words, e) &&
           unet_memory_open(&w->super[0], &u->super[0], d, 1, u->height, u->width, 0, e) &&
           (is_like(&u->super[0].k, &u->super[1].k) ||
            unet_memory_open(&w->super[1], &u->super[1], d, 1, u->height, u->width, 0, e));
}

bool unclip_drawing_open(unclip_drawing *w, const unclip *u, run *r, int rows, err *e)
{
    *w = (unclip_drawing){.u = u, .r = r, .rows = rows};
    const int64_t states[] = {rows, u->text.text_length, u->text.text.width}, texts[] = {rows, u->text.dim},
                  embedding[] = {1, u->text.dim}, small[] = {1, u->small_height, u->small_width, 3},
                  large[] = {1, u->height, u->width, 3};
    bool ok = open_networks(w, e) && new_tensor(&w->states, r, 3, states, e) && new_tensor(&w->texts, r, 2, texts, e) &&
              new_tensor(&w->embedding, r, 2, embedding, e) && new_tensor(&w->x[0], r, 4, small, e) &&
              new_tensor(&w->x[1], r, 4, large, e) && new_tensor(&w->low, r, 4, large, e) &&
              new_tensor(&w->clean, r, 4, large, e);
    if (!ok)
        unclip_drawing_release(w);
    return ok;
}

void unclip_drawing_release(unclip_drawing *w)
{
    if (w->u)
        prior_memory_release(&w->prior, &w->u->prior);
    unet_memory_release(&w->decoder);
    unet_memory_release(&w->super[0]);
    unet_memory_release(&w->super[1]);
    const tensor *const all[] = {&w->states, &w->texts, &w->embedding, &w->x[0], &w->x[1], &w->low, &w->clean};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_free(all[i]->buf);
    *w = (unclip_drawing){0};
}

static void keep(run *r, tensor to, tensor x)
{
    if (!run_failed(r))
        op_repeat(r, to, x);
}

void unclip_drawing_read(unclip_drawing *w, const int32_t *text, int rows)
{
    const unclip *u = w->u;
    run *r = w->r;
    const int n = u->text.text_length;
    int32_t ends[2] = {0};
    tensor embeddings = {0};
    for (int i = 0; i < rows && i < 2; i++) {
        ends[i] = unclip_text_end(u, text + i * n);
        w->lengths[i] = unclip_text_length(u, text + i * n);
    }
    run_reset(r);
    tensor ids = run_upload(r, DTYPE_I32, 2, (int64_t[]){rows, n}, text);
    tensor states = clip_text_all(r, &u->text, ids, ends, &embeddings);
    keep(r, tensor_rows(w->states, 0, rows), states);
    keep(r, tensor_rows(w->texts, 0, rows), embeddings);
}

/* ---- beginnings ------------------------------------------------------------------------------------------------- */

/* What the decoder reads in all of its steps; the second row is without embedding. */
static void read_context(unclip_drawing *w, int rows)
{
    const unclip *u = w->u;
    run *r = w->r;
    const int64_t dim = u->text.dim;
    int lengths[2];
    tensor images = TENSOR(r, DTYPE_F32, rows, dim), states = tensor_rows(w->states, 0, rows);
    for (int i = 0; i < rows && i < 2; i++) {
        lengths[i] = u->context.tokens + w->lengths[i];
        keep(r, tensor_rows(images, i, 1), i ? u->context.none : w->embedding);
    }
    tensor time = unclip_add_time(r, u, tensor_rows(w->texts, 0, rows), images);
    keep(r, tensor_rows(w->decoder.condition, 0, rows), time);
    unet_read_text(r, &u->decoder, &w->decoder, unclip_read_context(r, u, images, states), lengths);
}

void unclip_drawing_begin(unclip_drawing *w, unclip_stage stage, int rows, const float *noise)
{
    run *r = w->r;
    run_reset(r);
    switch (stage) {
    case UNCLIP_PRIOR:
        prior_read_text(r, &w->u->prior, &w->prior, tensor_rows(w->states, 0, rows), tensor_rows(w->texts, 0, rows),
                        w->lengths);
        run_write(r, w->embedding, noise);
        op_fill(r, w->clean, 0);
        break;
    case UNCLIP_DECODER:
        read_context(w, rows);
        run_write(r, w->x[0], noise);
        op_fill(r, w->clean, 0);
        break;
    default:
        run_write(r, w->x[1], noise);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static tensor ask_decoder(unclip_drawing *w, const sampler_step *k, int rows)
{
    run *r = w->r;
    const unclip *u = w->u;
    tensor x = w->x[0];
    unet_set_time(r, &u->decoder, &w->decoder, k->time, 0);
    if (rows > 1) {
        x = TENSOR(r, DTYPE_F32, rows, u->small_height, u->small_width, 3);
        keep(r, x, w->x[0]);
    }
    return run_failed(r) ? x : unet_forward(r, &u->decoder, &w->decoder, x);
}

static tensor ask_super(unclip_drawing *w, const sampler_step *k, bool last)
{
    run *r = w->r;
    const unet *net = &w->u->super[last];
    unet_memory *m = last && w->super[1].rows ? &w->super[1] : &w->super[0];
    m->u = net;
    unet_set_time(r, net, m, k->time, 0);
    tensor x = op_join(r, w->x[1], w->low);
    return run_failed(r) ? x : unet_forward(r, net, m, x);
}

/* The whole picture of a small one. */
static tensor shown(run *r, const unclip *u, tensor small)
{
    const int factor = u->width / u->small_width;
    return u->small_width * factor == u->width && u->small_height * factor == u->height ? op_upsample(r, small, factor)
                                                                                        : (tensor){0};
}

void unclip_drawing_step(unclip_drawing *w, unclip_stage stage, const sampler_step *k, bool last, int rows,
                         float guidance, const float *noise)
{
    run *r = w->r;
    const ddpm_step s = {.guidance = guidance,
                         .clean_x = k->clean_x,
                         .clean_o = k->clean_o,
                         .clamp = k->clamp,
                         .by_clean = k->by_clean,
                         .by_x = k->by_x,
                         .noise = k->noise,
                         .log_least = k->log_least,
                         .log_most = k->log_most};
    tensor *to = stage == UNCLIP_PRIOR ? &w->embedding : &w->x[stage == UNCLIP_SUPER], clean = {0};
    run_reset(r);
    tensor said = stage == UNCLIP_PRIOR     ? prior_forward(r, &w->u->prior, &w->prior, w->embedding, k->time, rows)
                  : stage == UNCLIP_DECODER ? ask_decoder(w, k, rows)
                                            : ask_super(w, k, last);
    tensor drawn = noise ? run_upload(r, DTYPE_F32, to->nd, to->shape, noise) : (tensor){0};
    keep(r, *to, op_ddpm_step(r, *to, said, drawn, &s, &clean));
    if (stage == UNCLIP_DECODER)
        clean = shown(r, w->u, clean);
    if (stage != UNCLIP_PRIOR && clean.buf)
        keep(r, w->clean, clean);
}

/* ---- between stages --------------------------------------------------------------------------------------------- */

void unclip_drawing_end_prior(unclip_drawing *w)
{
    run_reset(w->r);
    keep(w->r, w->embedding, prior_embedding(w->r, &w->u->prior, w->embedding));
}

void unclip_drawing_put(unclip_drawing *w, const float *embedding)
{
    run_write(w->r, w->embedding, embedding);
}

bool unclip_drawing_enlarge(unclip_drawing *w, err *e)
{
    const unclip *u = w->u;
    const size_t small = (size_t)tensor_count(&w->x[0]), large = (size_t)tensor_count(&w->low);
    float *host = calloc(small + large, sizeof *host);
    if (!host)
        return err_no_memory(e, "picture", (small + large) * sizeof *host);
    run_read(w->r, w->x[0], host);
    bool ok = run_finish(w->r, e);
    for (size_t i = 0; i < small; i++)
        host[i] = fminf(fmaxf(host[i], -1), 1);
    ok = ok && image_resize_floats(host + small, u->width, u->height, host, u->small_width, u->small_height,
                                   IMAGE_BICUBIC, e);
    if (ok)
        run_write(w->r, w->low, host + small);
    free(host);
    return ok;
}
