/* Attention of all pixels of a picture to all: as products, since a picture's one head is as wide as a layer. */
#include <math.h>

#include "ops/ops_internal.h"

#define LEAST_QUERIES 256 /* at a time: keys and values are packed again for each time */

static tape_function self_attention_back;

/* Picture i of x as rows of its last dimension. */
static tensor picture(tensor x, int64_t i)
{
    int64_t d = last_of(&x), n = tensor_count(&x) / x.shape[0] / d;
    tensor rows = tensor_shaped(x, 2, (int64_t[]){x.shape[0] * n, d});
    return tensor_rows(rows, i * n, n);
}

/* y[n,m] = x[n,d] w[m,d]^T */
static void product(run *r, tensor x, tensor w, tensor y)
{
    const linear l = {.w = w};
    if (!gemm(r, x, &l, ACT_NONE, (tensor){0}, y) && !run_failed(r))
        err_set(run_error(r), ERR_FAILED, "attention over %lld pixels: its keys exceed one allocation of %s",
                (long long)w.shape[0], run_device(r)->info.name);
}

/* p = softmax(p / sqrt(d)) of its rows, in place */
static void softmax(run *r, tensor p, int64_t d)
{
    int64_t rows = rows_of(&p);
    double count = (double)tensor_count(&p);
    scale_add(r, p, (float)(1 / sqrt((double)d)), (tensor){0}, 0, p);
    LAUNCH(r, "norm:softmax", work_rows(rows, 8 * count, 8 * count), ARG_T(p), ARG_T(p), ARG_I(last_of(&p)));
}

/* y[n,d] of one picture: some queries at a time, so that the scores of all with all are never in memory. */
static void attend_picture(run *r, tensor q, tensor k, tensor v, tensor y)
{
    const int64_t n = q.shape[0], d = q.shape[1];
    int64_t some = run_device(r)->tune.strip / n / 8 * 8;
    some = some < LEAST_QUERIES ? LEAST_QUERIES : some;
    some = some < n ? some : n;
    tensor p = TENSOR(r, DTYPE_F32, some, n);
    for (int64_t at = 0; at < n && !run_failed(r); at += some) {
        const int64_t rows = n - at < some ? n - at : some;
        tensor scores = tensor_rows(p, 0, rows);
        product(r, tensor_rows(q, at, rows), k, scores);
        softmax(r, scores, d);
        gemm_columns(r, scores, v, tensor_rows(y, at, rows), 0);
    }
    run_give_back(r, p);
}

tensor op_self_attention(run *r, tensor q, tensor k, tensor v)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t b = q.shape[0], d = last_of(&q), n = tensor_count(&q) / b / d;
    REQUIRE(r, tensor_count(&k) == tensor_count(&q) && tensor_count(&v) == tensor_count(&q) && last_of(&k) == d);
    tensor y = tensor_like(r, &q, d);
    if (!run_tape(r)) {
        for (int64_t i = 0; i < b && !run_failed(r); i++)
            attend_picture(r, picture(q, i), picture(k, i), picture(v, i), picture(y, i));
        return y;
    }
    tensor p = TENSOR(r, DTYPE_F32, b, n, n);
    for (int64_t i = 0; i < b && !run_failed(r); i++)
        product(r, picture(q, i), picture(k, i), picture(p, i));
    softmax(r, p, d);
    for (int64_t i = 0; i < b && !run_failed(r); i++)
        gemm_columns(r, picture(p, i), picture(v, i), picture(y, i), 0);
    tape_push(r, &(tape_step){.back = self_attention_back, .in = {q, k, v}, .out = y, .saved = {p}});
    return y;
}

/* dV = P^T dY; dS = softmax's of dP = dY V^T; dQ = dS K and dK = dS^T Q, over sqrt(d). */
static void self_attention_back(run *r, tape *t, const tape_step *s)
{
    tensor q = s->in[0], k = s->in[1], v = s->in[2], p = s->saved[0], dy = tape_gradient(t, s->out);
    int add_q, add_k, add_v;
    tensor dq = wanted(t, q, &add_q), dk = wanted(t, k, &add_k), dv = wanted(t, v, &add_v);
    int64_t b = q.shape[0], n = p.shape[1];
    tensor ds = TENSOR(r, DTYPE_F32, n, n);
    double count = (double)(n * n);
    dy = tensor_shaped(dy, q.nd, q.shape);
    for (int64_t i = 0; i < b && !run_failed(r); i++) {
        if (dv.buf)
            gemm_weight_gradient(r, picture(p, i), picture(dy, i), picture(tensor_shaped(dv, q.nd, q.shape), i), add_v);
        product(r, picture(dy, i), picture(v, i), ds);
        LAUNCH(r, "norm:softmax_back", backward(work_rows(n, 4 * count, 12 * count)), ARG_T(picture(p, i)), ARG_T(ds),
               ARG_T(ds), ARG_I(n), ARG_F(1 / sqrt((double)last_of(&q))), ARG_I(0)); /* in place */
        if (dq.buf)
            gemm_columns(r, ds, picture(k, i), picture(tensor_shaped(dq, q.nd, q.shape), i), add_q);
        if (dk.buf)
            gemm_weight_gradient(r, ds, picture(q, i), picture(tensor_shaped(dk, q.nd, q.shape), i), add_k);
    }
}
