/* Layer norm, group norm, softmax.  A work-group of WG shares a row (CPU: one work-item, 16 elements at a time). */

#if CPU
/* sum over the row of f(x) with f as an expression in v */
#define ROW_SUM(result, p, n, expression)                                                                              \
    {                                                                                                                  \
        float16 total = 0.0f;                                                                                          \
        int i = 0;                                                                                                     \
        for (; i + 16 <= (n); i += 16) {                                                                               \
            float16 v = vload16(0, (p) + i);                                                                           \
            total += expression;                                                                                       \
        }                                                                                                              \
        result = sum16(total);                                                                                         \
        for (; i < (n); i++) {                                                                                         \
            float v = (p)[i];                                                                                          \
            result += expression;                                                                                      \
        }                                                                                                              \
    }
#define SCRATCH
#else
#define ROW_SUM(result, p, n, expression)                                                                              \
    {                                                                                                                  \
        float total = 0.0f;                                                                                            \
        for (int i = get_local_id(0); i < (n); i += WG) {                                                              \
            float v = (p)[i];                                                                                          \
            total += expression;                                                                                       \
        }                                                                                                              \
        result = group_sum(total, scratch);                                                                            \
    }
#define SCRATCH __local float scratch[WG];
#endif

/* y[row,d] = (x - mean) / sqrt(var + eps) * w + b; var by a second pass, as the difference of squares cancels */
__kernel void layer_norm(IN(float, x), IN(float, w), IN(float, b), OUT(float, y), const int d, const float eps)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float mean, variance;
    ROW_SUM(mean, xr, d, v)
    mean /= d;
    ROW_SUM(variance, xr, d, (v - mean) * (v - mean))
    float scale = rsqrt(variance / d + eps);
    for (int i = get_local_id(0); i < d; i += WG)
        yr[i] = (xr[i] - mean) * scale * AT(w)[i] + AT(b)[i];
}

/* Mean and 1/sqrt(var + eps) of each image and group: stats[b, groups, 2]; x[b, pixels, c]. */
__kernel void group_norm_stats(IN(float, x), OUT(float, stats), const int pixels, const int c, const int groups,
                               const float eps)
{
#if !CPU
    __local float scratch[WG];
#endif
    int index = GROUP(0), group = index % groups, image = index / groups, width = c / groups, l = get_local_id(0);
    __global const float *p = AT(x) + (size_t)image * pixels * c + group * width;
    float sum = 0.0f, squares = 0.0f, n = (float)pixels * width;
    for (int i = l; i < pixels; i += WG)
        for (int j = 0; j < width; j++)
            sum += p[(size_t)i * c + j];
#if !CPU
    sum = group_sum(sum, scratch);
#endif
    float mean = sum / n;
    for (int i = l; i < pixels; i += WG)
        for (int j = 0; j < width; j++) {
            float v = p[(size_t)i * c + j] - mean;
            squares += v * v;
        }
#if !CPU
    squares = group_sum(squares, scratch);
#endif
    if (l == 0) {
        AT(stats)[index * 2] = mean;
        AT(stats)[index * 2 + 1] = rsqrt(squares / n + eps);
    }
}

/* y = act((x - mean) * scale * w + b) */
__kernel void group_norm_apply(IN(float, x), IN(float, stats), IN(float, w), IN(float, b), OUT(float, y), const int count,
                               const int pixels, const int c, const int groups, const int act)
{
    size_t i = get_global_id(0);
    if (i >= (size_t)count * c)
        return;
    int channel = i % c, index = i / c / pixels * groups + channel / (c / groups);
    float v = (AT(x)[i] - AT(stats)[index * 2]) * AT(stats)[index * 2 + 1];
    AT(y)[i] = activate_float(v * AT(w)[channel] + AT(b)[channel], act);
}

/* y[row,d] = exp(x - max) / sum */
__kernel void softmax(IN(float, x), OUT(float, y), const int d)
{
    SCRATCH
    size_t row = GROUP(0);
    __global const float *xr = AT(x) + row * d;
    __global float *yr = AT(y) + row * d;
    float m = -INFINITY, sum;
    for (int i = get_local_id(0); i < d; i += WG)
        m = fmax(m, xr[i]);
#if !CPU
    m = group_max(m, scratch);
#endif
    ROW_SUM(sum, xr, d, exp(v - m))
    for (int i = get_local_id(0); i < d; i += WG)
        yr[i] = exp(xr[i] - m) / sum;
}
