/* Products with few rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by reading w once.
 *
 * rows1_T: one row of x at a time; rows4_T: four at a time, for m >= 4.  A sum's order depends on k alone, never on m or
 * on the kernel, so a row's result is the same bit for bit whatever rows stand beside it.
 * w is a piece of n rows of a weight; y and residual have rows of ldy elements, and the piece starts at column `column`.
 *
 * CPU: a work-item computes 8 (rows1) or 4 (rows4) rows of w for all m, with 16-wide partial sums.  w streams through
 * the nearest cache and drives x out of it: 8 rows of w halve what is read again of x.
 * else: a work-group computes 4, its WG work-items striding over k by 4; the partial sums meet in local memory. */

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

/* Sums are named variables, not arrays: some compilers keep arrays in memory.  Xn(F, ...): F(i, ...) for n rows of x;
 * Wn(F, ...): F(j, ...) for n rows of w. */
#define X1(F, ...) F(0, __VA_ARGS__)
#define X4(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__) F(2, __VA_ARGS__) F(3, __VA_ARGS__)
#define W4(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__) F(2, __VA_ARGS__) F(3, __VA_ARGS__)
#define W8(F, ...) W4(F, __VA_ARGS__) F(4, __VA_ARGS__) F(5, __VA_ARGS__) F(6, __VA_ARGS__) F(7, __VA_ARGS__)

#define ROW(i, T)     __global const float *x##i = AT(x) + (size_t)(row + i) * k;
#define START(j, T)   const size_t start##j = (size_t)min(first + j, n - 1) * k;
#define SUM(i, j)     float16 s##i##j = 0.0f;
#define SUMS(j, EACH) EACH(SUM, j)

/* From `whole` on a sum goes on by single elements. */
#define FINISH(j, T, EACH) EACH(PUT, j, T)
#define PUT(i, j, T)                                                                                                   \
    if (first + j < n) {                                                                                               \
        float s = sum16(s##i##j);                                                                                      \
        for (int c = whole; c < k; c++)                                                                                \
            s = MAD(load1_##T(AT(w), start##j + c), x##i[c], s);                                                       \
        STORE(s, row + i, first + j);                                                                                  \
    }

/* 16 elements at a time. */
#define WHOLE_PLAIN     (k & ~15)
#define X_PLAIN(i, T)   float16 v##i = vload16(0, x##i + c);
#define MAD_PLAIN(i, j) s##i##j = MAD(wv, v##i, s##i##j);
#define W_PLAIN(j, T, EACH)                                                                                            \
    wv = load16_##T(AT(w), start##j + c);                                                                              \
    EACH(MAD_PLAIN, j)
#define LOOP_PLAIN(T, EACH, EACH_W)                                                                                    \
    for (int c = 0; c < whole; c += 16) {                                                                              \
        float16 wv;                                                                                                    \
        EACH(X_PLAIN, T)                                                                                               \
        EACH_W(W_PLAIN, T, EACH)                                                                                       \
    }

/* A block of 32 at a time: its scale is read and multiplied once.  v, u: halves of the block of x in the order of q0 and
 * q1; z: what q0 and q1 have too much, times x. */
#define WHOLE_BLOCKS    k
#define X_BLOCK(i, T)   float16 v##i = X_##T(x##i + c), u##i = X_##T(x##i + c + 16), z##i = Z_##T(v##i + u##i);
#define MAD_BLOCK(i, j) s##i##j = MAD((float16)(d), MAD(q1, u##i, MAD(q0, v##i, z##i)), s##i##j);
#define AT_BLOCK(j, T)  __global const uchar *b##j = AT(w) + start##j / 32 * BYTES_##T;
#define W_BLOCK(j, T, EACH)                                                                                            \
    BLOCK_##T(b##j)                                                                                                    \
    EACH(MAD_BLOCK, j)                                                                                                 \
    b##j += BYTES_##T;
#define LOOP_BLOCKS(T, EACH, EACH_W)                                                                                   \
    EACH_W(AT_BLOCK, T)                                                                                                \
    for (int c = 0; c < k; c += 32) {                                                                                  \
        float16 q0, q1;                                                                                                \
        float d;                                                                                                       \
        EACH(X_BLOCK, T)                                                                                               \
        EACH_W(W_BLOCK, T, EACH)                                                                                       \
    }

/* A half that is finite, by integers: some compilers make 20 instructions of vload_half.  No denormal float is met. */
inline float half_at(__global const uchar *b)
{
    int h = *(__global const short *)b;
    int bits = (h & 0x7fff) << 13; /* exponent and mantissa where a float has them; its exponent is larger by 112 */
    float f = bits < 1 << 23 ? as_float(bits + (113 << 23)) - 0x1p-14f : as_float(bits + (112 << 23));
    return h < 0 ? -f : f;
}

#define BYTES_q8_0 34
#define X_q8_0(p)  vload16(0, p)
#define Z_q8_0(x)  ((float16)(0.0f))
#define BLOCK_q8_0(b)                                                                                                  \
    {                                                                                                                  \
        d = half_at(b);                                                                                                \
        q0 = convert_float16(as_char16(vload16(0, b + 2)));                                                            \
        q1 = convert_float16(as_char16(vload16(0, b + 18)));                                                           \
    }

/* v as 4 x 4 */
inline float16 transposed(float16 v) /* element by element: see common.cl on HIGH */
{
    return (float16)(v.s0, v.s4, v.s8, v.sc, v.s1, v.s5, v.s9, v.sd, v.s2, v.s6, v.sa, v.se, v.s3, v.s7, v.sb, v.sf);
}

/* The block's 16 bytes as 4 words, four times: the times differ in which byte of the word comes to the top of a float's
 * mantissa.  A nibble q becomes 1 + q / 16, so that d (q - 8) = 16 d (that - 1.5). */
#define BYTES_q4_0 18
#define X_q4_0(p)  transposed(vload16(0, p))
#define Z_q4_0(x)  ((x) * -1.5f)
#define LOW_LEFT   (uint16)(19, 19, 19, 19, 11, 11, 11, 11, 3, 3, 3, 3, 27, 27, 27, 27)
#define HIGH_LEFT  (uint16)(15, 15, 15, 15, 7, 7, 7, 7, 31, 31, 31, 31, 23, 23, 23, 23)
#define MANTISSA(q) as_float16(((q) & (uint16)(15 << 19)) | (uint16)(127 << 23))
#define BLOCK_q4_0(b)                                                                                                  \
    {                                                                                                                  \
        uint4 word = as_uint4(vload16(0, b + 2));                                                                      \
        uint16 words = word.s0123012301230123;                                                                         \
        d = 16.0f * half_at(b);                                                                                        \
        q0 = MANTISSA(rotate(words, LOW_LEFT));                                                                        \
        q1 = MANTISSA(rotate(words, HIGH_LEFT));                                                                       \
    }

/* Rows of x from row `row`; rows of w beyond n repeat the last and are not stored. */
#define ROWS_BLOCK(NAME, T, TYPE, KIND, EACH, EACH_W)                                                                  \
    inline void NAME(ROWS_ARGUMENTS(TYPE), const int first, const int row)                                             \
    {                                                                                                                  \
        const int whole = WHOLE_##KIND;                                                                                \
        EACH_W(START, T)                                                                                               \
        EACH(ROW, T)                                                                                                   \
        EACH_W(SUMS, EACH)                                                                                             \
        LOOP_##KIND(T, EACH, EACH_W)                                                                                   \
        EACH_W(FINISH, T, EACH)                                                                                        \
    }

#define PASS                                                                                                           \
    x_buffer, x_at, w_buffer, w_at, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, m, n, k, act, ldy,   \
        column

#define ROWS(T, TYPE, KIND)                                                                                            \
    ROWS_BLOCK(block1x8_##T, T, TYPE, KIND, X1, W8)                                                                    \
    ROWS_BLOCK(block1x4_##T, T, TYPE, KIND, X1, W4)                                                                    \
    ROWS_BLOCK(block4x4_##T, T, TYPE, KIND, X4, W4)                                                                    \
    __kernel void rows1_##T(ROWS_ARGUMENTS(TYPE))                                                                      \
    {                                                                                                                  \
        const int first = get_global_id(0) * 8;                                                                        \
        for (int row = 0; row < m; row++)                                                                              \
            block1x8_##T(PASS, first, row);                                                                            \
    }                                                                                                                  \
    __kernel void rows4_##T(ROWS_ARGUMENTS(TYPE))                                                                      \
    {                                                                                                                  \
        const int first = get_global_id(0) * 4;                                                                        \
        int row = 0;                                                                                                   \
        for (; row + 4 <= m; row += 4)                                                                                 \
            block4x4_##T(PASS, first, row);                                                                            \
        for (; row < m; row++)                                                                                         \
            block1x4_##T(PASS, first, row);                                                                            \
    }

#else

#define WROWS 4 /* rows of w at once */

/* Rows of x beyond m repeat the last and are not stored. */
#define ROWS_GROUP(NAME, T, TYPE, MB)                                                                                  \
    __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void NAME(ROWS_ARGUMENTS(TYPE))                           \
    {                                                                                                                  \
        __local float partial[MB * WROWS][WG + 1];                                                                     \
        int l = get_local_id(0), first = GROUP(0) * WROWS, whole = k & ~3;                                             \
        for (int row = 0; row < m; row += MB) {                                                                        \
            float sum[MB][WROWS];                                                                                      \
            UNROLL                                                                                                     \
            for (int i = 0; i < MB; i++)                                                                               \
                UNROLL                                                                                                 \
                for (int j = 0; j < WROWS; j++)                                                                        \
                    sum[i][j] = 0.0f;                                                                                  \
            for (int c = l * 4; c < whole; c += WG * 4)                                                                \
                UNROLL                                                                                                 \
                for (int j = 0; j < WROWS; j++) {                                                                      \
                    float4 wv = load4_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                               \
                    UNROLL                                                                                             \
                    for (int i = 0; i < MB; i++) {                                                                     \
                        float4 xv = vload4(0, AT(x) + (size_t)min(row + i, m - 1) * k + c);                            \
                        sum[i][j] = MAD(wv.x, xv.x, MAD(wv.y, xv.y, MAD(wv.z, xv.z, MAD(wv.w, xv.w, sum[i][j]))));     \
                    }                                                                                                  \
                }                                                                                                      \
            for (int c = whole + l; c < k; c += WG)                                                                    \
                UNROLL                                                                                                 \
                for (int j = 0; j < WROWS; j++) {                                                                      \
                    float wv = load1_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                                \
                    UNROLL                                                                                             \
                    for (int i = 0; i < MB; i++)                                                                       \
                        sum[i][j] = MAD(wv, AT(x)[(size_t)min(row + i, m - 1) * k + c], sum[i][j]);                    \
                }                                                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            UNROLL                                                                                                     \
            for (int i = 0; i < MB; i++)                                                                               \
                UNROLL                                                                                                 \
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

#define ROWS(T, TYPE, KIND)                                                                                            \
    ROWS_GROUP(rows1_##T, T, TYPE, 1)                                                                                  \
    ROWS_GROUP(rows4_##T, T, TYPE, 4)

#endif

ROWS(f32, float, PLAIN)
ROWS(f16, half, PLAIN)
ROWS(q8_0, uchar, BLOCKS)
ROWS(q4_0, uchar, BLOCKS)
