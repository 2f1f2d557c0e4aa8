/* Layer norm, group norm, softmax.  A work-group of WG shares a row (CPU: one work-item, 16 elements at a time). */

#define X(LOAD)      LOAD(xr)
#define SQUARE(LOAD) (LOAD(xr) - mean) * (LOAD(xr) - mean)

/* y[row,d] = (x - mean) / sqrt(var + eps) * w + b; var by a second pass, as the difference of squares cancels */
__kernel void layer_norm(IN(float, x), IN(float, w), IN(float, b), OUT(float, y), const int d, const float eps)
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
#define Y(LOAD) (LOAD(xr) - mean) * scale * LOAD(AT(w)) + LOAD(AT(b))
    ROW_SET(yr, d, Y)
#undef Y
}

/* Sum over the group's part of each pixel of an expression in v. */
#if CPU
#define PICTURE_SUM(result, expression)                                                                                \
    result = 0.0f;                                                                                                     \
    for (int first = 0; first < pixels; first += 64) { /* sums of sums: one long F32 sum loses 5 digits */             \
        float16 sixteen = 0.0f;                                                                                        \
        float4 four = 0.0f;                                                                                            \
        float one = 0.0f;                                                                                              \
        for (int i = first; i < min(pixels, first + 64); i++) {                                                        \
            __global const float *pixel = p + (size_t)i * c;                                                           \
            int j = 0;                                                                                                 \
            for (; j + 16 <= width; j += 16) {                                                                         \
                float16 v = vload16(0, pixel + j);                                                                     \
                sixteen += expression;                                                                                 \
            }                                                                                                          \
            for (; j + 4 <= width; j += 4) {                                                                           \
                float4 v = vload4(0, pixel + j);                                                                       \
                four += expression;                                                                                    \
            }                                                                                                          \
            for (; j < width; j++) {                                                                                   \
                float v = pixel[j];                                                                                    \
                one += expression;                                                                                     \
            }                                                                                                          \
        }                                                                                                              \
        result += sum16(sixteen) + (four.x + four.y + four.z + four.w) + one;                                          \
    }
#else
#define PICTURE_SUM(result, expression)                                                                                \
    {                                                                                                                  \
        float total = 0.0f;                                                                                            \
        for (int i = get_local_id(0); i < pixels; i += WG)                                                             \
            for (int j = 0; j < width; j++) {                                                                          \
                float v = p[(size_t)i * c + j];                                                                        \
                total += expression;                                                                                   \
            }                                                                                                          \
        result = group_sum(total, scratch);                                                                            \
    }
#endif

/* Mean and 1/sqrt(var + eps) of each image and group: stats[b, groups, 2]; x[b, pixels, c]. */
__kernel void group_norm_stats(IN(float, x), OUT(float, stats), const int pixels, const int c, const int groups,
                               const float eps)
{
    SCRATCH
    int index = GROUP(0), group = index % groups, image = index / groups, width = c / groups;
    __global const float *p = AT(x) + (size_t)image * pixels * c + group * width;
    float sum, squares, n = (float)pixels * width;
    PICTURE_SUM(sum, v)
    float mean = sum / n;
    PICTURE_SUM(squares, (v - mean) * (v - mean))
    if (get_local_id(0) == 0) {
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
    float most_x, sum;
#define POWER(LOAD) exp(LOAD(xr) - most_x)
#define Y(LOAD)     exp(LOAD(xr) - most_x) / sum
    ROW_MAX(most_x, d, X)
    ROW_SUM(sum, d, POWER)
    ROW_SET(yr, d, Y)
#undef Y
}
