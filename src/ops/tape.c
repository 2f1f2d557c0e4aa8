/* The tape: steps, and the table from tensors to their gradients. */
#include "ops/tape.h"

#include <stdlib.h>
#include <string.h>

#include "device/run_internal.h"
#include "ops/ops.h"

typedef struct entry {
    const buffer *buf; /* NULL: free */
    int64_t at, count;
    dtype type;
    tensor gradient; /* empty until something arrives */
    bool lasting;    /* a parameter: watched over every tape_begin */
    bool arrived;
    size_t last; /* the last step of the backward pass that adds to its gradient, counted from 1; 0: none */
} entry;

/* Something of an op's for a weight. */
typedef struct attachment {
    const buffer *buf;
    const void *data;
} attachment;

struct tape {
    run *r;
    tape_step *steps;
    size_t n, capacity;
    entry *table; /* open addressing */
    size_t used, slots;
    bool recording;
    tape *part;   /* for tape_recompute: the steps of the part that is done again; made when it is first needed */
    tape *parent; /* of such a tape: the one that knows the part's inputs and the parameters */
    tape_final *final;
    void *context;
    tensor one; /* d loss / d loss */
    attachment *attached;
    size_t n_attached;
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
    entry *e = x.buf && t->slots ? slot_of(t->table, t->slots, x.buf, x.at) : NULL;
    if (!e || !e->buf)
        return t->parent ? find(t->parent, x) : NULL;
    if (e->count == tensor_count(&x))
        return e;
    err_set(
        &t->r->error, ERR_FAILED,
        "tape: a view of %lld elements begins where a tensor of %lld does, whose gradient is wanted (op_slice takes "
        "a part of a tensor)",
        (long long)tensor_count(&x), (long long)e->count);
    return NULL;
}

/* Moves the table to one of so many slots.  lasting: only its lasting entries, not what the last recording left. */
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
        *e = (entry){.buf = x.buf, .at = x.at, .count = tensor_count(&x), .type = x.type};
        t->used++;
    }
    return find(t, x);
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
    tape_free(t->part);
    buffer_free(t->one.buf);
    free(t->attached);
    free(t->steps);
    free(t->table);
    free(t);
}

void tape_begin(tape *t)
{
    t->n = 0;
    if (t->slots)
        rehash(t, t->slots, true);
    for (size_t i = 0; i < t->slots; i++)
        t->table[i].last = 0;
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

bool tape_attach(tape *t, tensor w, const void *data, err *e)
{
    attachment *grown = realloc(t->attached, (t->n_attached + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, "tape", (t->n_attached + 1) * sizeof *grown);
    t->attached = grown;
    t->attached[t->n_attached++] = (attachment){w.buf, data};
    return true;
}

const void *tape_attached(const tape *t, tensor x)
{
    for (const tape *of = t; of; of = of->parent)
        for (size_t i = 0; i < of->n_attached; i++)
            if (of->attached[i].buf == x.buf)
                return of->attached[i].data;
    return NULL;
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

static void append(tape *t, const tape_step *s)
{
    size_t used = t->used;
    if (!insert(t, s->out))
        return;
    if (t->used == used) { /* steps before this one would get the gradient of what is there now */
        err_set(&t->r->error, ERR_FAILED, "tape: a tensor of %lld elements is written again by a later op",
                (long long)tensor_count(&s->out));
        return;
    }
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 256;
        tape_step *grown = realloc(t->steps, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&t->r->error, "tape", capacity * sizeof *grown);
            return;
        }
        t->steps = grown;
        t->capacity = capacity;
    }
    t->steps[t->n++] = *s;
}

/* Fails the run where x, which isn't known, shares memory with a tensor whose gradient is wanted: a view of it that
 * begins elsewhere, whose gradient would be lost. */
static void check_views(const tape *t, tensor x)
{
    const size_t begin = dtype_row_bytes(x.type, x.at), end = begin + dtype_row_bytes(x.type, tensor_count(&x));
    for (size_t i = 0; i < t->slots; i++) {
        const entry *e = &t->table[i];
        if (e->buf == x.buf && dtype_row_bytes(e->type, e->at) < end &&
            begin < dtype_row_bytes(e->type, e->at + e->count))
            err_set(&t->r->error, ERR_FAILED,
                    "tape: a view of %lld elements is part of, or holds, a tensor of %lld whose gradient is wanted "
                    "(op_slice takes a part of a tensor)",
                    (long long)tensor_count(&x), (long long)e->count);
    }
    if (t->parent)
        check_views(t->parent, x);
}

bool tape_records(run *r, const tape_step *s)
{
    tape *t = run_tape(r);
    bool records = false;
    for (int i = 0; t && i < TAPE_INPUTS; i++) {
        bool wanted = tape_wants(t, s->in[i]);
        if (!wanted && s->in[i].buf)
            check_views(t, s->in[i]);
        records = records || wanted;
    }
    return records && !run_failed(r);
}

void tape_push(run *r, const tape_step *s)
{
    if (tape_records(r, s))
        append(run_tape(r), s);
}

void tape_no_gradient(run *r, const char *op, tensor x)
{
    const tape *t = run_tape(r);
    if (t && tape_wants(t, x))
        err_set(run_error(r), ERR_FAILED,
                "%s: no gradient goes back through it to what wants one (train only what comes after it, or write its "
                "backward)",
                op);
}

tensor tape_gradient_of(tape *t, tensor x, int *add)
{
    entry *e = find(t, x);
    REQUIRE(t->r, e);
    *add = 0;
    if (!e)
        return (tensor){0};
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

/* Notes for each lasting input of s the first step that uses it, as `at` (counted from 1; s is that step, or a step of
 * a part that it does again).  The backward pass goes through the steps in reverse, so after that one the input's
 * gradient is complete, and tape_final is told. */
static void meet(tape *t, const tape_step *s, size_t at)
{
    for (int k = 0; k < TAPE_INPUTS; k++) {
        entry *e = find(t, s->in[k]);
        if (e && e->lasting && (!e->last || at < e->last))
            e->last = at;
    }
}

static void tell_final(tape *t, const tape_step *s, size_t at)
{
    for (int k = 0; k < TAPE_INPUTS; k++) {
        entry *e = find(t, s->in[k]);
        if (e && e->lasting && e->last == at) {
            e->last = 0; /* once, where it is two inputs of the step */
            t->final(t->context, e->gradient);
        }
    }
}

static void part_back(run *r, tape *t, const tape_step *s);

/* Takes the steps in reverse: from the gradients that have arrived at their results to the inputs. */
static void walk(tape *t)
{
    for (size_t i = 0; t->final && i < t->n; i++)
        meet(t, &t->steps[i], i + 1);
    for (size_t i = t->n; i-- > 0 && !run_failed(t->r);) {
        const tape_step *s = &t->steps[i];
        entry *out = find(t, s->out);
        bool arrived = out && out->arrived;
        if (arrived)
            s->back(t->r, t, s);
        if (t->final)
            tell_final(t, s, i + 1);
        for (size_t k = 0; t->final && arrived && s->back == part_back && t->part && k < t->part->n; k++)
            tell_final(t, &t->part->steps[k], i + 1);
    }
}

void tape_backward(tape *t, tensor loss)
{
    tape_end(t); /* the backward pass isn't recorded */
    entry *e = find(t, loss);
    if (run_failed(t->r) || !e)
        return;
    REQUIRE(t->r, tensor_count(&loss) == 1);
    if (run_failed(t->r))
        return;
    /* it lasts: an upload would wait for the forward pass to end */
    if (!t->one.buf &&
        !tensor_new(&t->one, t->r->dev, DTYPE_F32, 1, (int64_t[]){1}, (float[]){1}, false, "tape", &t->r->error))
        return;
    e->gradient = tensor_shaped(t->one, loss.nd, loss.shape);
    e->arrived = true;
    walk(t);
}

/* ---- parts that are done again ---- */

/* Does the part, with its steps on a tape of its own. */
static tensor record_part(run *r, tape *t, tape_part *part, const void *context, int index, const tensor *in)
{
    REQUIRE(r, !t->parent); /* parts don't nest, for run_aside doesn't */
    if (run_failed(r) || (!t->part && !(t->part = tape_new(r, run_error(r)))))
        return (tensor){0};
    t->part->parent = t;
    tape_begin(t->part);
    tensor y = part(r, context, index, in);
    tape_end(t->part);
    return y;
}

static void part_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], dy = tape_gradient(t, s->out);
    entry *to = find(t, x);
    if (to && !to->gradient.buf) /* it outlives the part */
        to->gradient = run_tensor(r, DTYPE_F32, x.nd, x.shape);
    run_aside(r);
    tensor y = record_part(r, t, s->part, s->op, s->i[0], s->in);
    entry *from = t->part ? find(t->part, y) : NULL;
    if (from) {
        from->gradient = dy;
        from->arrived = true;
        walk(t->part);
    }
    run_return(r);
}

/* Inputs of the part's steps that want a gradient get one that outlives the part (as its first input has). */
static void keep_gradients(tape *t, const tape_step *s, tensor first)
{
    for (int k = 0; k < TAPE_INPUTS; k++) {
        entry *e = find(t, s->in[k]);
        if (e && !e->gradient.buf && (e->buf != first.buf || e->at != first.at))
            e->gradient = run_tensor(t->r, DTYPE_F32, s->in[k].nd, s->in[k].shape);
    }
}

tensor tape_recompute(run *r, tape_part *part, const void *context, int index, const tensor in[TAPE_INPUTS],
                      int64_t last)
{
    tape *t = run_tape(r);
    if (!t)
        return part(r, context, index, in);
    tensor y = in[0];
    if (y.nd)
        y.shape[y.nd - 1] = last;
    tape_step s = {.back = part_back, .out = run_tensor(r, DTYPE_F32, y.nd, y.shape), .op = context};
    memcpy(s.in, in, sizeof s.in);
    s.part = part;
    s.i[0] = index;
    run_aside(r);
    /* Recorded although the steps are dropped: some ops take other kernels where nothing records. */
    y = record_part(r, t, part, context, index, in);
    REQUIRE(r, tensor_count(&y) == tensor_count(&s.out));
    if (!run_failed(r))
        op_repeat(r, s.out, y);
    bool wanted = t->part && t->part->n > 0;
    run_return(r);
    r->tape = t;
    if (wanted && !run_failed(r)) {
        append(t, &s);
        for (size_t i = 0; i < t->part->n; i++) {
            meet(t, &t->part->steps[i], t->n);
            keep_gradients(t, &t->part->steps[i], in[0]);
        }
    }
    return s.out;
}
