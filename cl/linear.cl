/* Products with few rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by reading w once.
 *
 * rows1_T: one row of x at a time; rows4_T: four at a time, for m >= 4.  A sum's order depends on k alone, never on m or
 * on the kernel, so a row's result is the same bit for bit whatever rows stand beside it.
 * w is a piece of n rows of a weight; y and residual have rows of ldy elements, and the piece starts at column `column`.
 *
 * CPU: a work-item computes WROWS rows of w for all m, with 16-wide partial sums.
 * else: a work-group does, its WG work-items striding over k by 4; the partial sums meet in local memory. */
#ifndef WROWS
#define WROWS 4 /* rows of w at once */
#endif

#define ROWS_ARGUMENTS(T)                                                                                              \
    IN(float, x), IN(T, w), IN(float, b), IN(float, residual), OUT(float, y), const int m, const int n, const int k,   \
        const int act, const int ldy, const int column

inline void store_sum(float v, __global const float *b, uint b_at, __global const float *residual, uint residual_at,
                      __global float *y, uint y_at, int row, int col, int act, int ldy, int column)
{
    if (b)
        v += b[b_at + column + col];
    v = activate_float(v, act);
    size_t at = (size_t)row * ldy + column + col;
    if (residual)
        v += residual[residual_at + at];
    y[y_at + at] = v;
}
#define STORE(v, row, col)                                                                                             \
    store_sum(v, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, row, col, act, ldy, column)

#if CPU

/* MB rows of x from row `row`; rows of w beyond n repeat the last and are not stored. */
#define ROWS_BLOCK(NAME, T, TYPE, MB)                                                                                  \
    inline void NAME(ROWS_ARGUMENTS(TYPE), const int row)                                                              \
    {                                                                                                                  \
        int first = get_global_id(0) * WROWS;                                                                          \
        __global const float *xp = AT(x) + (size_t)row * k;                                                            \
        size_t start[WROWS];                                                                                           \
        float16 sum[MB][WROWS];                                                                                        \
        for (int j = 0; j < WROWS; j++) {                                                                              \
            start[j] = (size_t)min(first + j, n - 1) * k;                                                              \
            for (int i = 0; i < MB; i++)                                                                               \
                sum[i][j] = 0.0f;                                                                                      \
        }                                                                                                              \
        int whole = k & ~15;                                                                                           \
        for (int c = 0; c < whole; c += 16) {                                                                          \
            float16 xv[MB];                                                                                            \
            for (int i = 0; i < MB; i++)                                                                               \
                xv[i] = vload16(0, xp + (size_t)i * k + c);                                                            \
            for (int j = 0; j < WROWS; j++) {                                                                          \
                float16 wv = load16_##T(AT(w), start[j] + c);                                                          \
                for (int i = 0; i < MB; i++)                                                                           \
                    sum[i][j] = MAD(wv, xv[i], sum[i][j]);                                                             \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < MB; i++)                                                                                   \
            for (int j = 0; j < WROWS; j++) {                                                                          \
                float s = sum16(sum[i][j]);                                                                            \
                for (int c = whole; c < k; c++)                                                                        \
                    s = MAD(load1_##T(AT(w), start[j] + c), xp[(size_t)i * k + c], s);                                 \
                if (first + j < n)                                                                                     \
                    STORE(s, row + i, first + j);                                                                      \
            }                                                                                                          \
    }

#define PASS                                                                                                           \
    x_buffer, x_at, w_buffer, w_at, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, m, n, k, act, ldy,   \
        column

#define ROWS(T, TYPE)                                                                                                  \
    ROWS_BLOCK(block1_##T, T, TYPE, 1)                                                                                 \
    ROWS_BLOCK(block4_##T, T, TYPE, 4)                                                                                 \
    __kernel void rows1_##T(ROWS_ARGUMENTS(TYPE))                                                                      \
    {                                                                                                                  \
        for (int row = 0; row < m; row++)                                                                              \
            block1_##T(PASS, row);                                                                                     \
    }                                                                                                                  \
    __kernel void rows4_##T(ROWS_ARGUMENTS(TYPE))                                                                      \
    {                                                                                                                  \
        int row = 0;                                                                                                   \
        for (; row + 4 <= m; row += 4)                                                                                 \
            block4_##T(PASS, row);                                                                                     \
        for (; row < m; row++)                                                                                         \
            block1_##T(PASS, row);                                                                                     \
    }

#else

/* Rows of x beyond m repeat the last and are not stored. */
#define ROWS_GROUP(NAME, T, TYPE, MB)                                                                                  \
    __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void NAME(ROWS_ARGUMENTS(TYPE))                           \
    {                                                                                                                  \
        __local float partial[MB * WROWS][WG + 1];                                                                      \
        int l = get_local_id(0), first = GROUP(0) * WROWS, whole = k & ~3;                                             \
        for (int row = 0; row < m; row += MB) {                                                                        \
            float sum[MB][WROWS];                                                                                      \
            for (int i = 0; i < MB; i++)                                                                               \
                for (int j = 0; j < WROWS; j++)                                                                        \
                    sum[i][j] = 0.0f;                                                                                  \
            for (int c = l * 4; c < whole; c += WG * 4)                                                                \
                for (int j = 0; j < WROWS; j++) {                                                                      \
                    float4 wv = load4_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                               \
                    for (int i = 0; i < MB; i++) {                                                                     \
                        float4 xv = vload4(0, AT(x) + (size_t)min(row + i, m - 1) * k + c);                            \
                        sum[i][j] = MAD(wv.x, xv.x, MAD(wv.y, xv.y, MAD(wv.z, xv.z, MAD(wv.w, xv.w, sum[i][j]))));     \
                    }                                                                                                  \
                }                                                                                                      \
            for (int c = whole + l; c < k; c += WG)                                                                    \
                for (int j = 0; j < WROWS; j++) {                                                                      \
                    float wv = load1_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                                \
                    for (int i = 0; i < MB; i++)                                                                       \
                        sum[i][j] = MAD(wv, AT(x)[(size_t)min(row + i, m - 1) * k + c], sum[i][j]);                    \
                }                                                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            for (int i = 0; i < MB; i++)                                                                               \
                for (int j = 0; j < WROWS; j++)                                                                        \
                    partial[i * WROWS + j][l] = sum[i][j];                                                             \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            for (int t = l; t < MB * WROWS; t += WG) {                                                                 \
                float s = 0.0f;                                                                                        \
                for (int i = 0; i < WG; i++)                                                                           \
                    s += partial[t][i];                                                                                \
                if (row + t / WROWS < m && first + t % WROWS < n)                                                      \
                    STORE(s, row + t / WROWS, first + t % WROWS);                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

#define ROWS(T, TYPE)                                                                                                  \
    ROWS_GROUP(rows1_##T, T, TYPE, 1)                                                                                  \
    ROWS_GROUP(rows4_##T, T, TYPE, 4)

#endif

ROWS(f32, float)
ROWS(f16, half)
ROWS(q8_0, uchar)
ROWS(q4_0, uchar)
