/* Linear layers: the choice between the kernels for few rows and the products for many. */
#include "ops/ops_internal.h"

/* How many of `items` a CPU's work-item takes one after another for m rows: starting one costs as much as reading some
 * KiB, and each compute unit gets enough of them to share the work evenly. */
static int64_t each_of(const device *d, int64_t items, int64_t m)
{
    int64_t wanted = m > 4 ? d->tune.items_many : d->tune.items_few;
    int64_t each = items / (wanted * (int64_t)d->info.compute_units);
    return !d->tune.cpu_form || each < 1 ? 1 : each < 8 ? each : 8;
}

/* Numbers that GPUs load at once, of rows of k: as many as all rows begin at multiples of. */
static int64_t load_of(int64_t k)
{
    return k % 4 == 0 ? 4 : k % 2 == 0 ? 2 : 1;
}

bool linear_wide(tensor w)
{
    return dtype_table[w.type].block > 1 ? w.panels : w.shape[1] % 4 == 0;
}

/* The GPU's kernel for m rows of x; those of panels and of aligned rows make 1, 2 or x_rows of them at once. */
static const char *group_kernel(const device *d, int64_t m, tensor w)
{
    return !linear_wide(w)           ? TYPED("linear:rows_", w.type)
           : m == 1                  ? TYPED("linear:rows1_", w.type)
           : m <= d->tune.x_rows / 2 ? TYPED("linear:rows2_", w.type)
           : d->tune.x_rows == 4     ? TYPED("linear:rows4_", w.type)
                                     : TYPED("linear:rows8_", w.type);
}

/* One piece of the weight's rows, output columns from `column` on. */
static void few_rows(run *r, tensor x, tensor w, tensor b, activation act, tensor residual, tensor y, int64_t column)
{
    int64_t m = rows_of(&x), n = w.shape[0], k = w.shape[1];
    const device *d = run_device(r);
    int64_t wrows = d->tune.cpu_form ? LINEAR_W_ROWS_CPU : LINEAR_W_ROWS_GPU;
    int64_t items = (n + wrows - 1) / wrows, each = each_of(d, items, m);
    work size = {.global = {(size_t)((items + each - 1) / each)}, .local = {1}};
    if (!d->tune.cpu_form)
        size = (work){.global = {(size_t)items}, .unit = UNIT_ROW};
    size.flops = 2.0 * (double)m * (double)n * (double)k;
    size.bytes = (double)dtype_row_bytes(w.type, n * k) + 4.0 * (double)(m * (n + k));
    LAUNCH(r, d->tune.cpu_form ? TYPED("linear:rows_", w.type) : group_kernel(d, m, w), size, ARG_T(x), ARG_T(w),
           ARG_T(b), ARG_T(residual), ARG_T(y), ARG_I(m), ARG_I(n), ARG_I(k), ARG_I(act), ARG_I(last_of(&y)),
           ARG_I(column), ARG_I(each));
}

/* ---- quantised weights ---- */

bool linear_packs(dtype type)
{
    return dtype_table[type].block > 1;
}

bool linear_rounds(const device *d, dtype type)
{
    return d->tune.cpu_form && dtype_table[type].block > 1;
}

/* Of `rows` rows of a weight. */
static int64_t panels_of(int64_t rows)
{
    return (rows + LINEAR_PANEL - 1) / LINEAR_PANEL;
}

/* What makes panels of `rows` rows of k: a CPU's work-item one of them, a GPU's a word of one row. */
static work packing(const device *d, dtype type, int64_t rows, int64_t k)
{
    const size_t words = (size_t)(k / 32 * (dtype_table[type].bytes - 2));
    if (d->tune.cpu_form)
        return (work){.global = {(size_t)panels_of(rows)}, .local = {1}};
    return (work){.global = {words, ((size_t)rows + LINEAR_W_ROWS_GPU - 1) / LINEAR_W_ROWS_GPU}};
}

bool linear_pack(run *r, tensor *w, tensor from, const char *what, err *e)
{
    device *d = run_device(r);
    int64_t n = from.shape[0], k = tensor_count(&from) / n;
    REQUIRE(r, linear_packs(from.type));
    *w = from;
    w->at = 0;
    w->panels = true;
    w->buf = NULL;
    bool ok = !run_failed(r);
    buffer **end = &w->buf;
    for (buffer *b = from.buf; ok && b; b = b->next) {
        int64_t rows = b->rows ? b->rows : n;
        tensor piece = from, panels = *w;
        size_t tall = d->tune.cpu_form ? LINEAR_PANEL : LINEAR_W_ROWS_GPU,
               bytes = dtype_row_bytes(from.type, (int64_t)round_up((size_t)rows, tall) * k);
        ok = (*end = buffer_new(d, bytes, NULL, false, what, e)) != NULL;
        if (!ok)
            break;
        piece.buf = b;
        panels.buf = *end;
        panels.buf->rows = b->rows;
        end = &panels.buf->next;
        work size = packing(d, from.type, rows, k);
        size.bytes = 2.0 * (double)bytes;
        LAUNCH(r, TYPED("linear:panels_", from.type), size, ARG_T(piece), ARG_T(panels), ARG_I(rows), ARG_I(k));
        ok = !run_failed(r);
    }
    if (!ok) {
        buffer_free(w->buf);
        *w = (tensor){0};
    }
    return ok;
}

/* x[m,k] as cl/linear.cl wants it. */
static tensor quantise(run *r, tensor x)
{
    int64_t k = last_of(&x), blocks = rows_of(&x) * (k / 32);
    tensor q = TENSOR(r, DTYPE_I32, rows_of(&x), k / 32 * LINEAR_X_BLOCK);
    LAUNCH(r, "linear:quantise",
           ((work){.global = {(size_t)(blocks + LINEAR_QUANTISE_BLOCKS - 1) / LINEAR_QUANTISE_BLOCKS},
                   .local = {1},
                   .bytes = (4 * 32 + 4 * LINEAR_X_BLOCK) * (double)blocks}),
           ARG_T(x), ARG_T(q), ARG_I(blocks));
    return q;
}

/* One piece of the weight's rows, as few_rows; x is quantised. */
static void quantised_rows(run *r, tensor x, tensor w, tensor b, activation act, tensor residual, tensor y,
                           int64_t column)
{
    int64_t m = rows_of(&x), n = w.shape[0], k = w.shape[1];
    const tuning *t = &run_device(r)->tune;
    int64_t items = (panels_of(n) + t->quantised_panels - 1) / t->quantised_panels,
            each = each_of(run_device(r), items, m);
    work size = {
        .global = {(size_t)((items + each - 1) / each), (size_t)((m + t->quantised_rows - 1) / t->quantised_rows)},
        .local = {1, 1}};
    size.flops = 2.0 * (double)m * (double)n * (double)k;
    size.bytes = (double)dtype_row_bytes(w.type, n * k) + 4.0 * (double)(m * (n + k));
    LAUNCH(r, w.panels ? TYPED("linear:quantised_panels_", w.type) : TYPED("linear:quantised_rows_", w.type), size,
           ARG_T(x), ARG_T(w), ARG_T(b), ARG_T(residual), ARG_T(y), ARG_I(m), ARG_I(n), ARG_I(k), ARG_I(act),
           ARG_I(last_of(&y)), ARG_I(column), ARG_I(each));
}

static tensor linear_any(run *r, tensor x, const linear *l, activation act, tensor residual)
{
    int64_t m = rows_of(&x), n = l->w.shape[0], column = 0;
    bool cpu = run_device(r)->tune.cpu_form, quantised = linear_rounds(run_device(r), l->w.type);
    int64_t wide = cpu ? 1 : load_of(l->w.shape[1]);
    tensor y = tensor_like(r, &x, n), given = x;
    if (m > FEW_ROWS && !quantised && gemm(r, x, l, act, residual, y))
        return y;
    if (quantised)
        x = quantise(r, x);
    REQUIRE(r, l->w.at % wide == 0);
    if (x.at % wide) { /* a view that loads of so many can't read */
        x = tensor_like(r, &given, last_of(&given));
        op_repeat(r, x, given);
    }
    for (buffer *b = l->w.buf; b; b = b->next) { /* the pieces of a weight larger than an allocation may be */
        tensor piece = l->w;
        piece.buf = b;
        piece.shape[0] = b->rows ? b->rows : n;
        (quantised ? quantised_rows : few_rows)(r, x, piece, l->b, act, residual, y, column);
        column += piece.shape[0];
        if (!b->rows)
            break;
    }
    if (x.buf != given.buf || x.at != given.at)
        run_give_back(r, x);
    return y;
}

/* dX = dY W; dW = dY^T X; db = sums of dY's columns; the residual's is dY. */
static void linear_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], b = s->in[2], residual = s->in[3], dy = tape_gradient(t, s->out);
    int add;
    if (tape_wants(t, x)) {
        tensor dx = tape_gradient_of(t, x, &add);
        gemm_columns(r, dy, w, dx, add);
    }
    if (tape_wants(t, w)) {
        tensor dw = tape_gradient_of(t, w, &add);
        gemm_weight_gradient(r, dy, x, dw, add);
    }
    if (tape_wants(t, b)) {
        tensor db = tape_gradient_of(t, b, &add);
        column_sums(r, dy, db, add);
    }
    gradient_add(r, t, residual, dy);
}

static tensor linear_step(run *r, tensor x, const linear *l, activation act, tensor residual)
{
    if (run_failed(r))
        return (tensor){0};
    REQUIRE(r, last_of(&x) == l->w.shape[1]);
    tape_step s = {.back = linear_back, .in = {x, l->w, l->b, residual}};
    const low_rank *adapter = run_tape(r) ? tape_attached(run_tape(r), l->w) : NULL;
    if (adapter) {
        s.out = linear_adapted(r, x, l, adapter, residual);
        return act == ACT_NONE ? s.out : op_activate(r, s.out, act);
    }
    if (!tape_records(r, &s))
        return linear_any(r, x, l, act, residual);
    if (l->w.panels)
        tape_no_gradient(r, "op_linear with a weight in panels", x);
    check_trainable(r, "op_linear", l->w);
    s.out = linear_any(r, x, l, ACT_NONE, residual);
    tape_push(r, &s);
    return act == ACT_NONE ? s.out : op_activate(r, s.out, act);
}

tensor op_linear(run *r, tensor x, const linear *l, activation act)
{
    return linear_step(r, x, l, act, (tensor){0});
}

tensor op_linear_add(run *r, tensor x, const linear *l, tensor residual)
{
    return linear_step(r, x, l, ACT_NONE, residual);
}
