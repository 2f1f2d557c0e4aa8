/* log p(z|y) and log p(y) of given codes and text. */
#include <math.h>
#include <stdlib.h>

#include "generate/generate.h"
#include "models/plan.h"
#include "models/session.h"

/* log softmax(logits)[target], in double: sums over thousands of codes */
static double log_probability(const float *logits, int n, int target)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < n; i++)
        sum += exp(logits[i] - most);
    return logits[target] - most - log(sum);
}

/* Gives the session its text and codes, and returns the positions before the first code. */
static int begin(session *s, const int32_t *text, const int32_t *codes)
{
    int zero = 0;
    run_write(s->r, s->ids, text);
    run_write(s->r, s->codes, codes);
    run_write(s->r, s->position, &zero);
    if (s->d->own_lengths)
        run_write(s->r, s->memory.place, &zero);
    return s->d->own_lengths ? s->text : s->d->prefix;
}

/* The text's positions in a session with this row, which begins with `used` ids. */
static int length_of(const transformer *d, size_t used)
{
    return d->own_lengths ? (int)used : d->text_length;
}

/* One forward pass over all positions but the last. */
static void forward(session *s, const int32_t *text, const int32_t *codes, float *text_logits, float *image_logits)
{
    const transformer *d = s->d;
    run *r = s->r;
    int cells = d->grid_width * d->grid_height, prefix = begin(s, text, codes);
    tensor x = d->kind->forward(r, d, s->ids, s->codes, &s->memory, s->position, prefix + cells - 1);
    tensor image = op_linear(r, op_slice(r, x, prefix - 1, cells), d->image_head, ACT_NONE);
    run_read(r, image, image_logits);
    if (d->text_head && d->text_length > 1)
        run_read(r, op_linear(r, op_slice(r, x, 0, d->text_length - 1), d->text_head, ACT_NONE), text_logits);
}

/* All cells at once; -1 is a masked one. */
static void fill(session *s, const int32_t *text, int32_t *codes, float *logits)
{
    const transformer *d = s->d;
    run *r = s->r;
    for (int i = 0; i < d->grid_width * d->grid_height; i++)
        codes[i] = codes[i] < 0 ? d->mask_code : codes[i];
    run_write(r, s->codes, codes);
    d->kind->read_text(r, d, text, &s->memory);
    run_read(r, op_linear(r, d->kind->fill(r, d, s->codes, &s->memory), d->image_head, ACT_NONE), logits);
}

/* What plans walk, and the score itself does. */
typedef struct scoring {
    const transformer *d;
    const int32_t *text;
    int32_t *codes;
    int text_length; /* of the row */
    float *text_logits, *image_logits;
} scoring;

static bool score(void *context, run *r, int n, err *e)
{
    const scoring *k = context;
    session s = {0};
    bool ok = session_open(&s, k->d, r, n, k->text_length, DTYPE_F32, e);
    if (ok) {
        if (k->d->kind->fill)
            fill(&s, k->text, k->codes, k->image_logits);
        else
            forward(&s, k->text, k->codes, k->text_logits, k->image_logits);
        ok = run_finish(r, e);
    }
    session_release(&s);
    return ok;
}

static bool codes_in_range(const transformer *d, const int32_t *codes, int n, err *e)
{
    for (int i = 0; i < n; i++)
        if ((codes[i] < 0 && !(codes[i] == -1 && d->kind->fill)) || codes[i] >= d->codes)
            return err_set(e, ERR_USAGE, "score: code %d of cell %d is outside of the codebook of %d", codes[i], i,
                           d->codes);
    return true;
}

static bool score_once(model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, float *logits,
                       limn_score *result, err *e)
{
    *result = (limn_score){0};
    if (!text_ids && n_text_ids)
        return err_set(e, ERR_USAGE, "score: no text ids");
    if (!model_needs_codes(m, e))
        return false;
    const transformer *d = m->transformer;
    int cells = d->grid_width * d->grid_height, ids = d->text_head ? (int)d->text_head->w.shape[0] : 0;
    if (!codes_in_range(d, codes, cells, e))
        return false;
    size_t text_count = (size_t)d->text_length * (size_t)ids + 1, used = 0;
    int32_t *row = calloc((size_t)d->text_length, sizeof *row), *own = calloc((size_t)cells, sizeof *own);
    float *text = malloc(text_count * sizeof *text), *image = malloc((size_t)cells * (size_t)d->codes * sizeof *image);
    scoring s = {.d = d, .text = row, .codes = own, .text_logits = text, .image_logits = image};
    const plan_job job = {.what = "score",
                          .uses = USE_TRANSFORMER,
                          .most = 1,
                          .walk = score,
                          .context = &s,
                          .help = "convert the model with `type` q8_0 or q4_0"};
    plan p;
    bool ok = row && own && text && image ? true : err_no_memory(e, "score", text_count * sizeof *text);
    ok = ok && d->kind->text_row(d, text_ids, n_text_ids, row, &used, e);
    s.text_length = length_of(d, used);
    for (int i = 0; ok && i < cells; i++)
        own[i] = codes[i];
    ok = ok && plan_make(&p, m, m->run, &job, e) && score(&s, m->run, 1, e);
    for (int i = 0; ok && i < cells; i++) {
        if (codes[i] >= 0)
            result->image_log_likelihood += log_probability(image + (size_t)i * (size_t)d->codes, d->codes, codes[i]);
        result->image_tokens += codes[i] >= 0;
        for (int k = 0; logits && k < d->codes; k++)
            logits[(size_t)i * (size_t)d->codes + (size_t)k] = image[(size_t)i * (size_t)d->codes + (size_t)k];
    }
    for (int i = 1; ok && ids && i < (int)used; i++)
        result->text_log_likelihood += log_probability(text + (size_t)(i - 1) * (size_t)ids, ids, row[i]);
    result->text_tokens = ids && used ? (int)used - 1 : 0;
    free(row);
    free(own);
    free(text);
    free(image);
    return ok;
}

bool score_codes(model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, float *logits,
                 limn_score *result, err *e)
{
    err why = {0};
    while (!score_once(m, text_ids, n_text_ids, codes, logits, result, &why))
        if (!plan_smaller(m, "score", &why))
            return err_copy(e, &why);
    return true;
}

/* ---- the next code's logits ------------------------------------------------------------------------------------ */

typedef struct next_code {
    const transformer *d;
    const int32_t *text, *codes;
    int n;           /* codes that are there */
    int text_length; /* of the row */
    float *logits;
} next_code;

/* One forward pass over the text and the codes so far; the last position predicts the next one. */
static bool next(void *context, run *r, int rows, err *e)
{
    const next_code *k = context;
    const transformer *d = k->d;
    session s = {0};
    bool ok = session_open(&s, d, r, rows, k->text_length, DTYPE_F32, e);
    if (ok) {
        int n = begin(&s, k->text, k->codes) + k->n;
        tensor x = d->kind->forward(r, d, s.ids, s.codes, &s.memory, s.position, n);
        run_read(r, op_linear(r, op_slice(r, x, n - 1, 1), d->image_head, ACT_NONE), k->logits);
        ok = run_finish(r, e);
    }
    session_release(&s);
    return ok;
}

static bool next_once(model *m, next_code *k, err *e)
{
    const plan_job job = {.what = "score",
                          .uses = USE_TRANSFORMER,
                          .most = 1,
                          .walk = next,
                          .context = k,
                          .help = "convert the model with `type` q8_0 or q4_0"};
    plan p;
    return plan_make(&p, m, m->run, &job, e) && next(k, m->run, 1, e);
}

bool score_next(model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, int n_codes, float *logits,
                err *e)
{
    if (!model_needs_codes(m, e))
        return false;
    const transformer *d = m->transformer;
    int cells = d->grid_width * d->grid_height;
    if (!text_ids && n_text_ids)
        return err_set(e, ERR_USAGE, "score: no text ids");
    if (d->kind->fill)
        return err_set(e, ERR_USAGE, "%s: it fills all cells at once: no code is the next one (score the codes)",
                       gguf_name(m->gguf));
    if (n_codes < 0 || n_codes >= cells)
        return err_set(e, ERR_USAGE, "score: %d codes before the next one are outside 0 to %d", n_codes, cells - 1);
    if (!codes_in_range(d, codes, n_codes, e))
        return false;
    int32_t *row = calloc((size_t)d->text_length, sizeof *row), *all = calloc((size_t)cells, sizeof *all);
    next_code k = {.d = d, .text = row, .codes = all, .n = n_codes, .logits = logits};
    size_t used = 0;
    err why = {0};
    bool ok = row && all ? d->kind->text_row(d, text_ids, n_text_ids, row, &used, e)
                         : err_no_memory(e, "score", (size_t)cells * sizeof *all);
    k.text_length = length_of(d, used);
    for (int i = 0; ok && i < n_codes; i++)
        all[i] = codes[i];
    while (ok && !next_once(m, &k, &why))
        ok = plan_smaller(m, "score", &why) || err_copy(e, &why);
    free(row);
    free(all);
    return ok;
}
