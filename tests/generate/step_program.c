/* One step of the built-in model as a GPU would run it, for tools/lens: the kernels for GPUs on whatever device is
 * there. usage: step_program [ROWS]      sequences that share it (1) No text is read before: an interpreter would take
 * minutes, and the step is the same whatever the caches hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generate/batch.h"

/* The caches hold zeros. */
static bool clear_caches(const session *s)
{
    for (int i = 0; i < s->d->layers; i++) {
        const kv_cache *c = &s->memory.caches[i];
        void *zeros = calloc((size_t)tensor_count(&c->k), sizeof(float));
        if (!zeros)
            return false;
        run_write(s->r, c->k, zeros);
        run_write(s->r, c->v, zeros);
        free(zeros);
    }
    return true;
}

/* The step after half of the cells; only its launches have a name for the lens. */
static bool step(model *m, int rows, err *e)
{
    const transformer *t = m->transformer;
    batch b;
    sampling pictures[BATCH_MOST];
    int32_t *text = calloc((size_t)t->text_length, sizeof *text);
    bool ok = text && batch_open(&b, t, m->run, rows, t->text_length, DTYPE_F32, 1, e);
    for (int i = 0; i < rows; i++) {
        pictures[i] =
            (sampling){.temperature = 0.3f, .top_k = 32, .seed = 2021, .stream = (uint32_t)i, .row = i, .other = -1};
        if (ok)
            b.row[i] = (batch_row){.used = true,
                                   .text = text,
                                   .length = t->text_length,
                                   .position = t->prefix + t->grid_width * t->grid_height / 2};
    }
    if (ok) {
        ok = clear_caches(&b.s) && batch_write(&b, pictures, rows, e);
        batch_record(&b, rows, rows, false);
        ok = ok && run_finish(m->run, e);
        char name[64];
        snprintf(name, sizeof name, "step of the built-in model, %d row%s", rows, rows == 1 ? "" : "s");
        setenv("LIMN_TEST_NAME", name, 1);
        batch_step(&b);
        ok = run_finish(m->run, e) && ok;
        setenv("LIMN_TEST_NAME", "", 1);
        batch_release(&b);
    }
    free(text);
    return ok;
}

int main(int argc, char **argv)
{
    err e = {0};
    const limn_device_options options = {.no_cache = true};
    int rows = argc > 1 ? atoi(argv[1]) : 1;
    device *d = rows >= 1 && rows <= BATCH_MOST ? device_open(getenv("LIMN_DEVICE"), &options, &e) : NULL;
    if (!d) {
        fprintf(stderr, "step_program: %s\n", e.text[0] ? e.text : "usage: step_program [ROWS]");
        return e.code == ERR_DEVICE ? 77 : 1;
    }
    limn_device_info like = d->info;
    like.type = LIMN_DISCRETE_GPU;
    d->tune = device_form_tuning(&like, false);
    d->tune.clblast = false;
    model *m = model_open(d, NULL, &e);
    bool ok = m && model_load(m, USE_TRANSFORMER, &e) && step(m, rows, &e);
    if (!ok)
        fprintf(stderr, "step_program: %s\n", e.text);
    model_free(m);
    device_free(d);
    return ok ? 0 : 1;
}
