/* Products of few rows that do more than a product in one launch on GPUs: the norm before it, and gates behind it. */
#include <stdio.h>

#include "ops/ops_internal.h"

/* One launch.  value, gate: its weights; gate is empty if it isn't gated, and else has `late` rows of other numbers
 * before its own. */
typedef struct joined {
    normed *x;
    bool norms; /* else x->y is there */
    linear value, gate;
    int64_t late, n;
    activation act;
    tensor residual;
} joined;

/* Numbers of a row that a work-item of the norm has in registers at most: of more, compilers keep some in memory. */
static int64_t own_most(const joined *j, int64_t rows)
{
    return j->x->after ? 8 : rows > 2 ? 4 : LINEAR_OWN_GPU / rows;
}

/* Rows of x that the kernel makes at once.  One alone is one whatever the weight, so that products of streamed weights,
 * which aren't in panels, are joined wherever the plan, which has them in panels, leaves no memory for the norm. */
static int64_t rows_at_once(int64_t m, tensor w)
{
    return m == 1 ? 1 : !linear_wide(w) || m == 2 ? 2 : LINEAR_X_ROWS_GPU;
}

static uint64_t local_bytes(const joined *j, int64_t rows, int64_t wg)
{
    const int64_t k = j->value.w.shape[1], panels = j->gate.w.buf ? 2 * LINEAR_EACH_GPU + 1 : 0;
    return (uint64_t)rows * (uint64_t)(16 * wg + (j->norms ? 4 * k : 0) + 4 * LINEAR_W_ROWS_GPU * panels);
}

/* Whether it goes in one launch. */
static bool joins(run *r, const joined *j)
{
    const device *d = run_device(r);
    const tensor x = j->x->x, w = j->value.w, g = j->gate.w;
    if (!ops_fuses(r) || w.buf->next || w.at % 4 != 0)
        return false;
    if (g.buf && (g.buf->next || g.at % 4 != 0 || g.type != w.type || g.panels != w.panels))
        return false;
    const int64_t m = rows_of(&x), k = w.shape[1], wg = tuning_wide(&d->tune, &d->info), rows = rows_at_once(m, w);
    const int64_t most = !j->norms ? FEW_ROWS : j->x->after ? 2 : LINEAR_X_ROWS_GPU; /* two norms of 4 rows spill */
    if (m > most || local_bytes(j, rows, wg) > d->info.local_memory)
        return false;
    return !j->norms || (k + wg - 1) / wg <= own_most(j, rows);
}

/* Panels of 4 rows that a group takes: as it does the norm for all of them, few groups, that still fill the device.  Of
 * GPUs that are integrated, a compute unit is 8 lanes where there are many that share local memory, and else a
 * multiprocessor. */
static int64_t each_of(const device *d, const joined *j, int64_t wg)
{
    const int64_t teams = wg / d->tune.wg, units = (int64_t)d->info.compute_units;
    const bool lanes = d->info.type == LIMN_INTEGRATED_GPU && units > 16 && d->cores < units;
    const int64_t groups = lanes ? (units + 2) / 3 : d->info.type == LIMN_INTEGRATED_GPU ? 2 * units : 4 * units;
    int64_t each = (j->n + LINEAR_W_ROWS_GPU - 1) / LINEAR_W_ROWS_GPU / groups;
    each = each < teams ? teams : each / teams * teams;
    each = each < LINEAR_EACH_GPU ? each : LINEAR_EACH_GPU;
    return each > 1 && j->late % LINEAR_W_ROWS_GPU ? each - 1 : each; /* and a panel more for the gates */
}

#define NAMED(prefix, m, w)                                                                                            \
    (!linear_wide(w) ? TYPED(prefix "_", (w).type)                                                                     \
     : (m) == 1      ? TYPED(prefix "1_", (w).type)                                                                    \
     : (m) == 2      ? TYPED(prefix "2_", (w).type)                                                                    \
                     : TYPED(prefix "4_", (w).type))

static const char *kernel_of(const joined *j, int64_t m)
{
    const tensor w = j->value.w;
    return !j->norms     ? NAMED("linear_norm:gated", m, w)
           : j->x->after ? NAMED("linear_norm:twice", m, w)
                         : NAMED("linear_norm:normed", m, w);
}

static void options_of(const joined *j, const device *d, int64_t m, char out[192])
{
    const tensor w = j->value.w;
    const int bits = dtype_table[w.type].block == 1 ? 0 : w.type == DTYPE_Q8_0 ? 8 : 4;
    snprintf(out, 192,
             "-DNORMED=%lld%s%s%s -DTEAM=%d -DGROUP_T=%s -DGROUP_TYPE=%s -DGROUP_BITS=%d -DGROUP_ROWS=%lld "
             "-DGROUP_WIDE=%d",
             j->norms ? (long long)w.shape[1] : 0, j->norms && j->x->rms ? " -DRMS" : "",
             j->norms && j->x->after ? " -DTWICE" : "", j->gate.w.buf ? " -DGATED" : "", d->tune.wg, TYPED("", w.type),
             bits                  ? "uchar"
             : w.type == DTYPE_F16 ? "half"
                                   : "float",
             bits, (long long)rows_at_once(m, w), linear_wide(w));
}

static tensor launch_joined(run *r, const joined *j)
{
    const device *d = run_device(r);
    normed *x = j->x;
    const tensor from = j->norms ? x->x : x->y, none = {0};
    const linear *l = &j->value, *g = &j->gate;
    const norm *n = j->norms ? x->norm : &(norm){0}, *after = j->norms && x->after ? x->after : &(norm){0};
    const int64_t m = rows_of(&from), k = l->w.shape[1], each = each_of(d, j, tuning_wide(&d->tune, &d->info));
    const int64_t tall = l->w.shape[0];
    tensor y = tensor_like(r, &from, j->n), total = after->w.buf ? tensor_like(r, &from, k) : none;
    char options[192];
    options_of(j, d, m, options);
    work size = {.global = {(size_t)((j->n + LINEAR_W_ROWS_GPU * each - 1) / (LINEAR_W_ROWS_GPU * each))},
                 .unit = UNIT_ROW,
                 .options = options};
    const double weights = (double)((g->w.buf ? 2 : 1) * j->n * k);
    size.flops = 2.0 * (double)m * weights;
    size.bytes = (double)dtype_row_bytes(l->w.type, (int64_t)weights) + 4.0 * (double)(m * (j->n + k));
    LAUNCH(r, kernel_of(j, m), size, ARG_T(from), ARG_T(l->w), ARG_T(l->b), ARG_T(j->residual), ARG_T(y), ARG_I(m),
           ARG_I(j->n), ARG_I(k), ARG_I(j->act), ARG_I(each), ARG_T(n->w), ARG_T(n->b), ARG_F(n->eps), ARG_T(after->w),
           ARG_T(after->b), ARG_F(after->eps), ARG_T(x->residual), ARG_T(total), ARG_T(g->w), ARG_T(g->b),
           ARG_I(j->late), ARG_I(tall));
    if (total.buf)
        *x = (normed){.x = total, .norm = x->norm};
    return y;
}

tensor op_normed(run *r, normed *x)
{
    REQUIRE(r, !x->after || !x->rms);
    if (run_failed(r) || x->y.buf)
        return x->y;
    if (x->after) {
        tensor sum = {0};
        x->y = op_layer_norm_twice(r, x->x, x->after, x->residual, x->norm, &sum);
        x->x = sum;
        x->after = NULL;
    } else {
        x->y = x->rms ? op_rms_norm(r, x->x, x->norm) : op_layer_norm(r, x->x, x->norm);
    }
    return x->y;
}

static tensor linear_normed(run *r, normed *x, const linear *l, activation act, tensor residual)
{
    if (run_failed(r))
        return (tensor){0};
    REQUIRE(r, last_of(&x->x) == l->w.shape[1] && (!x->after || !x->rms));
    const joined j = {.x = x, .norms = !x->y.buf, .value = *l, .n = l->w.shape[0], .act = act, .residual = residual};
    if (!run_failed(r) && j.norms && joins(r, &j))
        return launch_joined(r, &j);
    tensor y = op_normed(r, x);
    return residual.buf ? op_linear_add(r, y, l, residual) : op_linear(r, y, l, act);
}

tensor op_linear_normed(run *r, normed *x, const linear *l, activation act)
{
    return linear_normed(r, x, l, act, (tensor){0});
}

tensor op_linear_normed_add(run *r, normed *x, const linear *l, tensor residual)
{
    return linear_normed(r, x, l, ACT_NONE, residual);
}

tensor op_gated_normed(run *r, normed *x, const linear *up, const linear *gate, activation act)
{
    if (run_failed(r))
        return (tensor){0};
    const int64_t rows = up->w.shape[0], n = gate ? rows : rows / 2;
    REQUIRE(r, last_of(&x->x) == up->w.shape[1] && (!x->after || !x->rms) && (gate || rows % 2 == 0) &&
                   (!gate || (gate->w.shape[0] == rows && gate->w.shape[1] == up->w.shape[1])));
    joined j = {
        .x = x, .norms = !x->y.buf, .value = *up, .gate = gate ? *gate : *up, .late = gate ? 0 : n, .n = n, .act = act};
    if (!gate && up->b.buf)
        j.gate.b = tensor_rows(up->b, n, n);
    if (!run_failed(r) && j.norms && joins(r, &j))
        return launch_joined(r, &j);
    tensor y = op_normed(r, x);
    j.norms = false;
    if (!run_failed(r) && joins(r, &j))
        return launch_joined(r, &j);
    return gate ? op_multiply(r, op_linear(r, y, up, ACT_NONE), op_linear(r, y, gate, act))
                : op_glu(r, op_linear(r, y, up, ACT_NONE), act);
}
