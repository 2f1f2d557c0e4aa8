/* What becomes of the pictures of limn generate: they are written when they are ready, and what is there is kept. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ranks.h"
#include "cli/generate.h"
#include "cli/latents.h"
#include "generate/settings.h"

#define GAP 2 /* white pixels between the pictures of a grid */
/* A grid is written again for each line of it, but in no more than this share of the time. */
#define GRID_SHARE 0.1

bool results_begin(results *r, request *q, const opened_model *s, ranking *k, const limn_generate_options *g, err *e)
{
    size_t n = (size_t)q->total, cells = (size_t)s->cells;
    *r = (results){.q = q, .s = s, .ranking = k, .g = g};
    if (ranks_rank() > 0)
        return true;
    r->there = array_new(n, sizeof *r->there, "pictures", e);
    bool ok = r->there != NULL, several = q->n_sources > 1 ? q->each > 1 : q->total > 1;
    if (ok && several)
        ok = variety_begin(&r->variety, q->n_sources, g->keep || g->image, e);
    if (ok && (q->grid || q->preview || q->rank))
        ok = (r->held = array_new(n, sizeof *r->held, "pictures", e)) != NULL;
    if (ok && (q->codes_out || q->latents_out))
        ok = (r->codes = array_new(n, cells * sizeof *r->codes, "codes", e)) != NULL;
    if (ok && q->rank) {
        r->order = array_new(n, sizeof *r->order, "ranking", e);
        r->scores = array_new(n, sizeof *r->scores, "ranking", e);
        ok = r->order && r->scores;
    }
    int width, height;
    return ok && (!(q->grid || q->preview) ||
                  image_grid_size(q->total, s->info->width, s->info->height, GAP, &width, &height, e));
}

void results_release(results *r)
{
    pictures_free(r->held, r->q ? r->q->total : 0);
    free(r->there);
    variety_release(&r->variety);
    free(r->codes);
    free(r->order);
    free(r->scores);
    image_release(&r->blank);
    *r = (results){0};
}

/* ---- settings ------------------------------------------------------------------------------------------------- */

/* What picture t says of itself; t < 0: the grid of all. */
static parameters settings_of(const results *r, int t)
{
    const request *q = r->q;
    const limn_generate_options *g = r->g;
    int picture, last = q->between ? q->between : q->n_sources > 1 ? q->each : q->first - 1 + q->total;
    const source *s = &q->sources[request_source(q, t < 0 ? 0 : t, &picture)];
    bool ranked = r->order && t >= 0 && t < r->ranked;
    parameters p = settings_parameters(r->s->info, g);
    p.prompt = s->shown;
    p.negative = q->negative;
    p.image_prompt = q->image_prompt;
    p.keep = q->image_prompt && !r->s->info->default_super_steps ? q->keep.text : NULL;
    p.image_to = q->image_to;
    p.text_ids = s->ids_text;
    p.adapters = q->adapters;
    p.class = q->class;
    p.picture = t < 0 ? 0 : 1 + (ranked ? r->order[t] : picture);
    p.first = q->n_sources > 1 ? 1 : q->first;
    p.pictures = last;
    if (last > 1) /* the number that, with the seed, makes it again */
        p.has |= PARAMETERS_PICTURE;
    if (q->class >= 0)
        p.has |= PARAMETERS_CLASS;
    if (ranked) {
        p.has |= PARAMETERS_SCORE;
        p.score = r->scores[t];
    }
    return p;
}

/* All prompts of a grid, one a line, a new string: a prompt's own lines become one. */
static char *all_prompts(const request *q)
{
    size_t size = 1;
    for (int i = 0; i < q->n_sources; i++)
        size += strlen(q->sources[i].shown) + 1;
    char *text = malloc(size), *at = text;
    for (int i = 0; text && i < q->n_sources; i++) {
        char *begin = at += sprintf(at, "%s", i ? "\n" : "");
        at += sprintf(at, "%s", q->sources[i].shown);
        for (char *c = begin; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
    }
    return text;
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

/* The picture as the file of item t; where files have no numbers, as the file.  Where limn chose the name, the file
 * must be new: another limn may have chosen the same by now. */
static bool write_file(results *r, int t, const image *im, const parameters *p, err *e)
{
    struct stat st;
    char *name = request_file(r->q, t);
    bool ok = name && picture_write(im, name, r->q->quality, p, r->q->out_free, e);
    while (!ok && name && r->q->out_free && stat(name, &st) == 0) {
        *e = (err){0};
        free(name);
        name = request_choose_file(r->q, e) ? request_file(r->q, t) : NULL;
        ok = name && picture_write(im, name, r->q->quality, p, true, e);
    }
    if (!ok && !e->code)
        ok = err_no_memory(e, "file name", 32);
    if (ok)
        r->q->out_free = false;
    if (ok && stat(name, &st) == 0 && S_ISREG(st.st_mode))
        r->bytes += r->q->numbered ? (uint64_t)st.st_size : (uint64_t)st.st_size - r->bytes;
    free(name);
    return ok;
}

static bool write_picture(results *r, int t, const image *im, err *e)
{
    parameters p = settings_of(r, t);
    bool ok = write_file(r, t, im, &p, e);
    r->written += ok;
    return ok;
}

/* ---- the grid of all ------------------------------------------------------------------------------------------ */

static bool show_latents(const results *r, image *ims, const int32_t *codes, int n, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = image_new(&ims[i], r->s->info->width, r->s->info->height, e) &&
             limn_preview(r->s->model, codes + (size_t)i * (size_t)r->s->cells, 1, ims[i].pixels, e);
    return ok;
}

bool results_unfinished(const results *r, image *ims, const int32_t *codes, int n, err *e)
{
    const limn_generate_options *g = r->g;
    size_t cells = (size_t)r->s->cells, all = (size_t)n * cells;
    if (r->s->info->latent_channels) /* all of a picture is known a little */
        return show_latents(r, ims, codes, n, e);
    int32_t *shown = array_new(all, sizeof *shown, "preview", e);
    bool ok = shown != NULL;
    for (size_t i = 0; ok && i < all; i++)
        shown[i] = codes[i] >= 0 ? codes[i] : g->keep && g->keep[i % cells] ? g->kept_codes[i % cells] : 0;
    ok = ok && pictures_decode(r->s, shown, n, ims, NULL, e);
    for (size_t i = 0; ok && i < all; i++)
        if (codes[i] < 0 && !(g->keep && g->keep[i % cells]))
            image_grey_cell(&ims[i / cells], r->s->info->grid_height, r->s->info->grid_width, (int)(i % cells));
    free(shown);
    return ok;
}

/* What stands for a picture that isn't begun: what is known of it. */
static bool make_blank(results *r, err *e)
{
    if (r->blank.pixels)
        return true;
    int32_t *codes = r->g->keep ? array_new((size_t)r->s->cells, sizeof *codes, "preview", e) : NULL;
    bool ok = r->g->keep ? codes != NULL : image_new(&r->blank, r->s->info->width, r->s->info->height, e);
    for (int i = 0; codes && i < r->s->cells; i++)
        codes[i] = -1;
    if (ok && codes)
        ok = results_unfinished(r, &r->blank, codes, 1, e);
    else if (ok)
        memset(r->blank.pixels, 128, 3 * (size_t)r->blank.width * (size_t)r->blank.height);
    free(codes);
    return ok;
}

bool results_grid(results *r, image *out, const image *begun, int at, int n, err *e)
{
    int total = r->q->total;
    image *ims = array_new((size_t)total, sizeof *ims, "grid", e);
    bool ok = ims && (r->count == total || make_blank(r, e));
    for (int t = 0; ok && t < total; t++)
        ims[t] = r->there[t] ? r->held[t] : t >= at && t < at + n ? begun[t - at] : r->blank;
    ok = ok && image_grid(out, ims, total, GAP, e);
    free(ims);
    return ok;
}

static bool write_grid(results *r, const char *path, bool settings, err *e)
{
    image all = {0};
    char *text = settings ? all_prompts(r->q) : NULL;
    parameters p = settings_of(r, r->q->total > 1 ? -1 : 0);
    bool ok = !settings || text ? results_grid(r, &all, NULL, 0, 0, e) : err_no_memory(e, "prompts", 1);
    p.prompt = text;
    if (r->q->n_sources > 1)
        p.text_ids = NULL;
    if (ok)
        ok = path ? picture_write(&all, path, r->q->quality, settings ? &p : NULL, false, e)
                  : write_file(r, 0, &all, &p, e);
    image_release(&all);
    free(text);
    return ok;
}

/* The grid again, where one of its lines is new. */
static bool update_grid(results *r, bool all, err *e)
{
    int columns = 1, ready = r->q->rank && !all ? r->ranked : r->before;
    while ((int64_t)columns * columns < r->q->total)
        columns++;
    bool line = ready / columns > r->written / columns && !picture_is_stream(r->q->out);
    double begin = clock_seconds();
    if (all ? r->count <= r->written : !line || begin - r->grid_since < r->grid_seconds / GRID_SHARE)
        return true;
    bool ok = write_grid(r, NULL, true, e);
    r->written = ok ? (all ? r->count : ready) : r->written;
    r->grid_since = clock_seconds();
    r->grid_seconds = r->grid_since - begin;
    return ok;
}

/* ---- rankings ------------------------------------------------------------------------------------------------- */

/* Items a to b of one prompt, the best first. */
static bool rank_items(results *r, int a, int b, err *e)
{
    int n = b - a, first;
    size_t cells = (size_t)r->s->cells;
    const source *s = &r->q->sources[request_source(r->q, a, &first)];
    image *ims = array_new((size_t)n, sizeof *ims, "ranking", e);
    int32_t *codes = r->codes ? array_new((size_t)n, cells * sizeof *codes, "ranking", e) : NULL;
    bool ok = ims && (codes || !r->codes) && ranking_order(r->ranking, s->prompt, r->held + a, n, first + 1, e);
    for (int i = 0; ok && i < n; i++) {
        int from = r->ranking->order[i];
        ims[i] = r->held[a + from];
        r->order[a + i] = first + from;
        r->scores[a + i] = r->ranking->scores[i];
        if (codes)
            memcpy(codes + (size_t)i * cells, r->codes + (size_t)(a + from) * cells, cells * sizeof *codes);
    }
    if (ok)
        memcpy(r->held + a, ims, (size_t)n * sizeof *ims);
    if (ok && codes)
        memcpy(r->codes + (size_t)a * cells, codes, (size_t)n * cells * sizeof *codes);
    r->ranked = ok ? b : r->ranked;
    free(ims);
    free(codes);
    return ok;
}

/* The prompts whose pictures are all there. */
static bool rank_ready(results *r, err *e)
{
    bool ok = true;
    while (ok && r->ranked < r->q->total) {
        int a = r->ranked, b = a + 1, picture, of = request_source(r->q, a, &picture);
        while (b < r->q->total && request_source(r->q, b, &picture) == of)
            b++;
        if (b > r->before)
            break;
        ok = rank_items(r, a, b, e);
        for (int t = a; ok && !r->q->grid && t < b; t++)
            ok = write_picture(r, t, &r->held[t], e);
        for (int t = a; ok && !r->q->grid && !r->q->preview && t < b; t++)
            image_release(&r->held[t]);
    }
    return ok;
}

/* ---- pictures that come --------------------------------------------------------------------------------------- */

bool results_take(results *r, int t, image *im, const int32_t *codes, err *e)
{
    size_t bytes = (size_t)r->s->cells * sizeof *codes;
    if (r->codes)
        memcpy(r->codes + (size_t)t * (size_t)r->s->cells, codes, bytes);
    int picture, prompt = request_source(r->q, t, &picture);
    if (prompt < r->variety.n)
        variety_take(&r->variety, prompt, im);
    bool ok = r->q->grid || r->q->rank || write_picture(r, t, im, e);
    if (ok) {
        r->there[t] = true;
        r->count++;
        while (r->before < r->q->total && r->there[r->before])
            r->before++;
    }
    if (ok && r->held) {
        r->held[t] = *im;
        *im = (image){0};
    }
    image_release(im);
    return ok;
}

bool results_settle(results *r, err *e)
{
    return (!r->q->rank || rank_ready(r, e)) && (!r->q->grid || update_grid(r, false, e));
}

/* The rows that are there, without a gap. */
static bool write_codes(const results *r, err *e)
{
    int64_t shape[] = {r->before, r->s->cells};
    if (r->codes && r->q->latents_out)
        return r->before == 0 || latents_write(r->q->latents_out, r->s->info, r->before, r->codes, e);
    return !r->codes || r->before == 0 || npy_write(r->q->codes_out, DTYPE_I32, 2, shape, r->codes, e);
}

bool results_end(results *r, bool ok, err *e)
{
    if (ranks_rank() > 0 || !r->there)
        return true;
    bool whole = true;
    if (ok && !results_settle(r, e))
        ok = whole = false;
    /* unranked, since the ranking wants all of them */
    for (int t = r->ranked; whole && !ok && r->q->rank && !r->q->grid && t < r->q->total; t++)
        whole = !r->there[t] || write_picture(r, t, &r->held[t], e);
    whole = whole && (!r->q->grid || update_grid(r, true, e));
    /* each is worth keeping, whatever became of the others */
    whole = write_codes(r, whole ? e : NULL) && whole;
    return whole && (!ok || !r->q->preview || write_grid(r, r->q->preview, true, e));
}

/* ---- what is said --------------------------------------------------------------------------------------------- */

void results_words(const results *r, char text[RESULTS_WORDS])
{
    const request *q = r->q;
    if (r->written == 0) {
        snprintf(text, RESULTS_WORDS, "no picture was written; the seed is %" PRIu64, r->g->seed);
        return;
    }
    int n = snprintf(text, RESULTS_WORDS, "%d of %d pictures %s written%s", r->written, q->total,
                     r->written == 1 ? "is" : "are", r->order && r->written > r->ranked ? ", unranked" : "");
    if (r->before == q->total)
        return;
    n += snprintf(text + n, RESULTS_WORDS - (size_t)n, "; --seed %" PRIu64 " --first %d", r->g->seed,
                  q->first + r->before);
    snprintf(text + n, RESULTS_WORDS - (size_t)n, q->n_sources > 1 ? " goes on" : " -n %d goes on",
             q->total - r->before);
}

void results_explain(const results *r, err *e)
{
    char text[RESULTS_WORDS];
    size_t used = strlen(e->text);
    if (ranks_rank() > 0 || !r->there)
        return;
    results_words(r, text);
    snprintf(e->text + used, sizeof e->text - used, "%s%s", strcmp(e->text, "interrupted") == 0 ? ": " : "; ", text);
}

static json_t *number(float v)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)v);
    return json_real(strtod(text, NULL));
}

static json_t *text_or_null(const char *text)
{
    return text ? json_text(text) : json_null();
}

static json_t *json_of_picture(const results *r, int t)
{
    parameters p = settings_of(r, t);
    json_t *j = json_object();
    char *file = request_file(r->q, t);
    json_object_set_new(j, "file", text_or_null(file));
    json_object_set_new(j, "number", json_integer(r->q->first + t));
    json_object_set_new(j, "prompt", json_text(p.prompt));
    json_object_set_new(j, "picture", json_integer(p.picture));
    if (p.has & PARAMETERS_SCORE)
        json_object_set_new(j, "score", number(p.score));
    free(file);
    return j;
}

static void print_results(const results *r, bool ok)
{
    const request *q = r->q;
    const limn_generate_options *g = r->g;
    json_t *j = json_object(), *list = json_array();
    /* JSON's readers take integers up to 2^63 - 1 at most */
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, g->seed);
    json_object_set_new(j, "seed", g->seed <= INT64_MAX ? json_integer((json_int_t)g->seed) : json_string(seed));
    json_object_set_new(j, "model", json_text(r->s->info->name));
    json_object_set_new(j, "device", json_text(limn_device_get_info(r->s->device)->name));
    json_object_set_new(j, "width", json_integer(r->s->info->width));
    json_object_set_new(j, "height", json_integer(r->s->info->height));
    if (r->s->info->latent_channels) {
        json_object_set_new(j, "sampler", json_string(g->sampler ? g->sampler : r->s->info->default_sampler));
        json_object_set_new(j, "spacing", text_or_null(g->spacing ? g->spacing : r->s->info->default_spacing));
        json_object_set_new(j, "latents_out", text_or_null(r->before > 0 ? q->latents_out : NULL));
    }
    json_object_set_new(j, "temperature", number(g->temperature));
    json_object_set_new(j, "top_k", json_integer(g->top_k));
    json_object_set_new(j, "top_p", number(g->top_p > 0 ? g->top_p : 1));
    json_object_set_new(j, "guidance", number(g->guidance > 0 ? g->guidance : 1));
    if (r->s->info->default_steps)
        json_object_set_new(j, "steps", json_integer(g->steps ? g->steps : r->s->info->default_steps));
    if (g->strength > 0)
        json_object_set_new(j, "strength", number(g->strength));
    json_object_set_new(j, "negative", text_or_null(q->negative));
    json_object_set_new(j, "kv_cache", json_string(g->kv_cache_f16 ? "f16" : "f32"));
    json_object_set_new(j, "image_prompt", text_or_null(q->image_prompt));
    json_object_set_new(j, "keep", text_or_null(q->image_prompt ? q->keep.text : NULL));
    json_object_set_new(j, "codes_out", text_or_null(r->before > 0 ? q->codes_out : NULL));
    json_object_set_new(j, "count", json_integer(q->total));
    json_object_set_new(j, "complete", json_boolean(ok));
    json_object_set_new(j, "seconds", json_real(clock_seconds() - q->began));
    for (int t = 0; t < q->total; t++)
        if (r->there[t] && r->written > 0)
            json_array_append_new(list, json_of_picture(r, t));
    json_object_set_new(j, "pictures", list);
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(j);
}

void results_say(const results *r, bool ok)
{
    const request *q = r->q;
    int width = r->s ? r->s->info->width : 0, height = r->s ? r->s->info->height : 0;
    if (ranks_rank() > 0 || !r->there)
        return;
    char *first = request_file(q, 0), *last = request_file(q, q->total - 1), names[8300];
    if (ok && first && last && q->numbered && q->total > 1) {
        snprintf(names, sizeof names, "%s to %s", first, last);
        say_wrote_files(names, r->bytes, "seed %" PRIu64 ", %d pictures, %d x %d pixels", r->g->seed, q->total, width,
                        height);
    } else if (ok && first) {
        say_wrote(first, "seed %" PRIu64 ", %d x %d pixels", r->g->seed, width, height);
    }
    if (ok && q->preview)
        say_wrote(q->preview, "the preview");
    if (r->codes && r->before > 0 && q->latents_out)
        say_wrote(q->latents_out, "the latents of %d picture%s", r->before, r->before == 1 ? "" : "s");
    else if (r->codes && r->before > 0)
        say_wrote(q->codes_out, "%d row%s of %d codes", r->before, r->before == 1 ? "" : "s", r->s->cells);
    if (ok)
        variety_say(&r->variety, q->sources, r->s->info, r->g);
    if (options_given(q->o, "json") && (ok || r->written > 0))
        print_results(r, ok);
    free(first);
    free(last);
}
