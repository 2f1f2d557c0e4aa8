/* Products of what goes through a norm, and gated ones, against their references. */
#include <string.h>

#include "ops_cases.h"

/* shape.first: how x goes through norms.  With AFTER it was a branch's end, with ADDED one that adds to something.
 * shape.factor: 0, or the weights of a gated product. */
enum { LAYER, RMS, AFTER, ADDED };

typedef struct parts {
    tensor x, residual, added;
    norm norm, after;
    linear up, gate;
} parts;

static norm make_norm(ops_env *v, int d, float **w, float **b)
{
    *w = ops_numbers(v, d);
    *b = ops_numbers(v, d);
    return (norm){ops_tensor(v, DTYPE_F32, SHAPE(d), *w), ops_tensor(v, DTYPE_F32, SHAPE(d), *b), 1e-5f};
}

static normed input(const parts *p, const shape *s)
{
    normed x = {.x = p->x, .norm = &p->norm, .rms = s->first == RMS};
    x.after = s->first >= AFTER ? &p->after : NULL;
    x.residual = p->added;
    return x;
}

static tensor product(ops_env *v, const parts *p, const shape *s, normed *x)
{
    return s->factor     ? op_gated_normed(v->r, x, &p->up, s->factor == 2 ? &p->gate : NULL, s->act)
           : s->residual ? op_linear_normed_add(v->r, x, &p->up, p->residual)
                         : op_linear_normed(v->r, x, &p->up, s->act);
}

static float *numbers_of(ops_env *v, tensor t, int n)
{
    float *to = ops_memory(v, (size_t)n, sizeof *to);
    run_read(v->r, t, to);
    return to;
}

/* The same bits come of one op after the other, and of weights in panels. */
static void check_same(ops_env *v, const parts *p, const shape *s, tensor y)
{
    const size_t bytes = (size_t)(s->m * s->n) * sizeof(float);
    float *all = numbers_of(v, y, s->m * s->n);
    normed one = input(p, s);
    op_normed(v->r, &one);
    if (!s->factor) {
        assert_memory_equal(all, numbers_of(v, product(v, p, s, &one), s->m * s->n), bytes);
    } else {
        tensor up = op_linear(v->r, one.y, &p->up, ACT_NONE);
        tensor apart =
            s->factor == 1 ? op_glu(v->r, up, s->act) : op_multiply(v->r, up, op_linear(v->r, one.y, &p->gate, s->act));
        assert_memory_equal(all, numbers_of(v, apart, s->m * s->n), bytes);
    }
    if (!linear_packs(s->type))
        return;
    parts packed = *p;
    normed x = input(p, s);
    err e = {0};
    if (!linear_pack(v->r, &packed.up.w, p->up.w, "test", &e) ||
        (s->factor == 2 && !linear_pack(v->r, &packed.gate.w, p->gate.w, "test", &e)))
        fail_msg("%s", e.text);
    float *again = numbers_of(v, product(v, &packed, s, &x), s->m * s->n);
    buffer_free(packed.up.w.buf);
    if (s->factor == 2)
        buffer_free(packed.gate.w.buf);
    assert_memory_equal(all, again, bytes);
}

double check_linear_normed(ops_env *v, const shape *s)
{
    const int count = s->m * s->k, results = s->m * s->n, tall = s->factor == 1 ? 2 * s->n : s->n;
    float *x = ops_numbers(v, count), *added = ops_numbers(v, count), *residual = ops_numbers(v, results);
    float *w = ops_numbers(v, tall * s->k), *w2 = ops_numbers(v, s->n * s->k), *b = ops_numbers(v, tall),
          *b2 = ops_numbers(v, s->n), *z = ops_memory(v, (size_t)count, sizeof *z), *nw, *nb, *aw, *ab;
    double *reference = ops_memory(v, (size_t)(count + 2 * results), sizeof *reference), *gate = reference + count,
           *y = gate + results, error = 0;
    for (int i = 0; i < count; i++)
        x[i] += 10; /* where a variance by the difference of squares would cancel */
    parts p = {.norm = make_norm(v, s->k, &nw, &nb), .after = make_norm(v, s->k, &aw, &ab)};
    p.x = ops_input(v, s, SHAPE(s->m, s->k), x);
    if (s->first == ADDED)
        p.added = ops_input(v, s, SHAPE(s->m, s->k), added);
    if (s->residual)
        p.residual = ops_input(v, s, SHAPE(s->m, s->n), residual);
    p.up.w = ops_weight(v, s, tall, s->k, w);
    p.gate.w = ops_weight(v, s, s->n, s->k, w2);
    if (s->bias) {
        p.up.b = ops_tensor(v, DTYPE_F32, SHAPE(tall), b);
        p.gate.b = ops_tensor(v, DTYPE_F32, SHAPE(s->n), b2);
    }
    normed in = input(&p, s);
    tensor out = product(v, &p, s, &in);
    for (int i = 0; i < count; i++)
        z[i] = x[i];
    if (s->first >= AFTER) {
        ref_layer_norm(reference, x, aw, ab, p.after.eps, s->m, s->k);
        for (int i = 0; i < count; i++)
            z[i] = (float)(reference[i] += s->first == ADDED ? added[i] : 0);
        assert_null(in.after);
        error = ops_error(v, in.x, reference, count);
    }
    if (s->first == RMS)
        ref_rms_norm(reference, z, nw, s->m, s->k, p.norm.eps);
    else
        ref_layer_norm(reference, z, nw, nb, p.norm.eps, s->m, s->k);
    for (int i = 0; i < count; i++)
        z[i] = (float)reference[i];
    ref_linear(y, z, w, s->bias ? b : NULL, s->residual ? residual : NULL, s->m, s->n, s->k,
               s->factor ? ACT_NONE : s->act);
    if (s->factor) {
        bool own = s->factor == 2;
        ref_linear(gate, z, own ? w2 : w + s->n * s->k,
                   !s->bias ? NULL
                   : own    ? b2
                            : b + s->n,
                   NULL, s->m, s->n, s->k, s->act);
        for (int i = 0; i < results; i++)
            y[i] *= gate[i];
    }
    double of_product = ops_error(v, out, y, results);
    check_same(v, &p, s, out);
    of_product *= linear_rounds(v->d, s->type) ? OPS_X_BITS : 1;
    return error > of_product ? error : of_product;
}
