/* Convolutions as implicit products. */
#include "ops/ops_internal.h"

#define SUM_PARTS 4   /* the most parts of a sum */
#define SUM_SHARE 256 /* the fewest numbers of one */
#define SUM_GAINS 0.8 /* of the time: what more parts must leave at most */

/* How many parts of a convolution's sums different groups of a GPU make, where its tiles are `groups`, too few for the
 * device's cores; *share: channels of a part. */
static int64_t sum_parts_of(const device *d, int64_t groups, int64_t in, int64_t taps, int64_t *share)
{
    const int64_t step = d->tune.tile_k, cores = d->cores;
    int64_t best = 1;
    double least = (double)((groups + cores - 1) / cores * in);
    *share = in;
    for (int64_t n = 2; n <= SUM_PARTS && in % step == 0; n++) {
        int64_t each = (in + n - 1) / n, parts;
        each = (each + step - 1) / step * step;
        parts = (in + each - 1) / each;
        double time = (double)((groups * parts + cores - 1) / cores * each);
        if (each * taps < SUM_SHARE || time > SUM_GAINS * least)
            continue;
        best = parts;
        least = time;
        *share = each;
    }
    return best;
}

/* The channels first to first + out - 1 of y[b,oh,ow,channels] from x[b,h,w,c] by panels that are in one buffer.  Of a
 * transposed convolution parts of the output, its phases, share their taps. */
static void channels_product(run *r, bool transposed, tensor x, const conv *c, tensor panels, int64_t first, int out,
                             int pad_top, activation act, tensor residual, tensor y)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], oh = y.shape[1], ow = y.shape[2], pixels = b * oh * ow;
    const device *d = run_device(r);
    int step = c->stride, phases = transposed ? step * step : 1; /* in_phase: pixels of the largest one */
    size_t in_phase = phases == 1 ? (size_t)pixels : (size_t)(b * ((oh + step - 1) / step) * ((ow + step - 1) / step));
    size_t n_panels = (size_t)panels.shape[0], rows = (size_t)d->tune.conv_rows,
           blocks = (in_phase + rows - 1) / rows * (size_t)phases;
    /* all panels, so that x is read once, where that leaves enough work-items */
    size_t enough = (size_t)d->tune.conv_items * d->info.compute_units, each = blocks * n_panels / enough;
    each = each < 1 ? 1 : each < n_panels ? each : n_panels;
    work size = {.global = {(in_phase + rows - 1) / rows, (n_panels + each - 1) / each, (size_t)phases},
                 .local = {1, 1, 1}};
    bool fours = d->tune.cpu_form || tile_by_fours(r, c->in, x), tall = fours && !transposed;
    if (!d->tune.cpu_form) {
        size = (work){.global = {(size_t)out, in_phase, (size_t)phases}};
        tile_count(&d->tune, (int64_t)in_phase, out, tall, &size.unit);
    }
    static const char *const names[2][2] = {{"conv:conv2d_scalar", "conv:conv2d"},
                                            {"conv:conv_transpose2d_scalar", "conv:conv_transpose2d"}},
                             *const tall_options[2] = {TALL_OPTION, "-DPANEL_F16 " TALL_OPTION};
    const char *name = names[transposed][fours];
    double taps = (double)(c->kernel * c->kernel) / phases;
    size.flops = 2.0 * (double)pixels * out * c->in * taps;
    size.bytes =
        4.0 * (double)(tensor_count(&x) + pixels * out) + (double)dtype_row_bytes(panels.type, tensor_count(&panels));
    size.options = size.unit == UNIT_TALL ? tall_options[panels.type == DTYPE_F16] : PANEL_OPTIONS(panels);
    tensor zeros = run_zeros(r, (int64_t)c->kernel * c->in), bias = c->b, none = {0};
    int64_t width = y.shape[3], share, parts = 1;
    bias.at += first;
    residual.at += first;
    y.at += first;
    if (!d->tune.cpu_form) { /* a picture's sums must be the same whatever the batch is; training asks for speed */
        int64_t images = run_tape(r) ? 1 : b;
        work_unit unit;
        parts = sum_parts_of(d, tile_count(&d->tune, (int64_t)in_phase / images, out, tall, &unit) * phases, c->in,
                             (int64_t)taps, &share);
        size.global[2] *= (size_t)parts;
        each = (size_t)share;
    }
    bool whole = parts == 1;
    tensor to = whole ? y : TENSOR(r, DTYPE_F32, parts, pixels, out);
    size.bytes += 4.0 * (double)(pixels * out) * (double)(parts - 1);
    LAUNCH(r, name, size, ARG_T(x), ARG_T(panels), ARG_T(whole ? bias : none), ARG_T(whole ? residual : none),
           ARG_T(zeros), ARG_T(to), ARG_I(pixels), ARG_I(h), ARG_I(w), ARG_I(c->in), ARG_I(oh), ARG_I(ow), ARG_I(out),
           ARG_I(whole ? width : out), ARG_I(c->kernel), ARG_I(c->stride), ARG_I(pad_top), ARG_I(c->pad),
           ARG_I(whole ? act : ACT_NONE), ARG_I(each));
    if (whole)
        return;
    LAUNCH(r, "conv:join_parts",
           ((work){.global = {(size_t)out, (size_t)pixels}, .bytes = 4.0 * (double)(pixels * out * (parts + 1))}),
           ARG_T(to), ARG_T(bias), ARG_T(residual), ARG_T(y), ARG_I(parts), ARG_I(pixels), ARG_I(out), ARG_I(width),
           ARG_I(act));
    run_give_back(r, to);
}

/* y[b,oh,ow,out] from x[b,h,w,c] by c's panels, buffer by buffer; of those that aren't read as they are so many at a
 * time as stay in a cache. */
static void conv_product(run *r, bool transposed, tensor x, const conv *c, int pad_top, activation act, tensor residual,
                         tensor y)
{
    const bool packed = panels_packed(r, c->panels);
    int64_t some = packed ? run_device(r)->tune.winograd_cache / (32 * c->panels.shape[1]) : 0;
    some = some > 1 ? some : 1;
    for (int64_t panel = 0, at, n; 32 * panel < c->out && !run_failed(r); panel += n) {
        tensor piece = tensor_piece(c->panels, panel, &at), floats;
        n = piece.shape[0] - (panel - at);
        n = packed && n > some ? some : n;
        piece = tensor_rows(piece, panel - at, n);
        floats = panels_unpacked(r, piece);
        int64_t left = c->out - 32 * panel, most = 32 * n;
        channels_product(r, transposed, x, c, floats, 32 * panel, (int)(left < most ? left : most), pad_top, act,
                         residual, y);
        if (packed)
            run_give_back(r, floats);
    }
}

static void conv_forward(run *r, bool transposed, tensor x, const conv *c, activation act, tensor residual, tensor y)
{
    if ((!transposed || c->stride == 1) && winograd_applies(r, c, y.shape[0], y.shape[1], y.shape[2]))
        winograd(r, x, c, transposed, 1, c->pad, act, residual, y);
    else
        conv_product(r, transposed, x, c, c->pad, act, residual, y);
}

void conv_rows(run *r, tensor x, const conv *c, int pad_top, bool by_winograd, activation act, tensor residual,
               tensor y)
{
    if (by_winograd)
        winograd(r, x, c, false, 1, pad_top, act, residual, y);
    else
        conv_product(r, false, x, c, pad_top, act, residual, y);
}

/* Each is the other's gradient with respect to its input, with in and out exchanged. */
static void conv_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], b = s->in[2], residual = s->in[3], dy = tape_gradient(t, s->out);
    const conv *c = s->op;
    bool transposed = s->i[0];
    int add;
    if (tape_wants(t, x)) {
        tensor dx = tensor_shaped(tape_gradient_of(t, x, &add), 4, x.shape);
        conv back = *c;
        back.panels = conv_transpose_panels(r, c);
        back.b = (tensor){0};
        back.in = c->out;
        back.out = c->in;
        conv_forward(r, !transposed, dy, &back, ACT_NONE, add ? dx : (tensor){0}, dx);
        run_give_back(r, back.panels);
    }
    if (tape_wants(t, w)) {
        tensor dw = tape_gradient_of(t, w, &add), small = transposed ? x : dy, large = transposed ? dy : x;
        const grids g = {(int)x.shape[0],     (int)small.shape[1], (int)small.shape[2], (int)large.shape[1],
                         (int)large.shape[2], c->kernel,           c->stride,           c->pad};
        weight_gradient(r, dy, x, transposed, &g, dw, add);
    }
    if (tape_wants(t, b)) {
        tensor db = tape_gradient_of(t, b, &add);
        column_sums(r, dy, db, add);
    }
    gradient_add(r, t, residual, dy);
}

static tensor conv_step(run *r, bool transposed, tensor x, const conv *c, int64_t oh, int64_t ow, activation act,
                        tensor residual)
{
    REQUIRE(r, x.nd == 4 && x.shape[3] == c->in);
    tensor y = TENSOR(r, DTYPE_F32, x.shape[0], oh, ow, c->out);
    tape_step s = {.back = conv_back, .in = {x, c->w, c->b, residual}, .out = y, .op = c, .i = {transposed}};
    bool recorded = tape_records(r, &s), apart = recorded && act != ACT_NONE;
    if (apart)
        s.in[3] = (tensor){0};
    if (recorded && c->panels.buf->next)
        tape_no_gradient(r, "a convolution with panels in several buffers", x);
    check_trainable(r, "a convolution", c->w);
    conv_forward(r, transposed, x, c, recorded ? ACT_NONE : act, s.in[3], y);
    if (recorded)
        tape_push(r, &s);
    if (apart)
        y = op_activate(r, y, act);
    return apart && residual.buf ? op_add(r, y, residual) : y;
}

tensor op_conv2d(run *r, tensor x, const conv *c, activation act, tensor residual)
{
    int64_t oh = (x.shape[1] + 2 * c->pad + c->pad_end - c->kernel) / c->stride + 1;
    int64_t ow = (x.shape[2] + 2 * c->pad + c->pad_end - c->kernel) / c->stride + 1;
    return conv_step(r, false, x, c, oh, ow, act, residual);
}

tensor op_conv_transpose2d(run *r, tensor x, const conv *c, activation act)
{
    int64_t oh = (x.shape[1] - 1) * c->stride - 2 * c->pad + c->kernel;
    int64_t ow = (x.shape[2] - 1) * c->stride - 2 * c->pad + c->kernel;
    return conv_step(r, true, x, c, oh, ow, act, (tensor){0});
}
