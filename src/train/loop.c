/* The loop of a training run: batches, steps, log, checkpoints, samples. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/ranks.h"
#include "train/events.h"
#include "train/output.h"
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

/* ---- the log: a line a step, "step,lr,…,loss,seconds" ---- */

/* Opens the log for appending after the line of step `done`; lines of later steps are removed. */
static FILE *log_open(const char *path, int64_t done, err *e)
{
    file_out kept = {0};
    char line[1024];
    FILE *old = done > 0 ? fopen(path, "r") : NULL;
    bool ok = file_out_open(&kept, path, e);
    while (ok && old && fgets(line, sizeof line, old))
        if (strchr(line, '\n') && (strncmp(line, "step", 4) == 0 || strtoll(line, NULL, 10) <= done))
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

static bool write_error(const char *path, err *e)
{
    return err_set(e, ERR_FAILED, "%s: cannot write: %s (make room, then go on with `resume`)", path,
                   errno ? strerror(errno) : "an earlier write failed");
}

/* seconds: how long the step took, data and all. */
static void log_step(FILE *f, const trainer *t, const train_scalars *s, double seconds)
{
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

/* What a run has open; only rank 0 has log and board. */
typedef struct loop {
    const train_run *q;
    train_stage *s;
    bool writes;                                       /* rank 0 */
    char *checkpoint, *csv, *events, *picture, *again; /* paths */
    FILE *log;
    events *board;
    dataset_batch batch;
    train_scalars scalars; /* of the last step, read from the device */
    double loss;           /* of the last step */
    float squares;         /* the sum of squares of its gradient */
    int64_t first, saved;
    bool waiting; /* the caller stopped the run while a step waited for its batch */
} loop;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Each scalar of the step becomes its mean over the ranks. */
static void mean_scalars(train_scalars *s)
{
    float sums[TRAIN_SCALARS];
    memcpy(sums, s->known, sizeof sums);
    ranks_sum(sums, (size_t)s->n);
    for (int i = 0; i < s->n && ranks_size() > 1; i++)
        if (s->values[i].buf)
            s->known[i] = sums[i] / (float)ranks_size();
}

/* The forward and backward pass of part k of the step's batch; after the last part, the optimiser. */
static void one_part(loop *l, int k, int parts)
{
    trainer *t = l->s->t;
    const dataset_batch *all = &l->batch;
    int n = all->n / parts, first = k * n;
    size_t picture = (size_t)all->width * (size_t)all->height * 3;
    dataset_batch part = {.n = n,
                          .width = all->width,
                          .height = all->height,
                          .pixels = all->pixels ? all->pixels + (size_t)first * picture : NULL,
                          .captions = all->captions + first,
                          .items = all->items + first};
    train_scalars found = {0};
    tensor loss = l->s->forward(l->s->self, &part, &(train_part){t->step, first, all}, &found);
    train_scalar(&found, "loss", loss);
    if (parts > 1)
        loss = op_scale_add(t->r, loss, 1.0f / (float)parts, (tensor){0}, 0);
    for (int i = 0; k + 1 < parts && i < found.n; i++) /* before trainer_part, which frees them */
        if (found.values[i].buf)
            run_read(t->r, found.values[i], &found.known[i]);
    if (k + 1 < parts)
        trainer_part(t, loss);
    else
        trainer_finish(t, loss);
    for (int i = 0; k + 1 == parts && i < found.n; i++)
        if (found.values[i].buf)
            run_read(t->r, found.values[i], &found.known[i]);
    for (int i = 0; k > 0 && i < found.n; i++) /* the mean so far */
        if (found.values[i].buf)
            found.known[i] = l->scalars.known[i] + (found.known[i] - l->scalars.known[i]) / (float)(k + 1);
    l->scalars = found;
}

/* One step.  A loss or gradient that is NaN or infinite ends the run; the optimiser has changed nothing then. */
static bool one_step(loop *l, err *e)
{
    trainer *t = l->s->t;
    int parts = l->q->accumulate > 1 ? l->q->accumulate : 1;
    l->waiting = !dataset_next(l->s->data, &l->batch, e);
    if (l->waiting) {
        l->waiting = !dataset_goes_on(l->s->data, NULL);
        return false;
    }
    trainer_begin(t);
    for (int k = 0; k < parts; k++)
        one_part(l, k, parts);
    run_read(t->r, t->squares, &l->squares);
    if (!run_finish(t->r, e))
        return false;
    t->position = dataset_tell(l->s->data);
    mean_scalars(&l->scalars);
    l->loss = l->scalars.known[l->scalars.n - 1];
    bool bad_loss = !isfinite(l->loss);
    if (!bad_loss && isfinite(l->squares)) {
        if (l->s->after)
            l->s->after(l->s->self, t->step - 1, &l->scalars);
        return run_finish(t->r, e);
    }
    char kept[96] = "";
    if (l->saved > 0)
        snprintf(kept, sizeof kept, "; the checkpoint of step %lld is as it was", (long long)l->saved);
    return err_set(e, ERR_FAILED, "train: step %lld: the %s is %g%s (go on with `resume` and a lower learning rate)",
                   (long long)t->step, bad_loss ? "loss" : "gradient's square", bad_loss ? l->loss : (double)l->squares,
                   kept);
}

void train_walk_step(const train_run *q, train_stage *s, const dataset_batch *b, int64_t step)
{
    loop l = {.q = q, .s = s, .batch = *b};
    int parts = q->accumulate > 1 ? q->accumulate : 1;
    s->t->step = step;
    trainer_begin(s->t);
    one_part(&l, 0, parts);
    if (parts > 1) /* the parts between are like the first */
        one_part(&l, parts - 1, parts);
    if (s->after)
        s->after(s->self, step, &l.scalars);
}

/* Called before the first line, so that a run that ends without a step leaves no file and replaces none. */
static bool begin_record(loop *l, err *e)
{
    if (!l->q->resume)
        (void)unlink(l->checkpoint); /* of the run that this one replaces: nobody must resume from it */
    l->log = log_open(l->csv, l->first, e);
    l->board = l->log ? events_open(l->events, l->first + 1, e) : NULL;
    return l->board != NULL;
}

/* If a line of the log can't be written, the run ends.  It can be resumed from the last checkpoint, which is whole. */
static bool record_step(loop *l, double seconds, err *e)
{
    if (!l->log && !begin_record(l, e))
        return false;
    const trainer *t = l->s->t;
    const char *tags[TRAIN_SCALARS + 2] = {"lr", "gradient_norm"};
    float values[TRAIN_SCALARS + 2] = {train_learning_rate(&t->settings, t->step - 1), sqrtf(l->squares)};
    for (int i = 0; i < l->scalars.n; i++) {
        tags[i + 2] = l->scalars.names[i];
        values[i + 2] = l->scalars.known[i];
    }
    errno = 0;
    log_step(l->log, t, &l->scalars, seconds);
    if (ferror(l->log))
        return write_error(l->csv, e);
    events_scalars(l->board, t->step, tags, values, l->scalars.n + 2);
    return events_flush(l->board) || write_error(l->events, e);
}

/* If a picture can't be made (there is no memory for it), the run goes on. */
static void sample(loop *l)
{
    const train_run *q = l->q;
    train_stage *s = l->s;
    train_sample wanted = {.model = q->output,
                           .picture = l->picture,
                           .captions = s->captions,
                           .n = s->n_captions,
                           .width = s->sample_width,
                           .height = s->sample_height};
    if (s->write) {
        wanted.model = q->init;
        wanted.adapter = q->output;
    }
    err e = {0};
    bool ok = s->sample ? s->sample(s->self, l->picture, &e) : !q->sample || q->sample(q->context, &wanted, &e);
    if (ok && (s->sample || q->sample))
        events_picture(l->board, s->t->step, s->sample ? "reconstructions" : "samples", l->picture);
    else if (!ok)
        log_write(LOG_WARNING, "no sample pictures after step %lld: %s", (long long)s->t->step, e.text);
}

/* The checkpoint is written last: once it exists, everything else that belongs to its step does too. */
static bool save(loop *l, bool with_sample, bool with_checkpoint, err *e)
{
    train_stage *s = l->s;
    const char *output = l->q->output;
    if (!(s->write ? s->write(s->self, output, e)
                   : trainer_write_model(s->t, output, s->keys, s->self, s->further, s->beside, e)))
        return false;
    if (with_sample)
        sample(l);
    errno = 0; /* like the checkpoint, the lines up to its step must survive a power cut */
    if (!os_sync(fileno(l->log)) && errno != EINVAL)
        return write_error(l->csv, e);
    if (with_checkpoint && !trainer_write_checkpoint(s->t, l->checkpoint, s->fingerprint, e))
        return false;
    if (with_checkpoint)
        l->saved = s->t->step;
    return true;
}

/* For step `step`, which failed because of `why`.  If the driver refused it memory before the optimiser began, and
 * there is a single rank, this opens the stage again with a smaller plan and restores its state through a checkpoint,
 * so that the step can be done again.  False, with the reason in `why`, if that can't be. */
static bool open_again(loop *l, int64_t step, err *why)
{
    train_stage *s = l->s;
    trainer *t = s->t;
    device *d = run_device(t->r);
    err e = {0};
    if (why->cause != LIMN_CAUSE_DEVICE_MEMORY || t->applied || ranks_size() > 1 || !device_finish(d, NULL))
        return false;
    t->step = step;
    if (!trainer_write_checkpoint(t, l->again, s->fingerprint, NULL))
        return false;
    bool ok = train_open_again(l->q, s, why, &e) && trainer_read_checkpoint(t, l->again, s->fingerprint, &e) &&
              dataset_seek(s->data, t->position, &e);
    (void)unlink(l->again);
    if (!ok)
        *why = e;
    return ok;
}

static bool run_steps(loop *l, err *e)
{
    const train_run *q = l->q;
    trainer *t = l->s->t;
    int64_t steps = t->settings.steps;
    int64_t all = dataset_size(l->s->data), batch = (int64_t)train_batch(q) * ranks_size();
    bool ok = true, going = true;
    if (l->writes && t->step >= steps)
        log_write(LOG_WARNING, "%s: it is of step %lld: nothing is left to do (a larger `steps` goes on)",
                  l->checkpoint, (long long)t->step);
    if (batch > all && l->writes && t->step < steps)
        log_write(LOG_WARNING,
                  "data: the %lld pictures are fewer than a step's %lld, so each comes several times in one (a "
                  "smaller `batch` is faster)",
                  (long long)all, (long long)batch);
    while (ok && going && t->step < steps) {
        double begin = now();
        int64_t epoch = t->position.epoch, step = t->step;
        err why = {0};
        if (!one_step(l, &why)) {
            if (!l->waiting && open_again(l, step, &why))
                continue;
            if (!l->waiting || t->step == l->first)
                return err_copy(e, &why);
            going = false; /* Ctrl-C while pictures were read: the last step is complete */
            if (l->writes)
                ok = save(l, false, true, e);
            break;
        }
        if (t->position.epoch != epoch) /* all pictures were seen, so their problems can be told */
            dataset_log_problems(l->s->data);
        if (l->writes && !record_step(l, now() - begin, e))
            return false;
        train_progress p = {
            .step = t->step, .steps = steps, .first = l->first, .loss = l->loss, .planned = l->s->memory.peak};
        going = ranks_all(!q->progress || q->progress(q->context, &p));
        bool last = t->step == steps;
        bool picture = q->sample_every && (last || t->step % q->sample_every == 0) && (going || last);
        bool checkpoint = last || !going || (q->save_every && t->step % q->save_every == 0);
        if (l->writes && (picture || checkpoint))
            ok = save(l, picture, checkpoint, e);
    }
    if (ok && !going && t->step < steps && l->writes)
        log_write(LOG_WARNING, "paused after step %lld of %lld: the same command with `resume` goes on",
                  (long long)t->step, (long long)steps);
    return ok;
}

/* ---- the run ---- */

static bool open_paths(loop *l, err *e)
{
    const char *output = l->q->output;
    l->checkpoint = train_beside(output, "checkpoint", e);
    l->csv = train_beside(output, "csv", e);
    l->events = train_beside(output, "events", e);
    l->picture = train_beside(output, "png", e);
    l->again = train_beside(output, "again", e);
    return l->checkpoint && l->csv && l->events && l->picture && l->again;
}

/* Resumes from the checkpoint; a run that was killed before its first one begins anew. */
static bool go_on(loop *l, err *e)
{
    FILE *f = fopen(l->checkpoint, "rb");
    if (!f && errno == ENOENT) {
        log_write(LOG_WARNING, "%s: there is no checkpoint yet, so the run begins at its first step", l->checkpoint);
        return true;
    }
    if (f)
        fclose(f);
    return trainer_read_checkpoint(l->s->t, l->checkpoint, l->s->fingerprint, e);
}

bool train_needs_whole_batches(const train_run *q, const char *why, err *e)
{
    return q->accumulate <= 1 ||
           err_set(e, ERR_USAGE, "`accumulate` %d: %s, so parts of one can't be added (give a larger `batch`)",
                   q->accumulate, why);
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
    loop l = {.q = q, .s = s, .writes = ranks_rank() == 0};
    trainer *t = s->t;
    bool ok = open_paths(&l, e) && (!q->resume || !l.writes || go_on(&l, e));
    ok = ok && train_same_data(s->fingerprint, e) && trainer_share(t, e) &&
         (!q->resume || dataset_seek(s->data, t->position, e));
    l.first = l.saved = t->step;
    ok = ok && run_steps(&l, e);
    dataset_log_problems(s->data);
    errno = 0;
    if (l.log && fclose(l.log) && ok)
        ok = write_error(l.csv, e);
    if (!events_close(l.board) && ok)
        ok = write_error(l.events, e);
    dataset_batch_release(&l.batch);
    free(l.checkpoint);
    free(l.csv);
    free(l.events);
    free(l.picture);
    free(l.again);
    return ok;
}
