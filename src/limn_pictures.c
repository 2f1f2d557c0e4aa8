/* The public API's pictures of any size, and what they say of the settings that made them. */
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "generate/region.h"
#include "generate/settings.h"
#include "io/image.h"
#include "limn/limn.h"
#include "models/model.h"

/* ---- pictures of any size ---- */

static bool check(const limn_picture *p, err *e)
{
    if (p->channels != 3 && p->channels != 4)
        return err_set(e, ERR_USAGE, "picture: it has %d channels, and 3 (RGB) or 4 (RGBA) are wanted", p->channels);
    if (p->width < 1 || p->height < 1 || p->width > IMAGE_MAX_SIDE || p->height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_USAGE, "picture: %d x %d pixels are outside of 1 x 1 to %d x %d", p->width, p->height,
                       IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    return true;
}

bool limn_picture_read(const char *path, limn_picture *p, limn_error *e)
{
    image im;
    uint8_t *alpha;
    *p = (limn_picture){0};
    if (!image_read_alpha(&im, &alpha, path, e))
        return false;
    *p = (limn_picture){im.width, im.height, 3, im.pixels};
    if (!alpha)
        return true;
    const size_t n = (size_t)im.width * (size_t)im.height;
    p->channels = 4;
    p->pixels = malloc(4 * n);
    for (size_t i = 0; p->pixels && i < n; i++) {
        memcpy(p->pixels + 4 * i, im.pixels + 3 * i, 3);
        p->pixels[4 * i + 3] = alpha[i];
    }
    image_release(&im);
    free(alpha);
    return p->pixels || err_no_memory(e, path, 4 * n);
}

bool limn_picture_fit(const limn_model *m, const limn_picture *p, uint8_t *rgb, limn_error *e)
{
    const limn_model_info *i = &m->info;
    image whole = {p->width, p->height, p->pixels}, own = {0}, fitted = {0};
    bool ok = model_needs_codec(m, e) && check(p, e);
    if (ok && p->channels == 4) {
        ok = image_new(&own, p->width, p->height, e);
        if (ok)
            image_blend(own.pixels, p->pixels, (size_t)p->width * (size_t)p->height);
        whole = own;
    }
    ok = ok && image_fit(&fitted, &whole, i->encode_width, i->encode_height, e);
    if (ok)
        memcpy(rgb, fitted.pixels, 3 * (size_t)i->encode_width * (size_t)i->encode_height);
    image_release(&own);
    image_release(&fitted);
    return ok;
}

/* Its pixels, and its alpha where a part of it is transparent; both are new. */
static bool split(image *im, uint8_t **alpha, const limn_picture *p, err *e)
{
    const size_t n = (size_t)p->width * (size_t)p->height, channels = (size_t)p->channels;
    bool opaque = true;
    *alpha = NULL;
    if (!image_new(im, p->width, p->height, e))
        return false;
    for (size_t i = 0; i < n; i++)
        memcpy(im->pixels + 3 * i, p->pixels + channels * i, 3);
    for (size_t i = 0; channels == 4 && opaque && i < n; i++)
        opaque = p->pixels[4 * i + 3] == 255;
    if (opaque)
        return true;
    *alpha = malloc(n);
    for (size_t i = 0; *alpha && i < n; i++)
        (*alpha)[i] = p->pixels[4 * i + 3];
    return *alpha || err_no_memory(e, "mask", n);
}

bool limn_picture_mask(const limn_model *m, const limn_picture *p, uint8_t *cells, limn_error *e)
{
    image whole = {0};
    uint8_t *alpha = NULL;
    bool ok = model_needs_codec(m, e) && check(p, e) && split(&whole, &alpha, p, e) &&
              mask_cells(cells, &whole, alpha, &m->info, e);
    image_release(&whole);
    free(alpha);
    return ok;
}

bool limn_picture_keep(const limn_model *m, const char *region, uint8_t *cells, limn_error *e)
{
    keep k;
    limn_picture mask = {0};
    if (!region)
        return err_set(e, ERR_USAGE, "`keep`: there is no region");
    if (!model_needs_codec(m, e) || !keep_parse(&k, region, e))
        return false;
    if (k.kind != KEEP_MASK)
        return region_cells(cells, &k, &m->info, e);
    bool ok = limn_picture_read(region, &mask, e) && limn_picture_mask(m, &mask, cells, e);
    free(mask.pixels);
    return ok;
}

/* ---- settings ---- */

char *limn_settings_text(const limn_model *m, const limn_generate_options *o, const limn_settings *settings,
                         limn_error *e)
{
    limn_settings s = {0};
    control_copy(&s, sizeof s, settings);
    if (!o->prompt && !o->text_ids && o->n_text_ids) {
        err_set(e, ERR_USAGE, "settings: neither a prompt nor text ids");
        return NULL;
    }
    char *text = settings_text(&m->info, o, &s);
    if (!text)
        err_no_memory(e, "settings", 1);
    return text;
}
