/* Convolutions of 3x3 with stride 1 on CPU devices, by Winograd's minimal filtering: cl/conv.cl. */
#include "ops/ops_internal.h"

static int64_t tiles_of(int64_t pixels)
{
    return (pixels + 3) / 4;
}

bool winograd_applies(run *r, const conv *c, int64_t b, int64_t oh, int64_t ow)
{
    /* a picture must be the same whatever the batch is; training asks for the sum over a batch, and for speed */
    int64_t images = run_tape(r) ? b : 1;
    int64_t tiles = images * tiles_of(oh) * tiles_of(ow);
    int least = run_device(r)->tune.winograd;
    /* narrow pictures have many tiles that are half outside */
    return least && tiles >= least && c->kernel == 3 && c->stride == 1 && c->in % 16 == 0 && c->out >= 16 &&
           12 * tiles <= images * oh * ow;
}

void winograd(run *r, tensor x, const conv *c, bool transposed, int factor, int pad_top, activation act,
              tensor residual, tensor y)
{
    if (run_failed(r))
        return;
    int64_t h = x.shape[1] * factor, w = x.shape[2] * factor, oh = y.shape[1], ow = y.shape[2];
    int64_t tw = tiles_of(ow), th = tiles_of(oh), tiles = x.shape[0] * tw * th, panels = (c->out + 31) / 32;
    int64_t cache = run_device(r)->tune.winograd_cache;
    int64_t some = cache / (36 * c->in) / WINOGRAD_TILES * WINOGRAD_TILES, few = cache / (36 * 32 * c->in);
    some = some > WINOGRAD_TILES ? some : WINOGRAD_TILES;
    some = some < tiles ? some : tiles;
    few = few > 1 ? few : 1;
    few = few < panels ? few : panels;
    tensor zeros = run_zeros(r, c->in);
    tensor u = TENSOR(r, DTYPE_F32, 36, few, c->in, 32), v = TENSOR(r, DTYPE_F32, 36, some, c->in);
    for (int64_t t = 0; t < tiles; t += some) {
        int64_t n = tiles - t < some ? tiles - t : some;
        double in = (double)(n * c->in);
        LAUNCH(r, "conv:winograd_input",
               ((work){.global = {(size_t)n}, .local = {1, 1, 1}, .flops = 168 * in, .bytes = 4 * (16 + 36) * in}),
               ARG_T(x), ARG_T(zeros), ARG_T(v), ARG_I(h), ARG_I(w), ARG_I(c->in), ARG_I(tw), ARG_I(th),
               ARG_I(transposed ? 2 - pad_top : pad_top), ARG_I(transposed ? 2 - c->pad : c->pad), ARG_I(factor),
               ARG_I(t), ARG_I(n));
        for (int64_t p = 0, np, begin; p < panels; p += np) {
            tensor piece = tensor_piece(c->panels, p, &begin);
            int64_t left = begin + piece.shape[0] - p;
            np = left < few ? left : few;
            double weights = (double)(np * c->in * 32);
            if (t == 0 || np < panels)
                LAUNCH(r, "conv:winograd_weights",
                       ((work){.global = {(size_t)c->in / 16, (size_t)np},
                               .local = {1, 1, 1},
                               .flops = 90 * weights,
                               .bytes = 4 * 45 * weights}),
                       ARG_T(piece), ARG_T(u), ARG_I(c->in), ARG_I(p - begin), ARG_I(np), ARG_I(transposed));
            LAUNCH(r, "conv:winograd_output",
                   ((work){.global = {(size_t)(n + WINOGRAD_TILES - 1) / WINOGRAD_TILES, (size_t)np},
                           .local = {1, 1, 1},
                           .flops = 72 * in * 32 * (double)np,
                           .bytes = 4 * 36 * (in + weights) + 4.0 * 16 * 32 * (double)(n * np)}),
                   ARG_T(u), ARG_T(v), ARG_T(c->b), ARG_T(residual), ARG_T(y), ARG_I(c->in), ARG_I(np), ARG_I(p),
                   ARG_I(oh), ARG_I(ow), ARG_I(c->out), ARG_I(tw), ARG_I(th), ARG_I(t), ARG_I(n), ARG_I(act));
        }
    }
    run_give_back(r, v);
    run_give_back(r, u);
}
