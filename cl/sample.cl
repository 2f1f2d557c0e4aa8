/* Choosing a code: argmax, and sampling by the Gumbel-Max trick among the top k and the top-p nucleus.
 * A work-group of WG handles a row, which has settings of its own.  Thresholds are found by bisection on the bits of
 * order-preserving keys: exact, without sorting, in at most 32 passes. */

/* The largest value and, of equal ones, the smallest index. */
inline int group_argmax(float v, int index, __local float *tv, __local int *ti)
{
#if WG == 1
    return index;
#else
    int l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    tv[l] = v;
    ti[l] = index;
    for (int s = WG / 2; s > 0; s /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < s && (tv[l + s] > tv[l] || (tv[l + s] == tv[l] && ti[l + s] < ti[l]))) {
            tv[l] = tv[l + s];
            ti[l] = ti[l + s];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return ti[0];
#endif
}

#define OF_ROW(LOAD) LOAD(p)

__kernel void argmax(IN(float, x), OUT(int, y), const int k)
{
    __global const float *p = AT(x) + (size_t)GROUP(0) * k;
#if CPU
    float best;
    int index = 0;
    ROW_MAX(best, k, OF_ROW)
    while (index + 16 <= k && !any(vload16(0, p + index) == best))
        index += 16;
    while (index < k && p[index] != best)
        index++;
    AT(y)[GROUP(0)] = index < k ? index : 0; /* 0: no number is among them */
#else
    __local float tv[WG];
    __local int ti[WG];
    float best = -INFINITY;
    int index = k; /* beyond every real one, so that idle work-items lose ties */
    for (int i = get_local_id(0); i < k; i += WG)
        if (p[i] > best || index == k) {
            best = p[i];
            index = i;
        }
    index = group_argmax(best, index, tv, ti);
    if (get_local_id(0) == 0)
        AT(y)[GROUP(0)] = index;
#endif
}

/* Unsigned integers in the order of the floats. */
inline uint order_key(float v)
{
    uint u = as_uint(v);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}
#if CPU
inline uint16 order_key16(float16 v)
{
    uint16 u = as_uint16(v);
    return u ^ (as_uint16(as_int16(u) >> 31) | 0x80000000u);
}
#endif

/* The weight of those with a key of at least `least`: their number (inverse 0), or their mass. */
inline float weight_from(__global const float *p, int k, uint least, float most, float inverse, __local float *scratch)
{
    float sum = 0.0f;
    int start = 0;
#if CPU
    float16 sums = 0.0f;
    for (; start + 16 <= k; start += 16) {
        float16 v = vload16(0, p + start);
        float16 weight = inverse > 0.0f ? exp((v - most) * inverse) : (float16)1.0f;
        sums += select((float16)0.0f, weight, order_key16(v) >= least);
    }
    sum = sum16(sums);
#endif
    for (int i = start + get_local_id(0); i < k; i += WG)
        if (order_key(p[i]) >= least)
            sum += inverse > 0.0f ? exp((p[i] - most) * inverse) : 1.0f;
    return group_sum(sum, scratch);
}

/* The largest key that at least `wanted` of the weight lies at or above; or, where so many of a number lie there
 * exactly, a smaller one that these lie above too. */
inline uint threshold(__global const float *p, int k, float wanted, float most, float inverse, __local float *scratch)
{
    uint least = 0;
    for (uint bit = 0x80000000u; bit; bit >>= 1) {
        float weight = weight_from(p, k, least | bit, most, inverse, scratch);
        if (weight >= wanted)
            least |= bit;
        if (weight == wanted && inverse == 0.0f)
            break;
    }
    return least;
}

/* y[b,k] = u + guidance (c - u), c and u the rows SAMPLING_ROW and SAMPLING_OTHER of x; c where there is no u */
__kernel void guide(IN(float, x), IN(int, settings), OUT(float, y), const int k)
{
    int i = get_global_id(0), n = get_global_id(1);
    if (i >= k)
        return;
    __global const int *s = AT(settings) + n * SAMPLING_WORDS;
    float v = AT(x)[(size_t)s[SAMPLING_ROW] * k + i];
    if (s[SAMPLING_OTHER] >= 0) {
        float u = AT(x)[(size_t)s[SAMPLING_OTHER] * k + i], guidance = as_float(s[SAMPLING_GUIDANCE]);
        v = u + guidance * (v - u);
    }
    AT(y)[(size_t)n * k + i] = v;
}

#ifdef BACKWARD
/* dx[n,k] of guide: the sum over the b pictures that read row n of it, of dy[b,k] times what it is multiplied by */
__kernel void guide_back(IN(float, dy), IN(int, settings), OUT(float, dx), const int b, const int k, const int add)
{
    int i = get_global_id(0), n = get_global_id(1);
    if (i >= k)
        return;
    float sum = 0.0f;
    for (int j = 0; j < b; j++) {
        __global const int *s = AT(settings) + j * SAMPLING_WORDS;
        float v = AT(dy)[(size_t)j * k + i], guidance = s[SAMPLING_OTHER] >= 0 ? as_float(s[SAMPLING_GUIDANCE]) : 1.0f;
        if (s[SAMPLING_ROW] == n)
            sum += guidance * v;
        if (s[SAMPLING_OTHER] == n)
            sum += (1.0f - guidance) * v;
    }
    ADD_TO(AT(dx) + (size_t)n * k + i, sum);
}
#endif

/* codes[row, cell] and codes[other, cell] by logits[b,k], for cell = position + 1 - text */
__kernel void sample(IN(float, logits), OUT(int, codes), IN(int, forced), IN(int, position), IN(int, settings),
                     const int k, const int cells, const int text, const int own)
{
    __local float scratch[WG];
    __local int indices[WG];
    __global const int *s = AT(settings) + GROUP(0) * SAMPLING_WORDS;
    int row = s[SAMPLING_ROW], other = s[SAMPLING_OTHER], cell = POSITION(row, 1) + 1 - text, l = get_local_id(0);
    if (cell < 0 || cell >= cells) /* the same for the whole group */
        return;
    const float temperature = as_float(s[SAMPLING_TEMPERATURE]), top_p = as_float(s[SAMPLING_TOP_P]);
    const int top_k = s[SAMPLING_TOP_K], kept = AT(forced)[(size_t)row * cells + cell];
    const uint2 seed = (uint2)(s[SAMPLING_SEED_LOW], s[SAMPLING_SEED_HIGH]);
    __global const float *p = AT(logits) + (size_t)GROUP(0) * k;
    float inverse = temperature > 0.0f ? 1.0f / temperature : 0.0f, largest;
    ROW_MAX(largest, k, OF_ROW)
    uint least = temperature > 0.0f ? 0u : order_key(largest);
    if (temperature > 0.0f && top_k > 0 && top_k < k)
        least = threshold(p, k, (float)top_k, largest, 0.0f, scratch);
    if (temperature > 0.0f && top_p > 0.0f && top_p < 1.0f) {
        float all = weight_from(p, k, least, largest, inverse, scratch);
        least = max(least, threshold(p, k, top_p * all, largest, inverse, scratch));
    }
    float best = -INFINITY;
    int index = k;
    for (int i = l; i < k; i += WG) {
#if CPU
        while (i % 16 == 0 && i + 16 < k && !any(order_key16(vload16(0, p + i)) >= least))
            i += 16;
#endif
        if (order_key(p[i]) < least)
            continue;
        float v = p[i];
        if (temperature > 0.0f) {
            uint4 r = philox((uint4)(i / 4, cell, s[SAMPLING_STREAM], 0), seed);
            uint word = i % 4 == 0 ? r.x : i % 4 == 1 ? r.y : i % 4 == 2 ? r.z : r.w;
            v = v * inverse - log(-log(UNIFORM(word)));
        }
        if (v > best || index == k) {
            best = v;
            index = i;
        }
    }
    index = min(group_argmax(best, index, scratch, indices), k - 1); /* k where every logit is NaN */
    if (l == 0)
        AT(codes)[row * cells + cell] = kept >= 0 ? kept : index;
    if (l == 0 && other >= 0)
        AT(codes)[other * cells + cell] = kept >= 0 ? kept : index;
}
