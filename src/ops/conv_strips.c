/* Convolutions of what is normalised, activated or made larger first, which is in memory by strips of rows alone. */
#include "ops/ops_internal.h"

/* y = onto + gain act(conv2d(upsampled(x, factor) or `before` of x)) */
typedef struct strips {
    tensor x;
    const conv_input *before;
    int factor;
    const conv *c;
    activation act;
    float gain;
    tensor onto, y; /* onto: empty with a gain of 1, or of y's shape, or y */
    bool by_winograd;
    int64_t rows, images;  /* of a strip of y; of more than one picture all rows */
    tensor stats, in, out; /* in, out: a strip of what the convolution reads, and of what it gives; or empty */
} strips;

/* Pictures `image` to image + b - 1 of t, rows `first` to first + n - 1; of more than one picture all rows. */
static tensor part(tensor t, int64_t image, int64_t b, int64_t first, int64_t n)
{
    int64_t row = t.shape[2] * t.shape[3];
    t.at += t.buf ? (image * t.shape[1] + first) * row : 0;
    return tensor_shaped(t, 4, (int64_t[]){b, n, t.shape[2], t.shape[3]});
}

static void reserve(run *r, strips *s)
{
    const conv_input *k = s->before;
    int64_t b = s->y.shape[0], h = s->y.shape[1], w = s->y.shape[2], strip = run_device(r)->tune.strip;
    bool made = k->norm || k->act != ACT_NONE || s->factor > 1, scaled = s->gain != 1;
    int64_t row = w * (!made ? s->c->out : !scaled || s->c->in > s->c->out ? s->c->in : s->c->out);
    /* whole tiles of Winograd's, so that the sums are those of the whole picture */
    int64_t n = strip / row / 4 * 4, images = strip / (h * row);
    n = n < 4 ? 4 : n;
    s->rows = !(made || scaled) || n > h ? h : n;
    s->images = !(made || scaled) ? b : s->rows < h || images < 1 ? 1 : images < b ? images : b;
    int64_t read = (s->rows + 2 * s->c->pad + s->factor - 1) / s->factor * s->factor + s->factor; /* at most */
    if (k->norm)
        s->stats = group_norm_stats(r, s->x, k->groups, k->norm->eps);
    if (made)
        s->in = TENSOR(r, DTYPE_F32, s->images, read < h ? read : h, w, s->c->in);
    if (scaled)
        s->out = TENSOR(r, DTYPE_F32, s->images, s->rows, w, s->c->out);
}

/* Rows `first` to first + n - 1 of x of b pictures: what the convolution reads of them. */
static tensor input(run *r, const strips *s, int64_t image, int64_t b, int64_t first, int64_t n)
{
    const conv_input *k = s->before;
    tensor x = part(s->x, image, b, first, n);
    if (!s->in.buf)
        return x;
    tensor y = part(s->in, 0, b, 0, n * s->factor);
    if (s->factor > 1)
        upsample(r, x, s->factor, y);
    else if (k->norm)
        group_norm_apply(r, x, tensor_rows(s->stats, image, b), k->norm, k->groups, k->act, y);
    else
        activate(r, x, k->act, y);
    return y;
}

/* A strip of y: rows `first` to end - 1 of b pictures. */
static void strip(run *r, const strips *s, int64_t image, int64_t b, int64_t first, int64_t end)
{
    int64_t h = s->y.shape[1], pad = s->c->pad, f = s->factor;
    int64_t from = (first > pad ? first - pad : 0) / f, to = ((end + pad < h ? end + pad : h) + f - 1) / f;
    tensor x = input(r, s, image, b, from, to - from), y = part(s->y, image, b, first, end - first);
    tensor onto = s->onto.buf ? part(s->onto, image, b, first, end - first) : (tensor){0};
    tensor sum = s->out.buf ? part(s->out, 0, b, 0, end - first) : y;
    conv_rows(r, x, s->c, (int)(pad - (first - from * f)), s->by_winograd, s->act, s->out.buf ? (tensor){0} : onto,
              sum);
    if (s->out.buf)
        scale_add(r, sum, s->gain, onto, 1, y);
}

static void conv_strips(run *r, strips s)
{
    if (run_failed(r))
        return;
    int64_t b = s.y.shape[0], h = s.y.shape[1];
    reserve(r, &s);
    for (int64_t i = 0; i < b && !run_failed(r); i += s.images)
        for (int64_t at = 0; at < h && !run_failed(r); at += s.rows)
            strip(r, &s, i, b - i < s.images ? b - i : s.images, at, at + s.rows < h ? at + s.rows : h);
    run_give_back(r, s.out);
    run_give_back(r, s.in);
    run_give_back(r, s.stats);
}

static inline bool keeps_sides(const conv *c)
{
    return c->stride == 1 && c->kernel == 2 * c->pad + 1 && c->pad_end == 0;
}

static bool by_winograd(run *r, const conv *c, const tensor *y)
{
    return !run_failed(r) && winograd_applies(r, c, y->shape[0], y->shape[1], y->shape[2]);
}

/* For the backward pass, which wants all of it. */
static tensor whole_input(run *r, tensor x, const conv_input *k)
{
    if (k->norm)
        return op_group_norm(r, x, k->norm, k->groups, k->act);
    return k->act == ACT_NONE ? x : op_activate(r, x, k->act);
}

tensor op_conv2d_of(run *r, tensor x, const conv_input *k, const conv *c, activation act)
{
    REQUIRE(r, keeps_sides(c));
    if (run_tape(r))
        return op_conv2d(r, whole_input(r, x, k), c, act, (tensor){0});
    tensor y = tensor_like(r, &x, c->out);
    conv_strips(r, (strips){.x = x,
                            .before = k,
                            .factor = 1,
                            .c = c,
                            .act = act,
                            .gain = 1,
                            .y = y,
                            .by_winograd = by_winograd(r, c, &y)});
    return y;
}

tensor op_conv2d_onto(run *r, tensor x, const conv_input *k, const conv *c, float gain, tensor y)
{
    REQUIRE(r, keeps_sides(c));
    if (run_tape(r) && gain == 1)
        return op_conv2d(r, whole_input(r, x, k), c, ACT_NONE, y);
    if (run_tape(r))
        return op_scale_add(r, op_conv2d(r, whole_input(r, x, k), c, ACT_NONE, (tensor){0}), gain, y, 1);
    conv_strips(r, (strips){.x = x,
                            .before = k,
                            .factor = 1,
                            .c = c,
                            .gain = gain,
                            .onto = y,
                            .y = y,
                            .by_winograd = by_winograd(r, c, &y)});
    return y;
}

/* Some pixels of one picture at a time, so that its sums don't depend on the pictures beside it.  The result of a strip
 * lies before its input but for the first ones, which a copy keeps. */
static void narrow_in_place(run *r, tensor x, const conv *c, tensor y)
{
    int64_t in = c->in, out = c->out, pixels = tensor_count(&x) / in, some = run_device(r)->tune.strip / in;
    const int64_t of_picture = pixels / x.shape[0];
    some = some > 1 ? some : 1;
    x = tensor_shaped(x, 4, (int64_t[]){1, 1, pixels, in});
    y = tensor_shaped(y, 4, (int64_t[]){1, 1, pixels, out});
    tensor kept = TENSOR(r, DTYPE_F32, 1, 1, some, out);
    for (int64_t at = 0, n; at < pixels && !run_failed(r); at += n) {
        const int64_t left = of_picture - at % of_picture;
        n = left < some ? left : some;
        tensor from = x, to = y, t = tensor_shaped(kept, 4, (int64_t[]){1, 1, n, out});
        from.shape[2] = to.shape[2] = n;
        from.at += at * in;
        to.at += at * out;
        const bool apart = (at + n) * out <= at * in;
        conv_rows(r, from, c, 0, false, ACT_NONE, (tensor){0}, apart ? to : t);
        if (!apart && !run_failed(r))
            op_repeat(r, to, t);
    }
    run_give_back(r, kept);
}

tensor op_conv2d_narrow(run *r, tensor x, const conv *c)
{
    REQUIRE(r, x.nd == 4 && x.shape[3] == c->in && c->kernel == 1 && c->stride == 1);
    if (run_failed(r) || run_tape(r) || c->out > c->in ||
        tensor_count(&x) / x.shape[0] < 2 * (int64_t)run_device(r)->tune.strip)
        return op_conv2d(r, x, c, ACT_NONE, (tensor){0});
    tensor y = tensor_shaped(x, 4, (int64_t[]){x.shape[0], x.shape[1], x.shape[2], c->out});
    narrow_in_place(r, x, c, y);
    return y;
}

tensor op_upsample_conv2d(run *r, tensor x, int factor, const conv *c, activation act)
{
    if (run_failed(r) || run_tape(r) || !keeps_sides(c))
        return op_conv2d(r, op_upsample(r, x, factor), c, act, (tensor){0});
    tensor y = TENSOR(r, DTYPE_F32, x.shape[0], x.shape[1] * factor, x.shape[2] * factor, c->out);
    if (by_winograd(r, c, &y))
        winograd(r, x, c, false, factor, c->pad, act, (tensor){0}, y);
    else
        conv_strips(
            r, (strips){.x = x, .before = &(conv_input){0}, .factor = factor, .c = c, .act = act, .gain = 1, .y = y});
    return y;
}
