/* Products with few rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by reading w once; on CPUs, with
 * quantised weights, those of any number of rows.
 * w is a piece of n rows of a weight; y and residual have rows of ldy elements, and the piece starts at column
 * `column`.  A sum's order depends on k alone, never on m or on the kernel, so a row's result is the same bit for bit
 * whatever rows stand beside it.
 *
 * CPU: rows_T: a work-item computes `each` times 16 rows of w for all m, in tiles of 3 x 8 sums that are 16 wide.
 * Quantised weights have kernels of their own, further down.
 * else: rows1_T: one row of x at a time; rows4_T: four at a time, for m >= 4.  A work-group computes 4 rows of w, its
 * WG work-items striding over k by 4; the partial sums meet in local memory. */

#define ROWS_ARGUMENTS(X, T)                                                                                           \
    IN(X, x), IN(T, w), IN(float, b), IN(float, residual), OUT(float, y), const int m, const int n, const int k,       \
        const int act, const int ldy, const int column, const int each

#if CPU

#define PASS                                                                                                           \
    x_buffer, x_at, w_buffer, w_at, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, m, n, k, act, ldy,   \
        column, each

/* 8 rows of w pass by in pieces of CHUNK columns, which stay in the nearest cache for all rows of x; what comes 512
 * columns later is asked for early where that is an instruction, and not a call. */
#if defined(__AVX2__) && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define AHEAD(p) __builtin_prefetch((const void *)(size_t)(p));
#define CHUNK    384
#endif
#endif
#ifndef AHEAD
#define AHEAD(p)
#define CHUNK 1024
#endif

/* Xn(F, ...): F(i, ...) for n rows of x; W8(F, ...): F(j, ...) for 8 rows of w.  Sums are named variables, not arrays:
 * some compilers keep arrays in memory. */
#define X1(F, ...) F(0, __VA_ARGS__)
#define X2(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__)
#define X3(F, ...) X2(F, __VA_ARGS__) F(2, __VA_ARGS__)
#define X4(F, ...) X2(F, __VA_ARGS__) F(2, __VA_ARGS__) F(3, __VA_ARGS__)
#define W8(F, ...)                                                                                                     \
    F(0, __VA_ARGS__) F(1, __VA_ARGS__) F(2, __VA_ARGS__) F(3, __VA_ARGS__)                                            \
    F(4, __VA_ARGS__) F(5, __VA_ARGS__) F(6, __VA_ARGS__) F(7, __VA_ARGS__)

#define X_ROW(i, T)        __global const float *x##i = AT(x) + (size_t)(row + i) * k;
#define W_ROW(j, TYPE)     __global const TYPE *w##j = AT(w) + (size_t)min(first + j, n - 1) * k;
#define SUM(i, j)          float16 s##i##j = sums[i * 8 + j];
#define KEEP(i, j)         sums[i * 8 + j] = s##i##j;
#define EACH_SUM(j, EACH_X, F) EACH_X(F, j)
#define X_NEXT(i, T)       const float16 v##i = vload16(0, x##i + c);
#define ADD_NEXT(i, j)     s##i##j = MAD(wv, v##i, s##i##j);
#define W_NEXT(j, T, EACH_X)                                                                                           \
    AHEAD(w##j + c + 512)                                                                                              \
    wv = load16_##T(w##j, c);                                                                                          \
    EACH_X(ADD_NEXT, j)

/* Columns `from` to `to` of some rows of x from row `row`, and of 8 rows of w, those beyond n the last one again. */
#define ROWS_BLOCK(NAME, T, TYPE, EACH_X)                                                                              \
    inline void NAME(ROWS_ARGUMENTS(float, TYPE), const int first, const int row, const int from, const int to,        \
                     float16 *sums)                                                                                    \
    {                                                                                                                  \
        W8(W_ROW, TYPE)                                                                                                \
        EACH_X(X_ROW, T)                                                                                               \
        W8(EACH_SUM, EACH_X, SUM)                                                                                      \
        for (int c = from; c < to; c += 16) {                                                                          \
            float16 wv;                                                                                                \
            EACH_X(X_NEXT, T)                                                                                          \
            W8(W_NEXT, T, EACH_X)                                                                                      \
        }                                                                                                              \
        W8(EACH_SUM, EACH_X, KEEP)                                                                                     \
    }

/* The sums of each, as sum16 adds them up. */
inline float4 sums4(const float16 *v)
{
    float8 a = v[0].lo + HIGH(v[0]), b = v[1].lo + HIGH(v[1]), c = v[2].lo + HIGH(v[2]), d = v[3].lo + HIGH(v[3]);
    float4 e = a.lo + a.hi, f = b.lo + b.hi, g = c.lo + c.hi, h = d.lo + d.hi;
    float4 t = (float4)(e.x, e.y, f.x, f.y) + (float4)(e.z, e.w, f.z, f.w);
    float4 u = (float4)(g.x, g.y, h.x, h.y) + (float4)(g.z, g.w, h.z, h.w);
    return (float4)(t.x, t.z, u.x, u.z) + (float4)(t.y, t.w, u.y, u.w);
}

/* 16 rows of w from `first`, for up to CHUNK_ROWS rows of x from `start`. */
#define CHUNK_ROWS 32
#define FEW_ROWS(T, TYPE)                                                                                              \
    ROWS_BLOCK(block1_##T, T, TYPE, X1)                                                                                \
    ROWS_BLOCK(block2_##T, T, TYPE, X2)                                                                                \
    ROWS_BLOCK(block3_##T, T, TYPE, X3)                                                                                \
    inline void some_rows_##T(ROWS_ARGUMENTS(float, TYPE), const int first, const int start, const int rows)           \
    {                                                                                                                  \
        const int whole = k & ~15, chunk = rows > 3 ? CHUNK : whole;                                                   \
        float16 sums[CHUNK_ROWS * 8];                                                                                  \
        float results[CHUNK_ROWS * 16];                                                                                \
        for (int eight = 0; eight < 16 && first + eight < n; eight += 8) {                                             \
            for (int i = 0; i < rows * 8; i++)                                                                         \
                sums[i] = 0.0f;                                                                                        \
            for (int from = 0; from < whole; from += chunk) {                                                          \
                const int to = min(whole, from + chunk);                                                               \
                int row = 0;                                                                                           \
                for (; row + 3 <= rows; row += 3)                                                                      \
                    block3_##T(PASS, first + eight, start + row, from, to, sums + row * 8);                            \
                if (row + 2 <= rows)                                                                                   \
                    block2_##T(PASS, first + eight, start + row, from, to, sums + row * 8);                            \
                else if (row < rows)                                                                                   \
                    block1_##T(PASS, first + eight, start + row, from, to, sums + row * 8);                            \
            }                                                                                                          \
            for (int i = 0; i < rows * 2; i++)                                                                         \
                vstore4(sums4(sums + i * 4), 0, results + i / 2 * 16 + eight + i % 2 * 4);                             \
        }                                                                                                              \
        for (int row = 0; row < rows; row++) {                                                                         \
            for (int c = whole; c < k; c++)                                                                            \
                for (int j = 0; j < min(16, n - first); j++)                                                           \
                    results[row * 16 + j] = MAD(load1_##T(AT(w), (size_t)(first + j) * k + c),                         \
                                                AT(x)[(size_t)(start + row) * k + c], results[row * 16 + j]);          \
            size_t at = (size_t)(start + row) * ldy + column + first;                                                  \
            tile_store(vload16(row, results), b_buffer ? AT(b) + column + first : 0,                                   \
                       residual_buffer ? AT(residual) + at : 0, AT(y) + at, n - first, act);                           \
        }                                                                                                              \
    }                                                                                                                  \
    CPU_KERNEL void rows_##T(ROWS_ARGUMENTS(float, TYPE))                                                              \
    {                                                                                                                  \
        for (int i = 0, first = get_global_id(0) * LINEAR_W_ROWS_CPU * each; i < each && first < n;                    \
             i++, first += LINEAR_W_ROWS_CPU)                                                                          \
            for (int start = 0; start < m; start += CHUNK_ROWS)                                                        \
                some_rows_##T(PASS, first, start, min(CHUNK_ROWS, m - start));                                         \
    }
FEW_ROWS(f32, float)
FEW_ROWS(f16, half)

/* ---- quantised weights ----
 * x is quantised too, as quantise() leaves it, so that products are sums of pairs of 16-bit integers, for which CPUs
 * have instructions.  The error of x is within 2^-16 of the largest of its block of 32.
 *
 * A panel is 16 rows of w, the last one filled up; it has for each block of 32 columns their 16 scales, then vectors of
 * a pair of neighbouring columns for each row: Q8_0 16 of them, Q4_0 8, as pair t in the low and pair t + 8 in the high
 * nibbles.  So a vector's lanes are rows of w, and need no adding up. */

#define BLOCK_OF_q8_0 34
#define BLOCK_OF_q4_0 18
#define VECTORS_q8_0  16
#define VECTORS_q4_0  8

/* The largest magnitude; NaN where there is one.  By integers: some compilers take a * 0 for 0. */
inline float largest(float16 a, float16 b)
{
    float16 v = as_float16(max(as_int16(fabs(a)), as_int16(fabs(b))));
    int8 c = max(as_int8(v.lo), as_int8(HIGH(v)));
    int4 d = max(c.lo, c.hi);
    return as_float(max(max(d.x, d.y), max(d.z, d.w)));
}

/* x as integers, 32767 for the largest of a block; a scale that isn't finite makes products so.  A work-item takes 32
 * blocks. */
CPU_KERNEL void quantise(IN(float, x), OUT(int, q), const int blocks)
{
    const int first = get_global_id(0) * LINEAR_QUANTISE_BLOCKS;
    for (int block = first; block < min(blocks, first + LINEAR_QUANTISE_BLOCKS); block++) {
        float16 a = vload16(0, AT(x) + (size_t)block * 32), b = vload16(1, AT(x) + (size_t)block * 32);
        __global int *to = AT(q) + (size_t)block * LINEAR_X_BLOCK;
        float most = largest(a, b);
        float inverse = most > 0x1p-100f ? 32767.0f / most : 0.0f;
        const float16 rounds = 0x1.8p23f; /* integers are a float's last bits there */
        a = MAD(a, (float16)(inverse), rounds);
        b = MAD(b, (float16)(inverse), rounds);
        vstore16(convert_short16(as_int16(a)), 0, (__global short *)to);
        vstore16(convert_short16(as_int16(b)), 1, (__global short *)to);
        to[16] = as_int(most / 32767.0f);
        to[17] = (int)sum16((a - rounds) + (b - rounds));
    }
}

/* Halves that are finite, as floats, by integers: some compilers make 20 instructions of one vload_half.  No denormal
 * float is met. */
inline float16 halves(ushort16 bytes)
{
    int16 h = convert_int16(as_short16(bytes));
    int16 bits = (h & 0x7fff) << 13; /* exponent and mantissa where a float has them; its exponent is larger by 112 */
    float16 faint = as_float16(bits + (113 << 23)) - 0x1p-14f, f = as_float16(bits + (112 << 23));
    f = bits < (int16)(1 << 23) ? faint : f;
    return h < 0 ? -f : f;
}

/* A pair of columns for 16 rows of w, and the sums of its products with a pair of x: by one instruction of 512 bits
 * where the compiler has it by name, else two of 256, which compilers also find themselves. */
#if defined(__AVX512BW__) && defined(__has_builtin)
#if __has_builtin(__builtin_ia32_pmaddwd512)
#define PAIRS_512
#define LOAD_LANES(t, p) vload16(t, p)
typedef short lanes __attribute__((ext_vector_type(32)));
typedef char chars __attribute__((ext_vector_type(32)));
typedef uchar uchars __attribute__((ext_vector_type(32)));
typedef ushort ulanes __attribute__((ext_vector_type(32)));
inline lanes lanes_of(ushort16 bytes)
{
    return __builtin_convertvector(__builtin_astype(bytes, chars), lanes);
}
inline lanes ulanes_of(ushort16 bytes)
{
    return __builtin_astype(__builtin_convertvector(__builtin_astype(bytes, uchars), ulanes), lanes);
}
inline lanes masked(lanes w)
{
    return w & (lanes)15;
}
inline lanes shifted(lanes w)
{
    return w >> (lanes)4;
}
inline int16 pairs(lanes w, int x)
{
    return __builtin_astype(__builtin_ia32_pmaddwd512(w, __builtin_astype((int16)x, lanes)), int16);
}
#endif
#endif
#ifndef PAIRS_512
#define LOAD_LANES(t, p) vload8(2 * (t), p), vload8(2 * (t) + 1, p)
typedef struct lanes {
    short16 lo, hi;
} lanes;
inline lanes lanes_of(ushort8 lo, ushort8 hi)
{
    lanes v = {convert_short16(as_char16(lo)), convert_short16(as_char16(hi))};
    return v;
}
inline lanes ulanes_of(ushort8 lo, ushort8 hi)
{
    lanes v = {as_short16(convert_ushort16(as_uchar16(lo))), as_short16(convert_ushort16(as_uchar16(hi)))};
    return v;
}
inline lanes masked(lanes w)
{
    w.lo &= (short16)15;
    w.hi &= (short16)15;
    return w;
}
inline lanes shifted(lanes w)
{
    w.lo >>= (short16)4;
    w.hi >>= (short16)4;
    return w;
}
inline int8 pairs8(short16 a, short16 b)
{
#if defined(__AVX2__) && defined(__has_builtin)
#if __has_builtin(__builtin_ia32_pmaddwd256)
#define HAS_PAIRS
    return __builtin_astype(__builtin_ia32_pmaddwd256(a, b), int8);
#endif
#endif
#ifndef HAS_PAIRS
    int16 p = convert_int16(a) * convert_int16(b);
    return (int8)(p.s0, p.s2, p.s4, p.s6, p.s8, p.sa, p.sc, p.se) +
           (int8)(p.s1, p.s3, p.s5, p.s7, p.s9, p.sb, p.sd, p.sf);
#endif
}
inline int16 pairs(lanes w, int x)
{
    short16 pair = as_short16((int8)x);
    int16 v = 0;
    v.lo = pairs8(w.lo, pair);
    v.hi = pairs8(w.hi, pair);
    return v;
}
#endif

/* 16 rows of w from `first` (beyond the last, that one again), as a block of a panel. */
#define BLOCK_OF_ROWS(T, to, w, block, first)                                                                          \
    for (int j = 0; j < 16; j++) {                                                                                     \
        __global const ushort *from = (__global const ushort *)((w) + ((size_t)min((first) + j, n - 1) * (k / 32) +    \
                                                                       (block)) * BLOCK_OF_##T);                       \
        for (int t = 0; t <= VECTORS_##T; t++)                                                                         \
            (to)[16 * t + j] = from[t];                                                                                \
    }

/* A tile is some rows of x times one or two panels; Pn(F, ...): F(j, ...) for n panels. */
#define P1(F, ...) F(0, __VA_ARGS__)
#define P2(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__)

/* The sums of row i with the rows of panel j; the integers of a block are added up in l.  Q4_0's nibbles are too large
 * by 8. */
#define X_BLOCKS(i, T)     __global const int *x##i = AT(x) + (size_t)(row + i) * (k / 32) * LINEAR_X_BLOCK;
#define X_NEXT_BLOCK(i, T) x##i += LINEAR_X_BLOCK;
#define BEGIN_q8_0(i, j)   int16 l##i##j = 0;
#define BEGIN_q4_0(i, j)   int16 l##i##j = -8 * x##i[17];
#define START_SUM(i, j)    float16 s##i##j = 0.0f;
#define ADD(j, i, t)       l##i##j += pairs(w##j, x##i[t]);
#define SCALE(i, j, T)     s##i##j = MAD(convert_float16(l##i##j), d * as_float(x##i[16]), s##i##j);
#define STORE_SUM(i, j)                                                                                                \
    {                                                                                                                  \
        size_t at = (size_t)(row + i) * ldy + column + first + 16 * j;                                                 \
        tile_store(s##i##j, b_buffer ? AT(b) + column + first + 16 * j : 0, residual_buffer ? AT(residual) + at : 0,   \
                   AT(y) + at, n - first - 16 * j, act);                                                               \
    }

/* Panel j: its block of w where it lies, or made from the file's order; with the rows of EACH_X. */
#define panels_SPACE __global
#define rows_SPACE
#define POINT_panels(j, T)                                                                                             \
    __global const uchar *b##j = AT(w) + (size_t)min(first + 16 * j, n - 1) / 16 * 16 * (k / 32) * BLOCK_OF_##T;
#define NEXT_panels(j, T)  b##j += 16 * BLOCK_OF_##T;
#define FETCH_panels(j, T)
#define POINT_rows(j, T)                                                                                               \
    ushort tile##j[8 * BLOCK_OF_##T] __attribute__((aligned(64)));                                                     \
    const uchar *b##j = (const uchar *)tile##j;
#define NEXT_rows(j, T)
#define FETCH_rows(j, T) BLOCK_OF_ROWS(T, tile##j, AT(w), c, first + 16 * j)

#define AT_VECTORS(j, ORDER)     (ORDER##_SPACE const ushort *)b##j
#define VECTOR_q8_0(j, ORDER, t)   lanes w##j = lanes_of(LOAD_LANES((t) + 1, AT_VECTORS(j, ORDER)));
#define VECTOR_q4_0(j, ORDER, t)   lanes w##j = masked(ulanes_of(LOAD_LANES((t) + 1, AT_VECTORS(j, ORDER))));
#define HIGH_NIBBLES(j, ORDER, t)  lanes w##j = shifted(ulanes_of(LOAD_LANES((t) + 1, AT_VECTORS(j, ORDER))));
#define ROW_ADD(i, EACH_P, t)      EACH_P(ADD, i, t)
#define VECTORS_AT_q8_0(EACH_X, EACH_P, ORDER)                                                                         \
    {                                                                                                                  \
        EACH_P(VECTOR_q8_0, ORDER, 2 * t)                                                                              \
        EACH_X(ROW_ADD, EACH_P, 2 * t)                                                                                 \
    }                                                                                                                  \
    EACH_P(VECTOR_q8_0, ORDER, 2 * t + 1)                                                                              \
    EACH_X(ROW_ADD, EACH_P, 2 * t + 1)
#define VECTORS_AT_q4_0(EACH_X, EACH_P, ORDER)                                                                         \
    {                                                                                                                  \
        EACH_P(VECTOR_q4_0, ORDER, t)                                                                                  \
        EACH_X(ROW_ADD, EACH_P, t)                                                                                     \
    }                                                                                                                  \
    EACH_P(HIGH_NIBBLES, ORDER, t)                                                                                     \
    EACH_X(ROW_ADD, EACH_P, t + 8)
#define ROWS_SUM(j, EACH_X)          EACH_X(START_SUM, j)
#define ROWS_BEGIN(j, T, EACH_X)     EACH_X(BEGIN_##T, j)
#define ROWS_STORE(j, EACH_X)        EACH_X(STORE_SUM, j)
#define ROWS_SCALE(j, T, ORDER, EACH_X)                                                                                \
    {                                                                                                                  \
        const float16 d = halves(vload16(0, AT_VECTORS(j, ORDER)));                                                    \
        EACH_X(SCALE, j, T)                                                                                            \
    }

#define QUANTISED_TILE(NAME, T, ORDER, EACH_X, EACH_P)                                                                 \
    inline void NAME(ROWS_ARGUMENTS(int, uchar), const int first, const int row)                                       \
    {                                                                                                                  \
        EACH_X(X_BLOCKS, T)                                                                                            \
        EACH_P(POINT_##ORDER, T)                                                                                       \
        EACH_P(ROWS_SUM, EACH_X)                                                                                       \
        for (int c = 0; c < k / 32; c++) {                                                                             \
            EACH_P(FETCH_##ORDER, T)                                                                                   \
            EACH_P(ROWS_BEGIN, T, EACH_X)                                                                              \
            UNROLL                                                                                                     \
            for (int t = 0; t < 8; t++) {                                                                              \
                VECTORS_AT_##T(EACH_X, EACH_P, ORDER)                                                                  \
            }                                                                                                          \
            EACH_P(ROWS_SCALE, T, ORDER, EACH_X)                                                                       \
            EACH_P(NEXT_##ORDER, T)                                                                                    \
            EACH_X(X_NEXT_BLOCK, T)                                                                                    \
        }                                                                                                              \
        EACH_P(ROWS_STORE, EACH_X)                                                                                     \
    }

/* A work-item takes `each` pairs of panels, 4 rows of x at once while there are as many. */
#define QUANTISED(T, ORDER)                                                                                            \
    QUANTISED_TILE(ORDER##1_##T, T, ORDER, X1, P1)                                                                     \
    QUANTISED_TILE(ORDER##2_##T, T, ORDER, X2, P1)                                                                     \
    QUANTISED_TILE(ORDER##4_##T, T, ORDER, X4, P2)                                                                     \
    CPU_KERNEL void quantised_##ORDER##_##T(ROWS_ARGUMENTS(int, uchar))                                                \
    {                                                                                                                  \
        const int end = min(m, (int)(get_global_id(1) + 1) * LINEAR_QUANTISED_ROWS);                                   \
        const int wide = LINEAR_PANEL * LINEAR_QUANTISED_PANELS;                                                       \
        for (int i = 0, first = get_global_id(0) * wide * each; i < each && first < n; i++, first += wide) {           \
            int row = get_global_id(1) * LINEAR_QUANTISED_ROWS;                                                        \
            for (; row + 4 <= end; row += 4)                                                                           \
                ORDER##4_##T(PASS, first, row);                                                                        \
            for (int panel = first; panel < min(n, first + wide); panel += LINEAR_PANEL) {                             \
                if (end - row >= 2)                                                                                    \
                    ORDER##2_##T(PASS, panel, row);                                                                    \
                if ((end - row) % 2)                                                                                   \
                    ORDER##1_##T(PASS, panel, end - 1);                                                                \
            }                                                                                                          \
        }                                                                                                              \
    }

#define QUANTISED_TYPE(T)                                                                                              \
    QUANTISED(T, rows)                                                                                                 \
    QUANTISED(T, panels)                                                                                               \
    __kernel void panels_##T(IN(uchar, w), OUT(uchar, panels), const int n, const int k)                               \
    {                                                                                                                  \
        const int first = get_global_id(0) * 16;                                                                       \
        __global ushort *to = (__global ushort *)(AT(panels) + (size_t)first * (k / 32) * BLOCK_OF_##T);               \
        for (int c = 0; c < k / 32; c++, to += 8 * BLOCK_OF_##T)                                                       \
            BLOCK_OF_ROWS(T, to, AT(w), c, first)                                                                      \
    }
QUANTISED_TYPE(q8_0)
QUANTISED_TYPE(q4_0)

#else

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

/* Rows of x beyond m repeat the last and are not stored. */
#define ROWS_GROUP(NAME, T, TYPE, MB)                                                                                  \
    __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void NAME(ROWS_ARGUMENTS(float, TYPE))                    \
    {                                                                                                                  \
        __local float partial[MB * LINEAR_W_ROWS_GPU][WG + 1];                                                         \
        int l = get_local_id(0), first = GROUP(0) * LINEAR_W_ROWS_GPU, whole = k & ~3;                                 \
        for (int row = 0; row < m; row += MB) {                                                                        \
            float sum[MB][LINEAR_W_ROWS_GPU];                                                                          \
            UNROLL                                                                                                     \
            for (int i = 0; i < MB; i++)                                                                               \
                UNROLL                                                                                                 \
                for (int j = 0; j < LINEAR_W_ROWS_GPU; j++)                                                            \
                    sum[i][j] = 0.0f;                                                                                  \
            for (int c = l * 4; c < whole; c += WG * 4)                                                                \
                UNROLL                                                                                                 \
                for (int j = 0; j < LINEAR_W_ROWS_GPU; j++) {                                                          \
                    float4 wv = load4_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                               \
                    UNROLL                                                                                             \
                    for (int i = 0; i < MB; i++) {                                                                     \
                        float4 xv = vload4(0, AT(x) + (size_t)min(row + i, m - 1) * k + c);                            \
                        sum[i][j] = MAD(wv.x, xv.x, MAD(wv.y, xv.y, MAD(wv.z, xv.z, MAD(wv.w, xv.w, sum[i][j]))));     \
                    }                                                                                                  \
                }                                                                                                      \
            for (int c = whole + l; c < k; c += WG)                                                                    \
                UNROLL                                                                                                 \
                for (int j = 0; j < LINEAR_W_ROWS_GPU; j++) {                                                          \
                    float wv = load1_##T(AT(w), (size_t)min(first + j, n - 1) * k + c);                                \
                    UNROLL                                                                                             \
                    for (int i = 0; i < MB; i++)                                                                       \
                        sum[i][j] = MAD(wv, AT(x)[(size_t)min(row + i, m - 1) * k + c], sum[i][j]);                    \
                }                                                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            UNROLL                                                                                                     \
            for (int i = 0; i < MB; i++)                                                                               \
                UNROLL                                                                                                 \
                for (int j = 0; j < LINEAR_W_ROWS_GPU; j++)                                                            \
                    partial[i * LINEAR_W_ROWS_GPU + j][l] = sum[i][j];                                                 \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            for (int t = l; t < MB * LINEAR_W_ROWS_GPU; t += WG) {                                                     \
                float s = 0.0f;                                                                                        \
                for (int i = 0; i < WG; i++)                                                                           \
                    s += partial[t][i];                                                                                \
                if (row + t / LINEAR_W_ROWS_GPU < m && first + t % LINEAR_W_ROWS_GPU < n)                              \
                    STORE(s, row + t / LINEAR_W_ROWS_GPU, first + t % LINEAR_W_ROWS_GPU);                              \
            }                                                                                                          \
        }                                                                                                              \
    }

#define ROWS_TYPE(T, TYPE)                                                                                             \
    ROWS_GROUP(rows1_##T, T, TYPE, 1)                                                                                  \
    ROWS_GROUP(rows4_##T, T, TYPE, LINEAR_X_ROWS_GPU)
ROWS_TYPE(f32, float)
ROWS_TYPE(f16, half)
ROWS_TYPE(q8_0, uchar)
ROWS_TYPE(q4_0, uchar)

#endif
