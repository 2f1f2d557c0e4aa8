/* Codebooks: how far vectors are from each entry, the straight-through gradient, and how a codebook follows its data.
 */
#include "ops/ops_internal.h"

static tape_function straight_through_back, distances_back;

tensor op_distances(run *r, tensor x, tensor table)
{
    int64_t m = rows_of(&x), n = table.shape[0], d = table.shape[1], first = 0;
    REQUIRE(r, last_of(&x) == d);
    check_trainable(r, "op_distances", table);
    tensor y = tensor_like(r, &x, n);
    for (buffer *b = table.buf; b && !run_failed(r); b = b->next) { /* the pieces of a large one */
        tensor piece = table;
        piece.buf = b;
        int64_t rows = b->rows ? b->rows : n;
        work w = {.global = {round_up((size_t)rows, 64), (size_t)(m + CODEBOOK_ROWS - 1) / CODEBOOK_ROWS},
                  .flops = 3.0 * (double)m * (double)rows * (double)d,
                  .bytes = (double)dtype_row_bytes(table.type, rows * d) + 4.0 * (double)(m * (d + rows))};
        LAUNCH(r, TYPED("codebook:distances_", table.type), w, ARG_T(x), ARG_T(piece), ARG_T(y), ARG_I(m), ARG_I(rows),
               ARG_I(d), ARG_I(first), ARG_I(n));
        first += rows;
        if (!b->rows)
            break;
    }
    tape_push(r, &(tape_step){.back = distances_back, .in = {x, table}, .out = y});
    return y;
}

/* dx = 2 sum over codes of dy (table - x); dtable = 2 sum over rows of dy (x - table). */
static void distances_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], table = s->in[1], dy = tape_gradient(t, s->out);
    int64_t m = rows_of(&x), n = table.shape[0], d = table.shape[1], first = 0;
    int add;
    tensor dx = wanted(t, x, &add);
    for (buffer *b = table.buf; b && dx.buf && !run_failed(r); b = b->next) {
        tensor piece = table;
        piece.buf = b;
        int64_t rows = b->rows ? b->rows : n;
        LAUNCH(r, TYPED("codebook:distances_back_", table.type),
               backward(work_grid(d, m, 3.0 * (double)rows, (double)dtype_row_bytes(table.type, rows))), ARG_T(dy),
               ARG_T(x), ARG_T(piece), ARG_T(dx), ARG_I(rows), ARG_I(d), ARG_I(first), ARG_I(n), ARG_I(add));
        first += rows;
        add = 1;
        if (!b->rows)
            break;
    }
    tensor dtable = wanted(t, table, &add);
    if (dtable.buf)
        LAUNCH(r, "codebook:distances_back_table", backward(work_grid(d, n, 3.0 * (double)m, 4.0 * (double)m)),
               ARG_T(dy), ARG_T(x), ARG_T(table), ARG_T(dtable), ARG_I(m), ARG_I(n), ARG_I(d), ARG_I(add));
}

tensor op_straight_through(run *r, tensor x, tensor value)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    REQUIRE(r, tensor_count(&x) == tensor_count(&value));
    op_repeat(r, y, value);
    tape_push(r, &(tape_step){.back = straight_through_back, .in = {x}, .out = y});
    return y;
}

static void straight_through_back(run *r, tape *t, const tape_step *s)
{
    gradient_add(r, t, s->in[0], tape_gradient(t, s->out));
}

void op_code_sums(run *r, tensor ids, tensor x, tensor counts, tensor sums)
{
    int64_t k = tensor_count(&counts);
    tensor ones = TENSOR(r, DTYPE_F32, tensor_count(&ids));
    op_fill(r, ones, 1);
    add_rows(r, counts, ids, ones, 0, k);
    if (sums.buf)
        add_rows(r, sums, ids, x, 0, k);
}

void op_codebook(run *r, const codebook_state *c, tensor x, const codebook_step *o)
{
    int64_t k = c->rows.shape[0], d = c->rows.shape[1];
    REQUIRE(r, last_of(&x) == d && tensor_count(&c->counts) == k);
    LAUNCH(r, "codebook:codebook_step", work_rows(k, 4.0 * (double)(k * d), 16.0 * (double)(k * d)), ARG_T(c->rows),
           ARG_T(c->counts), ARG_T(c->sums), ARG_T(c->batch_counts), ARG_T(c->batch_sums), ARG_T(x), ARG_I(rows_of(&x)),
           ARG_I(d), ARG_F(o->decay), ARG_F(o->least), ARG_F(o->fresh), ARG_U(o->seed), ARG_U(o->seed >> 32),
           ARG_U(o->step), ARG_U(CODEBOOK_STREAM));
}
