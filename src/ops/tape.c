/* The tape: steps, and the table from tensors to their gradients. */
#include "ops/tape.h"

#include <assert.h>
#include <stdlib.h>

#include "device/run_internal.h"

typedef struct entry {
    const buffer *buf; /* NULL: free */
    int64_t at;
    tensor gradient; /* empty until something arrives */
    bool lasting;    /* watched over every tape_begin */
    bool arrived;
    size_t last; /* the step that is the last one back to have it as an input, counted from 1; 0: none */
} entry;

struct tape {
    run *r;
    tape_step *steps;
    size_t n, capacity;
    entry *table; /* open addressing */
    size_t used, slots;
    bool recording;
    tape_final *final;
    void *context;
    tensor one; /* d loss / d loss */
};

static entry *slot_of(entry *table, size_t slots, const buffer *buf, int64_t at)
{
    size_t h = ((size_t)(uintptr_t)buf >> 4) * 0x9E3779B97F4A7C15u + (size_t)at * 0xC2B2AE3D27D4EB4Fu;
    for (size_t i = (h >> 17) % slots;; i = (i + 1) % slots)
        if (!table[i].buf || (table[i].buf == buf && table[i].at == at))
            return &table[i];
}

static entry *find(const tape *t, tensor x)
{
    if (!x.buf || !t->slots)
        return NULL;
    entry *e = slot_of(t->table, t->slots, x.buf, x.at);
    return e->buf ? e : NULL;
}

/* The same table with room for one more, without what the last recording left if `lasting` is asked for. */
static bool rehash(tape *t, size_t slots, bool lasting)
{
    entry *table = calloc(slots, sizeof *table);
    if (!table)
        return err_no_memory(&t->r->error, "tape", slots * sizeof *table);
    size_t used = 0;
    for (size_t i = 0; i < t->slots; i++)
        if (t->table[i].buf && (!lasting || t->table[i].lasting)) {
            *slot_of(table, slots, t->table[i].buf, t->table[i].at) = t->table[i];
            used++;
        }
    free(t->table);
    t->table = table;
    t->slots = slots;
    t->used = used;
    return true;
}

static entry *insert(tape *t, tensor x)
{
    if (t->used * 2 >= t->slots && !rehash(t, t->slots ? 2 * t->slots : 1024, false))
        return NULL;
    entry *e = slot_of(t->table, t->slots, x.buf, x.at);
    if (!e->buf) {
        *e = (entry){.buf = x.buf, .at = x.at};
        t->used++;
    }
    return e;
}

tape *tape_new(run *r, err *e)
{
    tape *t = calloc(1, sizeof *t);
    if (!t)
        err_no_memory(e, "tape", sizeof *t);
    else
        t->r = r;
    return t;
}

void tape_free(tape *t)
{
    if (!t)
        return;
    tape_end(t);
    buffer_free(t->one.buf);
    free(t->steps);
    free(t->table);
    free(t);
}

void tape_begin(tape *t)
{
    t->n = 0;
    if (t->slots)
        rehash(t, t->slots, true);
    t->recording = true;
    t->r->tape = t;
}

void tape_end(tape *t)
{
    t->recording = false;
    if (t->r->tape == t)
        t->r->tape = NULL;
}

void tape_watch(tape *t, tensor x, tensor gradient)
{
    entry *e = insert(t, x);
    if (!e)
        return;
    e->gradient = gradient;
    e->lasting = true;
    e->arrived = true;
}

void tape_on_final(tape *t, tape_final *f, void *context)
{
    t->final = f;
    t->context = context;
}

void tape_watch_input(tape *t, tensor x)
{
    if (x.buf)
        insert(t, x);
}

tape *run_tape(run *r)
{
    return run_failed(r) ? NULL : r->tape;
}

bool tape_wants(const tape *t, tensor x)
{
    return find(t, x) != NULL;
}

void tape_push(run *r, const tape_step *s)
{
    tape *t = run_tape(r);
    bool wanted = false;
    for (int i = 0; t && i < TAPE_INPUTS; i++)
        wanted = wanted || tape_wants(t, s->in[i]);
    if (!wanted || !insert(t, s->out))
        return;
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 256;
        tape_step *grown = realloc(t->steps, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&r->error, "tape", capacity * sizeof *grown);
            return;
        }
        t->steps = grown;
        t->capacity = capacity;
    }
    t->steps[t->n++] = *s;
}

tensor tape_gradient_of(tape *t, tensor x, int *add)
{
    entry *e = find(t, x);
    assert(e);
    if (!e->gradient.buf)
        e->gradient = run_tensor(t->r, DTYPE_F32, x.nd, x.shape);
    *add = e->arrived;
    e->arrived = true;
    return tensor_shaped(e->gradient, x.nd, x.shape);
}

tensor tape_gradient(tape *t, tensor x)
{
    entry *e = find(t, x);
    return e && e->arrived ? tensor_shaped(e->gradient, x.nd, x.shape) : (tensor){0};
}

/* The way back meets a tensor last where the way there met it first. */
static void find_last(tape *t)
{
    for (size_t i = 0; i < t->slots; i++)
        t->table[i].last = 0;
    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < TAPE_INPUTS; k++) {
            entry *e = find(t, t->steps[i].in[k]);
            if (e && !e->last)
                e->last = i + 1;
        }
}

static void tell_final(tape *t, size_t step)
{
    for (int k = 0; k < TAPE_INPUTS; k++) {
        entry *e = find(t, t->steps[step].in[k]);
        if (e && e->lasting && e->last == step + 1) {
            e->last = 0; /* once, where it is two inputs of the step */
            t->final(t->context, e->gradient);
        }
    }
}

void tape_backward(tape *t, tensor loss)
{
    t->recording = false;
    t->r->tape = NULL; /* the steps back are not recorded */
    entry *e = find(t, loss);
    if (run_failed(t->r) || !e)
        return;
    assert(tensor_count(&loss) == 1);
    /* it lasts: an upload would wait for the forward pass to end */
    if (!t->one.buf &&
        !tensor_new(&t->one, t->r->dev, DTYPE_F32, 1, (int64_t[]){1}, (float[]){1}, false, "tape", &t->r->error))
        return;
    e->gradient = tensor_shaped(t->one, loss.nd, loss.shape);
    e->arrived = true;
    if (t->final)
        find_last(t);
    for (size_t i = t->n; i-- > 0 && !run_failed(t->r);) {
        entry *out = find(t, t->steps[i].out);
        if (out && out->arrived)
            t->steps[i].back(t->r, t, &t->steps[i]);
        if (t->final)
            tell_final(t, i);
    }
}
