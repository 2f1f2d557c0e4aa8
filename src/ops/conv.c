/* Convolutions as implicit products. */
#include "ops/ops_internal.h"

/* x[b,h,w,c] -> y[b,oh,ow,out]; phases: parts of the output that share their taps. */
static tensor conv_any(run *r, const char *name, tensor x, const conv *c, int64_t oh, int64_t ow, int phases,
                       activation act, tensor residual)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], pixels = b * oh * ow;
    assert(run_failed(r) || (x.nd == 4 && x.shape[3] == c->in));
    const device *d = run_device(r);
    int step = c->stride; /* pixels of the largest phase */
    size_t in_phase = phases == 1 ? (size_t)pixels : (size_t)(b * ((oh + step - 1) / step) * ((ow + step - 1) / step));
    size_t side = (size_t)d->tune.gemm_side, tile = 4 * side;
    work size = {.global = {(in_phase + 7) / 8, (size_t)(c->out + 31) / 32, (size_t)phases}, .local = {1, 1, 1}};
    if (!d->tune.panels)
        size = (work){.global = {round_up((size_t)c->out, tile) / 4, round_up(in_phase, tile) / 4, (size_t)phases},
                      .local = {side, side, 1}};
    double taps = (double)(c->kernel * c->kernel) / phases;
    size.flops = 2.0 * (double)pixels * c->out * c->in * taps;
    size.bytes = 4.0 * (double)(tensor_count(&x) + pixels * c->out + tensor_count(&c->panels));
    tensor zeros = run_zeros(r, c->in);
    tensor y = TENSOR(r, DTYPE_F32, b, oh, ow, c->out);
    LAUNCH(r, name, size, ARG_T(x), ARG_T(c->panels), ARG_T(c->b), ARG_T(residual), ARG_T(zeros), ARG_T(y),
           ARG_I(pixels), ARG_I(h), ARG_I(w), ARG_I(c->in), ARG_I(oh), ARG_I(ow), ARG_I(c->out), ARG_I(c->kernel),
           ARG_I(c->stride), ARG_I(c->pad), ARG_I(act));
    return y;
}

tensor op_conv2d(run *r, tensor x, const conv *c, activation act, tensor residual)
{
    int64_t oh = (x.shape[1] + 2 * c->pad - c->kernel) / c->stride + 1;
    int64_t ow = (x.shape[2] + 2 * c->pad - c->kernel) / c->stride + 1;
    return conv_any(r, "conv:conv2d", x, c, oh, ow, 1, act, residual);
}

tensor op_conv_transpose2d(run *r, tensor x, const conv *c, activation act)
{
    int64_t oh = (x.shape[1] - 1) * c->stride - 2 * c->pad + c->kernel;
    int64_t ow = (x.shape[2] - 1) * c->stride - 2 * c->pad + c->kernel;
    return conv_any(r, "conv:conv_transpose2d", x, c, oh, ow, c->stride * c->stride, act, (tensor){0});
}
