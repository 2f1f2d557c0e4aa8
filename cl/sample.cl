/* Choosing a code: argmax, and sampling by the Gumbel-Max trick among the top k and the top-p nucleus.
 * A work-group of WG handles a row, which has settings of its own.  Thresholds are found by bisection on the bits of
 * order-preserving keys: exact, without sorting, in at most 32 passes.
 * CPU: over the logits in memory; GPU: over keys in registers, as far as they fit. */

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
    barrier(CLK_LOCAL_MEM_FENCE);
    if (l < JOINERS) {
        for (int i = l + JOINERS; i < WG; i += JOINERS)
            if (tv[i] > v || (tv[i] == v && ti[i] < index)) {
                v = tv[i];
                index = ti[i];
            }
        tv[l] = v;
        ti[l] = index;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    v = tv[0];
    index = ti[0];
    for (int i = 1; i < JOINERS; i++)
        if (tv[i] > v || (tv[i] == v && ti[i] < index)) {
            v = tv[i];
            index = ti[i];
        }
    return index;
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

/* y[b,t,k] = u + guidance (c - u), c and u the sequences SAMPLING_ROW and SAMPLING_OTHER of x[sequences,t,k]; c where
 * there is no u */
__kernel void guide(IN(float, x), IN(int, settings), OUT(float, y), const int k, const int t)
{
    int i = get_global_id(0), n = get_global_id(1);
    if (i >= k)
        return;
    __global const int *s = AT(settings) + n / t * SAMPLING_WORDS;
    float v = AT(x)[((size_t)s[SAMPLING_ROW] * t + n % t) * k + i];
    if (s[SAMPLING_OTHER] >= 0) {
        float u = AT(x)[((size_t)s[SAMPLING_OTHER] * t + n % t) * k + i], guidance = as_float(s[SAMPLING_GUIDANCE]);
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

/* codes[row, cell] and codes[other, cell] by logits[b,k], for cell = position + 1 - text.  GPU: also by x[sequences,k],
 * guided as by guide(), and with the positions of row and other (or the only one) one further afterwards.
 * With drawn[b,t], codes go there and nowhere else, by logits[b,t,k] (or x[sequences,t,k]) for t cells from that one on.
 */
#define SAMPLE_ARGUMENTS                                                                                               \
    IN(float, logits), OUT(int, codes), IN(int, forced), OUT(int, position), IN(int, settings), const int k,           \
        const int cells, const int text, const int own, const int guided, const int advances, OUT(int, drawn),         \
        const int t

inline void put_code(__global int *codes, __global int *drawn, __global const int *s, int cells, int cell, int code)
{
    if (drawn) {
        *drawn = code;
        return;
    }
    codes[s[SAMPLING_ROW] * cells + cell] = code;
    if (s[SAMPLING_OTHER] >= 0)
        codes[s[SAMPLING_OTHER] * cells + cell] = code;
}
#define PUT_CODE(code) put_code(AT(codes), drawn_buffer ? AT(drawn) + GROUP(0) : 0, s, cells, cell, code)

#if CPU

/* The weight of those with a key of at least `least`: their number (inverse 0), or their mass. */
inline float weight_from(__global const float *p, int k, uint least, float most, float inverse)
{
    float sum = 0.0f;
    int start = 0;
    float16 sums = 0.0f;
    for (; start + 16 <= k; start += 16) {
        float16 v = vload16(0, p + start);
        float16 weight = inverse > 0.0f ? exp((v - most) * inverse) : (float16)1.0f;
        sums += select((float16)0.0f, weight, order_key16(v) >= least);
    }
    sum = sum16(sums);
    for (int i = start; i < k; i++)
        if (order_key(p[i]) >= least)
            sum += inverse > 0.0f ? exp((p[i] - most) * inverse) : 1.0f;
    return sum;
}

/* The largest key that at least `wanted` of the weight lies at or above; or, where so many of a number lie there
 * exactly, a smaller one that these lie above too. */
inline uint threshold(__global const float *p, int k, float wanted, float most, float inverse)
{
    uint least = 0;
    for (uint bit = 0x80000000u; bit; bit >>= 1) {
        float weight = weight_from(p, k, least | bit, most, inverse);
        if (weight >= wanted)
            least |= bit;
        if (weight == wanted && inverse == 0.0f)
            break;
    }
    return least;
}

__kernel void sample(SAMPLE_ARGUMENTS)
{
    __global const int *s = AT(settings) + GROUP(0) / t * SAMPLING_WORDS;
    int row = s[SAMPLING_ROW], cell = POSITION(row, 1) + 1 + GROUP(0) % t - text;
    if (cell < 0 || cell >= cells)
        return;
    const float temperature = as_float(s[SAMPLING_TEMPERATURE]), top_p = as_float(s[SAMPLING_TOP_P]);
    const int top_k = s[SAMPLING_TOP_K], kept = AT(forced)[(size_t)row * cells + cell];
    const uint2 seed = (uint2)(s[SAMPLING_SEED_LOW], s[SAMPLING_SEED_HIGH]);
    __global const float *p = AT(logits) + (size_t)GROUP(0) * k;
    float inverse = temperature > 0.0f ? 1.0f / temperature : 0.0f, largest;
    ROW_MAX(largest, k, OF_ROW)
    uint least = temperature > 0.0f ? 0u : order_key(largest);
    if (temperature > 0.0f && top_k > 0 && top_k < k)
        least = threshold(p, k, (float)top_k, largest, 0.0f);
    if (temperature > 0.0f && top_p > 0.0f && top_p < 1.0f) {
        float all = weight_from(p, k, least, largest, inverse);
        least = max(least, threshold(p, k, top_p * all, largest, inverse));
    }
    float best = -INFINITY;
    int index = k;
    for (int i = 0; i < k; i++) {
        while (i % 16 == 0 && i + 16 < k && !any(order_key16(vload16(0, p + i)) >= least))
            i += 16;
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
    PUT_CODE(kept >= 0 ? kept : min(index, k - 1)); /* k where every logit is NaN */
}

#else

/* Keys that a work-item holds while thresholds are found, in a vector, as some compilers keep arrays in memory: number
 * 4 j + n is that of logit 4 (j WG + its id) + n.  Twice as many don't fit the registers of some beside the rest; where
 * they aren't all of a row, the others are read each time. */
#define HELD 16

/* A row of logits, or with u two that are guided. */
typedef struct logits {
    __global const float *c, *u;
    float guidance;
    int k;
} logits;

#define GUIDED(v, u) ((u) + x->guidance * ((v) - (u)))

/* order_key as a signed number, of which it is the inverse too.  That of no logit is the least. */
#define SIGNED_KEY(bits) ((bits) ^ ((bits) >> 31 & 0x7fffffff))
#define KEY_OF(v)        SIGNED_KEY(as_int(v))
#define FLOAT_OF(key)    as_float(SIGNED_KEY(key))
#define FLOATS_OF(keys)  as_float16(SIGNED_KEY(keys))
#define NO_LOGIT         INT_MIN

/* Four from `at` on, or where they aren't there others. */
inline float4 four_at(__global const float *p, const int at, const int k)
{
    if (k % 4 == 0)
        return vload4(0, p + min(at, k - 4));
    return (float4)(p[min(at, k - 1)], p[min(at + 1, k - 1)], p[min(at + 2, k - 1)], p[min(at + 3, k - 1)]);
}

/* Of logits `at` to at + 3. */
inline int4 keys_at(const logits *x, const int at)
{
    float4 v = four_at(x->c, at, x->k);
    if (x->u) {
        const float4 u = four_at(x->u, at, x->k);
        v = GUIDED(v, u);
    }
    return select((int4)NO_LOGIT, SIGNED_KEY(as_int4(v)), (int4)(at, at + 1, at + 2, at + 3) < x->k);
}
/* BODY(keys) for each four of those that aren't held. */
#define EACH_BEYOND(x, BODY)                                                                                           \
    ROLL for (int at = HELD * WG + 4 * (int)get_local_id(0); at < (x)->k; at += 4 * WG)                                \
    {                                                                                                                  \
        const int4 keys = keys_at(x, at);                                                                              \
        BODY(keys)                                                                                                     \
    }

/* The weight of those with a key of at least `least`, which is more than NO_LOGIT: their number, or with `inverse` their
 * mass.  Called at one place, as some compilers make a call of two, for which `held` is in memory. */
inline float weight_from(const int16 held, const logits *x, int least, float most, float inverse, __local float *scratch)
{
    float4 sums = 0.0f;
#define MASS_OF(keys)                                                                                                  \
    sums += select((float4)0.0f, exp((as_float4(SIGNED_KEY(keys)) - most) * inverse), (keys) >= least);
#define NUMBER_OF(keys)     sums += select((float4)0.0f, (float4)1.0f, (keys) >= least);
#define EACH_HELD(BODY) BODY(held.s0123) BODY(held.s4567) BODY(held.s89ab) BODY(held.scdef)
    if (inverse > 0.0f) {
        EACH_HELD(MASS_OF)
        EACH_BEYOND(x, MASS_OF)
    } else {
        EACH_HELD(NUMBER_OF)
        EACH_BEYOND(x, NUMBER_OF)
    }
    const float sum = (sums.x + sums.y) + (sums.z + sums.w);
    return group_sum(sum, scratch);
}

/* The largest key that at least `wanted` of the weight lies at or above: so many, or with `inverse` such a share of the
 * mass from `least` on.  Where so many lie there exactly, a smaller one that these lie above too. */
inline int threshold(const int16 held, const logits *x, int least, float wanted, float most, float inverse,
                     __local float *scratch)
{
    int found = NO_LOGIT;
    ROLL
    for (int bit = inverse > 0.0f ? 32 : 31; bit >= 0; bit--) {
        const int next = bit == 32 ? least : (int)((uint)found ^ 1u << bit); /* a small key's sign is set */
        const float weight = weight_from(held, x, next, most, inverse, scratch);
        if (bit == 32)
            wanted *= weight;
        else if (weight >= wanted)
            found = next;
        if (weight == wanted && inverse == 0.0f)
            break;
    }
    return found;
}

/* The best so far, and its index. */
typedef struct draw {
    float best;
    int index;
} draw;

/* Logit i, with the word of noise that is its own. */
inline draw better(draw d, float v, int i, int k, float inverse, uint word)
{
    if (inverse > 0.0f)
        v = v * inverse - log(-log(UNIFORM(word)));
    return v > d.best || d.index == k ? (draw){v, i} : d;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void sample(SAMPLE_ARGUMENTS)
{
    __local float scratch[WG];
    __local int indices[WG];
    const int ahead = GROUP(0) % t;
    __global const int *s = AT(settings) + GROUP(0) / t * SAMPLING_WORDS;
    const int row = s[SAMPLING_ROW], other = s[SAMPLING_OTHER], l = get_local_id(0);
    const int cell = POSITION(row, 1) + 1 + ahead - text;
    const int moved = POSITION(row, 1) + 1, moved_other = own && other >= 0 ? AT(position)[other] + 1 : 0;
    barrier(CLK_GLOBAL_MEM_FENCE); /* all have read what changes now */
    if (advances && l == 0) {
        AT(position)[own ? row : 0] = moved;
        if (own && other >= 0)
            AT(position)[other] = moved_other;
    }
    if (cell < 0 || cell >= cells) /* the same for the whole group */
        return;
    const float temperature = as_float(s[SAMPLING_TEMPERATURE]), top_p = as_float(s[SAMPLING_TOP_P]);
    const int top_k = s[SAMPLING_TOP_K], kept = AT(forced)[(size_t)row * cells + cell];
    const uint2 seed = (uint2)(s[SAMPLING_SEED_LOW], s[SAMPLING_SEED_HIGH]);
    const logits x = {AT(logits) + (size_t)(guided ? row * t + ahead : GROUP(0)) * k,
                      guided && other >= 0 ? AT(logits) + (size_t)(other * t + ahead) * k : 0,
                      as_float(s[SAMPLING_GUIDANCE]), k};
    const float inverse = temperature > 0.0f ? 1.0f / temperature : 0.0f;
    const int16 held = (int16)(keys_at(&x, 4 * l), keys_at(&x, 4 * (WG + l)), keys_at(&x, 4 * (2 * WG + l)),
                               keys_at(&x, 4 * (3 * WG + l)));
    float largest = max16(select((float16)-INFINITY, FLOATS_OF(held), held > NO_LOGIT));
    float4 beyond = -INFINITY;
#define LARGEST_OF(keys) beyond = select(beyond, fmax(beyond, as_float4(SIGNED_KEY(keys))), keys > NO_LOGIT);
    EACH_BEYOND(&x, LARGEST_OF)
    largest = fmax(largest, fmax(fmax(beyond.x, beyond.y), fmax(beyond.z, beyond.w)));
    largest = group_max(largest, scratch);
    int least = inverse > 0.0f ? NO_LOGIT + 1 : KEY_OF(largest);
    ROLL
    for (int nucleus = 0; nucleus < 2; nucleus++) { /* the top k, then the top p */
        const float wanted = nucleus ? top_p : (float)top_k;
        if (inverse > 0.0f && wanted > 0.0f && wanted < (nucleus ? 1.0f : (float)k))
            least = max(least, threshold(held, &x, least, wanted, largest, nucleus ? inverse : 0.0f, scratch));
    }
    draw d = {-INFINITY, k}; /* beyond every real one, so that idle work-items lose ties */
    int4 next = keys_at(&x, 4 * l);
    ROLL
    for (int at = 4 * l; at < k; at += 4 * WG) { /* from memory again: few are evaluated, in one place */
        const int4 keys = next;
        next = keys_at(&x, at + 4 * WG);
        if (all(keys < least))
            continue;
        const uint4 r = philox((uint4)(at / 4, cell, s[SAMPLING_STREAM], 0), seed);
        if (keys.x >= least)
            d = better(d, FLOAT_OF(keys.x), at, k, inverse, r.x);
        if (keys.y >= least)
            d = better(d, FLOAT_OF(keys.y), at + 1, k, inverse, r.y);
        if (keys.z >= least)
            d = better(d, FLOAT_OF(keys.z), at + 2, k, inverse, r.z);
        if (keys.w >= least)
            d = better(d, FLOAT_OF(keys.w), at + 3, k, inverse, r.w);
    }
    const int index = min(group_argmax(d.best, d.index, scratch, indices), k - 1); /* k where every logit is NaN */
    if (l == 0)
        PUT_CODE(kept >= 0 ? kept : index);
}

#endif

/* ---- drafts: codes that are guessed, and then are right or aren't ---- */

/* codes[row, cell] = kept, or the first code of all, for the cells after it; a work-item for each */
__kernel void first_drafts(OUT(int, codes), IN(int, forced), IN(int, settings), const int cells)
{
    int cell = get_global_id(0) + 1, n = get_global_id(1);
    __global const int *s = AT(settings) + n * SAMPLING_WORDS;
    if (cell >= cells)
        return;
    __global int *row = AT(codes) + (size_t)s[SAMPLING_ROW] * cells;
    int kept = AT(forced)[(size_t)s[SAMPLING_ROW] * cells + cell], code = kept >= 0 ? kept : row[0];
    row[cell] = code;
    if (s[SAMPLING_OTHER] >= 0)
        AT(codes)[(size_t)s[SAMPLING_OTHER] * cells + cell] = code;
}

/* After a pass over t positions of each sequence, of which drawn[b,t] came.  Position j has read cell first + j - 1 and
 * chooses cell first + j; its choice is right if all that it read was, so the first wrong draft ends what is known.
 * What was drawn behind it, of drafts that may be wrong, are the next drafts, and the window goes on, as far as to the
 * last cell.  A work-item for each picture. */
__kernel void verify(IN(int, drawn), OUT(int, codes), IN(int, forced), OUT(int, position), OUT(int, also),
                     OUT(int, known), IN(int, settings), const int b, const int t, const int cells, const int text,
                     const int width)
{
    int n = get_global_id(0);
    if (n >= b)
        return;
    __global const int *s = AT(settings) + n * SAMPLING_WORDS;
    const int row = s[SAMPLING_ROW], other = s[SAMPLING_OTHER], first = AT(position)[row] + 1 - text;
    const int before = AT(known)[row];
    int right = before;
    bool good = true;
    for (int j = 0; j < t; j++) {
        int cell = first + j, code = AT(drawn)[n * t + j];
        if (cell < before || cell >= cells)
            continue;
        right = good ? cell + 1 : right;
        good = good && AT(codes)[row * cells + cell] == code;
        AT(codes)[row * cells + cell] = code;
        if (other >= 0)
            AT(codes)[other * cells + cell] = code;
    }
    const int next = max(first, min(right, cells - t));
    for (int cell = first + t; cell < next + t; cell++) { /* as above it, or as before it */
        int kept = AT(forced)[row * cells + cell], code = AT(codes)[row * cells + cell - (cell < width ? 1 : width)];
        AT(codes)[row * cells + cell] = kept >= 0 ? kept : code;
        if (other >= 0)
            AT(codes)[other * cells + cell] = kept >= 0 ? kept : code;
    }
    for (int i = 0; i < 2; i++) {
        const int sequence = i ? other : row;
        if (sequence < 0)
            continue;
        AT(known)[sequence] = right;
        AT(position)[sequence] += next - first;
        if (also_buffer)
            AT(also)[sequence] += next - first;
    }
}
