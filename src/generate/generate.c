/* limn_generate: the pictures of one request, drawn by a generation of its own. */
#include <stdlib.h>
#include <string.h>

#include "generate/generate.h"
#include "generate/generation.h"
#include "models/guard.h"

typedef struct drawing {
    const limn_generate_options *o;
    generation *g;
    uint64_t id;
    int cells;
    int count;       /* pictures */
    int taken;       /* of them, which are the first ones */
    int32_t *all;    /* [count, cells], the caller's; or those that are finished together, [BATCH_MOST, cells] */
    bool batch_only; /* the latter */
} drawing;

bool generate_check(const model *m, const limn_generate_options *o, err *e)
{
    draw_request *q = draw_request_new(m, o, true, e);
    bool ok = q != NULL;
    draw_request_drop(q);
    return ok;
}

/* A place for the codes at work, where the caller wants them by `ready` alone. */
static bool own_codes(drawing *w, err *e)
{
    size_t bytes = (size_t)BATCH_MOST * (size_t)w->cells * sizeof *w->all;
    if (w->all)
        return true;
    if (!w->o->ready || w->o->preview)
        return err_set(e, ERR_USAGE, "generate: no place for the codes");
    w->batch_only = true;
    w->all = malloc(bytes);
    return w->all || err_no_memory(e, "codes", bytes);
}

/* Where the codes of picture i go, where the last finished ones begin with picture `first`. */
static int32_t *codes_of(const drawing *w, int first, int i)
{
    return w->all + (size_t)(w->batch_only ? i - first : i) * (size_t)w->cells;
}

/* What is known of the pictures that aren't taken. */
static bool show(drawing *w, err *e)
{
    bool ok = true;
    int done = 1;
    for (int i = w->taken; ok && i < w->count && done > 0; i++)
        ok = generation_peek(w->g, w->id, w->o->first + i, codes_of(w, 0, i), &done, e);
    return ok;
}

/* Hands to the caller what is new: n finished pictures from `first` on, or another line of some. */
static bool hand_over(drawing *w, int first, err *e)
{
    const limn_generate_options *o = w->o;
    int64_t done = (int64_t)w->taken * w->cells + generation_get_status(w->g)->codes;
    if (o->progress && o->preview && !show(w, e))
        return false;
    if (o->progress && !o->progress(o->context, (int)done, w->count * w->cells, o->preview ? w->all : NULL))
        return err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED, "generate: interrupted");
    if (!guard_there(w->g->m, e))
        return false;
    if (o->ready && w->taken > first && !o->ready(o->context, first, w->taken - first, codes_of(w, first, first)))
        return err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED, "generate: interrupted");
    return guard_there(w->g->m, e);
}

/* Until pictures are finished, or have a line more. */
static bool go_on(drawing *w, err *e)
{
    int first = w->taken;
    if (!generation_step(w->g, NULL, e))
        return false;
    while (w->taken - first < BATCH_MOST && generation_take(w->g, NULL, NULL, codes_of(w, first, w->taken)))
        w->taken++;
    return hand_over(w, first, e);
}

bool generate_pictures(model *m, const limn_generate_options *o, int32_t *codes, err *e)
{
    const limn_generation_options options = {.kv_cache_f16 = o->kv_cache_f16, .decoder = o->preview, .draft = o->draft};
    drawing w = {.o = o, .all = codes, .count = o->count ? o->count : 1};
    bool ok = (w.g = generation_open(m, &options, e)) && generation_add(w.g, o, &w.id, e);
    if (w.g) {
        w.cells = w.g->cells;
        w.g->alone = !o->ready;
    }
    ok = ok && own_codes(&w, e);
    if (ok && !w.batch_only)
        for (int i = 0; ok && i < w.count; i++) /* a preview has the pictures that are not begun */
            ok = generation_peek(w.g, w.id, o->first + i, codes_of(&w, 0, i), NULL, e);
    while (ok && w.taken < w.count)
        ok = go_on(&w, e);
    generation_free(&w.g);
    if (w.batch_only)
        free(w.all);
    return ok;
}
