/* limn generate: pictures from a prompt. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/ranks.h"
#include "cli/commands.h"
#include "cli/keep.h"
#include "cli/pictures.h"
#include "cli/rank.h"

typedef struct job {
    const options *o;
    const char *prompt, *out, *codes_out, *preview, *image_prompt, *rank;
    npy ids;
    char *ids_text; /* "token ids 5 7 9", "class 207": what stands for the prompt where only ids are known */
    int32_t class;  /* or -1 */
    keep keep;
    session s;
    ranking ranking;
    limn_generate_options g; /* of this rank's pictures */
    int count;               /* pictures of all ranks */
    uint8_t *kept;           /* [cells] */
    int32_t *kept_codes;     /* [cells] */
    int32_t *codes;          /* [count, cells]; of pictures that are not there yet -1 */
    image *pictures;         /* [count] */
    progress bar;
    int preview_row;   /* of the grid, up to which the preview shows */
    err preview_error; /* why progress said stop, where it wasn't Ctrl-C */
} job;

static void job_release(job *j)
{
    npy_release(&j->ids);
    free(j->ids_text);
    free(j->kept);
    free(j->kept_codes);
    pictures_free(j->pictures, j->count);
    free(j->codes);
    ranking_release(&j->ranking);
    command_close(&j->s);
}

static uint64_t random_seed(void)
{
    /* 32 bits: what other programs' seed fields hold, and short enough to type */
    uint32_t seed = 0;
    FILE *f = fopen("/dev/urandom", "rb");
    bool ok = f && fread(&seed, sizeof seed, 1, f) == 1;
    if (f)
        fclose(f);
    if (!ok) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        seed = (uint32_t)t.tv_nsec * 2654435761u ^ (uint32_t)t.tv_sec ^ (uint32_t)getpid() << 16;
    }
    return seed;
}

/* ---- what is known before the model is there ------------------------------------------------------------------ */

static bool name_ids(job *j, const char *what, const int32_t *ids, size_t n, err *e)
{
    size_t size = 0;
    FILE *f = open_memstream(&j->ids_text, &size);
    if (!f)
        return err_no_memory(e, what, 1024);
    fputs(what, f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, " %d", (int)ids[i]);
    return fclose(f) == 0 ? true : err_no_memory(e, what, 1024);
}

static bool read_ids(job *j, const char *path, err *e)
{
    int rows;
    if (!text_ids_read(&j->ids, &rows, path, e))
        return false;
    if (rows != 1)
        return err_set(e, ERR_FAILED, "%s: has %d rows of token ids, but generate takes one (select one row)", path,
                       rows);
    return name_ids(j, "token ids", j->ids.data, (size_t)j->ids.count, e);
}

static bool check_usage(job *j, err *e)
{
    const options *o = j->o;
    const char *ids = options_text(o, "text-ids", NULL), *region = options_text(o, "keep", NULL);
    j->prompt = o->n_operands ? o->operands[0] : NULL;
    j->out = options_text(o, "output", "limn.png");
    j->codes_out = options_text(o, "codes-out", NULL);
    j->preview = options_text(o, "preview", NULL);
    j->image_prompt = options_text(o, "image-prompt", NULL);
    j->rank = options_text(o, "rank", NULL);
    j->class = (int32_t)options_integer(o, "class", -1);
    int given = (j->prompt != NULL) + (ids != NULL) + (j->class >= 0);
    if (given != 1)
        return err_set(e, ERR_USAGE, "limn generate: %s (give a prompt in quotes, --text-ids FILE.npy or --class N)",
                       given ? "more than one of a prompt, --text-ids and --class is there" : "the prompt is missing");
    if (j->rank && !j->prompt)
        return err_set(e, ERR_USAGE,
                       "--rank: a CLIP reads words, not the ids of --text-ids or a class (give a prompt)");
    if (region && !j->image_prompt)
        return err_set(e, ERR_USAGE, "--keep: there is no picture to keep a part of (add --image-prompt IMG)");
    if (!keep_parse(&j->keep, region ? region : "top:0.5", e) || !output_check("output", j->out, ".png", e) ||
        !output_check("codes-out", j->codes_out, ".npy", e) || !output_check("preview", j->preview, ".png", e))
        return false;
    if (j->keep.kind == KEEP_MASK && !input_check(j->keep.text, e))
        return false;
    if (j->image_prompt && !input_check(j->image_prompt, e))
        return false;
    if (j->rank && strcmp(j->rank, "own") != 0 && !input_check(j->rank, e))
        return false;
    return (!ids || read_ids(j, ids, e)) && (j->class < 0 || name_ids(j, "class", &j->class, 1, e));
}

/* ---- the picture so far --------------------------------------------------------------------------------------- */

static void paint_grey(image *im, const session *s, int cell)
{
    int columns = s->info->grid_width, rows = s->info->grid_height;
    int r = cell / columns, c = cell % columns;
    int y1 = (r + 1) * im->height / rows, x0 = c * im->width / columns, x1 = (c + 1) * im->width / columns;
    for (int y = r * im->height / rows; y < y1; y++)
        memset(im->pixels + 3 * ((size_t)y * (size_t)im->width + (size_t)x0), 128, 3 * (size_t)(x1 - x0));
}

/* codes: cells that are not there yet are negative, and become grey. */
static bool preview_write(job *j, const int32_t *codes, err *e)
{
    int n = j->count, cells = j->s.cells;
    size_t all = (size_t)n * (size_t)cells;
    image *ims = array_new((size_t)n, sizeof *ims, "preview", e);
    int32_t *shown = array_new(all, sizeof *shown, "preview", e);
    bool ok = ims && shown;
    for (size_t i = 0; ok && i < all; i++) {
        size_t cell = i % (size_t)cells;
        shown[i] = codes[i] >= 0 ? codes[i] : j->kept && j->kept[cell] ? j->kept_codes[cell] : 0;
    }
    ok = ok && pictures_decode(&j->s, shown, n, ims, NULL, e);
    for (size_t i = 0; ok && i < all; i++) {
        size_t cell = i % (size_t)cells;
        if (codes[i] < 0 && !(j->kept && j->kept[cell]))
            paint_grey(&ims[i / (size_t)cells], &j->s, (int)cell);
    }
    ok = ok && pictures_write(ims, n, true, j->preview, NULL, e);
    pictures_free(ims, n);
    free(shown);
    return ok;
}

static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    job *j = context;
    progress_update(&j->bar, done, total);
    if (interrupted())
        return false;
    if (!codes || done >= total)
        return true;
    int rows = j->s.info->grid_height, row = (int)((int64_t)done * rows / total);
    if (row < j->preview_row + (rows >= 16 ? rows / 8 : 1))
        return true;
    j->preview_row = row;
    return preview_write(j, j->codes, &j->preview_error);
}

/* ---- the work -------------------------------------------------------------------------------------------------- */

/* The number of the first picture of a rank. */
static int first_of(const job *j, int rank)
{
    return (int)((int64_t)j->count * rank / ranks_size());
}

static bool fill_options(job *j, err *e)
{
    const options *o = j->o;
    limn_generate_options *g = &j->g;
    *g = limn_generate_defaults(j->s.model);
    g->prompt = j->prompt;
    g->text_ids = j->ids.data;
    g->n_text_ids = (size_t)j->ids.count;
    if (j->class >= 0) {
        if (!j->s.info->classes)
            return err_set(e, ERR_USAGE, "--class: %s reads text (give a prompt)", j->s.info->name);
        g->text_ids = &j->class;
        g->n_text_ids = 1;
    }
    j->count = (int)options_integer(o, "count", 1);
    g->first = first_of(j, ranks_rank());
    g->count = first_of(j, ranks_rank() + 1) - g->first;
    g->seed = options_given(o, "seed") && !options_random(o, "seed") ? options_unsigned(o, "seed", 0) : random_seed();
    ranks_broadcast(&g->seed, sizeof g->seed, 0);
    g->temperature = (float)options_number(o, "temperature", g->temperature);
    g->top_k = (int)options_integer(o, "top-k", g->top_k);
    g->top_p = (float)options_number(o, "top-p", g->top_p);
    g->guidance = (float)options_number(o, "guidance", g->guidance);
    g->kv_cache_f16 = !strcmp(options_text(o, "kv-cache", "f32"), "f16");
    g->progress = on_progress;
    g->context = j;
    g->preview = j->preview && ranks_rank() == 0;
    j->codes = array_new((size_t)j->count, (size_t)j->s.cells * sizeof *j->codes, "codes", e);
    j->pictures = array_new((size_t)j->count, sizeof *j->pictures, "pictures", e);
    return j->codes && j->pictures;
}

static bool read_image_prompt(job *j, err *e)
{
    if (!j->image_prompt)
        return true;
    image im = {0};
    size_t cells = (size_t)j->s.cells;
    j->kept = array_new(cells, 1, "image prompt", e);
    j->kept_codes = array_new(cells, sizeof *j->kept_codes, "image prompt", e);
    bool ok = j->kept && j->kept_codes && keep_cells(j->kept, &j->keep, &j->s, e) &&
              picture_read(&im, j->image_prompt, &j->s, e) && pictures_encode(&j->s, &im, 1, j->kept_codes, NULL, e);
    image_release(&im);
    j->g.keep = j->kept;
    j->g.kept_codes = j->kept_codes;
    return ok;
}

/* Codes and pictures of all ranks on all of them. */
static void gather(job *j)
{
    ranks_max(j->codes, (size_t)j->count * (size_t)j->s.cells);
    for (int rank = 0; rank < ranks_size() && ranks_size() > 1; rank++)
        for (int i = first_of(j, rank); i < first_of(j, rank + 1); i++)
            ranks_broadcast(j->pictures[i].pixels, 3 * (size_t)j->s.info->width * (size_t)j->s.info->height, rank);
}

static bool sample(job *j, err *e)
{
    int32_t *mine = j->codes + (size_t)j->g.first * (size_t)j->s.cells;
    for (size_t i = 0; i < (size_t)j->count * (size_t)j->s.cells; i++)
        j->codes[i] = -1;
    progress_begin(&j->bar, "generate", "codes");
    bool ok = j->g.count == 0 || limn_generate(j->s.model, &j->g, mine, e);
    progress_end(&j->bar);
    if (!ok && j->preview_error.code)
        *e = j->preview_error;
    else if (!ok && interrupted()) {
        *e = (err){0};
        interrupt_check(e);
    }
    ok = ok && interrupt_check(e) && pictures_decode(&j->s, mine, j->g.count, j->pictures + j->g.first, NULL, e);
    for (int i = 0; ok && i < j->count; i++)
        if (!j->pictures[i].pixels)
            ok = image_new(&j->pictures[i], j->s.info->width, j->s.info->height, e);
    if (ok)
        gather(j);
    return ok;
}

/* Pictures and codes, best first. */
static bool rank(job *j, err *e)
{
    if (!j->rank || ranks_rank() > 0) /* the first of several processes writes */
        return true;
    int n = j->count;
    size_t row = (size_t)j->s.cells * sizeof *j->codes;
    image *pictures = array_new((size_t)n, sizeof *pictures, "pictures", e);
    int32_t *codes = array_new((size_t)n, row, "codes", e);
    bool ok = pictures && codes && ranking_order(&j->ranking, j->prompt, j->pictures, n, e);
    for (int i = 0; ok && i < n; i++) {
        pictures[i] = j->pictures[j->ranking.order[i]];
        memcpy(codes + (size_t)i * (size_t)j->s.cells, j->codes + (size_t)j->ranking.order[i] * (size_t)j->s.cells,
               row);
    }
    if (ok) {
        memcpy(j->pictures, pictures, (size_t)n * sizeof *pictures);
        memcpy(j->codes, codes, (size_t)n * row);
    }
    free(pictures);
    free(codes);
    return ok;
}

static bool write_all(job *j, err *e)
{
    const limn_generate_options *g = &j->g;
    bool grid = options_given(j->o, "grid");
    int n = j->count;
    picture_settings settings = {
        .prompt = j->prompt ? j->prompt : j->ids_text,
        .image_prompt = j->image_prompt,
        .keep = j->image_prompt ? j->keep.text : NULL,
        .model = j->s.info->name,
        .width = j->s.info->width,
        .height = j->s.info->height,
        .steps = j->s.cells,
        .seed = g->seed,
        .temperature = g->temperature,
        .top_k = g->top_k,
        .top_p = g->top_p,
        .guidance = g->guidance,
        .kv_cache = g->kv_cache_f16 ? "f16" : NULL,
        .order = j->ranking.order,
        .scores = j->ranking.scores,
    };
    if (ranks_rank() > 0)
        return true;
    if (!pictures_write(j->pictures, n, grid, j->out, &settings, e))
        return false;
    if (j->codes_out && !npy_write(j->codes_out, DTYPE_I32, 2, (int64_t[]){n, j->s.cells}, j->codes, e))
        return false;
    if (j->preview && !pictures_write(j->pictures, n, true, j->preview, &settings, e))
        return false;
    char *first = numbered_path(j->out, 1, n), *last = numbered_path(j->out, n, n);
    if (n == 1 || grid || !first || !last)
        say(LOG_WARNING, "wrote %s: seed %" PRIu64, j->out, g->seed);
    else
        say(LOG_WARNING, "wrote %s to %s: seed %" PRIu64, first, last, g->seed);
    free(first);
    free(last);
    return true;
}

/* A directory where a numbered picture is to go would only show after the work. */
static bool check_numbered(const job *j, err *e)
{
    int64_t n = options_integer(j->o, "count", 1);
    bool ok = true;
    for (int i = 1; ok && n > 1 && !options_given(j->o, "grid") && i <= n; i++) {
        char *name = numbered_path(j->out, i, (int)n);
        ok = name ? output_check("output", name, NULL, e) : err_no_memory(e, "file name", 1);
        free(name);
    }
    return ok;
}

int command_generate(const options *o)
{
    err e = {0};
    job j = {.o = o};
    bool ok = check_usage(&j, &e) && check_numbered(&j, &e) && command_open(&j.s, o, true, true, &e) &&
              (!j.rank || ranking_open(&j.ranking, &j.s, j.rank, &e)) && fill_options(&j, &e) &&
              read_image_prompt(&j, &e) && sample(&j, &e) && rank(&j, &e) && write_all(&j, &e) &&
              command_profile(&j.s, o, &e);
    job_release(&j);
    return ok ? 0 : report(&e);
}
