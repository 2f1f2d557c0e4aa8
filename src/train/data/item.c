/* One item, and what (seed, epoch, item) decides of it: order, replacement, caption, crop, mirroring. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "io/image.h"
#include "train/data/internal.h"

/* Streams of the seed, far from those that noise of rows takes, which count from 0. */
enum { STREAM_ORDER = 0x64610000, STREAM_CAPTION, STREAM_CROP, STREAM_REPLACE };

/* Random tries for a replacement, before the items are walked through: they keep a run of bad neighbours, the tail of
 * a damaged tar file say, from showing the next good item many times. */
enum { RANDOM_TRIES = 16 };

static uint64_t word64(const uint32_t w[2])
{
    return (uint64_t)w[1] << 32 | w[0];
}

void order_shuffle(uint32_t *order, size_t n, uint64_t seed, int64_t epoch)
{
    uint32_t w[4] = {0};
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) { /* Fisher-Yates; the remainder of 64 bits by 31 is even to 2^-33 */
        if (i == n || i % 2 == 0)    /* a block has the numbers of an even i and of the odd one below */
            rng_philox(w, seed, STREAM_ORDER, (uint32_t)epoch, (uint32_t)((i - 1) / 2));
        size_t j = word64(w + 2 * (i % 2)) % i;
        uint32_t swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
}

/* ---- names --------------------------------------------------------------------------------------------------- */

char *item_name(const dataset *d, const item *it)
{
    const source *s = &d->sources[it->source];
    char line[32];
    if (s->kind == SOURCE_FOLDER)
        return join(s->path, "/", d->paths.data + it->picture);
    if (s->kind == SOURCE_LINES) {
        snprintf(line, sizeof line, ":%" PRIu64, it->caption);
        return join(s->path, line, "");
    }
    char *member = tar_name(&s->map, it->picture);
    char *name = join(s->path, ": ", member ? member : "?");
    free(member);
    return name;
}

/* ---- the picture --------------------------------------------------------------------------------------------- */

static bool read_line_picture(image *im, const source *s, const item *it, err *e)
{
    const char *text;
    size_t bytes;
    line_at(s, it->picture, &text, &bytes);
    json_t *object = json_object_parse(text, bytes, e);
    char *path = object ? line_picture_path(s, object, e) : NULL;
    bool ok = path && image_read(im, path, e);
    free(path);
    json_decref(object);
    return ok;
}

static bool read_member(image *im, const source *s, const item *it, const char *name, err *e)
{
    uint8_t *data = NULL;
    size_t size = 0;
    bool ok = tar_read(&s->map, it->picture, &data, &size, e) && image_read_memory(im, data, size, name, e);
    free(data);
    return ok;
}

static bool read_picture(image *im, const dataset *d, const item *it, const char *name, err *e)
{
    const source *s = &d->sources[it->source];
    *im = (image){0};
    switch (s->kind) {
    case SOURCE_FOLDER:
        return image_read(im, name, e);
    case SOURCE_LINES:
        return read_line_picture(im, s, it, e);
    case SOURCE_TAR:
        return read_member(im, s, it, name, e);
    case SOURCE_LIST:
        break;
    }
    return false;
}

/* A part of the aspect width:height, its sides w[0] in [crop, 1] of the largest, at place (w[1], w[2]). */
static bool cut(image *out, const image *in, const dataset_options *o, const uint32_t w[4], err *e)
{
    double x_scale = (double)in->width / o->width, y_scale = (double)in->height / o->height;
    double scale = (x_scale < y_scale ? x_scale : y_scale) * (o->crop + (1 - o->crop) * w[0] * 0x1p-32);
    int width = (int)(o->width * scale + 0.5), height = (int)(o->height * scale + 0.5);
    width = width < 1 ? 1 : width > in->width ? in->width : width;
    height = height < 1 ? 1 : height > in->height ? in->height : height;
    size_t x = (size_t)((uint64_t)w[1] * (uint64_t)(in->width - width + 1) >> 32);
    size_t y = (size_t)((uint64_t)w[2] * (uint64_t)(in->height - height + 1) >> 32);
    if (!image_new(out, width, height, e))
        return false;
    size_t row = (size_t)width * 3;
    for (size_t i = 0; i < (size_t)height; i++)
        memcpy(out->pixels + i * row, in->pixels + ((y + i) * (size_t)in->width + x) * 3, row);
    return true;
}

/* pixels[height, width, 3] = in, mirrored left to right where asked. */
static void put(uint8_t *pixels, const image *in, bool mirrored)
{
    size_t w = (size_t)in->width, n = w * (size_t)in->height;
    if (!mirrored) {
        memcpy(pixels, in->pixels, n * 3);
        return;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(pixels + i * 3, in->pixels + (i / w * w + (w - 1 - i % w)) * 3, 3);
}

/* The picture of an item that was read before; false where it is to be read. */
static bool put_kept(const dataset *d, int64_t number, uint8_t *pixels, bool mirrored)
{
    size_t one = (size_t)d->o.width * (size_t)d->o.height * 3;
    if (number >= d->n_kept || !(atomic_load(&d->flags[number]) & ITEM_KEPT))
        return false;
    put(pixels, &(image){d->o.width, d->o.height, d->kept + (size_t)number * one}, mirrored);
    return true;
}

static void keep(const dataset *d, int64_t number, const image *im)
{
    size_t one = (size_t)d->o.width * (size_t)d->o.height * 3;
    if (number >= d->n_kept || atomic_fetch_or(&d->flags[number], ITEM_KEEPING) & ITEM_KEEPING)
        return;
    memcpy(d->kept + (size_t)number * one, im->pixels, one);
    atomic_fetch_or(&d->flags[number], ITEM_KEPT);
}

static bool load_picture(const dataset *d, int64_t epoch, int64_t number, const char *name, uint8_t *pixels, err *e)
{
    const dataset_options *o = &d->o;
    image whole, part = {0}, fitted = {0};
    uint32_t w[4];
    rng_philox(w, o->seed, STREAM_CROP, (uint32_t)epoch, (uint32_t)number);
    bool mirrored = o->flip && w[3] & 1;
    if (put_kept(d, number, pixels, mirrored))
        return true;
    bool ok = read_picture(&whole, d, &d->items[number], name, e);
    if (ok && o->crop > 0)
        ok = cut(&part, &whole, o, w, e) && image_resize(&fitted, &part, o->width, o->height, e);
    else
        ok = ok && image_fit(&fitted, &whole, o->width, o->height, e);
    if (ok) {
        keep(d, number, &fitted);
        put(pixels, &fitted, mirrored);
    }
    image_release(&whole);
    image_release(&part);
    image_release(&fitted);
    return ok;
}

/* ---- the item ------------------------------------------------------------------------------------------------ */

/* One of the captions as a new string. */
static char *draw_caption(const dataset *d, int64_t epoch, int64_t number, const captions *c)
{
    uint32_t w[4];
    rng_philox(w, d->o.seed, STREAM_CAPTION, (uint32_t)epoch, (uint32_t)number);
    const char *text = c->text.data;
    for (size_t k = (size_t)(word64(w) % c->n); k; k--)
        text += strlen(text) + 1;
    return strdup(text);
}

/* False: the item is bad, which is noted, or e is filled since memory is short. */
static bool load(dataset *d, int64_t epoch, int64_t number, scratch *s, uint8_t *pixels, char **caption, err *e)
{
    bool wants_caption = d->o.want == DATASET_PAIRS || d->o.want == DATASET_CAPTIONS;
    if (wants_caption && !captions_of(&s->captions, d, number)) {
        atomic_fetch_or(&d->flags[number], ITEM_BAD);
        return false;
    }
    char *name = item_name(d, &d->items[number]);
    if (!name)
        return err_no_memory(e, "data set", 256);
    err why = {0};
    bool ok = !pixels || load_picture(d, epoch, number, name, pixels, &why);
    if (!ok && !(atomic_fetch_or(&d->flags[number], ITEM_BAD) & ITEM_BAD))
        dataset_note(d, number, name, why.text);
    free(name);
    if (ok && wants_caption && !(*caption = draw_caption(d, epoch, number, &s->captions)))
        return err_no_memory(e, "caption", 256);
    return ok;
}

/* The item to try at a place of the order: the one that belongs there, then random ones, then all from the last on. */
static int64_t candidate(const dataset *d, int64_t epoch, int64_t number, int64_t attempt)
{
    if (attempt == 0)
        return number;
    uint32_t w[4];
    int64_t k = attempt < RANDOM_TRIES ? attempt : RANDOM_TRIES;
    rng_philox(w, d->o.seed, STREAM_REPLACE + (uint32_t)k, (uint32_t)epoch, (uint32_t)number);
    return (int64_t)((word64(w) % d->n_items + (uint64_t)(attempt - k)) % d->n_items);
}

bool item_load(dataset *d, int64_t epoch, int64_t number, scratch *s, uint8_t *pixels, char **caption, int64_t *loaded,
               const atomic_bool *stop, err *e)
{
    err fatal = {0};
    *caption = NULL;
    for (int64_t attempt = 0; attempt < RANDOM_TRIES + dataset_size(d); attempt++) {
        int64_t i = candidate(d, epoch, number, attempt);
        if (atomic_load(stop))
            return false;
        if (atomic_load(&d->flags[i]) & ITEM_BAD)
            continue;
        if (load(d, epoch, i, s, pixels, caption, &fatal)) {
            *loaded = i;
            return true;
        }
        if (fatal.code)
            return err_set(e, (err_code)fatal.code, "%s", fatal.text);
    }
    return err_set(e, ERR_FAILED,
                   "data: none of the %" PRId64 " items is usable (see the list of problems for what is wrong)",
                   dataset_size(d));
}
