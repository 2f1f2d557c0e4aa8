/* The optimiser's step, and checkpoints. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "models/codecs/codec.h"
#include "models/lora.h"
#include "train/file.h"

float train_cosine(float from, float to, double progress)
{
    if (progress >= 1)
        return to;
    return (float)(to + (from - to) * 0.5 * (1 + cos(3.14159265358979323846 * progress)));
}

float train_learning_rate(const train_settings *s, int64_t step)
{
    if (step < s->warm_up)
        return s->lr * (float)(step + 1) / (float)s->warm_up;
    double rest = (double)(s->steps - s->warm_up);
    return train_cosine(s->lr, s->lr_end, rest > 0 ? (double)(step - s->warm_up) / rest : 1);
}

static bool zeros(tensor *t, run *r, const param *p, const char *what, err *e)
{
    if (!tensor_new(t, run_device(r), DTYPE_F32, p->nd, p->shape, NULL, false, what, e))
        return false;
    op_fill(r, *t, 0);
    return true;
}

static bool open_all_reduce(trainer *t, err *e)
{
    int64_t floats = 0;
    for (size_t i = 0; i < t->params->n; i++)
        floats += t->slots[i].gradient.buf ? tensor_count(&t->slots[i].gradient) : 0;
    tape_on_final(t->tape, all_reduce_add, &t->all_reduce);
    return all_reduce_open(&t->all_reduce, t->r, (size_t)floats, t->params->n, e);
}

bool trainer_load(param_table *params, run *r, const char *init, uint64_t seed, err *e)
{
    train_file file = {0};
    bool ok = (!init || train_file_open(&file, init, e)) && params_load_trainable(params, r, file.g, seed, e);
    train_file_release(&file);
    return ok;
}

bool trainer_open(trainer *t, run *r, param_table *params, const train_settings *s, err *e)
{
    *t = (trainer){.r = r, .params = params, .settings = *s};
    t->slots = calloc(params->n, sizeof *t->slots);
    t->tape = t->slots ? tape_new(r, e) : NULL;
    bool ok = t->slots ? t->tape != NULL : err_no_memory(e, "trainer", params->n * sizeof *t->slots);
    ok = ok && tensor_new(&t->squares, run_device(r), DTYPE_F32, 1, (int64_t[]){1}, NULL, false, "norm", e);
    for (size_t i = 0; ok && i < params->n; i++) {
        const param *p = &params->list[i];
        slot *k = &t->slots[i];
        if (p->fixed)
            continue;
        ok = zeros(&k->gradient, r, p, "gradients", e) && zeros(&k->m, r, p, "moments", e) &&
             zeros(&k->v, r, p, "moments", e);
        if (ok && s->ema > 0) {
            ok = zeros(&k->ema, r, p, "averages", e);
            if (ok)
                op_repeat(r, k->ema, *param_value(p));
        }
        if (ok)
            tape_watch(t->tape, *param_value(p), k->gradient);
    }
    ok = run_finish(r, e) && ok && (ranks_size() == 1 || open_all_reduce(t, e));
    if (!ok)
        trainer_release(t);
    return ok;
}

void trainer_release(trainer *t)
{
    tape_free(t->tape);
    all_reduce_release(&t->all_reduce);
    for (size_t i = 0; t->slots && i < t->params->n; i++) {
        tensor *all[] = {&t->slots[i].gradient, &t->slots[i].m, &t->slots[i].v, &t->slots[i].ema};
        for (int k = 0; k < 4; k++)
            buffer_free(all[k]->buf);
    }
    free(t->slots);
    buffer_free(t->squares.buf);
    free(t->kept);
    *t = (trainer){0};
}

void trainer_begin(trainer *t)
{
    t->applied = false;
    run_reset(t->r);
    for (size_t i = 0; i < t->params->n; i++)
        if (!t->params->list[i].fixed)
            op_fill(t->r, t->slots[i].gradient, 0);
    op_fill(t->r, t->squares, 0);
    tape_begin(t->tape);
}

void trainer_part(trainer *t, tensor loss)
{
    tape_end(t->tape);
    tape_backward(t->tape, loss);
    run_reset(t->r);
    tape_begin(t->tape);
}

void trainer_finish(trainer *t, tensor loss)
{
    const train_settings *s = &t->settings;
    tape_end(t->tape);
    all_reduce_begin(&t->all_reduce);
    tape_backward(t->tape, loss);
    all_reduce_finish(&t->all_reduce);
    for (size_t i = 0; i < t->params->n; i++)
        if (!t->params->list[i].fixed)
            op_sum_squares(t->r, t->squares, t->slots[i].gradient);
    t->applied = !run_failed(t->r);
    adamw o = {.lr = train_learning_rate(s, t->step),
               .beta1 = s->beta1,
               .beta2 = s->beta2,
               .eps = s->eps,
               .clip = s->clip,
               .step = ++t->step};
    for (size_t i = 0; i < t->params->n; i++) {
        const param *p = &t->params->list[i];
        if (p->fixed)
            continue;
        slot *k = &t->slots[i];
        tensor value = *param_value(p);
        o.decay = p->nd > 1 ? s->decay : 0;
        op_adamw(t->r, value, k->gradient, k->m, k->v, t->squares, &o);
        if (k->ema.buf)
            op_ema(t->r, k->ema, value, s->ema);
        if (p->conv)
            conv_repack(t->r, p->conv);
    }
}

/* ---- files ---- */

/* A device tensor's values to the writer. */
static bool write_values(gguf_writer *w, run *r, tensor t, const char *name, err *e)
{
    size_t bytes = (size_t)tensor_count(&t) * sizeof(float);
    float *host = malloc(bytes);
    if (!host)
        return err_no_memory(e, name, bytes);
    run_read(r, t, host);
    bool ok = run_finish(r, e);
    if (ok)
        gguf_write_data(w, host, bytes);
    free(host);
    return ok;
}

const tensor *trainer_result(const trainer *t, size_t i)
{
    return t->slots[i].ema.buf ? &t->slots[i].ema : param_value(&t->params->list[i]);
}

/* Tensor i of the file where the model needs it too, else NULL. */
static const file_tensor *further_tensor(const gguf *further, size_t i, const char *beside)
{
    const file_tensor *f = gguf_tensor(further, i);
    return codec_owns_tensor(f->name) || (beside && !strncmp(f->name, beside, strlen(beside))) ? f : NULL;
}

bool trainer_write_model(trainer *t, const char *path, trainer_keys *keys, const void *context, const gguf *further,
                         const char *beside, err *e)
{
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", "limn");
    keys(context, w);
    for (size_t i = 0; i < t->params->n; i++) {
        const param *p = &t->params->list[i];
        gguf_add_tensor(w, p->name, DTYPE_F32, p->nd, p->shape);
    }
    size_t more = further ? gguf_tensor_count(further) : 0;
    for (size_t i = 0; i < more; i++) {
        const file_tensor *f = further_tensor(further, i, beside);
        if (f)
            gguf_add_tensor(w, f->name, f->type, f->nd, f->shape);
    }
    gguf_put_description(w);
    gguf_begin_data(w);
    bool ok = true;
    for (size_t i = 0; ok && i < t->params->n; i++)
        ok = write_values(w, t->r, *trainer_result(t, i), t->params->list[i].name, e);
    for (size_t i = 0; ok && i < more; i++) {
        const file_tensor *f = further_tensor(further, i, beside);
        if (f)
            gguf_write_data(w, f->data, f->bytes);
    }
    ok = ok && gguf_writer_commit(w, e);
    gguf_writer_free(w);
    return ok;
}

bool trainer_write_adapters(trainer *t, const lora *l, const char *path, const char *base_model, err *e)
{
    size_t n = t->params->n;
    float **values = calloc(n + 1, sizeof *values);
    bool ok = values ? true : err_no_memory(e, path, n * sizeof *values);
    for (size_t i = 0; ok && i < n; i++) {
        const tensor *x = trainer_result(t, i);
        values[i] = malloc((size_t)tensor_bytes(x));
        ok = values[i] ? true : err_no_memory(e, path, tensor_bytes(x));
        if (ok)
            run_read(t->r, *x, values[i]);
    }
    ok = run_finish(t->r, e) && ok && lora_write(l, (const float *const *)values, path, base_model, e);
    for (size_t i = 0; values && i < n; i++)
        free(values[i]);
    free(values);
    return ok;
}

/* The tensors of a checkpoint: "NAME", "NAME#m", "NAME#v" and, for the EMA, "NAME#average". */
enum { VALUE, MOMENT, SQUARE, EMA, KINDS };
static const char *const kind_marks[KINDS] = {"", "#m", "#v", "#average"};

static tensor *kind_of(trainer *t, size_t i, int kind)
{
    slot *k = &t->slots[i];
    tensor *of[KINDS] = {param_value(&t->params->list[i]), &k->m, &k->v, &k->ema};
    return of[kind];
}

bool trainer_keep(trainer *t, const char *name, tensor x, const conv *c, err *e)
{
    kept_tensor *grown = realloc(t->kept, (t->n_kept + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, name, (t->n_kept + 1) * sizeof *grown);
    t->kept = grown;
    kept_tensor *k = &t->kept[t->n_kept++];
    *k = (kept_tensor){.x = x, .conv = c};
    snprintf(k->name, sizeof k->name, "%s", name);
    return true;
}

bool trainer_keep_all(trainer *t, trainer *other, err *e)
{
    char name[128];
    for (size_t i = 0; i < other->params->n; i++)
        for (int k = 0; k < KINDS; k++) {
            const param *p = &other->params->list[i];
            const tensor *x = kind_of(other, i, k);
            snprintf(name, sizeof name, "%s%s", p->name, kind_marks[k]);
            if (x->buf && !trainer_keep(t, name, *x, k == VALUE ? p->conv : NULL, e))
                return false;
        }
    return true;
}

bool trainer_write_checkpoint(trainer *t, const char *path, uint64_t fingerprint, err *e)
{
    char name[128];
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", "limn-checkpoint");
    gguf_put_int(w, "train.step", t->step);
    gguf_put_int(w, "train.epoch", t->position.epoch);
    gguf_put_int(w, "train.item", t->position.item);
    gguf_put_int(w, "train.seed", (int64_t)t->settings.seed);
    gguf_put_int(w, "train.data", (int64_t)fingerprint);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->params->n; i++)
            for (int k = 0; k < KINDS; k++) {
                const param *p = &t->params->list[i];
                tensor *x = kind_of(t, i, k);
                if (!x->buf)
                    continue;
                snprintf(name, sizeof name, "%s%s", p->name, kind_marks[k]);
                if (pass == 0) {
                    gguf_add_tensor(w, name, DTYPE_F32, p->nd, p->shape);
                } else if (!write_values(w, t->r, *x, name, e)) {
                    gguf_writer_free(w);
                    return false;
                }
            }
        for (size_t i = 0; i < t->n_kept; i++) {
            const kept_tensor *k = &t->kept[i];
            if (pass == 0) {
                gguf_add_tensor(w, k->name, DTYPE_F32, k->x.nd, k->x.shape);
            } else if (!write_values(w, t->r, k->x, k->name, e)) {
                gguf_writer_free(w);
                return false;
            }
        }
        if (pass == 0)
            gguf_begin_data(w);
    }
    bool ok = gguf_writer_commit(w, e);
    gguf_writer_free(w);
    return ok;
}

/* x of rank 0 to all. */
static bool share_tensor(trainer *t, const char *name, tensor x, const conv *c, err *e)
{
    size_t bytes = (size_t)tensor_count(&x) * sizeof(float);
    float *host = malloc(bytes);
    if (!host)
        return err_no_memory(e, name, bytes);
    run_read(t->r, x, host);
    ranks_broadcast(host, bytes, 0);
    run_write(t->r, x, host);
    free(host);
    if (c)
        conv_repack(t->r, c);
    return true;
}

bool trainer_share(trainer *t, err *e)
{
    int64_t place[] = {t->step, t->position.epoch, t->position.item};
    if (ranks_size() == 1)
        return true;
    ranks_broadcast(place, sizeof place, 0);
    t->step = place[0];
    t->position = (dataset_position){place[1], place[2]};
    for (size_t i = 0; i < t->params->n; i++)
        for (int k = 0; k < KINDS; k++) {
            const param *p = &t->params->list[i];
            const tensor *x = kind_of(t, i, k);
            if (x->buf && !share_tensor(t, p->name, *x, k == VALUE ? p->conv : NULL, e))
                return false;
        }
    for (size_t i = 0; i < t->n_kept; i++)
        if (!share_tensor(t, t->kept[i].name, t->kept[i].x, t->kept[i].conv, e))
            return false;
    return run_finish(t->r, e);
}

/* The tensor of that name to x, whose convolution's panels are made again. */
static bool read_tensor(trainer *t, const gguf *g, const char *name, tensor x, const conv *c, err *e)
{
    const file_tensor *f = gguf_find(g, name);
    if (!f || f->type != DTYPE_F32 || file_tensor_count(f) != tensor_count(&x))
        return err_set(e, ERR_FAILED, "%s: tensor %s is missing or of another shape (was it trained with other sizes?)",
                       gguf_name(g), name);
    run_write(t->r, x, f->data);
    if (c)
        conv_repack(t->r, c);
    return true;
}

static bool read_values(trainer *t, const gguf *g, err *e)
{
    char name[128];
    for (size_t i = 0; i < t->n_kept; i++)
        if (!read_tensor(t, g, t->kept[i].name, t->kept[i].x, t->kept[i].conv, e))
            return false;
    for (size_t i = 0; i < t->params->n; i++)
        for (int k = 0; k < KINDS; k++) {
            tensor *x = kind_of(t, i, k);
            snprintf(name, sizeof name, "%s%s", t->params->list[i].name, kind_marks[k]);
            if (x->buf && !read_tensor(t, g, name, *x, k == VALUE ? t->params->list[i].conv : NULL, e))
                return false;
        }
    return run_finish(t->r, e);
}

bool trainer_read_checkpoint(trainer *t, const char *path, uint64_t fingerprint, err *e)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, e) ? gguf_open(m.data, m.size, path, e) : NULL;
    int64_t seed = 0, data = 0;
    bool ok = g && gguf_get_int(g, "train.step", 0, INT64_MAX, &t->step, e) &&
              gguf_get_int(g, "train.epoch", 0, INT64_MAX, &t->position.epoch, e) &&
              gguf_get_int(g, "train.item", 0, INT64_MAX, &t->position.item, e) &&
              gguf_get_int(g, "train.seed", INT64_MIN, INT64_MAX, &seed, e) &&
              gguf_get_int(g, "train.data", INT64_MIN, INT64_MAX, &data, e);
    if (ok && seed != (int64_t)t->settings.seed)
        ok = err_set(e, ERR_USAGE, "%s: train.seed: it was begun with `seed` %lld", path, (long long)seed);
    if (ok && data != (int64_t)fingerprint)
        ok = err_set(e, ERR_USAGE, "%s: train.data: it was begun with other data (give the same `data`, or begin anew)",
                     path);
    ok = ok && read_values(t, g, e);
    gguf_free(g);
    file_map_release(&m);
    return ok;
}
