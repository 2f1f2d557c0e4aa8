/* Relaxed choices: the Gumbel-Softmax distribution (Jang et al. 2017; Maddison et al. 2017). */
#include "ops/ops_internal.h"

static tape_function gumbel_back, table_back;

/* y = (x + noise) * scale; the noise alone if x is empty. */
static void add_noise(run *r, tensor x, tensor y, float scale, const gumbel *g)
{
    if (run_failed(r))
        return;
    int64_t per = tensor_count(&y) / y.shape[0], blocks = (per + 63) / 64; /* of 16 draws of four numbers */
    work w = {.global = {round_up((size_t)(per + 3) / 4, 64), (size_t)y.shape[0]}};
    if (run_device(r)->tune.cpu_form)
        w = (work){.global = {(size_t)(blocks + RELAX_NOISE_BLOCKS - 1) / RELAX_NOISE_BLOCKS, (size_t)y.shape[0]},
                   .local = {1, 1, 1}};
    w.flops = 40.0 * (double)tensor_count(&y);
    w.bytes = 8.0 * (double)tensor_count(&y);
    LAUNCH(r, "relax:gumbel_noise", w, ARG_T(x), ARG_T(y), ARG_I(per), ARG_F(scale), ARG_U(g->seed),
           ARG_U(g->seed >> 32), ARG_U(g->stream), ARG_I(g->stride ? g->stride : 1), ARG_U(g->step));
}

tensor op_gumbel_noise(run *r, int nd, const int64_t *shape, const gumbel *g)
{
    tensor y = run_tensor(r, DTYPE_F32, nd, shape);
    add_noise(r, (tensor){0}, y, 1, g);
    return y;
}

tensor op_gumbel_softmax(run *r, tensor logits, const gumbel *g)
{
    int64_t n = rows_of(&logits), k = last_of(&logits);
    double count = (double)tensor_count(&logits);
    tensor soft = tensor_like(r, &logits, k), y = soft;
    add_noise(r, logits, soft, 1 / g->tau, g);
    if (g->hard) {
        y = tensor_like(r, &logits, k);
        LAUNCH(r, "relax:hard_choice", work_rows(n, count, 8 * count), ARG_T(soft), ARG_T(y), ARG_I(k));
    }
    LAUNCH(r, "norm:softmax", work_rows(n, 8 * count, 8 * count), ARG_T(soft), ARG_T(soft), ARG_I(k)); /* in place */
    tape_push(r, &(tape_step){.back = gumbel_back, .in = {logits}, .out = y, .saved = {soft}, .f = {g->tau}});
    return y;
}

/* Straight-through: a hard choice has the gradient of the soft one. */
static void gumbel_back(run *r, tape *t, const tape_step *s)
{
    softmax_gradient(r, t, s->in[0], s->saved[0], s->out, 1 / s->f[0]);
}

tensor op_matmul_table(run *r, tensor x, tensor table)
{
    REQUIRE(r, last_of(&x) == table.shape[0]);
    check_trainable(r, "op_matmul_table", table);
    tensor y = tensor_like(r, &x, table.shape[1]);
    if (!run_failed(r))
        gemm_columns(r, x, table, y, 0);
    tape_push(r, &(tape_step){.back = table_back, .in = {x, table}, .out = y});
    return y;
}

/* dX = dY table^T; dtable = X^T dY. */
static void table_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], dy = tape_gradient(t, s->out);
    const linear l = {.w = s->in[1]};
    int add;
    tensor dx = wanted(t, x, &add);
    if (dx.buf && (add || !gemm(r, dy, &l, ACT_NONE, (tensor){0}, dx)))
        LAUNCH(r, "elementwise:scale_back", backward(work_blocks(tensor_count(&x), 1, 12)),
               ARG_T(op_linear(r, dy, &l, ACT_NONE)), ARG_T(dx), ARG_I(tensor_count(&x)), ARG_F(1), ARG_I(add));
    tensor dtable = wanted(t, l.w, &add);
    if (dtable.buf)
        gemm_weight_gradient(r, x, dy, dtable, add);
}
