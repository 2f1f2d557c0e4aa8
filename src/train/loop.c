/* The loop of a training run: batches, steps, log, checkpoints, samples. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/ranks.h"
#include "train/train.h"

void train_scalar(train_scalars *s, const char *name, tensor value)
{
    if (s->n < TRAIN_SCALARS) {
        s->names[s->n] = name;
        s->values[s->n++] = value;
    }
}

void train_number(train_scalars *s, const char *name, float value)
{
    if (s->n < TRAIN_SCALARS) {
        s->names[s->n] = name;
        s->known[s->n++] = value;
    }
}

/* "OUT.gguf" and "png" -> "OUT.gguf.png", a new string. */
static char *beside(const char *output, const char *ending, err *e)
{
    size_t n = strlen(output) + strlen(ending) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s.%s", output, ending);
    else
        err_no_memory(e, output, n);
    return path;
}

/* ---- the log: a line a step, "step,lr,…,loss,seconds" ---- */

/* Opens it for appending after the line of step `done`; what is there of later steps goes. */
static FILE *log_open(const char *path, int64_t done, err *e)
{
    file_out kept = {0};
    char line[1024];
    FILE *old = done > 0 ? fopen(path, "r") : NULL;
    bool ok = file_out_open(&kept, path, e);
    while (ok && old && fgets(line, sizeof line, old))
        if (strncmp(line, "step", 4) == 0 || strtoll(line, NULL, 10) <= done)
            ok = file_out_write(&kept, line, strlen(line), e);
    if (old)
        fclose(old);
    ok = ok && file_out_commit(&kept, e);
    file_out_release(&kept);
    FILE *f = ok ? fopen(path, "a") : NULL;
    if (ok && !f)
        err_set(e, ERR_FAILED, "%s: it can't be written", path);
    return f;
}

/* seconds: how long the step took, data and all. */
static void log_step(FILE *f, const trainer *t, const train_scalars *s, double seconds)
{
    if (!f)
        return;
    if (ftell(f) == 0) {
        fprintf(f, "step,lr");
        for (int i = 0; i < s->n; i++)
            fprintf(f, ",%s", s->names[i]);
        fputs(",seconds\n", f);
    }
    fprintf(f, "%lld,%.9g", (long long)t->step, train_learning_rate(&t->settings, t->step - 1));
    for (int i = 0; i < s->n; i++)
        fprintf(f, ",%.9g", s->known[i]);
    fprintf(f, ",%.6f\n", seconds);
    fflush(f);
}

/* ---- steps ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What each rank found for its items becomes the mean over all. */
static void average_scalars(train_scalars *s)
{
    float sums[TRAIN_SCALARS];
    memcpy(sums, s->known, sizeof sums);
    ranks_sum(sums, (size_t)s->n);
    for (int i = 0; i < s->n && ranks_size() > 1; i++)
        if (s->values[i].buf)
            s->known[i] = sums[i] / (float)ranks_size();
}

/* One step; *loss and s's known numbers are what it gave.  A loss that is no number ends the run. */
static bool one_step(train_stage *s, dataset_batch *b, train_scalars *scalars, double *loss, err *e)
{
    trainer *t = s->t;
    if (!dataset_next(s->data, b, e))
        return false;
    *scalars = (train_scalars){0};
    trainer_begin(t);
    tensor l = s->forward(s->self, b, t->step, scalars);
    train_scalar(scalars, "loss", l);
    trainer_finish(t, l);
    for (int i = 0; i < scalars->n; i++)
        if (scalars->values[i].buf)
            run_read(t->r, scalars->values[i], &scalars->known[i]);
    if (!run_finish(t->r, e))
        return false;
    average_scalars(scalars);
    t->position = dataset_tell(s->data);
    *loss = scalars->known[scalars->n - 1];
    if (!isfinite(*loss))
        return err_set(e, ERR_FAILED,
                       "train: step %lld: the loss is %g (resume from the last checkpoint with a lower "
                       "learning rate)",
                       (long long)t->step, *loss);
    if (s->after)
        s->after(s->self, t->step - 1, scalars);
    return run_finish(t->r, e);
}

static bool save(const train_run *q, train_stage *s, const char *checkpoint, const char *picture, err *e)
{
    return trainer_write_checkpoint(s->t, checkpoint, s->fingerprint, e) &&
           trainer_write_model(s->t, q->output, s->keys, s->self, s->further, e) &&
           (!s->sample || s->sample(s->self, picture, e)) && (!q->saved || q->saved(q->context, picture, e));
}

bool train_same_data(uint64_t fingerprint, err *e)
{
    int32_t low = (int32_t)(fingerprint & 0xffffffff), high = (int32_t)(fingerprint >> 32);
    int32_t most[] = {low, high, ~low, ~high};
    ranks_max(most, 4);
    if (most[0] != ~most[2] || most[1] != ~most[3])
        return err_set(e, ERR_FAILED, "train: the processes found different data (give all of them the same files)");
    return true;
}

bool train_loop(const train_run *q, train_stage *s, err *e)
{
    trainer *t = s->t;
    char *checkpoint = beside(q->output, "checkpoint", e), *csv = beside(q->output, "csv", e);
    char *picture = beside(q->output, "png", e);
    dataset_batch b = {0};
    bool ok = checkpoint && csv && picture, going = true, writes = ranks_rank() == 0;
    if (ok && q->resume && writes)
        ok = trainer_read_checkpoint(t, checkpoint, s->fingerprint, e);
    ok = ok && train_same_data(s->fingerprint, e) && trainer_share(t, e) &&
         (!q->resume || dataset_seek(s->data, t->position, e));
    FILE *log = ok && writes ? log_open(csv, t->step, e) : NULL;
    ok = ok && (log || !writes);
    int64_t saved = t->step;
    while (ok && going && t->step < t->settings.steps) {
        train_scalars scalars;
        train_progress p = {.steps = t->settings.steps};
        double begin = now();
        ok = one_step(s, &b, &scalars, &p.loss, e);
        if (!ok)
            break;
        p.step = t->step;
        log_step(log, t, &scalars, now() - begin);
        going = ranks_all(!q->progress || q->progress(q->context, &p));
        if (!going || t->step == t->settings.steps || (q->save_every && t->step % q->save_every == 0)) {
            ok = !writes || save(q, s, checkpoint, picture, e);
            saved = t->step;
        }
    }
    if (ok && !going && writes)
        log_write(LOG_WARNING, "paused after step %lld of %lld: --resume goes on", (long long)saved,
                  (long long)t->settings.steps);
    dataset_log_problems(s->data);
    if (log)
        fclose(log);
    dataset_batch_release(&b);
    free(checkpoint);
    free(csv);
    free(picture);
    return ok;
}
