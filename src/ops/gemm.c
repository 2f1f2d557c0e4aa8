/* Products of many rows: our own from packed panels, or CLBlast.  The only caller of CLBlast. */
#ifdef LIMN_CLBLAST
#include <clblast_c.h>
#endif
#include <stdio.h>

#include "device/drivers.h"
#include "device/profile.h"
#include "device/run_internal.h"
#include "ops/ops_internal.h"

bool tile_by_fours(run *r, int64_t n, tensor x)
{
    return n >= run_device(r)->tune.tile_k && n % 4 == 0 && x.at % 4 == 0;
}

int64_t tile_count(const tuning *t, int64_t rows, int64_t columns, bool may_be_tall, work_unit *unit)
{
    int64_t least = 0;
    may_be_tall = may_be_tall && t->gemm_item == 8; /* half of 4 columns are less than a four */
    for (int tall = 0; tall <= may_be_tall; tall++) {
        int64_t side = t->gemm_side, down = TILE_M_OF(TILE_DOWN(side, tall)),
                across = TILE_N_OF(TILE_ACROSS(side, tall), t->gemm_item),
                n = (rows + down - 1) / down * ((columns + across - 1) / across);
        if (tall && n >= least)
            break;
        least = n;
        *unit = tall ? UNIT_TALL : UNIT_TILE;
    }
    return least;
}

/* y[m,n] = act(x[m,k] panels + b) + residual */
static void panel_product(run *r, tensor x, tensor panels, tensor b, activation act, tensor residual, tensor y)
{
    int64_t m = rows_of(&x), n = last_of(&y), k = last_of(&x);
    const device *d = run_device(r);
    /* some tiles an item, so that starting it is little beside its work, where all compute units have enough of them */
    int64_t rows = d->tune.gemm_rows;
    rows = (m / rows) * (n / 32) >= 8 * (int64_t)d->info.compute_units ? rows : 8;
    work size = {.global = {(size_t)((m + rows - 1) / rows), (size_t)(n + 31) / 32}, .local = {1, 1, 1}};
    if (!d->tune.cpu_form)
        size = (work){.global = {(size_t)n, (size_t)m}, .unit = UNIT_TILE};
    size.flops = 2.0 * (double)m * (double)n * (double)k;
    size.bytes = 4.0 * (double)(m * n + m * k) + (double)dtype_row_bytes(panels.type, n * k);
    size.options = PANEL_OPTIONS(panels);
    const char *name = d->tune.cpu_form || tile_by_fours(r, k, x) ? "gemm:gemm" : "gemm:gemm_scalar";
    LAUNCH(r, name, size, ARG_T(x), ARG_T(panels), ARG_T(b), ARG_T(residual), ARG_T(y), ARG_I(m), ARG_I(n), ARG_I(k),
           ARG_I(act), ARG_I(rows));
}

#ifdef LIMN_CLBLAST
/* Sets of CLBlast's parameters, for its products of large and of small matrices: it knows good ones for many devices by
 * their names, and the same for all others.  These are what tuners found most often, of 153 GPUs in its database: the
 * first on 9 of 24 of phones (15 of them without local memory), the others on 6 and 8 of 106 discrete ones (8 without).
 */
static const char *const large_names[] = {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
                                          "NDIMC", "NWG",  "SA",  "SB",  "STRM",  "STRN",  "VWM", "VWN"};
static const char *const small_names[] = {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD",
                                          "PADA", "PADB",   "VWMD",   "VWND",   "WGD"};
static const struct clblast_set {
    size_t large[16], small[10];
} sets[CLBLAST_SETS] = {
    {{0}, {0}},
    /* tiles of 64 x 64 by groups of 128, items of 4 x 8 sums, without local memory */
    {{0, 1, 32, 2, 16, 16, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4}, {2, 16, 16, 8, 8, 1, 1, 2, 2, 32}},
    /* the same in local memory */
    {{0, 1, 32, 2, 16, 16, 64, 8, 8, 64, 1, 1, 0, 0, 4, 4}, {2, 8, 8, 8, 8, 1, 1, 1, 1, 32}},
    /* tiles of 64 x 128 by groups of 128, items of 8 x 8 sums, in local memory */
    {{0, 1, 32, 2, 8, 8, 64, 32, 16, 128, 1, 1, 1, 1, 2, 2}, {2, 16, 8, 8, 16, 1, 1, 2, 1, 64}},
};

/* Tells CLBlast the device's set, once. */
static void apply_set(device *d)
{
    if (d->clblast_applied == d->tune.clblast_set)
        return;
    const struct clblast_set *s = &sets[d->tune.clblast_set];
    d->clblast_applied = d->tune.clblast_set;
    CLBlastOverrideParameters(d->id, "Xgemm", CLBlastPrecisionSingle, 16, (const char **)large_names, s->large);
    CLBlastOverrideParameters(d->id, "XgemmDirect", CLBlastPrecisionSingle, 10, (const char **)small_names, s->small);
}

/* c[m,n] = a b + beta c, a transposed where it lies as [k,m], b where as [n,k]; false where CLBlast can't: the caller
 * has another way. */
static bool clblast_product(run *r, tensor a, bool a_transposed, tensor b, bool b_transposed, size_t k, float beta,
                            tensor c)
{
    size_t m = (size_t)rows_of(&c), n = (size_t)last_of(&c);
    tensor f32 = {0};
    if (tensor_count(&a) > TENSOR_MOST || tensor_count(&b) > TENSOR_MOST || tensor_count(&c) > TENSOR_MOST)
        return false; /* the other way's launch refuses it */
    if (b.type != DTYPE_F32) {
        f32 = run_tensor(r, DTYPE_F32, 2, b.shape);
        if (b.panels)
            linear_unpack(r, b, f32, 0, b.shape[0], 1, 0);
        else
            LAUNCH(r, TYPED("gemm:unpack_", b.type), ((work){.global = {n * k}, .bytes = 4.0 * (double)(n * k)}),
                   ARG_T(b), ARG_T(f32));
        b = f32;
    }
    cl_command_queue queue = run_queue(r);
    if (!queue)
        return run_failed(r); /* counted is what both ways take, since CLBlast may refuse */
    run_want(r, &b);
    cl_event event = NULL;
    apply_set(r->dev);
    watch_kernel("clblast:sgemm");
    watch_allow(watch_compiling);
    watch_enter("CLBlastSgemm");
    driver_enter(); /* it compiles at its first products */
    CLBlastStatusCode status =
        CLBlastSgemm(CLBlastLayoutRowMajor, a_transposed ? CLBlastTransposeYes : CLBlastTransposeNo,
                     b_transposed ? CLBlastTransposeYes : CLBlastTransposeNo, m, n, k, 1.0f, a.buf->mem, (size_t)a.at,
                     a_transposed ? m : k, b.buf->mem, (size_t)b.at, b_transposed ? k : n, beta, c.buf->mem,
                     (size_t)c.at, n, &queue, r->dev->profile ? &event : NULL);
    watch_leave(0);
    watch_allow(watch_patience);
    driver_leave(true);
    r->pending = true;
    run_give_back(r, f32);
    if (event)
        profile_add(r->dev->profile, "clblast:sgemm", event, 2.0 * (double)(m * n * k),
                    4.0 * (double)(m * n + m * k + n * k));
    if (status == CLBlastSuccess) {
        run_did(r, 2.0 * (double)(m * n * k), 4.0 * (double)(m * n + m * k + n * k));
        return true;
    }
    if (status == CL_OUT_OF_RESOURCES) /* a group that is too large, for some; for others our own way fails too */
        r->dev->tune.clblast = false;
    else if (status > -30 && status < 0 && status != CL_BUILD_PROGRAM_FAILURE) { /* the device's own failure */
        char call[96];
        snprintf(call, sizeof call, "CLBlastSgemm %zu x %zu x %zu", m, n, k);
        cl_ok(status, call, &r->error);
        return true;
    }
    return false;
}

static bool clblast_applies(run *r, int64_t rows)
{
    const tuning *t = &run_device(r)->tune;
    return t->clblast && rows >= t->clblast_rows && !run_recording(r);
}
#else
static bool clblast_applies(run *r, int64_t rows)
{
    (void)r, (void)rows;
    return false;
}

static bool clblast_product(run *r, tensor a, bool a_transposed, tensor b, bool b_transposed, size_t k, float beta,
                            tensor c)
{
    (void)r, (void)a, (void)a_transposed, (void)b, (void)b_transposed, (void)k, (void)beta, (void)c;
    return false;
}
#endif

bool gemm(run *r, tensor x, const linear *l, activation act, tensor residual, tensor y)
{
    int64_t n = l->w.shape[0], k = l->w.shape[1];
    bool split = l->w.buf->rows != 0;
    uint64_t panel_bytes = (uint64_t)(n + 31) / 32 * 32 * (uint64_t)k * 4;
    if (clblast_applies(r, rows_of(&x)) && !split && clblast_product(r, x, false, l->w, true, (size_t)k, 0.0f, y)) {
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
    tensor panels = TENSOR(r, panel_type(r, l->w), (n + 31) / 32, k, 32);
    panels_pack(r, panels, l->w);
    panel_product(r, x, panels, l->b, act, residual, y);
    run_give_back(r, panels);
    return true;
}

/* ---- gradients ---- */

void gemm_columns(run *r, tensor x, tensor w, tensor y, int add)
{
    int64_t n = w.shape[0], k = w.shape[1], first = 0;
    if (clblast_applies(r, rows_of(&x)) && !w.buf->rows &&
        clblast_product(r, x, false, w, false, (size_t)n, add ? 1.0f : 0.0f, y))
        return;
    tensor panels = TENSOR(r, DTYPE_F32, (k + 31) / 32, n, 32);
    size_t columns = run_device(r)->tune.cpu_form ? 1 : 32;
    for (buffer *b = w.buf; b; b = b->next) {
        tensor piece = w;
        piece.buf = b;
        piece.shape[0] = b->rows ? b->rows : n;
        LAUNCH(
            r, TYPED("gemm:pack_columns_", w.type),
            ((work){.global = {(size_t)(piece.shape[0] + 15) / 16 * columns, (size_t)(k + 31) / 32},
                    .bytes = (double)dtype_row_bytes(w.type, piece.shape[0] * k) + 4.0 * (double)(piece.shape[0] * k),
                    .options = "-DBACKWARD"}),
            ARG_T(piece), ARG_T(panels), ARG_I(piece.shape[0]), ARG_I(k), ARG_I(first), ARG_I(n));
        first += piece.shape[0];
        if (!b->rows)
            break;
    }
    /* each element of y is read and written by the same work-item */
    panel_product(r, x, panels, (tensor){0}, ACT_NONE, add ? y : (tensor){0}, y);
    run_give_back(r, panels);
}

#define PART (1 << 19) /* floats of both factors that one tap after the other reads */

void weight_gradient(run *r, tensor dy, tensor x, bool dy_large, const grids *g, tensor y, int add)
{
    int64_t o = last_of(&dy), c = last_of(&x), taps = g->kernel * g->kernel, share;
    int64_t pixels = (int64_t)g->images * g->h * g->w;
    bool cpu = run_device(r)->tune.cpu_form;
    /* the factor whose channels are rows of tiles: of 8 and 32 on CPUs, so that few are wasted */
    bool x_rows =
        cpu && round_up((size_t)c, 8) * round_up((size_t)o, 32) < round_up((size_t)o, 8) * round_up((size_t)c, 32);
    tensor a = x_rows ? x : dy, b = x_rows ? dy : x;
    size_t side = (size_t)run_device(r)->tune.gemm_side;
    int64_t na = last_of(&a), nb = last_of(&b), tile = TILE_M_OF((int64_t)side),
            columns = TILE_N_OF((int64_t)side, run_device(r)->tune.gemm_item);
    /* CPUs add up as many parts whatever their tuning, so that sums are the same */
    int64_t tall = cpu ? (na + GRADIENT_ROWS - 1) / GRADIENT_ROWS : (nb + columns - 1) / columns,
            wide = cpu ? (nb + GRADIENT_COLUMNS - 1) / GRADIENT_COLUMNS : (na + tile - 1) / tile;
    int64_t parts = row_parts(r, pixels, 256, tall * wide * taps, &share);
    /* a part should stay in a cache */
    int64_t floats = tensor_count(&x) + tensor_count(&dy), least = taps > 1 && cpu ? floats / PART : 1;
    if (parts < least) {
        share = (pixels + least - 1) / least;
        parts = (pixels + share - 1) / share;
    }
    const tuning *t = &run_device(r)->tune;
    work size = {.global = {(size_t)((na + t->gradient_rows - 1) / t->gradient_rows),
                            (size_t)((nb + t->gradient_columns - 1) / t->gradient_columns), (size_t)(taps * parts)},
                 .local = {1, 1, 1}};
    if (!cpu)
        size = (work){.global = {(size_t)nb, (size_t)na, (size_t)(taps * parts)}, .unit = UNIT_TILE};
    size.flops = 2.0 * (double)pixels * (double)(o * c * taps);
    size.bytes = 4.0 * (double)(tensor_count(&x) + tensor_count(&dy) + o * c * taps);
    size.options = "-DBACKWARD";
    tensor to = parts > 1 ? TENSOR(r, DTYPE_F32, parts, o * taps * c) : y;
    int64_t row = x_rows ? 1 : taps * c, column = x_rows ? taps * c : 1;
    LAUNCH(r, "gemm:weight_gradient", size, ARG_T(a), ARG_T(b), ARG_T(to), ARG_I(na), ARG_I(nb),
           ARG_I(x_rows != dy_large), ARG_I(g->images), ARG_I(g->h), ARG_I(g->w), ARG_I(g->large_h), ARG_I(g->large_w),
           ARG_I(g->kernel), ARG_I(g->stride), ARG_I(g->pad), ARG_I(row), ARG_I(c), ARG_I(column), ARG_I(share),
           ARG_I(o * taps * c), ARG_I(parts > 1 ? 0 : add));
    if (parts > 1)
        sum_parts(r, to, parts, y, add);
    if (parts > 1)
        run_give_back(r, to);
}

void gemm_weight_gradient(run *r, tensor dy, tensor x, tensor y, int add)
{
    int rows = (int)rows_of(&x);
    if (clblast_applies(r, rows) && clblast_product(r, dy, true, x, false, (size_t)rows, add ? 1.0f : 0.0f, y))
        return;
    weight_gradient(r, dy, x, false, &(grids){1, 1, rows, 1, rows, .kernel = 1, .stride = 1}, y, add);
}
