/* Pictures of jobs: from requests to codes, and from codes to files. */
#include "serve/draw.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "generate/region.h"
#include "generate/settings.h"

enum {
    ROWS = 32,         /* sequences at once, if there is memory */
    TOGETHER = 8,      /* pictures that are decoded together */
    VARIATION = 0x5641 /* stream of random numbers: which cells a variation keeps */
};

static uint64_t seed_of(const job *j, int picture)
{
    return j->own_seeds ? j->seed + (uint64_t)picture : j->seed;
}

/* Its number among the seed's pictures. */
static int number_of(const job *j, int picture)
{
    return j->own_seeds ? 0 : picture;
}

static int cells_of(const drawer *d)
{
    return d->info->grid_width * d->info->grid_height;
}

/* ---- image prompts ---------------------------------------------------------------------------------------------- */

/* Whether some cells stay and others don't. */
static bool divides(const uint8_t *stays, const drawer *d)
{
    int kept = 0;
    for (int i = 0; i < cells_of(d); i++)
        kept += stays[i];
    return kept > 0 && kept < cells_of(d);
}

/* A picture that is a mask; *alpha is NULL where all of it is opaque. */
static bool read_mask_file(image *whole, uint8_t **alpha, const drawing *a, const text_buffer *file, const char *name,
                           err *e)
{
    const bool own = file == &a->j->mask && a->j->mask_is == STAYS_OPAQUE; /* OpenAI's: others are resized */
    if (!image_read_alpha_memory(whole, alpha, file->text, file->size, name, e))
        return false;
    return !own || (whole->width == a->whole_width && whole->height == a->whole_height) ||
           err_set(e, ERR_USAGE, "%s: it has %dx%d pixels, and the image %dx%d (give one of the same size)", name,
                   whole->width, whole->height, a->whole_width, a->whole_height);
}

/* stays[cells] = 1 where a picture is opaque, or, where all of it is, white; *has says whether it has an alpha. */
static bool read_mask(uint8_t *stays, bool *has, const drawing *a, const text_buffer *file, const char *name, err *e)
{
    image whole = {0};
    uint8_t *alpha = NULL;
    bool ok = read_mask_file(&whole, &alpha, a, file, name, e);
    *has = alpha != NULL;
    ok = ok && mask_cells(stays, &whole, alpha, a->d->info, e);
    image_release(&whole);
    free(alpha);
    return ok;
}

/* The cells that stay: by the region or the mask; else where the picture is opaque, if that divides it, else the upper
 * half. */
static bool choose_cells(uint8_t *stays, const drawing *a, err *e)
{
    const job *j = a->j;
    const drawer *d = a->d;
    bool has = false;
    keep k;
    if (j->region)
        return keep_parse(&k, j->region, e) && region_cells(stays, &k, d->info, e);
    if (j->mask.size > 0) {
        if (!read_mask(stays, &has, a, &j->mask, "mask", e))
            return false;
        for (int i = 0; j->mask_is == STAYS_BLACK && i < cells_of(d); i++)
            stays[i] = !stays[i];
        return j->mask_is != STAYS_OPAQUE || has ||
               err_set(e, ERR_USAGE, "mask: no part of it is transparent, and those are drawn anew");
    }
    if (!read_mask(stays, &has, a, &j->picture, "image", e))
        return false;
    return (has && divides(stays, d)) || (keep_parse(&k, "top:0.5", e) && region_cells(stays, &k, d->info, e));
}

/* A variation keeps some of the cells, others for each picture. */
static void choose_variation(uint8_t *stays, const drawing *a, int picture, int cells)
{
    for (int i = 0; i < cells; i++)
        stays[i] = rng_uniform(seed_of(a->j, picture), VARIATION, (uint32_t)number_of(a->j, picture), (uint32_t)i) <
                   1 - a->vary;
}

/* Pictures that can't be read are the request's fault. */
static bool blame(err *e)
{
    if (e->code == ERR_FAILED && e->cause == LIMN_CAUSE_OTHER)
        e->code = ERR_USAGE;
    return false;
}

static bool open_paint(drawing *a, err *e)
{
    const size_t n = (size_t)a->d->info->width * (size_t)a->d->info->height;
    a->paint = calloc(n, 1);
    return a->paint || err_no_memory(e, "mask", n);
}

/* What a region, or a mask by its cells, doesn't keep. */
static bool paint_by_region(drawing *a, err *e)
{
    const limn_model_info *i = a->d->info;
    if (!choose_cells(a->keep, a, e) || !open_paint(a, e))
        return false;
    for (int p = 0; p < i->width * i->height; p++) {
        int y = p / i->width / i->size_step, x = p % i->width / i->size_step;
        a->paint[p] = !a->keep[y * i->grid_width + x * i->latent_channels];
    }
    return true;
}

/* By the pixels of a mask, as `limn generate --mask` reads them. */
static bool paint_by_mask(drawing *a, const text_buffer *file, const char *name, err *e)
{
    const limn_model_info *i = a->d->info;
    const bool own = file == &a->j->mask, white = own && a->j->mask_is == STAYS_BLACK;
    image whole = {0}, fitted = {0};
    uint8_t *alpha = NULL;
    int painted = 0;
    bool ok = read_mask_file(&whole, &alpha, a, file, name, e);
    const bool has = alpha != NULL;
    for (size_t p = 0; has && p < (size_t)whole.width * (size_t)whole.height; p++)
        memset(whole.pixels + 3 * p, alpha[p], 3);
    ok = ok && image_fit(&fitted, &whole, i->encode_width, i->encode_height, e) && open_paint(a, e);
    for (int p = 0; ok && p < i->width * i->height; p++) {
        const uint8_t *rgb = fitted.pixels + (size_t)p * 3;
        painted += a->paint[p] = ((rgb[0] + rgb[1] + rgb[2]) / 3 >= 128) == white;
    }
    image_release(&whole);
    image_release(&fitted);
    free(alpha);
    if (ok && own && a->j->mask_is == STAYS_OPAQUE && !has)
        ok = err_set(e, ERR_USAGE, "mask: no part of it is transparent, and those are drawn anew");
    if (ok && !own && (!has || !painted || painted == i->width * i->height)) { /* all of it changes */
        free(a->paint);
        a->paint = NULL;
    }
    return ok;
}

/* Diffusion models take the picture itself, and what of it is painted anew: where the mask or the region says, or what
 * is transparent; else all of it changes. */
static bool take_picture(drawing *a, image *fitted, err *e)
{
    const job *j = a->j;
    a->image = fitted->pixels;
    *fitted = (image){0};
    if (a->vary > 0) {
        a->o.strength = a->vary;
        return true;
    }
    const bool cells = j->region || (j->mask.size > 0 && j->mask_is == STAYS_CELLS);
    return (cells              ? paint_by_region(a, e)
            : j->mask.size > 0 ? paint_by_mask(a, &j->mask, "mask", e)
                               : paint_by_mask(a, &j->picture, "image", e)) ||
           blame(e);
}

/* unCLIP's models take a picture of any size, and draw all of theirs anew, as variations of it. */
static bool take_whole(drawing *a, err *e)
{
    const job *j = a->j;
    image whole = {0};
    if (j->region || j->mask.size > 0)
        return err_set(e, ERR_USAGE, "%s: this model draws all of a picture anew, as a variation (leave it out)",
                       j->region ? "keep" : "mask");
    if (!image_read_memory(&whole, j->picture.text, j->picture.size, "image", e))
        return blame(e);
    a->image = whole.pixels;
    a->o.image_width = a->whole_width = whole.width;
    a->o.image_height = a->whole_height = whole.height;
    if (j->denoise) /* which front ends send with each picture */
        a->o.strength = 0;
    return true;
}

static bool read_picture(drawing *a, err *e)
{
    const limn_model_info *i = a->d->info;
    const job *j = a->j;
    if (i->default_super_steps)
        return take_whole(a, e);
    size_t cells = (size_t)cells_of(a->d), n = a->vary > 0 ? (size_t)j->count : 1;
    image whole = {0}, fitted = {0};
    a->keep = calloc(n, cells);
    a->kept = calloc(cells, sizeof *a->kept);
    bool ok = (a->keep && a->kept) || err_no_memory(e, "image prompt", n * cells);
    ok = ok && ((image_read_memory(&whole, j->picture.text, j->picture.size, "image", e) &&
                 image_fit(&fitted, &whole, i->encode_width, i->encode_height, e)) ||
                blame(e));
    a->whole_width = whole.width;
    a->whole_height = whole.height;
    image_release(&whole);
    if (i->latent_channels) {
        ok = ok && take_picture(a, &fitted, e);
        image_release(&fitted);
        return ok;
    }
    ok = ok && limn_encode(a->d->m, fitted.pixels, 1, a->kept, NULL, e);
    image_release(&fitted);
    bool all = a->o.strength > 0 && !j->region && j->mask.size == 0; /* changes */
    if (ok && a->vary <= 0 && !all)
        ok = choose_cells(a->keep, a, e) || blame(e);
    for (size_t k = 0; ok && a->vary > 0 && k < n; k++)
        choose_variation(a->keep + k * cells, a, (int)k, (int)cells);
    return ok;
}

/* ---- beginning -------------------------------------------------------------------------------------------------- */

/* The job's settings, and the model's where it has none. */
static limn_generate_options settings_of(const job *j, limn_model *m)
{
    limn_generate_options o = limn_generate_defaults(m);
    o.seed = j->seed;
    o.prompt = j->prompt;
    o.negative = j->negative;
    o.count = j->count;
    if (j->temperature >= 0)
        o.temperature = j->temperature;
    if (j->top_k >= 0)
        o.top_k = j->top_k;
    if (j->top_p >= 0)
        o.top_p = j->top_p;
    if (j->guidance >= 0)
        o.guidance = j->guidance;
    if (limn_model_get_info(m)->default_steps)
        o.steps = j->steps;
    if (!j->denoise || limn_model_get_info(m)->default_steps)
        o.strength = j->strength;
    if (!j->lenient || limn_model_get_info(m)->latent_channels) {
        o.sampler = j->sampler;
        o.spacing = j->spacing;
    }
    return o;
}

/* Pictures picture to picture + count - 1 of the job. */
static bool add_request(drawing *a, int picture, int count, limn_error *e)
{
    const limn_generate_options *o = &a->o;
    const uint8_t *stays = a->keep && a->vary > 0 ? a->keep + (size_t)picture * (size_t)cells_of(a->d) : a->keep;
    const limn_request q = {.size = sizeof q,
                            .prompt = o->prompt,
                            .negative = o->negative,
                            .seed = seed_of(a->j, picture),
                            .first = number_of(a->j, picture),
                            .count = count,
                            .temperature = o->temperature,
                            .greedy = o->temperature <= 0,
                            .top_k = o->top_k > 0 ? o->top_k : -1,
                            .top_p = o->top_p > 0 ? o->top_p : 1,
                            .guidance = o->guidance > 0 ? o->guidance : 1,
                            .steps = o->steps,
                            .strength = o->strength,
                            .sampler = o->sampler,
                            .spacing = o->spacing,
                            .keep = a->image ? NULL : stays,
                            .kept_codes = stays && !a->image ? a->kept : NULL,
                            .image = a->image,
                            .paint = a->paint,
                            .image_width = o->image_width,
                            .image_height = o->image_height};
    return limn_generation_add(a->d->g, &q, &a->ids[a->n_ids], e) && ++a->n_ids;
}

bool drawing_begin(drawing *a, drawer *d, job *j, limn_error *e)
{
    *a = (drawing){.j = j, .d = d, .o = settings_of(j, d->m)};
    bool instead = j->denoise && !d->info->default_steps && j->mask.size == 0 && !j->region;
    a->vary = instead ? j->strength : j->vary;
    a->apart = a->vary > 0 || j->own_seeds;
    int n = a->apart ? j->count : 1;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    if (limn_tokenize(d->m, j->prompt, &ids, &n_ids, NULL))
        j->text_tokens = (int)n_ids;
    free(ids);
    const parameters said = settings_parameters(d->info, &a->o);
    j->drawn_width = d->info->width;
    j->drawn_height = d->info->height;
    j->drawn_by = said.sampler;
    j->drawn_guidance = said.guidance;
    if (j->strict_size && j->width && (j->width != d->info->width || j->height != d->info->height))
        return err_set(e, ERR_USAGE, "size: this model's pictures are %dx%d", d->info->width, d->info->height);
    if (!d->info->has_codec || !d->info->has_transformer)
        return err_set(e, ERR_FAILED, "the model %s can't draw: it has no %s", d->model->id,
                       d->info->has_codec ? "transformer" : "codec");
    const limn_generation_options g = {.size = sizeof g, .rows = ROWS, .decoder = true};
    if (!d->g && !(d->g = limn_generation_open(d->m, &g, e)))
        return false;
    a->ids = calloc((size_t)n, sizeof *a->ids);
    if (!a->ids)
        return err_no_memory(e, "job", (size_t)n * sizeof *a->ids);
    bool ok = j->picture.size == 0 || read_picture(a, e);
    for (int i = 0; ok && i < n; i++)
        ok = add_request(a, i, a->apart ? 1 : j->count, e);
    if (ok)
        d->jobs++;
    else
        drawing_end(a);
    return ok;
}

void drawing_end(drawing *a)
{
    for (int i = 0; i < a->n_ids && a->d->g; i++)
        limn_generation_cancel(a->d->g, a->ids[i], NULL); /* what was taken isn't there any more */
    free(a->ids);
    free(a->keep);
    free(a->kept);
    free(a->image);
    free(a->paint);
    a->image = NULL;
    a->paint = NULL;
    a->ids = NULL;
    a->keep = NULL;
    a->kept = NULL;
    a->n_ids = 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* A picture of the model's -> a file of the job's format and size, with its settings unless it is a preview. */
static bool make_file(const drawing *a, const image *im, const char *text, uint8_t **file, size_t *size, err *e)
{
    const job *j = a->j;
    const image_text texts[] = {{"Software", "limn " LIMN_VERSION}, {"parameters", text}};
    const image_write_options o = {.format = j->format, .quality = j->quality, .texts = texts, .n_texts = text ? 2 : 0};
    image scaled = {0};
    bool scale = j->width && (j->width != im->width || j->height != im->height);
    bool ok = (!scale || image_scale(&scaled, im, j->width, j->height, e)) &&
              image_encode(file, size, scale ? &scaled : im, &o, "picture", e);
    image_release(&scaled);
    return ok;
}

/* Picture i of its seed as `limn generate` writes it. */
static bool finish(drawing *a, int picture, const image *im, err *e)
{
    job *j = a->j;
    job_picture *p = &j->pictures[picture];
    parameters said = settings_parameters(a->d->info, &a->o);
    said.prompt = j->prompt;
    said.seed = seed_of(j, picture);
    said.adapters = a->d->adapters;
    if (j->count > 1 && !j->own_seeds) {
        said.has |= PARAMETERS_PICTURE;
        said.picture = picture + 1;
        said.pictures = j->count;
    }
    char *text = parameters_text(&said);
    bool ok = text ? make_file(a, im, text, &p->file, &p->size, e) : err_no_memory(e, "settings", 1);
    if (ok)
        p->settings = text;
    else
        free(text);
    return ok;
}

/* The drawing of a request, which is its number *request. */
static drawing *find(drawing *list, const drawer *d, uint64_t id, int *request)
{
    for (; list; list = list->next)
        for (*request = 0; list->d == d && *request < list->n_ids; ++*request)
            if (list->ids[*request] == id)
                return list;
    return NULL;
}

/* The previews that were asked for and that no time was for. */
static void send_missing(job *j, int picture)
{
    job_picture *p = &j->pictures[picture];
    while (p->previews < j->previews)
        j->answers->preview(j, picture, p->previews++, p->file, p->size);
}

/* A picture whose codes were taken. */
typedef struct taken {
    drawing *a;
    int picture;
} taken;

/* The codes of up to TOGETHER pictures, those that somebody waits for; how many there are. */
static int take_codes(drawing *list, const drawer *d, taken *all, int32_t *codes)
{
    int n = 0, number;
    uint64_t id;
    while (n < TOGETHER && limn_generation_take(d->g, &id, &number, codes + (size_t)n * (size_t)cells_of(d))) {
        int request = 0;
        drawing *a = find(list, d, id, &request);
        if (a)
            all[n++] = (taken){a, a->j->own_seeds ? request : number};
    }
    return n;
}

static bool finish_all(const taken *all, int n, const drawer *d, const int32_t *codes, uint8_t *pixels, err *e)
{
    const limn_model_info *i = d->info;
    bool ok = limn_decode_pixels(d->m, codes, n, LIMN_U8, pixels, NULL, e);
    for (int k = 0; ok && k < n; k++) {
        job *j = all[k].a->j;
        const image im = {i->width, i->height, pixels + 3 * (size_t)k * (size_t)i->width * (size_t)i->height};
        ok = finish(all[k].a, all[k].picture, &im, e);
        if (ok) {
            send_missing(j, all[k].picture);
            j->finished++;
            if (j->answers->picture)
                j->answers->picture(j, all[k].picture);
        }
    }
    return ok;
}

bool drawings_take(drawing *list, drawer *d, limn_error *e)
{
    const size_t bytes = 3 * (size_t)d->info->width * (size_t)d->info->height;
    int32_t *codes = malloc(TOGETHER * (size_t)cells_of(d) * sizeof *codes);
    taken all[TOGETHER];
    bool ok = codes || err_no_memory(e, "codes", TOGETHER * (size_t)cells_of(d) * sizeof *codes);
    for (int n; ok && (n = take_codes(list, d, all, codes)) > 0;) {
        uint8_t *pixels = malloc((size_t)n * bytes);
        ok = pixels ? finish_all(all, n, d, codes, pixels, e) : err_no_memory(e, "pictures", (size_t)n * bytes);
        free(pixels);
    }
    free(codes);
    return ok;
}

static uint64_t id_of(const drawing *a, int picture)
{
    return a->ids[a->apart ? picture : 0];
}

/* Codes -> pixels as limn_preview makes them, grey where a code is -1. */
static bool look_at(image *im, const drawer *d, int32_t *codes, err *e)
{
    const limn_model_info *i = d->info;
    int cells = cells_of(d);
    uint8_t *unknown = calloc((size_t)cells, 1);
    for (int c = 0; unknown && c < cells; c++)
        if ((unknown[c] = codes[c] < 0 && !i->latent_channels))
            codes[c] = 0;
    bool ok = (unknown || err_no_memory(e, "picture", (size_t)cells)) && image_new(im, i->width, i->height, e) &&
              limn_preview(d->m, codes, 1, im->pixels, e);
    for (int c = 0; ok && c < cells; c++)
        if (unknown[c])
            image_grey_cell(im, i->grid_height, i->grid_width, c);
    free(unknown);
    return ok;
}

/* A picture as it is now, in the job's format. */
static bool peek(drawing *a, int picture, uint8_t **file, size_t *size, err *e)
{
    int32_t *codes = calloc((size_t)cells_of(a->d), sizeof *codes);
    image im = {0};
    bool ok = (codes || err_no_memory(e, "codes", (size_t)cells_of(a->d))) &&
              limn_generation_peek(a->d->g, id_of(a, picture), number_of(a->j, picture), codes, NULL, e) &&
              look_at(&im, a->d, codes, e) && make_file(a, &im, NULL, file, size, e);
    image_release(&im);
    free(codes);
    return ok;
}

static bool preview(drawing *a, int picture, err *e)
{
    job *j = a->j;
    uint8_t *file = NULL;
    size_t size = 0;
    bool ok = peek(a, picture, &file, &size, e);
    if (ok)
        j->answers->preview(j, picture, j->pictures[picture].previews++, file, size);
    free(file);
    return ok;
}

bool drawing_peek(drawing *a, text_buffer *into, limn_error *e)
{
    uint8_t *file = NULL;
    size_t size = 0;
    int picture = 0;
    while (picture < a->j->count - 1 && a->j->pictures[picture].file)
        picture++;
    bool ok = !a->j->pictures[picture].file && peek(a, picture, &file, &size, e) && text_put(into, file, size);
    free(file);
    return ok;
}

bool drawing_look(drawing *a, int *codes, limn_error *e)
{
    job *j = a->j;
    int cells = cells_of(a->d);
    bool ok = true;
    *codes = 0;
    for (int i = 0; ok && i < j->count; i++) {
        job_picture *p = &j->pictures[i];
        int done = cells;
        if (!p->file)
            ok = limn_generation_peek(a->d->g, id_of(a, i), number_of(j, i), NULL, &done, e);
        while (ok && !p->file && p->previews < j->previews && done >= cells * (p->previews + 1) / (j->previews + 1))
            ok = preview(a, i, e);
        *codes += done;
    }
    return ok;
}
