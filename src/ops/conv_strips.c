/* Convolutions of what is normalised or activated first, which is in memory by strips of rows alone. */
#include "ops/ops_internal.h"

/* Pictures `image` to image + b - 1 of t, rows `first` to first + n - 1; of more than one picture all rows. */
static tensor part(tensor t, int64_t image, int64_t b, int64_t first, int64_t n)
{
    int64_t row = t.shape[2] * t.shape[3];
    t.at += t.buf ? (image * t.shape[1] + first) * row : 0;
    return tensor_shaped(t, 4, (int64_t[]){b, n, t.shape[2], t.shape[3]});
}

static bool is_plain(const conv_input *k)
{
    return !k->norm && k->act == ACT_NONE;
}

/* y = k of x, a part whose pictures have these statistics */
static void make_input(run *r, const conv_input *k, tensor x, tensor stats, tensor y)
{
    if (k->norm)
        group_norm_apply(r, x, stats, k->norm, k->groups, k->act, y);
    else
        LAUNCH(r, "elementwise:activate", work_blocks(r, tensor_count(&x), 8, 8), ARG_T(x), ARG_T(y),
               ARG_I(tensor_count(&x)), ARG_I(k->act));
}

/* y = onto + gain act(conv2d(k of x)); onto: empty with a gain of 1, or of y's shape, or y. */
static void conv_strips(run *r, tensor x, const conv_input *k, const conv *c, activation act, float gain, tensor onto,
                        tensor y)
{
    if (run_failed(r))
        return;
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], pad = c->pad, strip = run_device(r)->tune.strip;
    bool made = !is_plain(k), scaled = gain != 1, by_winograd = winograd_applies(r, c, b, h, w);
    int64_t row = w * (made && c->in > c->out ? c->in : scaled ? c->out : c->in);
    /* whole tiles of Winograd's, so that the sums are those of the whole picture */
    int64_t n = strip / row / 4 * 4, images = strip / (h * row);
    n = !made && !scaled ? h : n < 4 ? 4 : n;
    n = n < h ? n : h;
    images = !made && !scaled ? b : images < 1 || n < h ? 1 : images < b ? images : b;
    int64_t in_rows = n + 2 * pad < h ? n + 2 * pad : h;
    tensor stats = k->norm ? group_norm_stats(r, x, k->groups, k->norm->eps) : (tensor){0};
    tensor in = made ? TENSOR(r, DTYPE_F32, images, in_rows, w, c->in) : (tensor){0};
    tensor out = scaled ? TENSOR(r, DTYPE_F32, images, n, w, c->out) : (tensor){0};
    for (int64_t i = 0; i < b && !run_failed(r); i += images)
        for (int64_t y0 = 0; y0 < h && !run_failed(r); y0 += n) {
            int64_t some = b - i < images ? b - i : images, end = y0 + n < h ? y0 + n : h;
            int64_t x0 = y0 > pad ? y0 - pad : 0, x1 = end + pad < h ? end + pad : h;
            tensor from = part(x, i, some, x0, x1 - x0), to = part(y, i, some, y0, end - y0);
            tensor add = onto.buf ? part(onto, i, some, y0, end - y0) : (tensor){0};
            if (made) {
                tensor whole = from;
                from = part(in, 0, some, 0, x1 - x0);
                make_input(r, k, whole, k->norm ? tensor_rows(stats, i, some) : stats, from);
            }
            tensor sum = scaled ? part(out, 0, some, 0, end - y0) : to;
            conv_rows(r, from, c, (int)(pad - (y0 - x0)), by_winograd, act, scaled ? (tensor){0} : add, sum);
            if (scaled)
                LAUNCH(r, "loss:scale_add", work_blocks(r, tensor_count(&to), 3, 12), ARG_T(sum), ARG_T(add), ARG_T(to),
                       ARG_I(tensor_count(&to)), ARG_F(gain), ARG_F(1));
        }
    run_give_back(r, out);
    run_give_back(r, in);
    run_give_back(r, stats);
}

static inline bool keeps_sides(const conv *c)
{
    return c->stride == 1 && c->kernel == 2 * c->pad + 1 && c->pad_end == 0;
}

/* For the way back, which wants all of it. */
static tensor whole_input(run *r, tensor x, const conv_input *k)
{
    if (k->norm)
        return op_group_norm(r, x, k->norm, k->groups, k->act);
    return k->act == ACT_NONE ? x : op_activate(r, x, k->act);
}

tensor op_conv2d_of(run *r, tensor x, const conv_input *k, const conv *c, activation act)
{
    assert(keeps_sides(c));
    if (run_tape(r))
        return op_conv2d(r, whole_input(r, x, k), c, act, (tensor){0});
    tensor y = tensor_like(r, &x, c->out);
    conv_strips(r, x, k, c, act, 1, (tensor){0}, y);
    return y;
}

tensor op_conv2d_onto(run *r, tensor x, const conv_input *k, const conv *c, float gain, tensor y)
{
    assert(keeps_sides(c));
    if (run_tape(r) && gain == 1)
        return op_conv2d(r, whole_input(r, x, k), c, ACT_NONE, y);
    if (run_tape(r))
        return op_scale_add(r, op_conv2d(r, whole_input(r, x, k), c, ACT_NONE, (tensor){0}), gain, y, 1);
    conv_strips(r, x, k, c, ACT_NONE, gain, y, y);
    return y;
}
