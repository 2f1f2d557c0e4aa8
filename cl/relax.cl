/* Relaxed choices: Gumbel noise, and the softmax over logits with it. */

/* y = (x + g) * scale, or g where x is NULL: y[pictures, per].  Picture i has the noise of stream + i * stride, its elements
 * being those of rng_uniform (base/rng.h) at the position `step`: element e is word e % 4 of block e / 4. */
#define NOISE_ARGUMENTS                                                                                                \
    IN(float, x), OUT(float, y), const int per, const float scale, const int seed_low, const int seed_high,            \
        const int stream, const int stride, const int step
#if CPU

/* 64 elements at a time: the 16 Philox blocks from `block` on, a vector for each of the four words. */

#define MUL_HIGH(a, b) mul_hi((uint16)(a), b)
inline float16 gumbel_of(uint16 word)
{
    float16 u = fmin(MAD(convert_float16(word >> 8), (float16)0x1p-24f, (float16)0x1p-25f), (float16)0x1.fffffep-1f);
    return -log(-log(u));
}

__kernel void gumbel_noise(NOISE_ARGUMENTS)
{
    int picture = get_global_id(1), first = get_global_id(0) * RELAX_NOISE_BLOCKS * 64;
    __global const float *from = AT(x) + (size_t)picture * per;
    __global float *to = AT(y) + (size_t)picture * per;
    for (int at = first; at < min(per, first + RELAX_NOISE_BLOCKS * 64); at += 64) {
        uint16 c0 = (uint)at / 4 + (uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), c1 = (uint)step;
        uint16 c2 = (uint)(stream + picture * stride), c3 = 0;
        uint k0 = seed_low, k1 = seed_high;
        for (int i = 0; i < 10; i++) { /* philox() of common.cl, 16 times */
            uint16 h0 = MUL_HIGH(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
            uint16 h1 = MUL_HIGH(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
            c0 = h1 ^ c1 ^ k0;
            c2 = h0 ^ c3 ^ k1;
            c1 = l1;
            c3 = l0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        float g[4][16];
        vstore16(gumbel_of(c0), 0, g[0]);
        vstore16(gumbel_of(c1), 0, g[1]);
        vstore16(gumbel_of(c2), 0, g[2]);
        vstore16(gumbel_of(c3), 0, g[3]);
        for (int e = 0; e < min(64, per - at); e++) {
            float v = g[e % 4][e / 4];
            to[at + e] = x_buffer ? (from[at + e] + v) * scale : v;
        }
    }
}

#else

__kernel void gumbel_noise(NOISE_ARGUMENTS)
{
    int block = get_global_id(0), picture = get_global_id(1), n = min(4, per - 4 * block);
    if (n <= 0)
        return;
    uint4 r = philox((uint4)(block, step, stream + picture * stride, 0), (uint2)(seed_low, seed_high));
    float4 v = -log(-log((float4)(UNIFORM(r.x), UNIFORM(r.y), UNIFORM(r.z), UNIFORM(r.w))));
    const size_t at = (size_t)picture * per + 4 * block;
    const int whole = per % 4 == 0 && y_at % 4 == 0 && x_at % 4 == 0;
    if (x_buffer)
        v = (load_four(AT(x) + at, n, whole) + v) * scale;
    store_four(v, AT(y) + at, n, whole);
}
#endif

/* y[row,k] = 1 at the first of the largest x[row,k], else 0 */
__kernel void hard_choice(IN(float, x), OUT(float, y), const int k)
{
    SCRATCH
#if !CPU
    __local int firsts[WG];
#endif
    __global const float *xr = AT(x) + (size_t)GROUP(0) * k;
    __global float *yr = AT(y) + (size_t)GROUP(0) * k;
    float most_x;
    int at = k;
#define X(LOAD)    LOAD(xr)
#define ZERO(LOAD) fmin(fabs(LOAD(xr)), 0.0f)
    ROW_MAX(most_x, k, X)
    for (int i = get_local_id(0); i < k; i += WG)
        at = xr[i] == most_x ? min(at, i) : at;
#if !CPU
    firsts[get_local_id(0)] = at; /* not group_max: PoCL 3.1 dies of two that depend on each other */
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < WG; i++)
        at = min(at, firsts[i]);
#endif
    ROW_SET(yr, k, ZERO)
    if (at < k && get_local_id(0) == at % WG) /* the item that wrote it */
        yr[at] = 1.0f;
}
