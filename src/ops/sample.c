/* Choosing codes on the device. */
#include <string.h>

#include "ops/ops_internal.h"

static tape_function guide_back;

tensor op_argmax(run *r, tensor x)
{
    int64_t k = last_of(&x);
    tensor y = run_tensor(r, DTYPE_I32, x.nd - 1, x.shape);
    LAUNCH(r, "sample:argmax", work_rows(rows_of(&x), 0, 4.0 * (double)tensor_count(&x)), ARG_T(x), ARG_T(y), ARG_I(k));
    return y;
}

static int32_t bits_of(float f)
{
    int32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

void sampling_put(int32_t words[SAMPLING_WORDS], const sampling *s)
{
    const int32_t all[SAMPLING_WORDS] = {[SAMPLING_TEMPERATURE] = bits_of(s->temperature),
                                         [SAMPLING_TOP_K] = s->top_k,
                                         [SAMPLING_TOP_P] = bits_of(s->top_p),
                                         [SAMPLING_SEED_LOW] = (int32_t)(uint32_t)s->seed,
                                         [SAMPLING_SEED_HIGH] = (int32_t)(uint32_t)(s->seed >> 32),
                                         [SAMPLING_STREAM] = (int32_t)s->stream,
                                         [SAMPLING_GUIDANCE] = bits_of(s->guidance),
                                         [SAMPLING_ROW] = s->row,
                                         [SAMPLING_OTHER] = s->other};
    memcpy(words, all, sizeof all);
}

tensor op_guide(run *r, tensor x, tensor settings)
{
    int64_t b = settings.shape[0], k = last_of(&x), t = x.nd == 3 ? x.shape[1] : 1;
    tensor y = x.nd == 3 ? TENSOR(r, DTYPE_F32, b, t, k) : TENSOR(r, DTYPE_F32, b, k);
    if (t > 1)
        tape_no_gradient(r, "op_guide of several positions", x);
    LAUNCH(r, "sample:guide", work_grid(k, b * t, 3, 12), ARG_T(x), ARG_T(settings), ARG_T(y), ARG_I(k), ARG_I(t));
    tape_push(r, &(tape_step){.back = guide_back, .in = {x}, .out = y, .saved = {settings}});
    return y;
}

static void guide_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], settings = s->saved[0], dx = tape_gradient_of(t, x, &add), dy = tape_gradient(t, s->out);
    int64_t b = dy.shape[0], k = dy.shape[1], rows = x.shape[0];
    LAUNCH(r, "sample:guide_back", backward(work_grid(k, rows, 2.0 * (double)b, 4.0 * (double)b)), ARG_T(dy),
           ARG_T(settings), ARG_T(dx), ARG_I(b), ARG_I(k), ARG_I(add));
}

/* drawn[b,t], or empty. */
static void sample(run *r, tensor logits, tensor codes, tensor forced, tensor position, int text_length,
                   tensor settings, bool guided, bool advances, tensor drawn)
{
    int64_t k = last_of(&logits), t = drawn.buf ? drawn.shape[1] : 1, rows = settings.shape[0] * t;
    double count = (double)(rows * k);
    work size = work_rows(rows, 8 * count, 4 * (double)tensor_count(&logits));
    LAUNCH(r, "sample:sample", size, ARG_T(logits), ARG_T(codes), ARG_T(forced), ARG_T(position), ARG_T(settings),
           ARG_I(k), ARG_I(codes.shape[1]), ARG_I(text_length), ARG_OWN(position), ARG_I(guided), ARG_I(advances),
           ARG_T(drawn), ARG_I(t));
}

void op_sample(run *r, tensor logits, tensor codes, tensor forced, tensor position, int text_length, tensor settings)
{
    REQUIRE(r, logits.shape[0] == settings.shape[0]);
    sample(r, logits, codes, forced, position, text_length, settings, false, false, (tensor){0});
}

void op_sample_step(run *r, tensor x, tensor codes, tensor forced, tensor position, int text_length, tensor settings,
                    bool by_choice)
{
    REQUIRE(r, by_choice || x.shape[0] == settings.shape[0]);
    /* GPUs do it in one launch, unless pictures share a position: one of them would change it under the others */
    bool alone = tensor_count(&position) > 1 || settings.shape[0] == 1;
    if (!run_device(r)->tune.cpu_form && alone) {
        sample(r, x, codes, forced, position, text_length, settings, by_choice, true, (tensor){0});
        return;
    }
    op_sample(r, by_choice ? op_guide(r, x, settings) : x, codes, forced, position, text_length, settings);
    op_advance(r, position, 1);
}

void op_first_drafts(run *r, const drafts *d, tensor settings)
{
    int64_t cells = d->codes.shape[1];
    LAUNCH(r, "sample:first_drafts", work_grid(cells, settings.shape[0], 0, 12), ARG_T(d->codes), ARG_T(d->forced),
           ARG_T(settings), ARG_I(cells));
}

void op_verify(run *r, tensor x, const drafts *d, tensor settings, bool by_choice)
{
    if (run_failed(r))
        return;
    int64_t b = settings.shape[0], t = x.shape[1], cells = d->codes.shape[1];
    REQUIRE(r, x.nd == 3 && (by_choice || x.shape[0] == b) && t < cells);
    tensor drawn = TENSOR(r, DTYPE_I32, b, t);
    if (by_choice && run_device(r)->tune.cpu_form) {
        x = op_guide(r, x, settings);
        by_choice = false;
    }
    sample(r, x, d->codes, d->forced, d->position, d->text_length, settings, by_choice, false, drawn);
    LAUNCH(r, "sample:verify", work_each(b, 0, 16 * (double)t), ARG_T(drawn), ARG_T(d->codes), ARG_T(d->forced),
           ARG_T(d->position), ARG_T(d->also), ARG_T(d->known), ARG_T(settings), ARG_I(b), ARG_I(t), ARG_I(cells),
           ARG_I(d->text_length), ARG_I(d->grid_width));
}
