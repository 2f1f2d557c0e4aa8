/* Layer norm, group norm, softmax.  A work-group of WG shares a row (CPU: one work-item, 16 elements at a time). */

#define X(LOAD)      LOAD(xr)
#define SQUARE(LOAD) (LOAD(xr) - mean) * (LOAD(xr) - mean)

/* y[row,d] = (x - mean) / sqrt(var + eps) * w + b + residual[row,d] where there is one; var by a second pass, as the
 * difference of squares cancels */
__kernel void layer_norm(IN(float, x), IN(float, w), IN(float, b), IN(float, residual), OUT(float, y), const int d,
                         const float eps)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float mean, variance;
    ROW_SUM(mean, d, X)
    mean /= d;
    ROW_SUM(variance, d, SQUARE)
    float scale = rsqrt(variance / d + eps);
#define Y(LOAD)     (LOAD(xr) - mean) * scale * LOAD(AT(w)) + LOAD(AT(b))
#define Y_ADD(LOAD) Y(LOAD) + LOAD(rr)
    if (residual_buffer) {
        __global const float *rr = AT(residual) + row * d;
        ROW_SET(yr, d, Y_ADD)
    } else {
        ROW_SET(yr, d, Y)
    }
#undef Y
#undef Y_ADD
}

#if !CPU
/* As layer_norm twice: sum[row,d] = the norm of x by w, b, + residual where there is one; y = the norm of sum by w2, b2. */
__kernel void layer_norm_twice(IN(float, x), IN(float, w), IN(float, b), IN(float, residual), OUT(float, sum),
                               IN(float, w2), IN(float, b2), OUT(float, y), const int d, const float eps,
                               const float eps2)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *sr = AT(sum) + row * d, *yr = AT(y) + row * d;
    float mean, variance;
    ROW_SUM(mean, d, X)
    mean /= d;
    ROW_SUM(variance, d, SQUARE)
    float scale = rsqrt(variance / d + eps);
#define Y(LOAD)     (LOAD(xr) - mean) * scale * LOAD(AT(w)) + LOAD(AT(b))
#define Y_ADD(LOAD) Y(LOAD) + LOAD(rr)
    if (residual_buffer) {
        __global const float *rr = AT(residual) + row * d;
        ROW_SET(sr, d, Y_ADD)
    } else {
        ROW_SET(sr, d, Y)
    }
#undef Y
#undef Y_ADD
    barrier(CLK_GLOBAL_MEM_FENCE);
    xr = sr;
    ROW_SUM(mean, d, X)
    mean /= d;
    ROW_SUM(variance, d, SQUARE)
    scale = rsqrt(variance / d + eps2);
#define Y(LOAD) (LOAD(xr) - mean) * scale * LOAD(AT(w2)) + LOAD(AT(b2))
    ROW_SET(yr, d, Y)
#undef Y
}
#endif

/* y[row,d] = x / sqrt(mean(x^2) + eps) * w */
__kernel void rms_norm(IN(float, x), IN(float, w), OUT(float, y), const int d, const float eps)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float squares;
#define OWN(LOAD) LOAD(xr) * LOAD(xr)
    ROW_SUM(squares, d, OWN)
    float scale = rsqrt(squares / d + eps);
#define Y(LOAD) LOAD(xr) * scale * LOAD(AT(w))
    ROW_SET(yr, d, Y)
#undef Y
#undef OWN
}

/* parts[image, chunk, 2, c] of `each` pixels of x[b, pixels, c]: a channel's mean, and the sum of squares around it. */
__kernel void group_norm_parts(IN(float, x), OUT(float, parts), const int pixels, const int c, const int each,
                               const int chunks)
{
    int part = get_global_id(1), image = part / chunks, first = part % chunks * each;
    int n = min(each, pixels - first);
    __global const float *from = AT(x) + ((size_t)image * pixels + first) * c;
    __global float *means = AT(parts) + (size_t)part * 2 * c, *squares = means + c;
#define BODY(T, LOAD, STORE)                                                                                           \
    T mean = 0.0f, sum = 0.0f;                                                                                         \
    __global const float *p = from;                                                                                    \
    for (int k = 0; k < n; k++, p += c)                                                                                \
        mean += LOAD(p);                                                                                               \
    mean /= n;                                                                                                         \
    p = from;                                                                                                          \
    for (int k = 0; k < n; k++, p += c)                                                                                \
        sum += (LOAD(p) - mean) * (LOAD(p) - mean);                                                                    \
    STORE(mean, means);                                                                                                \
    STORE(sum, squares);
    COLUMNS(get_global_id(0), c, BODY)
#undef BODY
}

/* Mean and 1/sqrt(var + eps) of each image and group, stats[b, groups, 2], from the parts (Chan et al. 1979). */
__kernel void group_norm_stats(IN(float, parts), OUT(float, stats), const int pixels, const int c, const int groups,
                               const int each, const int chunks, const float eps)
{
    SCRATCH
    int index = GROUP(0), group = index % groups, image = index / groups, width = c / groups;
    __global const float *p = AT(parts) + (size_t)image * chunks * 2 * c + group * width;
    float mean = 0.0f, squares = 0.0f, count = (float)pixels * width;
#define PARTS(BODY)                                                                                                    \
    for (int i = get_local_id(0); i < chunks * width; i += WG) {                                                       \
        __global const float *q = p + (size_t)(i / width) * 2 * c + i % width;                                         \
        float n = min(each, pixels - i / width * each);                                                                \
        BODY;                                                                                                          \
    }
    PARTS(mean += q[0] * n)
#if !CPU
    mean = group_sum(mean, scratch);
#endif
    mean /= count;
    PARTS(squares += q[c] + n * (q[0] - mean) * (q[0] - mean))
#if !CPU
    squares = group_sum(squares, scratch);
#endif
    if (get_local_id(0) == 0) {
        AT(stats)[index * 2] = mean;
        AT(stats)[index * 2 + 1] = rsqrt(squares / count + eps);
    }
}

/* p[channel of i / width], stats and means of groups lying two apart */
#define OF_GROUP_float(p) ((p)[i / width * 2])
#if CPU
inline float16 of_group(__global const float *p, int i, int width)
{
    float t[16];
    for (int j = 0; j < 16; j++)
        t[j] = p[(i + j) / width * 2];
    return vload16(0, t);
}
#define OF_GROUP_float16(p) of_group(p, i, width)
#endif

/* y = act((x - mean) * scale * w + b) for `each` pixels of an image */
__kernel void group_norm_apply(IN(float, x), IN(float, stats), IN(float, w), IN(float, b), OUT(float, y),
                               const int pixels, const int c, const int groups, const int each, const int chunks,
                               const int act)
{
    int part = get_global_id(1), image = part / chunks, first = part % chunks * each, width = c / groups;
    int n = min(each, pixels - first);
    size_t at = ((size_t)image * pixels + first) * c;
    __global const float *s = AT(stats) + image * groups * 2;
#define BODY(T, LOAD, STORE)                                                                                           \
    __global const float *xp = AT(x) + at;                                                                             \
    __global float *yp = AT(y) + at;                                                                                   \
    T mean = OF_GROUP_##T(s), scale = OF_GROUP_##T(s + 1) * LOAD(AT(w)), shift = LOAD(AT(b));                          \
    for (int k = 0; k < n; k++, xp += c, yp += c)                                                                      \
        STORE(activate_##T((LOAD(xp) - mean) * scale + shift, act), yp);
    COLUMNS(get_global_id(0), c, BODY)
#undef BODY
}

/* y[row,d] = exp(x - max) / sum */
__kernel void softmax(IN(float, x), OUT(float, y), const int d)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float most_x, sum;
#define POWER(LOAD) exp(LOAD(xr) - most_x)
#define Y(LOAD)     exp(LOAD(xr) - most_x) / sum
    ROW_MAX(most_x, d, X)
    ROW_SUM(sum, d, POWER)
    ROW_SET(yr, d, Y)
#undef Y
}

/* y = x scale, scales[row] = 1 / sqrt(sum x^2 + eps) */
__kernel void l2_normalise(IN(float, x), OUT(float, y), OUT(float, scales), const int d, const float eps)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float sum;
#define XX(LOAD) LOAD(xr) * LOAD(xr)
#define Y(LOAD)  LOAD(xr) * scale
    ROW_SUM(sum, d, XX)
    float scale = rsqrt(sum + eps);
    ROW_SET(yr, d, Y)
#undef Y
    if (get_local_id(0) == 0)
        AT(scales)[row] = scale;
}

#ifdef BACKWARD

/* Where dy arrives: with g = dy w and xhat = (x - mean) scale, dx = scale (g - mean(g) - xhat mean(g xhat)), and
 * dw = sum dy xhat, db = sum dy over the rows.  A group takes `each` rows and leaves its part of the two sums in
 * parts[part, 2, d]: db, then dw.  dx, parts: or NULL. */
__kernel void layer_norm_back(IN(float, x), IN(float, w), IN(float, dy), OUT(float, dx), OUT(float, parts),
                              const int rows, const int each, const int d, const float eps, const int add)
{
    SCRATCH
    int part = GROUP(0), first = part * each;
    __global float *db = AT(parts) + (size_t)part * 2 * d, *dw = db + d;
    for (int row = first; row < min(rows, first + each); row++) {
        __global const float *xr = AT(x) + (size_t)row * d, *gr = AT(dy) + (size_t)row * d;
        __global float *out = AT(dx) + (size_t)row * d;
        float mean, variance, sum, product;
        ROW_SUM(mean, d, X)
        mean /= d;
        ROW_SUM(variance, d, SQUARE)
        float scale = rsqrt(variance / d + eps);
#define HAT(LOAD)     (LOAD(xr) - mean) * scale
#define G(LOAD)       LOAD(gr) * LOAD(AT(w))
#define PRODUCT(LOAD) G(LOAD) * HAT(LOAD)
        ROW_SUM(sum, d, G)
        ROW_SUM(product, d, PRODUCT)
        sum /= d;
        product /= d;
#define DX(LOAD)      scale * (G(LOAD) - sum - HAT(LOAD) * product)
#define DX_ADD(LOAD)  LOAD(out) + DX(LOAD)
#define DB(LOAD)      LOAD(gr)
#define DW(LOAD)      LOAD(gr) * HAT(LOAD)
#define DB_ADD(LOAD)  LOAD(db) + DB(LOAD)
#define DW_ADD(LOAD)  LOAD(dw) + DW(LOAD)
        if (dx_buffer && add) {
            ROW_SET(out, d, DX_ADD)
        } else if (dx_buffer) {
            ROW_SET(out, d, DX)
        }
        if (parts_buffer && row > first) {
            ROW_SET(db, d, DB_ADD)
            ROW_SET(dw, d, DW_ADD)
        } else if (parts_buffer) {
            ROW_SET(db, d, DB)
            ROW_SET(dw, d, DW)
        }
    }
}

/* The same of rms_norm, where xhat = x scale: dx = scale (g - xhat mean(g xhat)), and dw in parts[part, d]. */
__kernel void rms_norm_back(IN(float, x), IN(float, w), IN(float, dy), OUT(float, dx), OUT(float, parts),
                            const int rows, const int each, const int d, const float eps, const int add)
{
    SCRATCH
    int part = GROUP(0), first = part * each;
    __global float *dw = AT(parts) + (size_t)part * d;
    for (int row = first; row < min(rows, first + each); row++) {
        __global const float *xr = AT(x) + (size_t)row * d, *gr = AT(dy) + (size_t)row * d;
        __global float *out = AT(dx) + (size_t)row * d;
        float squares, product;
#define OWN(LOAD)         LOAD(xr) * LOAD(xr)
#define PRODUCT_RMS(LOAD) LOAD(gr) * LOAD(AT(w)) * LOAD(xr)
        ROW_SUM(squares, d, OWN)
        ROW_SUM(product, d, PRODUCT_RMS)
        float scale = rsqrt(squares / d + eps), share = product / d * scale * scale;
#define DX_RMS(LOAD)     scale * (LOAD(gr) * LOAD(AT(w)) - LOAD(xr) * share)
#define DX_RMS_ADD(LOAD) LOAD(out) + DX_RMS(LOAD)
#define DW_RMS(LOAD)     LOAD(gr) * LOAD(xr) * scale
#define DW_RMS_ADD(LOAD) LOAD(dw) + DW_RMS(LOAD)
        if (dx_buffer && add) {
            ROW_SET(out, d, DX_RMS_ADD)
        } else if (dx_buffer) {
            ROW_SET(out, d, DX_RMS)
        }
        if (parts_buffer && row > first) {
            ROW_SET(dw, d, DW_RMS_ADD)
        } else if (parts_buffer) {
            ROW_SET(dw, d, DW_RMS)
        }
#undef OWN
    }
}

/* parts[image, chunk, 2, c] = sums over `each` pixels of dy, and of dy xhat */
__kernel void group_norm_sums(IN(float, x), IN(float, stats), IN(float, dy), OUT(float, parts), const int pixels,
                              const int c, const int groups, const int each, const int chunks)
{
    int part = get_global_id(1), image = part / chunks, first = part % chunks * each, width = c / groups;
    int n = min(each, pixels - first);
    size_t at = ((size_t)image * pixels + first) * c;
    __global const float *s = AT(stats) + image * groups * 2;
    __global float *db = AT(parts) + (size_t)part * 2 * c, *dw = db + c;
#define BODY(T, LOAD, STORE)                                                                                           \
    __global const float *xp = AT(x) + at, *gp = AT(dy) + at;                                                          \
    T mean = OF_GROUP_##T(s), a = 0.0f, b = 0.0f;                                                                      \
    for (int k = 0; k < n; k++, xp += c, gp += c) {                                                                    \
        T g = LOAD(gp);                                                                                                \
        a += g;                                                                                                        \
        b += g * (LOAD(xp) - mean);                                                                                    \
    }                                                                                                                  \
    STORE(a, db);                                                                                                      \
    STORE(b *OF_GROUP_##T(s + 1), dw);
    COLUMNS(get_global_id(0), c, BODY)
#undef BODY
}

/* means[b, groups, 2] of dy w, and of dy w xhat */
__kernel void group_norm_means(IN(float, parts), IN(float, w), OUT(float, means), const int pixels, const int c,
                               const int groups, const int chunks)
{
    SCRATCH
    int index = GROUP(0), group = index % groups, image = index / groups, width = c / groups;
    __global const float *p = AT(parts) + (size_t)image * chunks * 2 * c;
    float sum = 0.0f, product = 0.0f;
    for (int i = get_local_id(0); i < chunks * width; i += WG) {
        int channel = group * width + i % width, at = i / width * 2 * c + channel;
        sum += AT(w)[channel] * p[at];
        product += AT(w)[channel] * p[at + c];
    }
#if !CPU
    sum = group_sum(sum, scratch);
    product = group_sum(product, scratch);
#endif
    if (get_local_id(0) == 0) {
        AT(means)[index * 2] = sum / ((float)pixels * width);
        AT(means)[index * 2 + 1] = product / ((float)pixels * width);
    }
}

/* dx = scale (dy w - mean(dy w) - xhat mean(dy w xhat)) */
__kernel void group_norm_back(IN(float, x), IN(float, stats), IN(float, w), IN(float, dy), IN(float, means),
                              OUT(float, dx), const int pixels, const int c, const int groups, const int each,
                              const int chunks, const int add)
{
    int part = get_global_id(1), image = part / chunks, first = part % chunks * each, width = c / groups;
    int n = min(each, pixels - first);
    size_t at = ((size_t)image * pixels + first) * c;
    __global const float *s = AT(stats) + image * groups * 2, *m = AT(means) + image * groups * 2;
#define BODY(T, LOAD, STORE)                                                                                           \
    __global const float *xp = AT(x) + at, *gp = AT(dy) + at;                                                          \
    __global float *out = AT(dx) + at;                                                                                 \
    T mean = OF_GROUP_##T(s), scale = OF_GROUP_##T(s + 1), p = scale * LOAD(AT(w));                                    \
    T q = scale * OF_GROUP_##T(m), u = scale * scale * OF_GROUP_##T(m + 1);                                            \
    for (int k = 0; k < n; k++, xp += c, gp += c, out += c) {                                                          \
        T v = p * LOAD(gp) - q - u * (LOAD(xp) - mean);                                                                \
        STORE(add ? LOAD(out) + v : v, out);                                                                           \
    }
    COLUMNS(get_global_id(0), c, BODY)
#undef BODY
}

/* dx = scale y (dy - sum(dy y)) for y = softmax(scale x) */
__kernel void softmax_back(IN(float, y), IN(float, dy), OUT(float, dx), const int d, const float scale, const int add)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *yr = AT(y) + row * d, *gr = AT(dy) + row * d;
    __global float *out = AT(dx) + row * d;
    float sum;
#define PRODUCT_Y(LOAD) LOAD(yr) * LOAD(gr)
#define DX_Y(LOAD)      scale *LOAD(yr) * (LOAD(gr) - sum)
#define DX_Y_ADD(LOAD)  LOAD(out) + DX_Y(LOAD)
    ROW_SUM(sum, d, PRODUCT_Y)
    if (add) {
        ROW_SET(out, d, DX_Y_ADD)
    } else {
        ROW_SET(out, d, DX_Y)
    }
}

/* dx = scale (dy - y sum(dy y)) for y = scale x of length 1 */
__kernel void l2_normalise_back(IN(float, y), IN(float, scales), IN(float, dy), OUT(float, dx), const int d,
                                const int add)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *yr = AT(y) + row * d, *gr = AT(dy) + row * d;
    __global float *out = AT(dx) + row * d;
    float sum, scale = AT(scales)[row];
#define DX_L2(LOAD)     scale *(LOAD(gr) - LOAD(yr) * sum)
#define DX_L2_ADD(LOAD) LOAD(out) + DX_L2(LOAD)
    ROW_SUM(sum, d, PRODUCT_Y)
    if (add) {
        ROW_SET(out, d, DX_L2_ADD)
    } else {
        ROW_SET(out, d, DX_L2)
    }
}
#endif
