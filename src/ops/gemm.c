/* Products of many rows: our own from packed panels, or CLBlast.  The only caller of CLBlast. */
#include <clblast_c.h>
#include <stdio.h>

#include "device/profile.h"
#include "device/run_internal.h"
#include "ops/ops_internal.h"

/* Panels of all pieces of w into `panels`, which holds ceil(n/32) * k * 32 floats. */
static void pack(run *r, tensor panels, tensor w)
{
    int64_t k = w.shape[1], first = 0;
    size_t one = run_device(r)->tune.panels; /* the kernel's private block times a large work-group exceeds stacks */
    for (buffer *b = w.buf; b; b = b->next) {
        tensor piece = w;
        piece.buf = b;
        piece.shape[0] = b->rows ? b->rows : w.shape[0];
        size_t blocks = (size_t)(k + 15) / 16, n_panels = (size_t)(piece.shape[0] + 31) / 32;
        LAUNCH(
            r, TYPED("gemm:pack_", w.type),
            ((work){.global = {blocks, n_panels},
                    .local = {one, one, one},
                    .bytes = (double)dtype_row_bytes(w.type, piece.shape[0] * k) + 4.0 * (double)(piece.shape[0] * k)}),
            ARG_T(piece), ARG_T(panels), ARG_I(piece.shape[0]), ARG_I(k), ARG_I(first / 32));
        first += piece.shape[0];
        if (!b->rows)
            break;
    }
}

bool conv_pack(run *r, tensor *panels, tensor w, const char *what, err *e)
{
    int64_t k = tensor_count(&w) / w.shape[0], n = (w.shape[0] + 31) / 32;
    *panels = (tensor){0};
    if (run_failed(r) || !tensor_new(panels, run_device(r), DTYPE_F32, 3, (int64_t[]){n, k, 32}, NULL, false, what, e))
        return false;
    pack(r, *panels, tensor_shaped(w, 2, (int64_t[]){w.shape[0], k}));
    return !run_failed(r);
}

static void panel_product(run *r, tensor x, tensor panels, const linear *l, activation act, tensor residual, tensor y)
{
    int64_t m = rows_of(&x), n = l->w.shape[0], k = l->w.shape[1];
    const device *d = run_device(r);
    size_t side = (size_t)d->tune.gemm_side, tile = 4 * side;
    work size = {.global = {(size_t)(m + 7) / 8, (size_t)(n + 31) / 32}, .local = {1, 1, 1}};
    if (!d->tune.panels)
        size =
            (work){.global = {round_up((size_t)n, tile) / 4, round_up((size_t)m, tile) / 4}, .local = {side, side, 1}};
    size.flops = 2.0 * (double)m * (double)n * (double)k;
    size.bytes = 4.0 * (double)(m * n + m * k + n * k);
    LAUNCH(r, "gemm:gemm", size, ARG_T(x), ARG_T(panels), ARG_T(l->b), ARG_T(residual), ARG_T(y), ARG_I(m), ARG_I(n),
           ARG_I(k), ARG_I(act));
}

/* y = x w^T; false where CLBlast can't: the caller has another way. */
static bool clblast_product(run *r, tensor x, const linear *l, tensor y)
{
    size_t m = (size_t)rows_of(&x), n = (size_t)l->w.shape[0], k = (size_t)l->w.shape[1];
    tensor w = l->w;
    if (w.type != DTYPE_F32) {
        w = run_tensor(r, DTYPE_F32, 2, w.shape);
        LAUNCH(r, TYPED("gemm:unpack_", l->w.type), ((work){.global = {n * k}, .bytes = 4.0 * (double)(n * k)}),
               ARG_T(l->w), ARG_T(w));
    }
    if (run_failed(r))
        return true;
    cl_event event = NULL;
    CLBlastStatusCode status =
        CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, m, n, k, 1.0f, x.buf->mem,
                     (size_t)x.at, k, w.buf->mem, (size_t)w.at, k, 0.0f, y.buf->mem, (size_t)y.at, n, &r->dev->queue,
                     r->dev->profile ? &event : NULL);
    if (event)
        profile_add(r->dev->profile, "clblast:sgemm", event, 2.0 * (double)(m * n * k),
                    4.0 * (double)(m * n + m * k + n * k));
    if (status == CLBlastSuccess)
        return true;
    if (status > -30 && status < 0 && status != CL_BUILD_PROGRAM_FAILURE) { /* the device's own failure */
        char call[96];
        snprintf(call, sizeof call, "CLBlastSgemm %zu x %zu x %zu", m, n, k);
        cl_ok(status, call, &r->error);
        return true;
    }
    return false;
}

bool gemm(run *r, tensor x, const linear *l, activation act, tensor residual, tensor y)
{
    int64_t n = l->w.shape[0], k = l->w.shape[1];
    bool split = l->w.buf->rows != 0;
    uint64_t panel_bytes = (uint64_t)(n + 31) / 32 * 32 * (uint64_t)k * 4;
    if (run_device(r)->tune.clblast && !split && !run_recording(r) && clblast_product(r, x, l, y)) {
        if (l->b.buf || act != ACT_NONE || residual.buf)
            LAUNCH(r, "gemm:gemm_epilogue", ((work){.global = {(size_t)n, (size_t)rows_of(&x)}}), ARG_T(l->b),
                   ARG_T(residual), ARG_T(y), ARG_I(n), ARG_I(act));
        return true;
    }
    if (panel_bytes > run_device(r)->info.max_allocation)
        return false;
    /* pieces other than the last must fill their panels */
    if (split && l->w.buf->rows % 32)
        return false;
    tensor panels = TENSOR(r, DTYPE_F32, (n + 31) / 32, k, 32);
    pack(r, panels, l->w);
    panel_product(r, x, panels, l, act, residual, y);
    return true;
}
