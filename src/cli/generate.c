/* limn generate: pictures from prompts. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ranks.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/latents.h"
#include "cli/watchdog.h"

/* Pictures that are asked for before the first of them is finished: more than are drawn together. */
enum { AHEAD = 64, TOGETHER = 32 };

/* Items in one request: pictures of a prompt. */
typedef struct asked {
    uint64_t id;
    int item, picture, n; /* the first item, its picture of the seed, and how many there are */
} asked;

typedef struct job {
    const options *o;
    request q;
    opened_model s;
    ranking ranking;
    limn_generate_options g; /* of the pictures at work */
    uint8_t *kept;           /* [cells] */
    int32_t *kept_codes;     /* [cells] */
    int32_t *noise;          /* of --noise, bits of floats */
    uint8_t *image, *paint;  /* of --image-prompt and --mask, for diffusion models */
    image ends[2];           /* of --image-prompt, for those that draw embeddings */
    results results;
    int begin, end; /* the items of this rank */
    int at, next;   /* the first item that isn't finished, and the first that isn't asked for */
    limn_generation *generation;
    asked asked[AHEAD];
    int n_asked;      /* of them, in the order of their items */
    int preview_row;  /* of the picture, up to which the preview shows */
    uint8_t *message; /* of a picture that goes to rank 0, or came from another */
    progress bar;
} job;

static void job_release(job *j)
{
    results_release(&j->results);
    free(j->kept);
    free(j->kept_codes);
    free(j->noise);
    free(j->image);
    free(j->paint);
    image_release(&j->ends[0]);
    image_release(&j->ends[1]);
    limn_generation_free(&j->generation);
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

/* What item t was asked for in, and its picture of the seed. */
static const asked *asked_of(const job *j, int t, int *picture)
{
    const asked *a = j->asked;
    while (t >= a->item + a->n)
        a++;
    *picture = a->picture + t - a->item;
    return a;
}

/* ---- while it draws ------------------------------------------------------------------------------------------- */

/* The n pictures from j->at on, which are at work. */
static bool write_preview(job *j, int n, err *e)
{
    size_t cells = (size_t)j->s.cells;
    image all = {0};
    int32_t *codes = array_new((size_t)n, cells * sizeof *codes, "preview", e);
    image *ims = array_new((size_t)n, sizeof *ims, "preview", e);
    bool ok = codes && ims;
    for (int i = 0; ok && i < n; i++) {
        int picture;
        const asked *a = asked_of(j, j->at + i, &picture);
        ok = limn_generation_peek(j->generation, a->id, picture, codes + (size_t)i * cells, NULL, e);
    }
    ok = ok && results_unfinished(&j->results, ims, codes, n, e) && results_grid(&j->results, &all, ims, j->at, n, e) &&
         picture_write(&all, j->q.preview, j->q.quality, NULL, false, e);
    image_release(&all);
    pictures_free(ims, ims ? n : 0);
    free(codes);
    return ok;
}

/* After each line of codes. */
static bool on_progress(job *j, err *e)
{
    const limn_generation_status *now = limn_generation_get_status(j->generation);
    int64_t cells = j->s.cells, before = (j->at - j->begin) * cells;
    progress_update(&j->bar, before + now->codes, (j->end - j->begin) * cells);
    if (!interrupt_check(e) || !take_from_others(j, e))
        return false;
    if (!j->g.preview || now->working == 0)
        return true;
    int rows = j->s.info->grid_height, row = (int)(now->codes / now->working * rows / cells);
    if (row < j->preview_row + (rows >= 16 ? rows / 8 : 1))
        return true;
    j->preview_row = row;
    return write_preview(j, now->working, e);
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

/* Finished pictures, n items from j->at on: decoded and written before the next ones begin. */
static bool on_ready(job *j, int n, const int32_t *codes, err *e)
{
    size_t cells = (size_t)j->s.cells;
    /* after the last ones the weights that draw aren't used any more, and needn't lie beside those that decode */
    bool ok = j->at + n < j->end || limn_model_rest(j->s.model, e);
    for (int i = 0; ok && i < n; i += BATCH) {
        image ims[BATCH] = {0};
        int m = n - i < BATCH ? n - i : BATCH;
        ok = pictures_decode(&j->s, codes + (size_t)i * cells, m, ims, NULL, e);
        for (int k = 0; ok && k < m; k++) {
            const int32_t *row = codes + (size_t)(i + k) * cells;
            ok = ranks_rank() > 0 ? send_picture(j, j->at + i + k, &ims[k], row, e)
                                  : results_take(&j->results, j->at + i + k, &ims[k], row, e);
        }
        for (int k = 0; k < m; k++)
            image_release(&ims[k]);
    }
    j->at += n;
    j->preview_row = 0;
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

/* The mask of a picture: 1 where it is white. */
static bool read_mask(job *j, const image *changed, err *e)
{
    image im = {0}, mask = {0};
    size_t n = (size_t)j->s.info->width * (size_t)j->s.info->height;
    bool ok = image_read(&mask, j->q.mask, e);
    if (ok && (changed->width != mask.width || changed->height != mask.height))
        ok = err_set(e, ERR_USAGE, "--mask: %s has %d x %d pixels, and %s %d x %d (give one of the same size)",
                     j->q.mask, mask.width, mask.height, j->q.image_prompt, changed->width, changed->height);
    ok = ok && image_fit(&im, &mask, j->s.info->encode_width, j->s.info->encode_height, e);
    image_release(&mask);
    for (size_t i = 0; ok && i < n; i++)
        j->paint[i] = (im.pixels[3 * i] + im.pixels[3 * i + 1] + im.pixels[3 * i + 2]) / 3 >= 128;
    image_release(&im);
    return ok;
}

/* All but what --keep names. */
static bool read_region(job *j, err *e)
{
    const limn_model_info *m = j->s.info;
    uint8_t *kept = array_new((size_t)j->s.cells, 1, "image prompt", e);
    bool ok = kept && keep_cells(kept, &j->q.keep, j->q.image_prompt, &j->s, e);
    for (int y = 0; ok && y < m->height; y++)
        for (int x = 0; x < m->width; x++)
            j->paint[y * m->width + x] =
                !kept[y / m->size_step * m->grid_width + x / m->size_step * m->latent_channels];
    free(kept);
    return ok;
}

/* A picture that a diffusion model changes, and where. */
static bool read_changed(job *j, err *e)
{
    image whole = {0}, im = {0};
    size_t n = (size_t)j->s.info->width * (size_t)j->s.info->height;
    const bool region = j->q.keep.kind != KEEP_DEFAULT;
    j->image = array_new(n, 3, "image prompt", e);
    j->paint = j->q.mask || region ? array_new(n, 1, "mask", e) : NULL;
    bool ok = j->image && (j->paint || !(j->q.mask || region)) && image_read(&whole, j->q.image_prompt, e) &&
              image_fit(&im, &whole, j->s.info->encode_width, j->s.info->encode_height, e);
    if (ok)
        memcpy(j->image, im.pixels, 3 * n);
    image_release(&im);
    ok = ok && (!j->q.mask || read_mask(j, &whole, e)) && (!region || read_region(j, e));
    image_release(&whole);
    return ok;
}

/* What only diffusion models are asked for; the library refuses it of others. */
static bool fill_diffusion(job *j, err *e)
{
    const options *o = j->o;
    const char *noise = options_text(o, "noise", NULL), *name = j->s.info->name;
    limn_generate_options *g = &j->g;
    const bool latents = j->s.info->latent_channels;
    g->sampler = options_text(o, "sampler", g->sampler);
    g->spacing = options_text(o, "spacing", g->spacing);
    if (!latents && (noise || j->q.latents_out))
        return err_set(e, ERR_USAGE, "%s: %s draws codes, not latents (diffusion models do; leave it out)",
                       noise ? "--noise" : "--latents-out", name);
    if (latents && j->q.codes_out)
        return err_set(e, ERR_USAGE, "--codes-out: %s draws latents, not codes (--latents-out writes them)", name);
    if (!latents && j->q.mask)
        return err_set(e, ERR_USAGE, "--mask: %s draws codes (--keep MASK says what stays of their pictures)", name);
    bool ok =
        (!noise || latents_read(&j->noise, &g->n_noise, noise, j->s.info, e)) && ends_fill(&j->q, j->s.info, o, g, e);
    g->noise = (const float *)j->noise;
    if (j->s.info->default_super_steps && (j->q.mask || j->q.keep.kind != KEEP_DEFAULT))
        return ok && err_set(e, ERR_USAGE, "--%s: %s draws all of a picture anew, also of variations (leave it out)",
                             j->q.mask ? "mask" : "keep", name);
    if (j->s.info->default_super_steps)
        return ok && (!j->q.image_prompt || ends_pictures(&j->q, j->ends, g, e));
    ok = ok && (!latents || !j->q.image_prompt || read_changed(j, e));
    g->image = j->image;
    g->paint = j->paint;
    return ok;
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
    like_settings(&j->q, j->s.info, g);
    like_say_model(&j->q, &j->s);
    g->negative = j->q.negative;
    g->seed = j->q.seed;
    g->temperature = (float)options_number(o, "temperature", g->temperature);
    g->top_k = (int)options_integer(o, "top-k", g->top_k);
    g->top_p = (float)options_number(o, "top-p", g->top_p);
    g->guidance = (float)options_number(o, "guidance", g->guidance);
    g->steps = (int)options_integer(o, "steps", g->steps);
    g->strength = (float)options_number(o, "strength", g->strength);
    g->kv_cache_f16 = !strcmp(options_text(o, "kv-cache", g->kv_cache_f16 ? "f16" : "f32"), "f16");
    g->draft = (int)options_integer(o, "draft", g->draft);
    g->preview = j->q.preview && ranks_rank() == 0;
    j->begin = first_of(j, ranks_rank());
    j->end = first_of(j, ranks_rank() + 1);
    if (ranks_size() > 1 && !(j->message = array_new(message_bytes(j), 1, "picture", e)))
        return false;
    warn_of_negative(j);
    return fill_diffusion(j, e);
}

static bool read_image_prompt(job *j, err *e)
{
    if (!j->q.image_prompt || j->s.info->latent_channels)
        return true;
    image im = {0};
    size_t cells = (size_t)j->s.cells;
    j->kept = array_new(cells, 1, "image prompt", e);
    j->kept_codes = array_new(cells, sizeof *j->kept_codes, "image prompt", e);
    const bool all = j->g.strength > 0 && !j->q.keep.text; /* changes */
    bool ok = j->kept && j->kept_codes && (all || keep_cells(j->kept, &j->q.keep, j->q.image_prompt, &j->s, e)) &&
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
    int32_t *codes = j->q.image_prompt ? array_new((size_t)j->s.cells, sizeof *codes, "image prompt", e) : NULL;
    if (j->q.image_prompt && !codes)
        return false;
    g.kept_codes = g.strength > 0 && !g.image ? codes : NULL; /* the picture's aren't known yet */
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
    free(codes);
    return ok;
}

/* Marks the ids of a text that are embeddings'. */
static void mark_words(const job *j, const char *text, bool *used)
{
    const limn_model_info *i = j->s.info;
    int32_t *ids = NULL;
    size_t n = 0;
    if (text && limn_tokenize(j->s.model, text, &ids, &n, NULL))
        for (size_t k = 0; k < n; k++)
            if (ids[k] >= i->text_vocabulary - i->embedded)
                used[ids[k] - (i->text_vocabulary - i->embedded)] = true;
    free(ids);
}

/* --embedding without its word in any prompt changes nothing. */
static bool check_words(job *j, err *e)
{
    const limn_model_info *i = j->s.info;
    bool *used = i->embedded ? array_new((size_t)i->embedded, sizeof *used, "embeddings", e) : NULL;
    if (!i->embedded)
        return true;
    if (!used)
        return false;
    terminal_mute(true);
    mark_words(j, j->q.negative, used);
    for (int k = 0; k < j->q.n_sources; k++)
        mark_words(j, j->q.sources[k].prompt, used);
    terminal_mute(false);
    const char *last = NULL;
    for (int k = 0; k < i->embedded; k++) {
        const char *word = limn_token(j->s.model, i->text_vocabulary - i->embedded + k);
        if (word != last && !used[k])
            say(LOG_WARNING, "--embedding: no prompt has the word %s, and it changes nothing", word);
        last = word;
    }
    free(used);
    return true;
}

/* The next pictures: all that are left of one prompt. */
static bool ask(job *j, err *e)
{
    const limn_generate_options *g = &j->g;
    int picture, source_number = request_source(&j->q, j->next, &picture), left = j->end - j->next;
    int more = j->q.n_sources > 1 ? j->q.each - picture : left, n = more < left ? more : left;
    const source *s = &j->q.sources[source_number];
    const limn_request q = {.size = sizeof q,
                            .prompt = s->prompt,
                            .text_ids = s->ids,
                            .n_text_ids = s->n_ids,
                            .negative = g->negative,
                            .seed = g->seed,
                            .first = picture,
                            .count = n,
                            .temperature = g->temperature,
                            .greedy = g->temperature == 0,
                            .top_k = g->top_k ? g->top_k : -1,
                            .top_p = g->top_p > 0 ? g->top_p : 1,
                            .guidance = g->guidance > 0 ? g->guidance : 1,
                            .keep = g->keep,
                            .kept_codes = g->kept_codes,
                            .steps = g->steps,
                            .strength = g->strength,
                            .sampler = g->sampler,
                            .spacing = g->spacing,
                            .noise = g->noise,
                            .n_noise = g->n_noise,
                            .image = g->image,
                            .paint = g->paint,
                            .image_width = g->image_width,
                            .image_height = g->image_height,
                            .image_to = g->image_to,
                            .image_to_width = g->image_to_width,
                            .image_to_height = g->image_to_height,
                            .prompt_to = g->prompt_to,
                            .between = g->between,
                            .prior_steps = g->prior_steps,
                            .super_steps = g->super_steps,
                            .prior_guidance = g->prior_guidance};
    asked *a = &j->asked[j->n_asked];
    *a = (asked){.item = j->next, .picture = picture, .n = n};
    if (!limn_generation_add(j->generation, &q, &a->id, e))
        return false;
    j->n_asked++;
    j->next += n;
    return true;
}

/* Asks for pictures until enough are there to be drawn together. */
static bool ask_ahead(job *j, err *e)
{
    int done = 0;
    while (done < j->n_asked && j->asked[done].item + j->asked[done].n <= j->at)
        done++;
    j->n_asked -= done;
    memmove(j->asked, j->asked + done, (size_t)j->n_asked * sizeof *j->asked);
    bool ok = true;
    while (ok && j->next < j->end && j->next - j->at < AHEAD && j->n_asked < AHEAD)
        ok = ask(j, e);
    return ok;
}

/* Until pictures are finished, or have a line more.  codes: room for TOGETHER of them. */
static bool go_on(job *j, int32_t *codes, err *e)
{
    size_t cells = (size_t)j->s.cells;
    int n = 0;
    if (!ask_ahead(j, e) || !limn_generation_step(j->generation, NULL, e) || !on_progress(j, e))
        return false;
    while (n < TOGETHER && limn_generation_take(j->generation, NULL, NULL, codes + (size_t)n * cells))
        n++;
    return n == 0 || on_ready(j, n, codes, e);
}

/* Different prompts are drawn together; as all begin together, they are finished in the order of their items. */
static bool draw(job *j, err *e)
{
    const limn_generation_options how = {
        .size = sizeof how, .kv_cache_f16 = j->g.kv_cache_f16, .decoder = j->g.preview, .draft = j->g.draft};
    int32_t *codes = array_new(TOGETHER, (size_t)j->s.cells * sizeof *codes, "codes", e);
    bool ok = codes && (j->generation = limn_generation_open(j->s.model, &how, e));
    progress_begin(&j->bar, "generate", j->s.info->latent_channels ? "latents" : "codes");
    leave_word(j);
    j->at = j->next = j->begin;
    while (ok && j->at < j->end)
        ok = go_on(j, codes, e);
    progress_end(&j->bar);
    free(codes);
    ok = ok && wait_for_others(j, e);
    if (!ok && interrupted())
        *e = (err){.code = ERR_FAILED, .text = "interrupted"};
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
    if (!request_read(&j->q, j->o, e) || !command_open(&j->s, j->o, true, true, e) || !like_resize(&j->q, &j->s, e) ||
        (j->q.rank && !ranking_open(&j->ranking, &j->s, j->q.rank, e)) || !fill_options(j, e) || !check_prompts(j, e) ||
        !check_words(j, e) || !read_image_prompt(j, e) ||
        !results_begin(&j->results, &j->q, &j->s, &j->ranking, &j->g, e))
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
