/* Filling masked cells: the schedule, the texts of a batch, and a step. */
#include "generate/masked.h"

#include <math.h>

#define PI 3.14159265358979323846f

/* cos(step / steps pi/2), each operation rounded. */
static float cosine(int step, int steps)
{
    const float ratio = (float)step / (float)steps, angle = ratio * PI;
    return cosf(angle / 2);
}

int masked_wanted(int cells, int step, int steps, float share)
{
    const float ratio = share * cosine(step + 1, steps), wanted = (float)cells * ratio;
    return step + 1 < steps ? (int)floorf(wanted) : -1;
}

float masked_temperature(float temperature, int step, int steps)
{
    const float fall = steps > 1 ? -temperature / (float)(steps - 1) : 0; /* from both ends, as torch.linspace */
    return steps == 1 || step < steps / 2 ? temperature + fall * (float)step : -fall * (float)(steps - 1 - step);
}

float masked_share(int step, int steps)
{
    return step > 0 ? cosine(step, steps) : 1;
}

void masked_begin(batch *b)
{
    const transformer *d = b->s.d;
    run *r = b->s.r;
    for (int i = 0; i < b->rows; i++) {
        batch_row *row = &b->row[i];
        if (!row->used || row->position > 0)
            continue;
        row->position = 1;
        if (i > 0 && row[-1].used && row[-1].text == row->text) {
            session_repeat_row(&b->s, i - 1, i, 1);
            continue;
        }
        run_reset(r); /* the queue is in order: what runs still is done before its memory is written */
        d->kind->read_text(r, d, row->text, session_rows(&b->s, i, 1));
    }
}

tensor masked_logits(batch *b, const sampling *s)
{
    const transformer *d = b->s.d;
    run *r = b->s.r;
    int rows = s->other >= 0 ? 2 : 1, first = rows == 2 ? b->rows : s->row;
    int64_t cells = (int64_t)d->grid_width * d->grid_height;
    if (rows == 2) {
        session_copy_row(&b->s, s->row, first);
        session_copy_row(&b->s, s->other, first + 1);
        op_repeat(r, tensor_rows(b->s.codes, first + 1, 1), tensor_rows(b->s.codes, s->row, 1));
    }
    tensor x = d->kind->fill(r, d, tensor_rows(b->s.codes, first, rows), session_rows(&b->s, first, rows));
    x = tensor_shaped(op_linear(r, x, d->image_head, ACT_NONE), 2, (int64_t[]){rows, cells * d->codes});
    if (rows == 2) {
        int32_t words[SAMPLING_WORDS];
        sampling_put(words, &(sampling){.guidance = s->guidance, .row = 0, .other = 1});
        x = op_guide(r, x, run_upload(r, DTYPE_I32, 2, (int64_t[]){1, SAMPLING_WORDS}, words));
    }
    return tensor_shaped(x, 2, (int64_t[]){cells, d->codes});
}

void masked_fill(batch *b, const masked_picture *p)
{
    const transformer *d = b->s.d;
    const sampling *s = &p->s;
    run *r = b->s.r;
    int64_t cells = (int64_t)d->grid_width * d->grid_height;
    run_reset(r);
    masked_step step = {.mask = d->mask_code, .wanted = masked_wanted((int)cells, p->step, p->steps, p->share)};
    tensor logits = masked_logits(b, s);
    if (s->temperature > 0) {
        gumbel g = {.seed = s->seed, .stream = s->stream, .step = 2 * (uint32_t)p->step};
        step.noise = op_gumbel_noise(r, 3, (int64_t[]){1, cells, d->codes}, &g);
        g.step++;
        step.noise_of_cells = op_gumbel_noise(r, 2, (int64_t[]){1, cells}, &g);
        step.temperature = masked_temperature(s->temperature, p->step, p->steps);
    }
    op_fill_masked(r, logits, tensor_rows(b->s.codes, s->row, 1), &step);
}
