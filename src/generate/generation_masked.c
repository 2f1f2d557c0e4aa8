/* Generation: pictures whose cells are filled all at once, in some steps. */
#include "base/rng.h"
#include "generate/generation.h"
#include "generate/masked.h"

/* The position of the numbers that choose what of an image prompt is masked; those of steps are below. */
#define MASK_POSITION (2u * STEPS_MOST)

/* The codes that a picture begins with: kept ones, and others of an image prompt unless they are masked. */
static void first_codes(const generation *g, picture *p)
{
    const draw_request *q = p->q;
    const float share = masked_share(q->start, q->steps);
    for (int c = 0; c < g->cells; c++) {
        const uint64_t seed = q->sampling.seed;
        const bool shown = q->shown && rng_uniform(seed, (uint32_t)p->number, MASK_POSITION, (uint32_t)c) >= share;
        p->codes[c] = q->kept && q->kept[c] >= 0 ? q->kept[c] : shown ? q->shown[c] : g->d->mask_code;
    }
}

bool generation_begin_masked(generation *g, int first, err *e)
{
    masked_begin(&g->batch);
    for (int i = first; i < g->n_work; i++) {
        picture *p = g->work[i];
        first_codes(g, p);
        run_write(g->r, tensor_rows(g->batch.s.codes, p->row, 1), p->codes);
        p->chosen = p->q->start;
    }
    return run_finish(g->r, e);
}

void generation_fill(generation *g)
{
    for (int i = 0; i < g->n_work; i++) {
        picture *p = g->work[i];
        masked_picture m = {.s = p->q->sampling, .step = p->chosen++, .steps = p->q->steps, .share = p->q->share};
        m.s.stream = (uint32_t)p->number;
        m.s.row = p->row;
        m.s.other = p->other;
        masked_fill(&g->batch, &m);
        p->known = (int)((int64_t)g->cells * (p->chosen - p->q->start) / (p->q->steps - p->q->start));
    }
    g->steps++;
}
