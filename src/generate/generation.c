/* Generation as an object: requests wait, their pictures are drawn together, and finished ones wait to be taken. */
#include "generate/generation.h"

#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/log.h"

/* ---- pictures and requests ------------------------------------------------------------------------------------ */

static void picture_free(picture *p)
{
    if (!p)
        return;
    draw_request_drop(p->q);
    free(p->codes);
    free(p);
}

picture *generation_next_picture(generation *g, err *e)
{
    draw_request *q = g->waiting;
    picture *p = calloc(1, sizeof *p);
    if (p)
        p->codes = calloc((size_t)g->cells, sizeof *p->codes);
    if (!p || !p->codes) {
        free(p);
        err_no_memory(e, "picture", sizeof *p + (size_t)g->cells * sizeof *p->codes);
        return NULL;
    }
    p->q = q;
    q->users++;
    p->number = q->first + q->begun++;
    p->other = -1;
    if (q->begun == q->count) {
        g->waiting = q->next;
        draw_request_drop(q);
    }
    return p;
}

/* After a failure: all that were at work wait again, the first ones first, and will be drawn from their beginning. */
static void begin_again(generation *g)
{
    generation_close_batch(g, false, NULL);
    while (g->n_work > 0) {
        picture *p = g->work[--g->n_work];
        draw_request *q = p->q;
        if (q->begun-- == q->count) {
            q->next = g->waiting;
            g->waiting = q;
            q->users++;
        }
        picture_free(p);
    }
}

/* ---- the batch ------------------------------------------------------------------------------------------------- */

static int used_rows(const generation *g)
{
    int n = 0;
    for (int i = 0; i < g->batch.rows; i++)
        n += g->batch.row[i].used;
    return n;
}

/* The first free one, for the beginning of a text. */
static int take_row(generation *g, const draw_request *q, bool other)
{
    int i = 0;
    while (g->batch.row[i].used)
        i++;
    g->batch.row[i] = (batch_row){
        .used = true, .text = q->text + (other ? g->d->text_length : 0), .length = q->length[other], .kept = q->kept};
    return i;
}

/* Those that wait come into the batch, as far as there is room. */
static bool bring_in(generation *g, err *e)
{
    int free_rows = g->batch.rows - used_rows(g), first = g->n_work;
    for (; g->waiting && generation_sequences(g->waiting) <= free_rows && generation_fits(g, g->waiting); g->n_work++) {
        picture *p = generation_next_picture(g, e);
        if (!p)
            return false;
        g->work[g->n_work] = p;
        free_rows -= generation_sequences(p->q);
    }
    for (int i = first; i < g->n_work; i++)
        g->work[i]->row = take_row(g, g->work[i]->q, false);
    for (int i = first; i < g->n_work; i++) /* the rows without condition are the same, mostly, and follow each other */
        if (g->work[i]->q->guided)
            g->work[i]->other = take_row(g, g->work[i]->q, true);
    return true;
}

static bool write_batch(generation *g, err *e)
{
    sampling all[BATCH_MOST];
    for (int i = 0; i < g->n_work; i++) {
        const picture *p = g->work[i];
        all[i] = p->q->sampling;
        all[i].stream = (uint32_t)p->number;
        all[i].row = p->row;
        all[i].other = p->other;
    }
    g->changed = false;
    return batch_write(&g->batch, all, g->n_work, e);
}

/* The sequences become those from 0 on, without gaps: the last ones move into them. */
static void close_gaps(generation *g)
{
    batch *b = &g->batch;
    for (int to = 0, from = b->rows - 1;; g->changed = true) {
        while (to < b->rows && b->row[to].used)
            to++;
        while (from >= 0 && !b->row[from].used)
            from--;
        if (to >= from)
            return;
        batch_move(b, from, to);
        for (int i = 0; i < g->n_work; i++) {
            g->work[i]->row = g->work[i]->row == from ? to : g->work[i]->row;
            g->work[i]->other = g->work[i]->other == from ? to : g->work[i]->other;
        }
    }
}

/* Before steps: pictures begin that wait, and the step is recorded for what is at work. */
static bool prepare(generation *g, err *e)
{
    int first = g->n_work;
    bool by_choice = false;
    if (!bring_in(g, e))
        return false;
    bool begin = g->n_work > first;
    if ((begin || g->changed) && !write_batch(g, e))
        return false;
    if (g->d->kind->fill) {
        close_gaps(g); /* no step is recorded */
        return !begin || generation_begin_masked(g, first, e);
    }
    if (begin)
        batch_begin(&g->batch, first, g->n_work);
    for (int i = first; i < g->n_work; i++)
        g->work[i]->chosen = 1;
    close_gaps(g);
    if (batch_fit_window(&g->batch, used_rows(g)))
        g->changed = true;
    if (g->changed && !write_batch(g, e))
        return false;
    for (int i = 0; i < g->n_work; i++)
        by_choice |= g->work[i]->other >= 0 || g->work[i]->row != i;
    if (g->cells > 1)
        batch_record(&g->batch, used_rows(g), g->n_work, by_choice);
    return !begin || run_finish(g->r, e);
}

static void step(generation *g)
{
    batch_step(&g->batch);
    for (int i = 0; i < g->n_work && g->batch.window == 1; i++, g->chosen++)
        g->work[i]->chosen++;
    g->steps++;
    g->passes += g->n_work;
}

/* Steps until the first picture at work has a line more, or one of them is finished. */
static int steps_ahead(const generation *g)
{
    int width = g->d->grid_width, n = width - g->work[0]->chosen % width;
    n = g->work[0]->chosen % width == 0 ? 0 : n;
    for (int i = 0; i < g->n_work; i++)
        n = g->cells - g->work[i]->chosen < n ? g->cells - g->work[i]->chosen : n;
    return n;
}

static bool is_finished(const generation *g, const picture *p)
{
    return p->chosen >= (g->d->kind->fill ? p->q->steps : g->cells);
}

/* Takes a picture out of the batch. */
static picture *leave(generation *g, int i)
{
    picture *p = g->work[i];
    g->batch.row[p->row].used = false;
    if (p->other >= 0)
        g->batch.row[p->other].used = false;
    memmove(g->work + i, g->work + i + 1, (size_t)(--g->n_work - i) * sizeof *g->work);
    g->changed = true;
    return p;
}

static bool comes_before(const draw_request *p, int number, const picture *than)
{
    return p->id < than->q->id || (p->id == than->q->id && number < than->number);
}

/* Into the list of finished pictures, in the order in which they are drawn. */
static void finish(generation *g, picture *p)
{
    picture **at = &g->finished;
    while (*at && comes_before((*at)->q, (*at)->number, p))
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

void generation_finish(generation *g, int i)
{
    finish(g, leave(g, i));
}

/* The codes of finished pictures to the host. */
static bool collect(generation *g, err *e)
{
    for (int i = 0; i < g->n_work; i++)
        if (is_finished(g, g->work[i]))
            run_read_later(g->r, tensor_rows(g->batch.s.codes, g->work[i]->row, 1), g->work[i]->codes);
    if (!run_finish(g->r, e))
        return false;
    for (int i = 0; i < g->n_work && !g->d->kind->fill; i++)
        g->work[i]->known = g->work[i]->chosen;
    for (int i = 0; i < g->n_work;)
        if (is_finished(g, g->work[i]))
            generation_finish(g, i);
        else
            i++;
    return true;
}

/* Starts the next step, whose codes are the first of a line, and waits for the line before: the device is busy while
 * the caller looks at that. */
static bool next_line(generation *g, err *e)
{
    run_mark line = {0};
    for (int i = 0; i < g->n_work; i++)
        g->work[i]->known = g->work[i]->chosen;
    run_mark_set(g->r, &line);
    step(g);
    run_mark_wait(g->r, &line);
    return !run_failed(g->r) || run_finish(g->r, e);
}

/* Steps with drafts until a picture is finished, or the first one has a line more.  How many codes they give is known
 * on the device alone, which is asked when that may be so. */
static bool draft_steps(generation *g, err *e)
{
    int width = g->d->grid_width, line = g->work[0]->chosen / width;
    bool finished = false;
    while (!finished && g->work[0]->chosen / width == line) {
        int n = (width - g->work[0]->chosen % width + g->batch.window - 1) / g->batch.window;
        for (int i = 0; i < g->n_work; i++) {
            int least = (g->cells - g->work[i]->chosen + g->batch.window - 1) / g->batch.window;
            n = least < n ? least : n;
        }
        for (int i = 0; i < n && !run_failed(g->r); i++)
            step(g);
        if (!batch_read_known(&g->batch, e))
            return false;
        for (int i = 0; i < g->n_work; i++) {
            picture *p = g->work[i];
            int known = batch_known(&g->batch, p->row);
            g->chosen += known - p->chosen;
            p->known = p->chosen = known;
            finished |= is_finished(g, p);
        }
    }
    return !finished || collect(g, e);
}

/* Whether a picture at work is finished. */
static bool any_finished(const generation *g)
{
    bool finished = false;
    for (int i = 0; i < g->n_work; i++)
        finished |= is_finished(g, g->work[i]);
    return finished;
}

/* Steps that give a code each, to the same end. */
static bool single_steps(generation *g, err *e)
{
    /* a step after a failure would read what was never written */
    for (int n = steps_ahead(g); n > 0 && !run_failed(g->r); n--)
        step(g);
    return any_finished(g) ? collect(g, e) : next_line(g, e);
}

/* A step of pictures whose cells are filled all at once. */
static bool fill_step(generation *g, err *e)
{
    generation_fill(g);
    return any_finished(g) ? collect(g, e) : run_finish(g->r, e);
}

/* What generation_step does; where it fails, the pictures at work have to begin again. */
static bool go_on(generation *g, err *e)
{
    if (g->d->latents)
        return unclip_of(g->d) ? generation_unclip(g, e) : generation_denoise(g, e);
    if (g->batch.rows && !g->n_work && !generation_fits(g, g->waiting) && !generation_close_batch(g, false, e))
        return false;
    if (!g->batch.rows && !generation_open_batch(g, e))
        return false;
    if (!prepare(g, e))
        return false;
    double since = clock_seconds();
    bool ok = g->d->kind->fill ? fill_step(g, e) : g->batch.window > 1 ? draft_steps(g, e) : single_steps(g, e);
    g->seconds += clock_seconds() - since;
    if (!ok || g->n_work > 0)
        return ok;
    if (!g->waiting)
        generation_report(g);
    return generation_close_batch(g, g->alone && g->waiting, e);
}

/* ---- the API --------------------------------------------------------------------------------------------------- */

generation *generation_open(model *m, const limn_generation_options *options, err *e)
{
    limn_generation_options o = {0};
    control_copy(&o, sizeof o, options);
    if (!model_needs_transformer(m, e))
        return NULL;
    if (o.rows < 0 || o.rows > BATCH_MOST) {
        err_set(e, ERR_USAGE, "generate: rows: %d is outside 0 to %d", o.rows, BATCH_MOST);
        return NULL;
    }
    if (o.draft < 0 || o.draft > BATCH_MOST) {
        err_set(e, ERR_USAGE, "generate: `draft`: %d is outside 0 to %d", o.draft, BATCH_MOST);
        return NULL;
    }
    generation *g = calloc(1, sizeof *g);
    if (!g) {
        err_no_memory(e, "generation", sizeof *g);
        return NULL;
    }
    g->m = m;
    g->d = m->transformer;
    g->cells = g->d->grid_width * g->d->grid_height;
    g->keys = o.kv_cache_f16 ? DTYPE_F16 : DTYPE_F32;
    g->draft = g->d->kind->fill || g->d->latents ? 1 : o.draft ? o.draft : m->dev->tune.draft;
    g->limit = o.rows;
    g->decoder = o.decoder && m->codec.kind;
    g->r = run_new(m->dev, e);
    if (!g->r)
        generation_free(&g);
    return g;
}

void generation_free(generation **at)
{
    generation *g = *at;
    *at = NULL;
    if (!g)
        return;
    generation_close_batch(g, false, NULL);
    while (g->n_work > 0)
        picture_free(g->work[--g->n_work]);
    while (g->finished) {
        picture *p = g->finished;
        g->finished = p->next;
        picture_free(p);
    }
    while (g->waiting) {
        draw_request *q = g->waiting;
        g->waiting = q->next;
        draw_request_drop(q);
    }
    run_free(g->r);
    free(g);
}

bool generation_add(generation *g, const limn_generate_options *o, uint64_t *id, err *e)
{
    draw_request *q = draw_request_new(g->m, o, false, e), **end = &g->waiting;
    if (!q)
        return false;
    bool ok = !o->image || unclip_of(g->d) || generation_read_image(g, q, o, e);
    if (!ok || (unclip_of(g->d) && !generation_read_ends(g, q, o, e))) {
        draw_request_drop(q);
        return false;
    }
    if (g->limit && generation_sequences(q) > g->limit) {
        draw_request_drop(q);
        return err_set(e, ERR_USAGE, "generate: guidance takes two rows, and there is %d", g->limit);
    }
    while (*end)
        end = &(*end)->next;
    *end = q;
    q->users = 1;
    q->id = ++g->last_id;
    if (id)
        *id = q->id;
    return true;
}

bool generation_add_request(generation *g, const limn_request *request, uint64_t *id, err *e)
{
    limn_request q = {0};
    control_copy(&q, sizeof q, request);
    limn_generate_options o = model_generate_defaults(g->m);
    o.prompt = q.prompt;
    o.text_ids = q.text_ids;
    o.n_text_ids = q.n_text_ids;
    o.negative = q.negative;
    o.seed = q.seed;
    o.first = q.first;
    o.count = q.count;
    o.keep = q.keep;
    o.kept_codes = q.kept_codes;
    o.steps = q.steps;
    o.strength = q.strength;
    o.sampler = q.sampler;
    o.spacing = q.spacing;
    o.noise = q.noise;
    o.n_noise = q.n_noise;
    o.image = q.image;
    o.paint = q.paint;
    o.image_width = q.image_width;
    o.image_height = q.image_height;
    o.image_to = q.image_to;
    o.image_to_width = q.image_to_width;
    o.image_to_height = q.image_to_height;
    o.prompt_to = q.prompt_to;
    o.between = q.between;
    o.prior_steps = q.prior_steps;
    o.super_steps = q.super_steps;
    o.prior_guidance = q.prior_guidance;
    if (q.temperature != 0 || q.greedy)
        o.temperature = q.greedy ? 0 : q.temperature;
    if (q.top_k != 0)
        o.top_k = q.top_k == -1 ? 0 : q.top_k;
    if (q.top_p != 0)
        o.top_p = q.top_p;
    if (q.guidance != 0)
        o.guidance = q.guidance;
    return generation_add(g, &o, id, e);
}

bool generation_step(generation *g, int *left, err *e)
{
    err why = {0};
    while ((g->waiting || g->n_work > 0) && !go_on(g, &why)) {
        begin_again(g);
        if (!plan_smaller(g->m, "generate", &why))
            return err_copy(e, &why);
    }
    const limn_generation_status *now = generation_get_status(g);
    if (left)
        *left = now->waiting < INT32_MAX - now->working ? now->waiting + now->working : INT32_MAX;
    return true;
}

/* With drafts pictures may overtake others: those wait for these. */
static bool is_next(const generation *g, const picture *p)
{
    bool next = !g->waiting || !comes_before(g->waiting, g->waiting->first + g->waiting->begun, p);
    for (int i = 0; i < g->n_work; i++)
        next = next && !comes_before(g->work[i]->q, g->work[i]->number, p);
    return next;
}

bool generation_take(generation *g, uint64_t *id, int *number, int32_t *codes)
{
    picture *p = g->finished;
    if (!p || !is_next(g, p))
        return false;
    g->finished = p->next;
    if (id)
        *id = p->q->id;
    if (number)
        *number = p->number;
    memcpy(codes, p->codes, (size_t)g->cells * sizeof *codes);
    picture_free(p);
    return true;
}

/* Without drafts it is one. */
static double codes_a_pass(const generation *g)
{
    return g->draft > 1 && g->chosen > 0 ? (double)g->chosen / (double)g->passes : 1;
}

const limn_generation_status *generation_get_status(generation *g)
{
    limn_generation_status s = {.working = g->n_work, .codes_a_pass = codes_a_pass(g)};
    int64_t waiting = 0;
    for (const draw_request *q = g->waiting; q; q = q->next)
        waiting += q->count - q->begun;
    s.waiting = waiting < INT32_MAX ? (int)waiting : INT32_MAX;
    for (int i = 0; i < g->n_work; i++)
        s.codes += g->work[i]->known;
    for (const picture *p = g->finished; p; p = p->next, s.codes += g->cells)
        ++*(is_next(g, p) ? &s.finished : &s.working);
    g->status = s;
    return &g->status;
}

/* A picture of a request, where it is begun and not taken. */
static picture *find(const generation *g, uint64_t id, int number)
{
    for (int i = 0; i < g->n_work; i++)
        if (g->work[i]->q->id == id && g->work[i]->number == number)
            return g->work[i];
    for (picture *p = g->finished; p; p = p->next)
        if (p->q->id == id && p->number == number)
            return p;
    return NULL;
}

bool generation_peek(generation *g, uint64_t id, int number, int32_t *codes, int *done, err *e)
{
    picture *p = find(g, id, number);
    const draw_request *q = p ? p->q : g->waiting;
    while (!p && q && !(q->id == id && number >= q->first + q->begun && number < q->first + q->count))
        q = q->next;
    if (!q)
        return err_set(e, ERR_USAGE, "generate: there is no picture %d of request %llu", number,
                       (unsigned long long)id);
    int known = p ? p->known : 0;
    if (codes && p && known < g->cells && known > 0) {
        run_read(g->r,
                 g->drawing.rows ? g->drawing.clean
                 : g->d->latents ? g->denoiser.clean
                                 : tensor_rows(g->batch.s.codes, p->row, 1),
                 p->codes);
        if (!run_finish(g->r, e)) {
            begin_again(g);
            return false;
        }
    }
    const bool masked = g->d->kind->fill && known > 0;
    for (int c = 0; codes && g->d->latents && c < g->cells; c++)
        codes[c] = known > 0 ? p->codes[c] : 0;
    for (int c = 0; codes && !g->d->latents && c < g->cells; c++)
        codes[c] = masked      ? p->codes[c] < g->d->codes ? p->codes[c] : -1
                   : c < known ? p->codes[c]
                   : q->kept   ? q->kept[c]
                               : -1;
    if (done)
        *done = known;
    return true;
}

bool generation_cancel(generation *g, uint64_t id, err *e)
{
    bool found = false;
    for (draw_request **q = &g->waiting; *q;) {
        draw_request *this = *q;
        if (this->id != id) {
            q = &this->next;
            continue;
        }
        *q = this->next;
        draw_request_drop(this);
        found = true;
    }
    for (int i = g->n_work - 1; i >= 0; i--)
        if (g->work[i]->q->id == id) {
            picture_free(leave(g, i));
            found = true;
        }
    for (picture **p = &g->finished; *p;) {
        picture *this = *p;
        if (this->q->id != id) {
            p = &this->next;
            continue;
        }
        *p = this->next;
        picture_free(this);
        found = true;
    }
    if (!found)
        return err_set(e, ERR_USAGE, "generate: there is no request %llu", (unsigned long long)id);
    return g->n_work > 0 || generation_close_batch(g, false, e);
}
