/* Convolutions of 3x3 with stride 1 by Winograd's minimal filtering: cl/winograd.cl. */
#include "ops/ops_internal.h"

static int64_t tiles_of(int64_t pixels)
{
    return (pixels + 3) / 4;
}

bool winograd_applies(run *r, const conv *c, int64_t b, int64_t oh, int64_t ow)
{
    /* a picture must be the same whatever the batch is; training asks for the sum over a batch, and for speed */
    int64_t images = run_tape(r) ? b : 1;
    int64_t tiles = images * tiles_of(oh) * tiles_of(ow), in = c->in, out = c->out;
    const tuning *t = &run_device(r)->tune;
    bool pays = t->cpu_form || in * out >= t->winograd_channels * (in + out);
    /* narrow pictures have many tiles that are half outside */
    return t->winograd && tiles >= t->winograd && c->kernel == 3 && c->stride == 1 && in % 16 == 0 && in >= t->tile_k &&
           out >= 16 && pays && 12 * tiles <= images * oh * ow;
}

/* A convolution, part after part: the transformed weights u of some panels and pixels v of some tiles are worked on
 * at a time.  m, for GPUs: their products. */
typedef struct parts {
    const conv *c;
    tensor x, residual, y, u, v, m;
    int64_t h, w, tw, th;
    int factor, pad_top;
    bool transposed;
    activation act;
} parts;

/* The group of a GPU's kernel that has a work-item for each of n channels, a multiple of 16. */
static size_t group_of(run *r, int64_t n)
{
    size_t group = (size_t)run_device(r)->tune.wg;
    while ((size_t)n % group)
        group /= 2;
    return group;
}

static void transform_weights(run *r, const parts *p, tensor panels, int64_t first, int64_t n)
{
    const int64_t in = p->c->in;
    bool cpu = run_device(r)->tune.cpu_form;
    work size = {.global = {(size_t)in / 16, (size_t)n}, .local = {1, 1, 1}};
    if (!cpu)
        size = (work){.global = {(size_t)in * 32, (size_t)n}, .local = {group_of(r, in * 32), 1, 1}};
    size.flops = 90 * (double)(n * in * 32);
    size.bytes = 4 * 36 * (double)(n * in * 32) + (double)dtype_row_bytes(panels.type, 9 * n * in * 32);
    size.options = PANEL_OPTIONS(panels);
    LAUNCH(r, "winograd:winograd_weights", size, ARG_T(panels), ARG_T(p->u), ARG_I(in), ARG_I(first), ARG_I(n),
           ARG_I(p->transposed));
}

static void transform_pixels(run *r, const parts *p, int64_t first, int64_t n)
{
    const conv *c = p->c;
    bool cpu = run_device(r)->tune.cpu_form;
    work size = {.global = {(size_t)n}, .local = {1, 1, 1}};
    if (!cpu)
        size = (work){.global = {(size_t)c->in, (size_t)n}, .local = {group_of(r, c->in), 1, 1}};
    size.flops = 168 * (double)(n * c->in);
    size.bytes = 4 * (16 + 36) * (double)(n * c->in);
    LAUNCH(r, "winograd:winograd_input", size, ARG_T(p->x), ARG_T(run_zeros(r, c->in)), ARG_T(p->v), ARG_I(p->h),
           ARG_I(p->w), ARG_I(c->in), ARG_I(p->tw), ARG_I(p->th), ARG_I(p->transposed ? 2 - p->pad_top : p->pad_top),
           ARG_I(p->transposed ? 2 - c->pad : c->pad), ARG_I(p->factor), ARG_I(first), ARG_I(n));
}

/* Of n tiles and `panels` panels of out channels. */
static void products(run *r, const parts *p, int64_t first, int64_t n, int64_t first_panel, int64_t panels)
{
    const conv *c = p->c;
    int64_t oh = p->y.shape[1], ow = p->y.shape[2];
    double flops = 72 * (double)(n * c->in * panels * 32), in = 4.0 * 36 * (double)(c->in * (n + panels * 32)),
           out = 4.0 * 16 * 32 * (double)(n * panels), sums = 36 / 16.0 * out;
    const tuning *t = &run_device(r)->tune;
    if (t->cpu_form) {
        LAUNCH(r, "winograd:winograd_output",
               ((work){.global = {(size_t)((n + t->winograd_tiles - 1) / t->winograd_tiles), (size_t)panels},
                       .local = {1, 1, 1},
                       .flops = flops,
                       .bytes = in + out}),
               ARG_T(p->u), ARG_T(p->v), ARG_T(c->b), ARG_T(p->residual), ARG_T(p->y), ARG_I(c->in), ARG_I(panels),
               ARG_I(first_panel), ARG_I(oh), ARG_I(ow), ARG_I(c->out), ARG_I(p->tw), ARG_I(p->th), ARG_I(first),
               ARG_I(n), ARG_I(p->act));
        return;
    }
    work size = {.global = {(size_t)panels * 32, (size_t)n, 36}, .flops = flops, .bytes = in + sums};
    tile_count(t, n, panels * 32, true, &size.unit);
    size.options = size.unit == UNIT_TALL ? TALL_OPTION : NULL;
    LAUNCH(r, "winograd:winograd_product", size, ARG_T(p->u), ARG_T(p->v), ARG_T(p->m), ARG_I(n), ARG_I(panels),
           ARG_I(c->in));
    LAUNCH(r, "winograd:winograd_output",
           ((work){.global = {(size_t)panels * 32, (size_t)n},
                   .local = {group_of(r, panels * 32), 1, 1},
                   .flops = 90.0 * 32 * (double)(n * panels),
                   .bytes = sums + out}),
           ARG_T(p->m), ARG_T(c->b), ARG_T(p->residual), ARG_T(p->y), ARG_I(panels), ARG_I(first_panel), ARG_I(oh),
           ARG_I(ow), ARG_I(c->out), ARG_I(p->tw), ARG_I(p->th), ARG_I(first), ARG_I(n), ARG_I(p->act));
}

void winograd(run *r, tensor x, const conv *c, bool transposed, int factor, int pad_top, activation act,
              tensor residual, tensor y)
{
    if (run_failed(r))
        return;
    parts p = {.c = c,
               .x = x,
               .residual = residual,
               .y = y,
               .h = x.shape[1] * factor,
               .w = x.shape[2] * factor,
               .tw = tiles_of(y.shape[2]),
               .th = tiles_of(y.shape[1]),
               .factor = factor,
               .pad_top = pad_top,
               .transposed = transposed,
               .act = act};
    const tuning *t = &run_device(r)->tune;
    int64_t tiles = x.shape[0] * p.tw * p.th, panels = (c->out + 31) / 32, cache = t->winograd_cache;
    int64_t few = cache / (36 * 32 * c->in), whole = t->cpu_form ? t->winograd_tiles : TILE_M_OF(t->gemm_side);
    few = few > 1 ? few : 1;
    if (!t->cpu_form) { /* whole tiles, of the narrower kind */
        int64_t across = TILE_N_OF(TILE_ACROSS((int64_t)t->gemm_side, t->gemm_item == 8), t->gemm_item) / 32;
        few = across > 1 ? (few + across - 1) / across * across : few;
    }
    few = few < panels ? few : panels;
    int64_t widest = !t->cpu_form && 32 * few > c->in ? 32 * few : c->in, some = cache / (36 * widest) / whole * whole;
    some = some > whole ? some : whole;
    some = some < tiles ? some : tiles;
    run_zeros(r, c->in); /* before what is given back */
    p.u = TENSOR(r, DTYPE_F32, 36, few, c->in, 32);
    p.v = TENSOR(r, DTYPE_F32, 36, some, c->in);
    if (!t->cpu_form)
        p.m = TENSOR(r, DTYPE_F32, 36, some, few * 32);
    for (int64_t at = 0; at < tiles; at += some) {
        int64_t n = tiles - at < some ? tiles - at : some;
        transform_pixels(r, &p, at, n);
        for (int64_t panel = 0, np, begin; panel < panels; panel += np) {
            tensor piece = tensor_piece(c->panels, panel, &begin);
            int64_t left = begin + piece.shape[0] - panel;
            np = left < few ? left : few;
            if (at == 0 || np < panels)
                transform_weights(r, &p, piece, panel - begin, np);
            products(r, &p, at, n, panel, np);
        }
    }
    run_give_back(r, p.m);
    run_give_back(r, p.v);
    run_give_back(r, p.u);
}
