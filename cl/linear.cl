/* Products with few rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by reading w once; on CPUs, with
 * quantised weights, those of any number of rows.
 * w is a piece of n rows of a weight; y and residual have rows of ldy elements, and the piece starts at column
 * `column`.  A sum's order depends on k alone, never on m or on the kernel, so a row's result is the same bit for bit
 * whatever rows stand beside it.
 *
 * Each kernel is a file that is included for each type of w:
 * CPU: linear_float.clh: rows_T, F32 and F16, in tiles of up to 3 x 8 (linear_float_tile.clh) and 6 x 4 sums
 *      (linear_float_tall.clh).
 *      linear_quantised.clh: Q8_0 and Q4_0, in tiles of 4 x 32 sums (linear_quantised_tile.clh), and their panels.
 * GPU: linear_group.clh: rows1_T, rows2_T and rows4_T, so many rows of x at a time; rows_T, of weights that begin
 *      anywhere and of quantised ones in the file's order (linear_group_rows.clh).
 *
 * Tunables: WG (GPU), work-items that share a row (common.cl); those of constants.h. */

#define ROWS_ARGUMENTS(X, T)                                                                                           \
    IN(X, x), IN(T, w), IN(float, b), IN(float, residual), OUT(float, y), const int m, const int n, const int k,       \
        const int act, const int ldy, const int column, const int each

#if CPU

#define PASS                                                                                                           \
    x_buffer, x_at, w_buffer, w_at, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, m, n, k, act, ldy,   \
        column, each

/* 8 rows of w pass by in pieces of CHUNK columns, which stay in the nearest cache for all rows of x; what comes
 * LINEAR_AHEAD columns later is asked for early, and where rows are no longer than that, what stands 8 rows further on.
 */
#if LINEAR_CHUNK
#define CHUNK LINEAR_CHUNK
#elif defined(FETCHES)
#define CHUNK 384
#else
#define CHUNK 1024
#endif
#if LINEAR_AHEAD
#define AHEAD(p) FETCH((p) + ahead)
#else
#define AHEAD(p)
#endif
#define CHUNK_ROWS 32 /* of x, whose sums are kept meanwhile */

/* Xn(F, ...): F(i, ...) for n rows of x.  Sums are variables with names, as some compilers keep arrays in memory. */
#define X1(F, ...) F(0, __VA_ARGS__)
#define X2(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__)
#define X3(F, ...) X2(F, __VA_ARGS__) F(2, __VA_ARGS__)
#define X4(F, ...) X2(F, __VA_ARGS__) F(2, __VA_ARGS__) F(3, __VA_ARGS__)
#define X5(F, ...) X4(F, __VA_ARGS__) F(4, __VA_ARGS__)
#define X6(F, ...) X4(F, __VA_ARGS__) F(4, __VA_ARGS__) F(5, __VA_ARGS__)
#define X8(F, ...) X6(F, __VA_ARGS__) F(6, __VA_ARGS__) F(7, __VA_ARGS__)

/* The sums of each, as sum16 adds them up. */
inline float4 sums4(const float16 *v)
{
    float8 a = v[0].lo + HIGH(v[0]), b = v[1].lo + HIGH(v[1]), c = v[2].lo + HIGH(v[2]), d = v[3].lo + HIGH(v[3]);
    float4 e = a.lo + a.hi, f = b.lo + b.hi, g = c.lo + c.hi, h = d.lo + d.hi;
    float4 t = (float4)(e.x, e.y, f.x, f.y) + (float4)(e.z, e.w, f.z, f.w);
    float4 u = (float4)(g.x, g.y, h.x, h.y) + (float4)(g.z, g.w, h.z, h.w);
    return (float4)(t.x, t.z, u.x, u.z) + (float4)(t.y, t.w, u.y, u.w);
}

/* Of two vectors the 4 numbers of one of each 8 places side by side, and of the other; then of one of each 4 places. */
#define FOURS(a, b, i, j, k, l, m, n, o, p)                                                                            \
    (float16)((a).s##i, (a).s##j, (a).s##k, (a).s##l, (a).s##m, (a).s##n, (a).s##o, (a).s##p, (b).s##i, (b).s##j,      \
              (b).s##k, (b).s##l, (b).s##m, (b).s##n, (b).s##o, (b).s##p)
#define TWOS(a, b, i, j, k, l, m, n, o, p)                                                                             \
    (float16)((a).s##i, (a).s##j, (b).s##i, (b).s##j, (a).s##k, (a).s##l, (b).s##k, (b).s##l, (a).s##m, (a).s##n,      \
              (b).s##m, (b).s##n, (a).s##o, (a).s##p, (b).s##o, (b).s##p)
#define EIGHTS(x, y) FOURS(x, y, 0, 1, 2, 3, 4, 5, 6, 7) + FOURS(x, y, 8, 9, a, b, c, d, e, f)

/* The sums of each as sum16 adds them up, by whole vectors. */
inline float8 sums8(float16 a, float16 b, float16 c, float16 d, float16 e, float16 f, float16 g, float16 h)
{
    const float16 ab = EIGHTS(a, b), cd = EIGHTS(c, d), ef = EIGHTS(e, f), gh = EIGHTS(g, h);
    const float16 p = FOURS(ab, cd, 0, 1, 2, 3, 8, 9, a, b) + FOURS(ab, cd, 4, 5, 6, 7, c, d, e, f),
                  q = FOURS(ef, gh, 0, 1, 2, 3, 8, 9, a, b) + FOURS(ef, gh, 4, 5, 6, 7, c, d, e, f);
    const float16 t = TWOS(p, q, 0, 1, 4, 5, 8, 9, c, d) + TWOS(p, q, 2, 3, 6, 7, a, b, e, f); /* a, e, b, f, … */
    return (float8)(t.s0, t.s4, t.s8, t.sc, t.s2, t.s6, t.sa, t.se) +
           (float8)(t.s1, t.s5, t.s9, t.sd, t.s3, t.s7, t.sb, t.sf);
}

/* PAIRSn(F): F(i, j) of pairs of rows, in which all n are. */
#define PAIRS3(F) F(0, 1) F(1, 2)
#define PAIRS4(F) F(0, 1) F(2, 3)
#define PAIRS5(F) PAIRS4(F) F(3, 4)
#define PAIRS6(F) PAIRS4(F) F(4, 5)

#define FLOAT_T    f32
#define FLOAT_TYPE float
#include "linear_float.clh"
#define FLOAT_T    f16
#define FLOAT_TYPE half
#include "linear_float.clh"

/* ---- quantised weights ----
 * x is quantised too, as quantise() leaves it, so that products are sums of pairs of 16-bit integers, for which CPUs
 * have instructions.  The error of x is within 2^-16 of the largest of its block of 32.
 *
 * A panel is 16 rows of w, the last one filled up; it has for each block of 32 columns their 16 scales, then vectors of
 * a pair of neighbouring columns for each row: Q8_0 16 of them, Q4_0 8, as pair t in the low and pair t + 8 in the high
 * nibbles.  So a vector's lanes are rows of w, and need no adding up. */

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

/* Pn(F, ...): F(j, ...) for n panels. */
#define P1(F, ...) F(0, __VA_ARGS__)
#define P2(F, ...) F(0, __VA_ARGS__) F(1, __VA_ARGS__)

#define QUANTISED_T      q8_0
#define QUANTISED_BITS   8
#define QUANTISED_PACKED 0
#include "linear_quantised.clh"
#define QUANTISED_T      q8_0
#define QUANTISED_BITS   8
#define QUANTISED_PACKED 1
#include "linear_quantised.clh"
#define QUANTISED_T      q4_0
#define QUANTISED_BITS   4
#define QUANTISED_PACKED 0
#include "linear_quantised.clh"
#define QUANTISED_T      q4_0
#define QUANTISED_BITS   4
#define QUANTISED_PACKED 1
#include "linear_quantised.clh"

#else

#define TEAM    WG
#define W_END   n
#define W_FROM  AT(w)
#define W_TALL  n
#define X_SPACE __global
#define STORE(v, row, col)                                                                                             \
    store_sum(v, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, row, col, act, ldy, column)
#include "linear_rows.clh"

#define GROUP_T    f32
#define GROUP_TYPE float
#define GROUP_BITS 0
#include "linear_group_rows.clh"
#define GROUP_T    f16
#define GROUP_TYPE half
#define GROUP_BITS 0
#include "linear_group_rows.clh"
#define GROUP_T    q8_0
#define GROUP_TYPE uchar
#define GROUP_BITS 8
#include "linear_group_rows.clh"
#define GROUP_T    q4_0
#define GROUP_TYPE uchar
#define GROUP_BITS 4
#include "linear_group_rows.clh"

/* Panels of quantised weights (linear_group.clh): a work-item makes a word of one row of w, 4 of them neighbours. */
#define PANELS(T, BITS)                                                                                                \
    __kernel void panels_##T(IN(uchar, w), OUT(uchar, panels), const int n, const int k)                               \
    {                                                                                                                  \
        const int t = get_global_id(0), panel = get_global_id(1), block = t / (4 * BITS), word = t / 4 % BITS;         \
        __global const ushort *from = (__global const ushort *)AT(w) +                                                 \
                                      ((size_t)min(panel * 4 + t % 4, n - 1) * (k / 32) + block) * (1 + 2 * BITS);     \
        const size_t at = (size_t)panel * (k / 32) + block;                                                            \
        if (block >= k / 32)                                                                                           \
            return;                                                                                                    \
        ((__global uint *)AT(panels))[at * 4 * BITS + t % (4 * BITS)] = from[1 + 2 * word] | (uint)from[2 + 2 * word]  \
                                                                                                 << 16;                \
        if (word == 0)                                                                                                 \
            ((__global ushort *)(AT(panels) + (size_t)((n + 3) / 4) * (k / 2) * BITS))[at * 4 + t % 4] = from[0];      \
    }
PANELS(q8_0, 8)
PANELS(q4_0, 4)

/* Rows `first` to first + count - 1 of w in panels, as floats for products with many rows: in panels of `lanes` rows,
 * panel p from lanes p rows on, with zeros behind the last row (gemm.cl); lanes 1: as rows. */
#define FLOATS(T, BITS, LOW, MORE)                                                                                     \
    __kernel void floats_##T(IN(uchar, w), OUT(float, y), const int n, const int k, const int first, const int count,  \
                             const int lanes, const int panel)                                                         \
    {                                                                                                                  \
        const int row = get_global_id(lanes > 1 ? 0 : 1), t = get_global_id(lanes > 1 ? 1 : 0), from = first + row;    \
        const int block = t / BITS, column = block * 32 + t % BITS * 4;                                                \
        __global float *to = AT(y) + ((size_t)(panel + row / lanes) * k + column) * lanes + row % lanes;               \
        if (block >= k / 32)                                                                                           \
            return;                                                                                                    \
        const size_t at = (size_t)(min(from, n - 1) / 4) * (k / 32) + block;                                           \
        const uint v = ((__global const uint *)AT(w))[(at * BITS + t % BITS) * 4 + from % 4];                          \
        float d = 0.0f;                                                                                                \
        if (row < count)                                                                                               \
            d = vload_half(at * 4 + from % 4,                                                                          \
                           (__global const half *)(AT(w) + (size_t)((n + 3) / 4) * (k / 2) * BITS));                   \
        for (int i = 0; i < 4; i++) {                                                                                  \
            const uchar byte = v >> 8 * i;                                                                             \
            to[i * lanes] = d * LOW;                                                                                   \
            MORE;                                                                                                      \
        }                                                                                                              \
    }
FLOATS(q8_0, 8, (float)as_char(byte), )
FLOATS(q4_0, 4, (float)(byte % 16 - 8), to[(i + 16) * lanes] = d * (float)(byte / 16 - 8))

#endif
