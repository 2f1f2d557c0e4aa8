/* What all kernels share: arguments, tunables, reductions, weights of every type, activations, random numbers.
 * Each kernel file is compiled as this text followed by its own.
 *
 * Tunables, set by the device layer:
 *   CPU   1: one work-item computes a whole tile with wide vectors; 0: work-groups share local memory
 *   WG    work-items that share a row's reduction, a power of two (1 where CPU)
 *   SIDE  side of the square work-group of tiled products
 *   ITEM  columns of a work-item of these, which makes 4 x ITEM sums
 *   SPLIT 1: register tiles in four parts, for fewer or shorter vector registers (CPU) */
/* Plain `inline` of C99 leaves a call to a function that is defined nowhere, where a compiler doesn't inline. */
#undef inline /* a macro of PoCL's */
#define inline static inline

#ifndef CPU
#define CPU 0
#endif
#ifndef WG
#define WG 64
#endif
#ifndef SIDE
#define SIDE 16
#endif
#ifndef ITEM
#define ITEM 8
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
/* Loops that compilers shouldn't unroll. */
#define ROLL _Pragma("unroll 1")

/* A tensor is passed as buffer and first element, since views start anywhere: IN(float, x), then AT(x). */
#define IN(T, name)  __global const T *name##_buffer, const uint name##_at
#define OUT(T, name) __global T *name##_buffer, const uint name##_at
#define AT(name)     (name##_buffer + name##_at)

/* Work-group index that includes the launch's offset: launches are split (device/launch.c). */
#define GROUP(d) (get_global_id(d) / get_local_size(d))

/* Arrays stay in registers only where all their indices are known. */
#define UNROLL _Pragma("unroll")

#ifdef FP_FAST_FMAF
#define MAD(a, b, c) fma(a, b, c)
#else /* not mad(): PoCL computes that in two steps where it contracts this to one */
#pragma OPENCL FP_CONTRACT ON
#define MAD(a, b, c) ((a) * (b) + (c))
#endif

/* Halves of a float16, element by element: `float16 v = 0.0f; y[0] = v.hi.s3;` writes what was never written in the eyes
 * of Oclgrind 21.10, which confuses a shuffle's element 11 with its mark of those.  Compilers make the same of both. */
#define HIGH(v) (float8)((v).s8, (v).s9, (v).sa, (v).sb, (v).sc, (v).sd, (v).se, (v).sf)
#define ODD(v)  (float8)((v).s1, (v).s3, (v).s5, (v).s7, (v).s9, (v).sb, (v).sd, (v).sf)

inline float sum16(float16 v)
{
    float8 a = v.lo + HIGH(v);
    float4 b = a.lo + a.hi;
    float2 c = b.lo + b.hi;
    return c.x + c.y;
}

inline float max16(float16 v)
{
    float8 a = fmax(v.lo, HIGH(v));
    float4 b = fmax(a.lo, a.hi);
    return fmax(fmax(b.x, b.y), fmax(b.z, b.w));
}

/* Sum, maximum over the WG work-items of a group; all of them call it and get the result.  t: WG floats. */
inline float group_sum(float v, __local float *t)
{
#if WG == 1
    return v;
#else
    int l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    t[l] = v;
    for (int s = WG / 2; s > 0; s /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < s)
            t[l] += t[l + s];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return t[0];
#endif
}

inline float group_max(float v, __local float *t)
{
#if WG == 1
    return v;
#else
    int l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    t[l] = v;
    for (int s = WG / 2; s > 0; s /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < s)
            t[l] = fmax(t[l], t[l + s]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return t[0];
#endif
}

/* ---- rows: a work-group of WG shares one (CPU: one work-item, 16 elements at a time) ----
 * F is a macro of a loader, as #define F(LOAD) LOAD(a) * LOAD(b) for the sum of a[i] * b[i]: it is expanded for vectors
 * and for single elements.  A kernel that sums begins with SCRATCH. */
#define ROW_ONE(p) ((p)[i])
#if CPU
#define SCRATCH
#define ROW_VECTOR(p) vload16(0, (p) + i)
#define ROW_SUM(result, n, F)                                                                                          \
    {                                                                                                                  \
        float16 total = 0.0f;                                                                                          \
        int i = 0;                                                                                                     \
        for (; i + 16 <= (n); i += 16)                                                                                 \
            total += F(ROW_VECTOR);                                                                                    \
        result = sum16(total);                                                                                         \
        for (; i < (n); i++)                                                                                           \
            result += F(ROW_ONE);                                                                                      \
    }
#define ROW_MAX(result, n, F)                                                                                          \
    {                                                                                                                  \
        float16 most = -INFINITY;                                                                                      \
        int i = 0;                                                                                                     \
        for (; i + 16 <= (n); i += 16)                                                                                 \
            most = fmax(most, F(ROW_VECTOR));                                                                          \
        result = max16(most);                                                                                          \
        for (; i < (n); i++)                                                                                           \
            result = fmax(result, F(ROW_ONE));                                                                         \
    }
#define ROW_SET(to, n, F)                                                                                              \
    {                                                                                                                  \
        int i = 0;                                                                                                     \
        for (; i + 16 <= (n); i += 16)                                                                                 \
            vstore16(F(ROW_VECTOR), 0, (to) + i);                                                                      \
        for (; i < (n); i++)                                                                                           \
            (to)[i] = F(ROW_ONE);                                                                                      \
    }
#else
#define SCRATCH __local float scratch[WG];
#define ROW_SUM(result, n, F)                                                                                          \
    {                                                                                                                  \
        float total = 0.0f;                                                                                            \
        for (int i = get_local_id(0); i < (n); i += WG)                                                                \
            total += F(ROW_ONE);                                                                                       \
        result = group_sum(total, scratch);                                                                            \
    }
#define ROW_MAX(result, n, F)                                                                                          \
    {                                                                                                                  \
        float most = -INFINITY;                                                                                        \
        for (int i = get_local_id(0); i < (n); i += WG)                                                                \
            most = fmax(most, F(ROW_ONE));                                                                             \
        result = group_max(most, scratch);                                                                             \
    }
#define ROW_SET(to, n, F)                                                                                              \
    for (int i = get_local_id(0); i < (n); i += WG)                                                                    \
        (to)[i] = F(ROW_ONE);
#endif

/* ---- columns: a work-item owns one of d (CPU: 16) ----
 * BODY(T, LOAD, STORE) is a macro of statements, expanded for float and, on CPUs, for float16: LOAD(p) is p[i], and
 * STORE(v, p) sets it. */
#define STORE_ONE(v, p) ((p)[i] = (v))
#if CPU
#define STORE_VECTOR(v, p) vstore16(v, 0, (p) + i)
#define COLUMNS(item, d, BODY)                                                                                         \
    {                                                                                                                  \
        int i = (item)*16;                                                                                             \
        if (i + 16 <= (d)) {                                                                                           \
            BODY(float16, ROW_VECTOR, STORE_VECTOR)                                                                    \
        } else                                                                                                         \
            for (; i < (d); i++) {                                                                                     \
                BODY(float, ROW_ONE, STORE_ONE)                                                                        \
            }                                                                                                          \
    }
#else
#define COLUMNS(item, d, BODY)                                                                                         \
    {                                                                                                                  \
        int i = (item);                                                                                                \
        if (i < (d)) {                                                                                                 \
            BODY(float, ROW_ONE, STORE_ONE)                                                                            \
        }                                                                                                              \
    }
#endif

/* ---- elements: a group takes BLOCK of them (CPU: one work-item), so that a small work-item isn't a launch's burden ----
 * EACH(count, BODY), with BODY as for COLUMNS; the launch has work_blocks (ops/ops_internal.h). */
#if CPU
#define BLOCK 4096
#define EACH(count, BODY)                                                                                              \
    {                                                                                                                  \
        int i = GROUP(0) * BLOCK;                                                                                      \
        const int end = min((count), i + BLOCK);                                                                       \
        for (; i + 16 <= end; i += 16) {                                                                               \
            BODY(float16, ROW_VECTOR, STORE_VECTOR)                                                                    \
        }                                                                                                              \
        for (; i < end; i++) {                                                                                         \
            BODY(float, ROW_ONE, STORE_ONE)                                                                            \
        }                                                                                                              \
    }
#else
#define BLOCK (8 * WG)
#define EACH(count, BODY)                                                                                              \
    {                                                                                                                  \
        int i = GROUP(0) * BLOCK;                                                                                      \
        const int end = min((count), i + BLOCK);                                                                       \
        for (i += get_local_id(0); i < end; i += WG) {                                                                 \
            BODY(float, ROW_ONE, STORE_ONE)                                                                            \
        }                                                                                                              \
    }
#endif

/* A gradient arrives at p: over what is there, or (the kernel's argument `add`) added to it. */
#define ADD_TO(p, v) (*(p) = add ? *(p) + (v) : (v))

/* ---- weights: element i of a tensor whose rows are whole blocks; loads of 1, 4 and 16 neighbours ---- */

#define load1_f32(p, i)  ((p)[i])
#define load4_f32(p, i)  vload4(0, (p) + (i))
#define load16_f32(p, i) vload16(0, (p) + (i))

#define load1_f16(p, i)  vload_half((i), (p))
#define load4_f16(p, i)  vload_half4(0, (p) + (i))
#define load16_f16(p, i) vload_half16(0, (p) + (i))

/* Keys and values: F32 or, with -DKV_F16, F16, which without cl_khr_fp16 only pointers may be of.  KV_N(p): N of them.
 * KV_PUT_N(v, p) rounds to nearest, and what is beyond F16 to its largest number: infinite ones would make sums that are
 * no numbers. */
#ifdef KV_F16
#define KV             half
#define KV_1(p)        load1_f16(p, 0)
#define KV_4(p)        load4_f16(p, 0)
#define KV_16(p)       load16_f16(p, 0)
#define KV_PUT_1(v, p)  vstore_half_rte(clamp(v, -65504.0f, 65504.0f), 0, p)
#define KV_PUT_16(v, p) vstore_half16_rte(clamp(v, -65504.0f, 65504.0f), 0, p)
#else
#define KV             float
#define KV_1(p)        load1_f32(p, 0)
#define KV_4(p)        load4_f32(p, 0)
#define KV_16(p)       load16_f32(p, 0)
#define KV_PUT_1(v, p)  (*(p) = (v))
#define KV_PUT_16(v, p) vstore16(v, 0, p)
#endif

/* Q8_0: 34 bytes for 32 elements, {half d; char q[32]}. */
inline float16 load16_q8_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 34;
    return vload_half(0, (__global const half *)b) * convert_float16(as_char16(vload16(0, b + 2 + i % 32)));
}
inline float4 load4_q8_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 34;
    return vload_half(0, (__global const half *)b) * convert_float4(as_char4(vload4(0, b + 2 + i % 32)));
}
inline float load1_q8_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 34;
    return vload_half(0, (__global const half *)b) * (float)as_char(b[2 + i % 32]);
}

/* Q4_0: 18 bytes for 32 elements, {half d; uchar q[16]}: element i in the low nibble of q[i], i + 16 in the high one. */
inline float16 load16_q4_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 18;
    uchar16 q = vload16(0, b + 2);
    q = i % 32 ? q >> (uchar16)4 : q & (uchar16)15;
    return vload_half(0, (__global const half *)b) * (convert_float16(q) - 8.0f);
}
inline float4 load4_q4_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 18;
    uchar4 q = vload4(0, b + 2 + i % 16);
    q = i % 32 >= 16 ? q >> (uchar4)4 : q & (uchar4)15;
    return vload_half(0, (__global const half *)b) * (convert_float4(q) - 8.0f);
}
inline float load1_q4_0(__global const uchar *p, size_t i)
{
    __global const uchar *b = p + i / 32 * 18;
    uchar q = b[2 + i % 16];
    return vload_half(0, (__global const half *)b) * (float)((i % 32 >= 16 ? q >> 4 : q & 15) - 8);
}

/* ---- activations: the numbers of enum activation ---- */

/* erf within 2 ulp, by x + x P(x^2) and 1 - exp(-x Q(x)), minimax on 0 to 0.95 and to 4; some drivers' own takes 50 times
 * as long as the rest of a GELU.  The tanh approximation of GELU is x sigmoid(2 u), which needs no tanh. */
#define ACTIVATE(T)                                                                                                    \
    inline T erf_##T(T v)                                                                                              \
    {                                                                                                                  \
        T s = v * v, t = fmin(fabs(v), (T)4.0f), p, q;                                                                 \
        p = MAD(s, (T)-5.86208072e-4f, (T)4.96750651e-3f);                                                             \
        p = MAD(p, s, (T)-2.6748864e-2f);                                                                              \
        p = MAD(p, s, (T)1.12813205e-1f);                                                                              \
        p = MAD(p, s, (T)-3.76124471e-1f);                                                                             \
        p = MAD(p, s, (T)1.28379136e-1f);                                                                              \
        q = MAD(t, (T)1.23394402e-5f, (T)-3.33960168e-4f);                                                             \
        q = MAD(q, t, (T)3.68810794e-3f);                                                                              \
        q = MAD(q, t, (T)-2.38592718e-2f);                                                                             \
        q = MAD(q, t, (T)1.06350563e-1f);                                                                              \
        q = MAD(q, t, (T)6.35082006e-1f);                                                                              \
        q = MAD(q, t, (T)1.12866569f);                                                                                 \
        return t < 0.95f ? MAD(p, v, v) : copysign(1.0f - exp(-q * t), v);                                             \
    }                                                                                                                  \
    inline T activate_##T(T v, int act)                                                                                \
    {                                                                                                                  \
        switch (act) {                                                                                                 \
        case 1: return fmax(v, (T)0.0f);                                                                               \
        case 2: return 0.5f * v * (1.0f + erf_##T(v * 0.70710678118654752f));                                          \
        case 3: return v / (1.0f + exp(-1.5957691216057308f * MAD(0.044715f * v * v, v, v)));                          \
        case 4: return v / (1.0f + exp(-v));                                                                           \
        case 5: return v / (1.0f + exp(-1.702f * v));                                                                  \
        case 6: return 1.0f / (1.0f + exp(-v));                                                                        \
        case 7: return tanh(v);                                                                                        \
        case 8: return fmax(v, 0.2f * v);                                                                              \
        }                                                                                                              \
        return v;                                                                                                      \
    }
ACTIVATE(float)
#if CPU
ACTIVATE(float16)
#endif

/* ---- Philox 4x32-10 (Salmon et al., SC'11), as base/rng.h has it ---- */

inline uint4 philox(uint4 c, uint2 k)
{
    for (int i = 0; i < 10; i++) {
        uint h0 = mul_hi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
        uint h1 = mul_hi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
        c = (uint4)(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k += (uint2)(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

/* Uniform in (0, 1): 24 bits, centred, so that neither end is reached and logarithms are finite.  The largest would
 * round to 1, and the noise of one code in 16 million draws to infinity. */
#define UNIFORM(word) fmin((float)((word) >> 8) * 0x1p-24f + 0x1p-25f, 0x1.fffffep-1f)

/* ---- register tiles of products: 8 rows of a times a panel of 32 columns (CPU) ---- */

#if CPU
#define TILE_DECLARE                                                                                                   \
    float16 c00 = 0.0f, c01 = 0.0f, c10 = 0.0f, c11 = 0.0f, c20 = 0.0f, c21 = 0.0f, c30 = 0.0f, c31 = 0.0f;            \
    float16 c40 = 0.0f, c41 = 0.0f, c50 = 0.0f, c51 = 0.0f, c60 = 0.0f, c61 = 0.0f, c70 = 0.0f, c71 = 0.0f;
#define TILE_ROW(i, a, kk)                                                                                             \
    c##i##0 = MAD((float16)((a)[kk]), b0, c##i##0);                                                                    \
    c##i##1 = MAD((float16)((a)[kk]), b1, c##i##1);
/* sum over kk < count of a0..a7[kk] times the panel's row kk */
#define TILE_LOOP_WHOLE(panel, count)                                                                                  \
    for (int kk = 0; kk < (count); kk++) {                                                                             \
        float16 b0 = vload16(0, (panel) + (size_t)kk * 32), b1 = vload16(0, (panel) + (size_t)kk * 32 + 16);           \
        TILE_ROW(0, a0, kk) TILE_ROW(1, a1, kk) TILE_ROW(2, a2, kk) TILE_ROW(3, a3, kk)                                \
        TILE_ROW(4, a4, kk) TILE_ROW(5, a5, kk) TILE_ROW(6, a6, kk) TILE_ROW(7, a7, kk)                                \
    }

#if SPLIT
/* Quarters of 4 rows and 16 columns one after the other, which is 8 registers of 8 floats: the whole tile has 32 of
 * them, and CPUs of such vectors have 16.  The same sums in the same order.  In memory between the quarters, since
 * compilers that see all of them at once keep the wrong ones in registers. */
#define TILE_QUARTERS(panel, count, quarters)                                                                          \
    {                                                                                                                  \
        float16 t[16] = {c00, c10, c20, c30, c40, c50, c60, c70, c01, c11, c21, c31, c41, c51, c61, c71};              \
        __global const float *rows[8] = {a0, a1, a2, a3, a4, a5, a6, a7};                                              \
        ROLL for (int q = 0; q < 4 * (quarters); q += 4) {                                                             \
            __global const float *r0 = rows[q % 8], *r1 = rows[q % 8 + 1], *r2 = rows[q % 8 + 2];                      \
            __global const float *r3 = rows[q % 8 + 3], *half_panel = (panel) + q / 8 * 16;                            \
            float16 t0 = t[q], t1 = t[q + 1], t2 = t[q + 2], t3 = t[q + 3];                                            \
            for (int kk = 0; kk < (count); kk++) {                                                                     \
                float16 b = vload16(0, half_panel + (size_t)kk * 32);                                                  \
                t0 = MAD((float16)(r0[kk]), b, t0);                                                                    \
                t1 = MAD((float16)(r1[kk]), b, t1);                                                                    \
                t2 = MAD((float16)(r2[kk]), b, t2);                                                                    \
                t3 = MAD((float16)(r3[kk]), b, t3);                                                                    \
            }                                                                                                          \
            t[q] = t0, t[q + 1] = t1, t[q + 2] = t2, t[q + 3] = t3;                                                    \
        }                                                                                                              \
        c00 = t[0], c10 = t[1], c20 = t[2], c30 = t[3], c40 = t[4], c50 = t[5], c60 = t[6], c70 = t[7];                \
        c01 = t[8], c11 = t[9], c21 = t[10], c31 = t[11], c41 = t[12], c51 = t[13], c61 = t[14], c71 = t[15];          \
    }
#define TILE_LOOP(panel, count)        TILE_QUARTERS(panel, count, 4)
/* of the panel's first 16 columns alone, as the last panel may have no more */
#define TILE_LOOP_NARROW(panel, count) TILE_QUARTERS(panel, count, 2)
#else
#define TILE_LOOP(panel, count) TILE_LOOP_WHOLE(panel, count)
#define TILE_NARROW(i, kk) c##i##0 = MAD((float16)(a##i[kk]), b0, c##i##0);
#define TILE_LOOP_NARROW(panel, count)                                                                                 \
    for (int kk = 0; kk < (count); kk++) {                                                                             \
        float16 b0 = vload16(0, (panel) + (size_t)kk * 32);                                                            \
        TILE_NARROW(0, kk) TILE_NARROW(1, kk) TILE_NARROW(2, kk) TILE_NARROW(3, kk)                                    \
        TILE_NARROW(4, kk) TILE_NARROW(5, kk) TILE_NARROW(6, kk) TILE_NARROW(7, kk)                                    \
    }
#endif

/* 16 of a row's columns, `columns` of them inside the matrix: bias, activation, residual, store.
 * bias, residual: NULL or the address of the first column. */
inline void tile_store(float16 v, __global const float *bias, __global const float *residual, __global float *y,
                       int columns, int act)
{
    if (columns >= 16) {
        if (bias)
            v += vload16(0, bias);
        v = activate_float16(v, act);
        if (residual)
            v += vload16(0, residual);
        vstore16(v, 0, y);
        return;
    }
    float t[16];
    vstore16(v, 0, t);
    for (int i = 0; i < columns; i++) {
        float s = activate_float(t[i] + (bias ? bias[i] : 0.0f), act);
        y[i] = residual ? s + residual[i] : s;
    }
}

#else

/* ---- tiles in local memory: SIDE x SIDE work-items, 4 x ITEM sums each ---- */

#define TILE (4 * SIDE)
#define TILE_N (ITEM * SIDE)
#define TILE_K 16
/* The sums of a work-item, and who it is. */
#define TILED_DECLARE                                                                                                  \
    float acc[4][ITEM];                                                                                                \
    int lx = get_local_id(0), ly = get_local_id(1), lid = ly * SIDE + lx;                                              \
    UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < ITEM; j++) acc[i][j] = 0.0f;
/* acc += what lies in ta and tb: __local float [TILE_K][TILE + 1] and [TILE_K][TILE_N] */
#define TILED_MULTIPLY                                                                                                 \
    ROLL for (int kk = 0; kk < TILE_K; kk++) {                                                                         \
        float av[4], bv[ITEM];                                                                                         \
        UNROLL for (int i = 0; i < 4; i++) av[i] = ta[kk][ly + SIDE * i];                                              \
        UNROLL for (int j = 0; j < ITEM; j++) bv[j] = tb[kk][lx + SIDE * j];                                           \
        UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < ITEM; j++) acc[i][j] =                           \
            MAD(av[i], bv[j], acc[i][j]);                                                                              \
    }
/* acc = product of rows row0.. and columns col0.. with load_a(row, k) and panels [n/32][count][32]. */
#define TILED_LOOP(LOAD_A, row0, col0, count, LOAD_B)                                                                  \
    TILED_DECLARE                                                                                                      \
    for (int k0 = 0; k0 < (count); k0 += TILE_K) {                                                                     \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        for (int t = lid; t < TILE * TILE_K; t += SIDE * SIDE)                                                         \
            ta[t % TILE_K][t / TILE_K] = LOAD_A((row0) + t / TILE_K, k0 + t % TILE_K);                                 \
        for (int t = lid; t < TILE_N * TILE_K; t += SIDE * SIDE)                                                       \
            tb[t / TILE_N][t % TILE_N] = LOAD_B((col0) + t % TILE_N, k0 + t / TILE_N);                                 \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        TILED_MULTIPLY                                                                                                 \
    }
#endif
