/* How far vectors are from each entry of a codebook: y[m,codes] = -|x[m,d] - table[n,d]|^2 in the columns first to
 * first + n - 1.  By differences, as |x|^2 - 2 x t + |t|^2 cancels just for the near ones.
 *
 * A work-item takes CODEBOOK_ROWS vectors and one entry, 16 elements at a time on CPUs and 4 else. */

#if CPU
#define VN          16
#define VECTOR      float16
#define VLOAD(p)    vload16(0, p)
#define VSUM(v)     sum16(v)
#define TABLE(T)    load16_##T
#else
#define VN          4
#define VECTOR      float4
#define VLOAD(p)    vload4(0, p)
#define VSUM(v)     ((v).x + (v).y + (v).z + (v).w)
#define TABLE(T)    load4_##T
#endif

#define DISTANCES(T, TYPE)                                                                                             \
    __kernel void distances_##T(IN(float, x), IN(TYPE, table), OUT(float, y), const int m, const int n, const int d,   \
                                const int first, const int codes)                                                      \
    {                                                                                                                  \
        int k = get_global_id(0), row = get_global_id(1) * CODEBOOK_ROWS, i = 0;                                       \
        if (k >= n)                                                                                                    \
            return;                                                                                                    \
        VECTOR sums[CODEBOOK_ROWS];                                                                                    \
        float rest[CODEBOOK_ROWS];                                                                                     \
        UNROLL                                                                                                         \
        for (int j = 0; j < CODEBOOK_ROWS; j++) {                                                                      \
            sums[j] = 0.0f;                                                                                            \
            rest[j] = 0.0f;                                                                                            \
        }                                                                                                              \
        for (; i + VN <= d; i += VN) {                                                                                 \
            VECTOR t = TABLE(T)(AT(table), (size_t)k * d + i);                                                         \
            UNROLL                                                                                                     \
            for (int j = 0; j < CODEBOOK_ROWS; j++) {                                                                  \
                VECTOR v = VLOAD(AT(x) + (size_t)min(row + j, m - 1) * d + i) - t;                                     \
                sums[j] = MAD(v, v, sums[j]);                                                                          \
            }                                                                                                          \
        }                                                                                                              \
        for (; i < d; i++) {                                                                                           \
            float t = load1_##T(AT(table), (size_t)k * d + i);                                                         \
            UNROLL                                                                                                     \
            for (int j = 0; j < CODEBOOK_ROWS; j++) {                                                                  \
                float v = AT(x)[(size_t)min(row + j, m - 1) * d + i] - t;                                              \
                rest[j] = MAD(v, v, rest[j]);                                                                          \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL                                                                                                         \
        for (int j = 0; j < CODEBOOK_ROWS; j++)                                                                        \
            if (row + j < m)                                                                                           \
                AT(y)[(size_t)(row + j) * codes + first + k] = -(VSUM(sums[j]) + rest[j]);                             \
    }
DISTANCES(f32, float)
DISTANCES(f16, half)
DISTANCES(q8_0, uchar)
DISTANCES(q4_0, uchar)

/* A code's running count and sum, and its row from them, or all anew from a row of x[n,d]: see op_codebook.  A group
 * has one code.  sums, batch_sums: or NULL. */
__kernel void codebook_step(OUT(float, rows), OUT(float, counts), OUT(float, sums), IN(float, batch_counts),
                       IN(float, batch_sums), IN(float, x), const int n, const int d, const float decay,
                       const float least, const float fresh, const int seed_low, const int seed_high, const int step,
                       const int stream)
{
    int code = GROUP(0);
    float count = decay * AT(counts)[code] + (1.0f - decay) * AT(batch_counts)[code];
    bool again = count < least;
    __global float *row = AT(rows) + (size_t)code * d, *sum = AT(sums) + (size_t)code * d;
#if !CPU
    barrier(CLK_GLOBAL_MEM_FENCE); /* all have read the count that the first writes */
#endif
    if (get_local_id(0) == 0)
        AT(counts)[code] = again ? fresh : count;
    if (again) {
        uint word = philox((uint4)(code, step, stream, 0), (uint2)(seed_low, seed_high)).x;
        __global const float *from = AT(x) + (size_t)mul_hi(word, (uint)n) * d;
#define FROM(LOAD)  LOAD(from)
#define FRESH(LOAD) fresh *LOAD(from)
        ROW_SET(row, d, FROM)
        if (sums_buffer) {
            ROW_SET(sum, d, FRESH)
        }
    } else if (sums_buffer) {
        __global const float *add = AT(batch_sums) + (size_t)code * d;
        float inverse = 1.0f / count;
#define SUM(LOAD)  decay *LOAD(sum) + (1.0f - decay) * LOAD(add)
#define MEAN(LOAD) LOAD(sum) * inverse
        ROW_SET(sum, d, SUM) /* each work-item reads back what itself has written */
        if (count > 1e-20f) { /* else nobody has chosen it for so long that nothing is left to divide */
            ROW_SET(row, d, MEAN)
        }
    }
}

#ifdef BACKWARD

/* dx[m,d] = 2 sum over the n entries of dy[m,codes] (table - x), the first of them in column `first`; a work-item each.
 * By differences too. */
#define DISTANCES_BACK(T, TYPE)                                                                                        \
    __kernel void distances_back_##T(IN(float, dy), IN(float, x), IN(TYPE, table), OUT(float, dx), const int n,        \
                                     const int d, const int first, const int codes, const int add)                     \
    {                                                                                                                  \
        int i = get_global_id(0);                                                                                      \
        size_t row = get_global_id(1);                                                                                 \
        if (i >= d)                                                                                                    \
            return;                                                                                                    \
        float v = AT(x)[row * d + i], sum = 0.0f;                                                                      \
        __global const float *g = AT(dy) + row * codes + first;                                                        \
        for (int k = 0; k < n; k++)                                                                                    \
            sum = MAD(g[k], load1_##T(AT(table), (size_t)k * d + i) - v, sum);                                         \
        ADD_TO(AT(dx) + row * d + i, 2.0f * sum);                                                                      \
    }
DISTANCES_BACK(f32, float)
DISTANCES_BACK(f16, half)
DISTANCES_BACK(q8_0, uchar)
DISTANCES_BACK(q4_0, uchar)

/* dtable[codes,d] = 2 sum over m of dy[m,codes] (x[m,d] - table); a work-item each */
__kernel void distances_back_table(IN(float, dy), IN(float, x), IN(float, table), OUT(float, dtable), const int m,
                                   const int codes, const int d, const int add)
{
    int i = get_global_id(0), k = get_global_id(1);
    if (i >= d)
        return;
    float v = AT(table)[(size_t)k * d + i], sum = 0.0f;
    for (int row = 0; row < m; row++)
        sum = MAD(AT(dy)[(size_t)row * codes + k], AT(x)[(size_t)row * d + i] - v, sum);
    ADD_TO(AT(dtable) + (size_t)k * d + i, 2.0f * sum);
}
#endif
