/* limn generate: pictures from prompts. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ranks.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/watchdog.h"

typedef struct job {
    const options *o;
    request q;
    session s;
    ranking ranking;
    limn_generate_options g; /* of the pictures at work */
    uint8_t *kept;           /* [cells] */
    int32_t *kept_codes;     /* [cells] */
    results results;
    int begin, end;   /* the items of this rank */
    int at;           /* the first item at work */
    int32_t *codes;   /* [each, cells] with --preview: those at work */
    int preview_row;  /* of the picture, up to which the preview shows */
    uint8_t *message; /* of a picture that goes to rank 0, or came from another */
    progress bar;
    err failure; /* why a callback said stop, where it wasn't Ctrl-C */
} job;

static void job_release(job *j)
{
    results_release(&j->results);
    free(j->kept);
    free(j->kept_codes);
    free(j->codes);
    free(j->message);
    ranking_release(&j->ranking);
    request_release(&j->q);
    command_close(&j->s);
}

/* ---- pictures of other processes ------------------------------------------------------------------------------ */

/* Item, codes, pixels. */
static size_t message_bytes(const job *j)
{
    return sizeof(int32_t) + (size_t)j->s.cells * sizeof(int32_t) +
           3 * (size_t)j->s.info->width * (size_t)j->s.info->height;
}

static bool send_picture(job *j, int t, image *im, const int32_t *codes, err *e)
{
    int32_t item = t;
    size_t row = (size_t)j->s.cells * sizeof *codes, bytes = message_bytes(j);
    memcpy(j->message, &item, sizeof item);
    memcpy(j->message + sizeof item, codes, row);
    memcpy(j->message + sizeof item + row, im->pixels, bytes - sizeof item - row);
    image_release(im);
    return ranks_send(j->message, bytes) || err_no_memory(e, "picture", bytes);
}

/* Those that have arrived. */
static bool take_from_others(job *j, err *e)
{
    size_t row = (size_t)j->s.cells * sizeof(int32_t), bytes = message_bytes(j);
    bool ok = true;
    while (ok && ranks_rank() == 0 && ranks_size() > 1 && ranks_receive(j->message, bytes)) {
        int32_t item, *codes = array_new(row, 1, "codes", e);
        image im = {0};
        ok = codes && image_new(&im, j->s.info->width, j->s.info->height, e);
        if (ok) {
            memcpy(&item, j->message, sizeof item);
            memcpy(codes, j->message + sizeof item, row);
            memcpy(im.pixels, j->message + sizeof item + row, bytes - sizeof item - row);
            ok = results_take(&j->results, item, &im, codes, e);
        }
        free(codes);
    }
    return ok;
}

/* At the end, for those that are still at work. */
static bool wait_for_others(job *j, err *e)
{
    const struct timespec moment = {0, 2000000};
    while (ranks_rank() == 0 && j->results.count < j->q.total) {
        if (!interrupt_check(e) || !take_from_others(j, e))
            return false;
        nanosleep(&moment, NULL);
    }
    return true;
}

/* ---- while it draws ------------------------------------------------------------------------------------------- */

/* codes[n,cells] of the pictures from j->at on; negative where one isn't there yet. */
static bool write_preview(job *j, const int32_t *codes, int n, err *e)
{
    size_t cells = (size_t)j->s.cells;
    int first = 0, last;
    image all = {0};
    while (first < n && j->results.there[j->at + first])
        first++;
    for (last = first; last < n; last++) { /* those that are begun: a batch */
        bool begun = false;
        for (size_t c = 0; c < cells && !begun; c++)
            begun = codes[(size_t)last * cells + c] >= 0 && !(j->kept && j->kept[c]);
        if (!begun)
            break;
    }
    image *ims = array_new((size_t)(last - first), sizeof *ims, "preview", e);
    bool ok = ims && results_unfinished(&j->results, ims, codes + (size_t)first * cells, last - first, e) &&
              results_grid(&j->results, &all, ims, j->at + first, last - first, e) &&
              picture_write(&all, j->q.preview, j->q.quality, NULL, false, e);
    image_release(&all);
    pictures_free(ims, last - first);
    return ok;
}

static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    job *j = context;
    int64_t cells = j->s.cells, before = (j->at - j->begin) * cells;
    progress_update(&j->bar, before + done, (j->end - j->begin) * cells);
    if (interrupted() || !take_from_others(j, &j->failure))
        return false;
    if (!codes || done >= total)
        return true;
    int rows = j->s.info->grid_height, row = (int)((int64_t)done * rows / total);
    if (row < j->preview_row + (rows >= 16 ? rows / 8 : 1))
        return true;
    j->preview_row = row;
    return write_preview(j, j->codes, j->g.count, &j->failure);
}

/* A driver that hangs ends the program without coming back here. */
static void leave_word(const job *j)
{
    char text[RESULTS_WORDS];
    if (ranks_rank() > 0)
        return;
    results_words(&j->results, text);
    watchdog_last_words(text);
}

/* A batch: decoded and written before the next one begins. */
static bool on_ready(void *context, int first, int n, const int32_t *codes)
{
    job *j = context;
    err *e = &j->failure;
    size_t cells = (size_t)j->s.cells;
    bool ok = true;
    for (int i = 0; ok && i < n; i += BATCH) {
        image ims[BATCH] = {0};
        int m = n - i < BATCH ? n - i : BATCH;
        ok = pictures_decode(&j->s, codes + (size_t)i * cells, m, ims, NULL, e);
        for (int k = 0; ok && k < m; k++) {
            int t = j->at + first + i + k;
            const int32_t *row = codes + (size_t)(i + k) * cells;
            ok = ranks_rank() > 0 ? send_picture(j, t, &ims[k], row, e) : results_take(&j->results, t, &ims[k], row, e);
        }
        for (int k = 0; k < m; k++)
            image_release(&ims[k]);
    }
    ok = ok && take_from_others(j, e) && (ranks_rank() > 0 || results_settle(&j->results, e));
    leave_word(j);
    return ok;
}

/* ---- the work ------------------------------------------------------------------------------------------------- */

/* The first item of a rank. */
static int first_of(const job *j, int rank)
{
    return (int)((int64_t)j->q.total * rank / ranks_size());
}

static void warn_of_negative(const job *j)
{
    const limn_generate_options *g = &j->g;
    if (j->q.negative && (g->guidance == 0 || g->guidance == 1) && ranks_rank() == 0)
        say(LOG_WARNING, "--negative: it has no effect without guidance (add --guidance 3, or another number above 1)");
}

static bool fill_options(job *j, err *e)
{
    const options *o = j->o;
    limn_generate_options *g = &j->g;
    *g = limn_generate_defaults(j->s.model);
    if (j->q.class >= 0 && !j->s.info->classes)
        return err_set(e, ERR_USAGE, "--class: %s reads text (give a prompt)", j->s.info->name);
    if (j->q.negative && j->s.info->classes)
        return err_set(e, ERR_USAGE, "--negative: %s draws classes and reads no words (leave it out)", j->s.info->name);
    like_settings(&j->q, g);
    like_say_model(&j->q, &j->s);
    g->negative = j->q.negative;
    g->seed = j->q.seed;
    g->temperature = (float)options_number(o, "temperature", g->temperature);
    g->top_k = (int)options_integer(o, "top-k", g->top_k);
    g->top_p = (float)options_number(o, "top-p", g->top_p);
    g->guidance = (float)options_number(o, "guidance", g->guidance);
    g->kv_cache_f16 = !strcmp(options_text(o, "kv-cache", g->kv_cache_f16 ? "f16" : "f32"), "f16");
    g->progress = on_progress;
    g->ready = on_ready;
    g->context = j;
    g->preview = j->q.preview && ranks_rank() == 0;
    j->begin = first_of(j, ranks_rank());
    j->end = first_of(j, ranks_rank() + 1);
    if (g->preview && !(j->codes = array_new((size_t)j->q.each, (size_t)j->s.cells * sizeof *j->codes, "codes", e)))
        return false;
    if (ranks_size() > 1 && !(j->message = array_new(message_bytes(j), 1, "picture", e)))
        return false;
    warn_of_negative(j);
    return true;
}

static bool read_image_prompt(job *j, err *e)
{
    if (!j->q.image_prompt)
        return true;
    image im = {0};
    size_t cells = (size_t)j->s.cells;
    j->kept = array_new(cells, 1, "image prompt", e);
    j->kept_codes = array_new(cells, sizeof *j->kept_codes, "image prompt", e);
    bool ok = j->kept && j->kept_codes && keep_cells(j->kept, &j->q.keep, j->q.image_prompt, &j->s, e) &&
              picture_read(&im, j->q.image_prompt, &j->s, e) && pictures_encode(&j->s, &im, 1, j->kept_codes, NULL, e);
    image_release(&im);
    j->g.keep = j->kept;
    j->g.kept_codes = j->kept_codes;
    return ok;
}

/* A prompt that the model can't take is found before the work, not when its turn comes. */
static bool check_prompts(job *j, err *e)
{
    limn_generate_options g = j->g;
    bool ok = true;
    terminal_mute(true);
    for (int i = 0; ok && i < j->q.n_sources; i++) {
        const source *s = &j->q.sources[i];
        err why = {0};
        g.prompt = s->prompt;
        g.text_ids = s->ids;
        g.n_text_ids = s->n_ids;
        ok = limn_generate_check(j->s.model, &g, &why);
        if (!ok && j->q.n_sources > 1)
            err_set(e, why.code, "prompt %d, \"%.80s\": %s", i + 1, s->shown, why.text);
        else if (!ok)
            *e = why;
    }
    terminal_mute(false);
    return ok;
}

/* One prompt after another, each with its pictures from j->at on. */
static bool draw(job *j, err *e)
{
    bool ok = true;
    progress_begin(&j->bar, "generate", "codes");
    leave_word(j);
    for (j->at = j->begin; ok && j->at < j->end; j->at += j->g.count) {
        int picture, source_number = request_source(&j->q, j->at, &picture), left = j->end - j->at;
        const source *s = &j->q.sources[source_number];
        int more = j->q.n_sources > 1 ? j->q.each - picture : left;
        j->g.prompt = s->prompt;
        j->g.text_ids = s->ids;
        j->g.n_text_ids = s->n_ids;
        j->g.first = picture;
        j->g.count = more < left ? more : left;
        j->preview_row = 0;
        ok = limn_generate(j->s.model, &j->g, j->codes, e);
    }
    progress_end(&j->bar);
    ok = ok && wait_for_others(j, e);
    if (!ok && interrupted())
        *e = (err){.code = ERR_FAILED, .text = "interrupted"};
    else if (!ok && j->failure.code)
        *e = j->failure;
    return ok;
}

/* A process that fails ends all of them: after Ctrl-C the first one says what is there before the others end. */
static void let_first_end(void)
{
    const struct timespec moment = {0, 20000000};
    for (int i = 0; i < 500 && ranks_rank() > 0; i++)
        nanosleep(&moment, NULL);
}

static bool generate(job *j, err *e)
{
    err later = {0};
    if (!request_read(&j->q, j->o, e) || !command_open(&j->s, j->o, true, true, e) ||
        (j->q.rank && !ranking_open(&j->ranking, &j->s, j->q.rank, e)) || !fill_options(j, e) || !check_prompts(j, e) ||
        !read_image_prompt(j, e) || !results_begin(&j->results, &j->q, &j->s, &j->ranking, &j->g, e))
        return false;
    bool ok = draw(j, e), kept = results_end(&j->results, ok, ok ? e : &later);
    if (!ok && !kept && strcmp(later.text, e->text) != 0)
        report(&later);
    ok = ok && kept;
    if (!ok && interrupted())
        let_first_end();
    if (!ok)
        results_explain(&j->results, e);
    results_say(&j->results, ok);
    return ok && command_profile(&j->s, j->o, e);
}

int command_generate(const options *o)
{
    err e = {0};
    job j = {.o = o};
    bool ok = generate(&j, &e);
    job_release(&j);
    return ok ? 0 : report(&e);
}
