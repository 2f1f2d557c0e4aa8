/* Masked multi-head attention over a cache of keys and values, by online softmax (Milakov & Gimelshein 2018): the
 * score matrix is never stored, and only the keys that the mask allows are read.
 * qkv[b,t,(QUERY_HEADS + 2) heads HEAD_DIM]: queries, keys, values; k, v caches [b,heads,length,HEAD_DIM];
 * y[b,t,heads QUERY_HEADS HEAD_DIM]; query t has the position *position + t, or *position is each row's own.  `heads`
 * are those of keys; QUERY_HEADS neighbouring heads of queries share each (Ainslie et al. 2023).
 * lse[b,t,heads QUERY_HEADS], or NULL: the log of the sum of the exponentials of the scores, from which the backward
 * pass computes the probabilities again (Dao et al. 2022).
 *
 * HEAD_DIM and QUERY_HEADS are build options.  CPU: a work-item for each position and head of keys; else a work-group
 * of WG for each head of queries, which find the keys that they share in the cache of the device.
 * One query may have its keys in parts, `chunk` positions each (the launch's last dimension), so that a device is full
 * where heads are few: each leaves its sum, the largest score and the sum of exponentials in
 * parts[b,t,heads QUERY_HEADS,n][ATTENTION_PART], and join_parts makes y of them.
 * -DKV_F16: the caches are F16 (cl/common.cl); not with BACKWARD.
 * Where t is 1, the query's own key and value are not in the cache yet: the part that reads them writes them first,
 * unless several groups share them.
 * With -DCROSS the keys are of another sequence: qkv[b,t,d] holds queries alone, QUERY_HEADS is 1, and a key is seen
 * where ids[b,length] isn't `pad`.  With -DBIAS as well, bias[heads,t,length] is added to the scores. */
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#ifndef QUERY_HEADS
#define QUERY_HEADS 1
#endif

#if CPU
/* A head's key and value to their place, 16 at a time where its size allows. */
inline void store_pair(__global const float *key, __global const float *value, __global KV *k, __global KV *v)
{
    int i = 0;
    for (; i + 16 <= HEAD_DIM; i += 16) {
        KV_PUT_16(vload16(0, key + i), k + i);
        KV_PUT_16(vload16(0, value + i), v + i);
    }
    for (; i < HEAD_DIM; i++) {
        KV_PUT_1(key[i], k + i);
        KV_PUT_1(value[i], v + i);
    }
}
#endif

/* cache[b,h,p+t,:] = the keys and values of x[b,t,parts d], its last two parts; p is 0 without a position.
 * One work-item: an element; CPU: a head. */
__kernel void store_kv(IN(float, x), OUT(KV, k), OUT(KV, v), IN(int, position), const int t, const int own,
                       const int heads, const int length, const int parts)
{
#if CPU
    int head = get_global_id(0), d = heads * HEAD_DIM, row = get_global_id(1);
    int p = position_buffer ? POSITION(row, t) : row % t;
    if (p >= length)
        return;
    __global const float *from = AT(x) + ((size_t)row * parts + parts - 2) * d + head * HEAD_DIM;
    const size_t to = (((size_t)(row / t) * heads + head) * length + p) * HEAD_DIM;
    store_pair(from, from + d, AT(k) + to, AT(v) + to);
#else
    int i = get_global_id(0), d = heads * HEAD_DIM, row = get_global_id(1);
    int p = position_buffer ? POSITION(row, t) : row % t;
    if (i >= d || p >= length)
        return;
    size_t to = (((size_t)(row / t) * heads + i / HEAD_DIM) * length + p) * HEAD_DIM + i % HEAD_DIM;
    size_t from = ((size_t)row * parts + parts - 2) * d + i;
    KV_PUT_1(AT(x)[from], AT(k) + to);
    KV_PUT_1(AT(x)[from + d], AT(v) + to);
#endif
}

#include "attention_runs.clh"

#define ATTENTION_ARGUMENTS                                                                                            \
    IN(float, qkv), OUT(KV, k), OUT(KV, v), OUT(float, y), OUT(float, lse), IN(int, position), const int t,            \
        const int heads, const int length, const int kind, const int text, const int width, const int side,            \
        OUT(float, parts), const int n_parts, const int chunk, const int own
/* A part of head `at` of queries, counted through all rows. */
#define PART(at, part) (AT(parts) + ((at)*n_parts + (part)) * ATTENTION_PART(HEAD_DIM))

#ifdef BIAS
#define BIAS_ARGUMENT                 , IN(float, bias)
#define BIASED(score, head, row, key) ((score) + AT(bias)[((size_t)(head)*t + (row) % t) * length + (key)])
#else
#define BIAS_ARGUMENT
#define BIASED(score, head, row, key) (score)
#endif
#ifdef CROSS
#define MORE_ARGUMENTS , IN(int, ids), const int pad BIAS_ARGUMENT
#define QUERY_OF(row)  0
#define PARTS          1
#define SEEN(row, key) (!ids_buffer || AT(ids)[(size_t)((row) / t) * length + (key)] != pad)
#define STORES         false
#else
#define MORE_ARGUMENTS
#define QUERY_OF(row)  POSITION(row, t)
#define PARTS          (QUERY_HEADS + 2) /* of a row of qkv, as wide as all keys */
#define SEEN(row, key) true
#if CPU || QUERY_HEADS == 1 /* else groups of other heads read what one of them writes */
#define STORES (t == 1 && q >= first_key && q < first_key + chunk)
#else
#define STORES false
#endif
#endif

#if CPU

#if HEAD_DIM % 16 == 0
#define VN 16
typedef float16 vec;
#define LOAD(p)     vload16(0, p)
#define LOAD_KV(p)  KV_16(p)
#define STORE(v, p) vstore16(v, 0, p)
#define SUM(v)      sum16(v)
#elif HEAD_DIM % 4 == 0
#define VN 4
typedef float4 vec;
#define LOAD(p)     vload4(0, p)
#define LOAD_KV(p)  KV_4(p)
#define STORE(v, p) vstore4(v, 0, p)
#define SUM(v)      ((v).x + (v).y + (v).z + (v).w)
#else
#define VN 1
typedef float vec;
#define LOAD(p)     (*(p))
#define LOAD_KV(p)  KV_1(p)
#define STORE(v, p) (*(p) = (v))
#define SUM(v)      (v)
#endif
#define NV (HEAD_DIM / VN)

CPU_KERNEL void attention(ATTENTION_ARGUMENTS MORE_ARGUMENTS)
{
    int row = get_global_id(0), head = get_global_id(1), q = QUERY_OF(row), first_key = get_global_id(2) * chunk;
    if (q >= length)
        return;
    const size_t d = heads * HEAD_DIM, at = ((size_t)row * heads + head) * QUERY_HEADS;
    size_t cache = ((size_t)(row / t) * heads + head) * length * HEAD_DIM;
    __global const KV *kp = AT(k) + cache, *vp = AT(v) + cache;
    __global const float *qp = AT(qkv) + (size_t)row * PARTS * d + head * QUERY_HEADS * HEAD_DIM;
    __global const float *own_key = AT(qkv) + (size_t)row * PARTS * d + QUERY_HEADS * d + head * HEAD_DIM;
    if (STORES)
        store_pair(own_key, own_key + d, AT(k) + cache + q * HEAD_DIM, AT(v) + cache + q * HEAD_DIM);
    const float scale = rsqrt((float)HEAD_DIM);
    vec query[QUERY_HEADS][NV], sum[QUERY_HEADS][NV];
    float most[QUERY_HEADS], total[QUERY_HEADS];
    for (int g = 0; g < QUERY_HEADS; g++) {
        most[g] = -FLT_MAX; /* finite: a difference to it is a number where no key is seen yet */
        total[g] = 0.0f;
        for (int i = 0; i < NV; i++) {
            query[g][i] = LOAD(qp + g * HEAD_DIM + i * VN) * scale;
            sum[g][i] = 0.0f;
        }
    }
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = within(run_of(run, q, kind, text, width, side), first_key, first_key + chunk);
        for (int first = 0; first < r.count; first += 16) {
            int n = min(16, r.count - first);
            float s[QUERY_HEADS][16];
            for (int j = 0; j < 16; j++) {
                int key_at = r.start + (first + min(j, n - 1)) * r.step;
                __global const KV *key = kp + (size_t)key_at * HEAD_DIM;
                for (int g = 0; g < QUERY_HEADS; g++) {
                    vec dot = 0.0f;
                    for (int i = 0; i < NV; i++)
                        dot = MAD(query[g][i], LOAD_KV(key + i * VN), dot);
                    s[g][j] = j < n && SEEN(row, key_at) ? BIASED(SUM(dot), head, row, key_at) : -INFINITY;
                }
            }
            for (int g = 0; g < QUERY_HEADS; g++) {
                float16 sv = vload16(0, s[g]);
                float now = fmax(most[g], max16(sv));
                float16 p = exp(sv - now);
                float keep = exp(most[g] - now);
                most[g] = now;
                total[g] = total[g] * keep + sum16(p);
                vstore16(p, 0, s[g]);
                for (int i = 0; i < NV; i++)
                    sum[g][i] *= keep;
            }
            for (int j = 0; j < n; j++) {
                __global const KV *value = vp + (size_t)(r.start + (first + j) * r.step) * HEAD_DIM;
                for (int g = 0; g < QUERY_HEADS; g++)
                    for (int i = 0; i < NV; i++)
                        sum[g][i] = MAD((vec)(s[g][j]), LOAD_KV(value + i * VN), sum[g][i]);
            }
        }
    }
    for (int g = 0; g < QUERY_HEADS; g++) {
        __global float *to = parts_buffer ? PART(at + g, get_global_id(2)) : AT(y) + (at + g) * HEAD_DIM;
        for (int i = 0; i < NV; i++)
            STORE(parts_buffer ? sum[g][i] : sum[g][i] / total[g], to + i * VN);
        if (parts_buffer) {
            to[HEAD_DIM] = most[g];
            to[HEAD_DIM + 1] = total[g];
        } else if (lse_buffer) {
            AT(lse)[at + g] = most[g] + log(total[g]);
        }
    }
}

#else

#define PER_ITEM ((HEAD_DIM + WG - 1) / WG)

#include "attention_keys_gpu.clh"

/* A query's own key and value into the caches, which its group reads next. */
inline void store_own(__global const float *qp, __global KV *key, __global KV *value, int heads)
{
    for (int i = get_local_id(0); i < HEAD_DIM; i += WG) {
        KV_PUT_1(qp[heads * HEAD_DIM + i], key + i);
        KV_PUT_1(qp[2 * heads * HEAD_DIM + i], value + i);
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
}

/* What all shares of the keys give for a column, by the first share's work-items. */
inline float add_shares(float sum, __local float *sums)
{
    int l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    sums[l] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 1; i < VALUE_SHARES && l < HEAD_DIM; i++)
        sum += sums[i * HEAD_DIM + l];
    return sum;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attention(ATTENTION_ARGUMENTS MORE_ARGUMENTS)
{
    __local float query[QUERY_DIM], weight[KEYS], sums[KEY_ROUNDS * WG], scratch[WG];
    int row = GROUP(0), head = get_global_id(1), q = QUERY_OF(row), l = get_local_id(0);
    int first_key = get_global_id(2) * chunk, share = l / HEAD_DIM, column = l % HEAD_DIM;
    if (q >= length) /* the same for the whole group */
        return;
    const size_t at = (size_t)row * heads * QUERY_HEADS + head;
    size_t cache = ((size_t)(row / t) * heads + head / QUERY_HEADS) * length * HEAD_DIM;
    __global const KV *kp = AT(k) + cache, *vp = AT(v) + cache;
    __global const float *qp = AT(qkv) + (size_t)row * PARTS * heads * HEAD_DIM + head * HEAD_DIM;
    for (int i = l; i < QUERY_DIM; i += WG)
        query[i] = i < HEAD_DIM ? qp[i] * rsqrt((float)HEAD_DIM) : 0.0f;
    if (STORES) /* the same for the whole group */
        store_own(qp, AT(k) + cache + q * HEAD_DIM, AT(v) + cache + q * HEAD_DIM, heads);
    float sum[PER_ITEM], most = -FLT_MAX, total = 0.0f;
    for (int i = 0; i < PER_ITEM; i++)
        sum[i] = 0.0f;
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = within(run_of(run, q, kind, text, width, side), first_key, first_key + chunk);
        for (int first = 0; first < r.count; first += KEYS) {
            int n = min(KEYS, r.count - first);
            bool seen[KEY_ROUNDS];
            float score[KEY_ROUNDS], largest = -INFINITY, all = 0.0f;
            UNROLL
            for (int i = 0; i < KEY_ROUNDS; i++) {
                int j = l / KEY_LANES + i * KEYS_ONCE;
                seen[i] = j < n && SEEN(row, r.start + (first + min(j, n - 1)) * r.step);
            }
            score_keys(score, query, kp, r, first, n, sums);
            UNROLL
            for (int i = 0; i < KEY_ROUNDS; i++) {
                const int at = r.start + (first + min(l / KEY_LANES + i * KEYS_ONCE, n - 1)) * r.step;
                score[i] = seen[i] ? BIASED(score[i], head, row, at) : -INFINITY;
                largest = fmax(largest, score[i]);
            }
            float now = fmax(most, group_max(largest, scratch)), keep = exp(most - now);
            most = now;
            UNROLL
            for (int i = 0; i < KEY_ROUNDS; i++)
                if (l % KEY_LANES == 0) {
                    score[i] = exp(score[i] - now);
                    weight[l / KEY_LANES + i * KEYS_ONCE] = score[i];
                    all += score[i];
                }
            total = total * keep + group_sum(all, scratch); /* its barriers publish the weights */
            for (int i = 0; i < PER_ITEM; i++) {
                sum[i] *= keep;
                if (share < VALUE_SHARES && column + i * WG < HEAD_DIM)
                    sum[i] = add_values(sum[i], weight, vp + column + i * WG, r, first, n, share);
            }
        }
    }
    if (VALUE_SHARES > 1) /* the same everywhere */
        sum[0] = add_shares(sum[0], sums);
    if (parts_buffer) {
        __global float *to = PART(at, get_global_id(2));
        for (int i = 0; i < PER_ITEM; i++)
            if (l + i * WG < HEAD_DIM)
                to[l + i * WG] = sum[i];
        if (l == 0) {
            to[HEAD_DIM] = most;
            to[HEAD_DIM + 1] = total;
        }
        return;
    }
    for (int i = 0; i < PER_ITEM; i++)
        if (l + i * WG < HEAD_DIM)
            AT(y)[at * HEAD_DIM + l + i * WG] = sum[i] / total;
    if (lse_buffer && l == 0)
        AT(lse)[at] = most + log(total);
}

#endif

/* y[rows,heads,HEAD_DIM] of n_parts parts; heads are those of queries.  One work-item: an element; CPU: a head. */
__kernel void join_parts(IN(float, parts), OUT(float, y), OUT(float, lse), const int heads, const int n_parts)
{
#if CPU
    const int head = get_global_id(0), first = 0, last = HEAD_DIM;
#else
    const int head = get_global_id(0) / HEAD_DIM, first = get_global_id(0) % HEAD_DIM, last = first + 1;
#endif
    const size_t at = (size_t)get_global_id(1) * heads + head;
    __global float *to = AT(y) + at * HEAD_DIM;
    float most = PART(at, 0)[HEAD_DIM], total = 0.0f;
    for (int part = 1; part < n_parts; part++)
        most = fmax(most, PART(at, part)[HEAD_DIM]);
    for (int part = 0; part < n_parts; part++)
        total += exp(PART(at, part)[HEAD_DIM] - most) * PART(at, part)[HEAD_DIM + 1];
    for (int i = first; i < last; i++) {
        float sum = 0.0f;
        for (int part = 0; part < n_parts; part++)
            sum = MAD(exp(PART(at, part)[HEAD_DIM] - most), PART(at, part)[i], sum);
        to[i] = sum / total;
    }
    if (lse_buffer && first == 0)
        AT(lse)[at] = most + log(total);
}

#ifdef BACKWARD

/* The queries that see a key are a few runs too: those of run_of, turned around; t queries in all. */
inline int seen_runs_of(int key, int kind, int text, int width, int side)
{
    if (key >= text && kind == MASK_TORUS)
        return 2 * min(side, width);
    return key < text ? 1 : kind == MASK_CONV ? 1 + side / 2 : kind == MASK_CORNER ? side : 1;
}

/* As in run_of; those before the key don't see it. */
inline keys seen_torus_run(int run, int cell, int text, int width, int side, int t)
{
    int row = cell / width, col = cell % width, half_side = side / 2, second = run % 2, all = side >= width;
    int r = (row + half_side - run / 2 + width) % width, from = all ? 0 : col - half_side;
    int to = all ? width - 1 : col + half_side;
    if (second && !all) {
        int wraps = from < 0 ? 1 : to >= width ? -1 : 0;
        from = wraps > 0 ? from + width : 0;
        to = wraps > 0 ? width - 1 : wraps < 0 ? to - width : -1;
    }
    from = max(from, r == row ? col : 0);
    to = min(to, width - 1);
    int start = text + r * width + from;
    return (keys){start, 1, r < row || (second && all) ? 0 : min(to - from + 1, t - start)};
}

inline keys seen_run_of(int run, int key, int kind, int text, int width, int side, int t)
{
    if (kind == MASK_ALL)
        return (keys){0, 1, t};
    if (key < text || kind == MASK_FULL)
        return (keys){key, 1, t - key};
    int cell = key - text, col = cell % width, left = run ? max(0, col - side / 2) : col;
    if (kind == MASK_TORUS)
        return seen_torus_run(run, cell, text, width, side, t);
    if (kind == MASK_ROW)
        return (keys){key, 1, min(width - col, t - key)};
    if (kind == MASK_COLUMN)
        return (keys){key, width, (t - key + width - 1) / width};
    if (kind == MASK_WINDOW)
        return (keys){key, 1, min(width + 1, t - key)};
    if (kind == MASK_CORNER) {
        int below = key + run * width;
        return (keys){below, 1, min(min(side, width - col), t - below)};
    }
    int right = min(width - 1, col + side / 2), start = text + (cell / width + run) * width + left;
    return (keys){start, 1, min(right - left + 1, t - start)}; /* none where start >= t */
}

/* With s = scale q k, p = exp(s - lse), dp = dy v, delta = dy y and ds = p (dp - delta):
 *   dq = scale sum over keys ds k,  dk = scale sum over queries ds q,  dv = sum over queries p dy.
 * k, v hold the positions 0 to t-1 of qkv.  attention_back_q leaves delta, of lse's shape, to attention_back_kv, which
 * adds up what the heads of queries give.
 * With -DCROSS qkv[b,t,d] and its gradient (or NULL) are of queries alone, and the gradients of the length keys and
 * values go to to_k, to_v of the cache's shape; with -DBIAS attention_back_q leaves ds[b,heads,t,length] in to_bias, or
 * it is NULL. */
#define BACK_ARGUMENTS                                                                                                 \
    IN(float, qkv), IN(float, k), IN(float, v), IN(float, y), IN(float, lse), IN(float, dy), OUT(float, dqkv),         \
        OUT(float, delta), const int t, const int heads, const int length, const int kind, const int text,             \
        const int width, const int side, const int add
#ifdef BIAS
#define BACK_BIAS_ARGUMENTS BIAS_ARGUMENT, OUT(float, to_bias)
#define KEEP_DS(key, ds)                                                                                               \
    {                                                                                                                  \
        if (to_bias_buffer)                                                                                            \
            AT(to_bias)[(((size_t)(row / t) * heads + head) * t + row % t) * length + (key)] = ds;                     \
    }
#else
#define BACK_BIAS_ARGUMENTS
#define KEEP_DS(key, ds)
#endif
#ifdef CROSS
#define MORE_BACK_ARGUMENTS , IN(int, ids), const int pad, OUT(float, to_k), OUT(float, to_v) BACK_BIAS_ARGUMENTS
#define OWN_QUERY(row)      0
#define OWN_KEYS            length
#define KEY_SEEN            (!ids_buffer || AT(ids)[row] != pad)
#define KEY_TO              (AT(to_k) + at)
#define VALUE_TO            (AT(to_v) + at)
#else
#define MORE_BACK_ARGUMENTS
#define OWN_QUERY(row)      ((row) % t)
#define OWN_KEYS            t
#define KEY_SEEN            true
#define KEY_TO              (AT(dqkv) + (size_t)row * PARTS * d + QUERY_HEADS * d + column)
#define VALUE_TO            (KEY_TO + d)
#endif

#if CPU

/* The products of a with n <= 16 rows, the last one again where there are fewer. */
inline float16 dots(const vec *a, __global const float *rows, size_t stride, int n)
{
#if VN == 16
    float16 d[16];
#else
    float d[16];
#endif
    for (int j = 0; j < 16; j++) {
        __global const float *row = rows + (size_t)min(j, n - 1) * stride;
        vec sum = a[0] * LOAD(row);
        for (int i = 1; i < NV; i++)
            sum = MAD(a[i], LOAD(row + i * VN), sum);
#if VN == 16
        d[j] = sum;
    }
    /* neighbours are added four times, and 16 vectors become one: fewer shuffles than 16 sums */
    for (int m = 8; m > 0; m /= 2)
        for (int j = 0; j < m; j++)
            d[j] = (float16)(d[2 * j].even + ODD(d[2 * j]), d[2 * j + 1].even + ODD(d[2 * j + 1]));
    return d[0];
#else
        d[j] = SUM(sum);
    }
    return vload16(0, d);
#endif
}

/* sum += w[j] row j */
inline void add_rows(vec *sum, const float *w, __global const float *rows, size_t stride, int n)
{
    for (int j = 0; j < n; j++, rows += stride)
        for (int i = 0; i < NV; i++)
            sum[i] = MAD((vec)(w[j]), LOAD(rows + i * VN), sum[i]);
}

inline void load_head(vec *a, __global const float *p, float scale)
{
    for (int i = 0; i < NV; i++)
        a[i] = LOAD(p + i * VN) * scale;
}

inline void store_head(__global float *p, const vec *a, float scale, int add)
{
    for (int i = 0; i < NV; i++)
        STORE(add ? LOAD(p + i * VN) + a[i] * scale : a[i] * scale, p + i * VN);
}

CPU_KERNEL void attention_back_q(BACK_ARGUMENTS MORE_BACK_ARGUMENTS)
{
    int row = get_global_id(0), head = get_global_id(1), q = OWN_QUERY(row);
    size_t cache = ((size_t)(row / t) * heads + head / QUERY_HEADS) * length * HEAD_DIM;
    size_t at_lse = (size_t)row * heads * QUERY_HEADS + head, at = at_lse * HEAD_DIM;
    size_t at_q = ((size_t)row * PARTS * heads + head) * HEAD_DIM;
    const float scale = rsqrt((float)HEAD_DIM), log_sum = AT(lse)[at_lse];
    vec query[NV], out[NV], sum[NV], product = 0.0f;
    load_head(query, AT(qkv) + at_q, scale);
    load_head(out, AT(dy) + at, 1.0f);
    for (int i = 0; i < NV; i++) {
        product += out[i] * LOAD(AT(y) + at + i * VN);
        sum[i] = 0.0f;
    }
    float own = SUM(product), w[16];
    AT(delta)[at_lse] = own;
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = run_of(run, q, kind, text, width, side);
        size_t stride = r.step * HEAD_DIM;
        for (int first = 0; first < r.count; first += 16) {
            int n = min(16, r.count - first);
            size_t from = cache + (size_t)(r.start + first * r.step) * HEAD_DIM;
            float16 score = dots(query, AT(k) + from, stride, n);
#ifdef BIAS
            vstore16(score, 0, w);
            for (int j = 0; j < n; j++)
                w[j] = BIASED(w[j], head, row, r.start + (first + j) * r.step);
            score = vload16(0, w);
#endif
            float16 p = exp(score - log_sum);
            vstore16(p * (dots(out, AT(v) + from, stride, n) - own), 0, w);
            for (int j = 0; j < n; j++) {
                if (!SEEN(row, r.start + (first + j) * r.step))
                    w[j] = 0.0f;
                KEEP_DS(r.start + (first + j) * r.step, w[j])
            }
            add_rows(sum, w, AT(k) + from, stride, n);
        }
    }
    if (dqkv_buffer)
        store_head(AT(dqkv) + at_q, sum, scale, add);
}

CPU_KERNEL void attention_back_kv(BACK_ARGUMENTS MORE_BACK_ARGUMENTS)
{
    int row = get_global_id(0), head = get_global_id(1), key_at = row % OWN_KEYS, image = row / OWN_KEYS;
    const float scale = rsqrt((float)HEAD_DIM);
    size_t at = (((size_t)image * heads + head) * length + key_at) * HEAD_DIM;
    size_t d = heads * HEAD_DIM, column = head * HEAD_DIM;
    vec key[NV], value[NV], dk[NV], dv[NV];
    load_head(key, AT(k) + at, scale);
    load_head(value, AT(v) + at, 1.0f);
    for (int i = 0; i < NV; i++)
        dk[i] = dv[i] = 0.0f;
    float w[16], sums[16], own[16];
    int runs = KEY_SEEN ? seen_runs_of(key_at, kind, text, width, side) : 0;
    for (int run = 0; run < runs * QUERY_HEADS; run++) { /* of one head of queries, then of the next */
        keys r = seen_run_of(run % runs, key_at, kind, text, width, side, t);
        const size_t at_head = head * QUERY_HEADS + run / runs;
        for (int first = 0; first < r.count; first += 16) {
            int n = min(16, r.count - first);
            size_t query = (size_t)image * t + r.start + first * r.step;
            for (int j = 0; j < 16; j++) {
                size_t i = (query + min(j, n - 1) * r.step) * heads * QUERY_HEADS + at_head;
                sums[j] = AT(lse)[i];
                own[j] = AT(delta)[i];
            }
            __global const float *qs = AT(qkv) + query * PARTS * d + at_head * HEAD_DIM;
            __global const float *outs = AT(dy) + query * QUERY_HEADS * d + at_head * HEAD_DIM;
#ifdef BIAS
            for (int j = 0; j < n; j++)
                sums[j] -= BIASED(0.0f, head, r.start + first + j, key_at);
#endif
            float16 p = exp(dots(key, qs, r.step * PARTS * d, n) - vload16(0, sums));
            float16 ds = p * (dots(value, outs, r.step * QUERY_HEADS * d, n) - vload16(0, own));
            vstore16(p, 0, w);
            add_rows(dv, w, outs, r.step * QUERY_HEADS * d, n);
            vstore16(ds, 0, w);
            add_rows(dk, w, qs, r.step * PARTS * d, n);
        }
    }
    store_head(KEY_TO, dk, scale, add);
    store_head(VALUE_TO, dv, 1.0f, add);
}

#else

inline float dot_head(__local const float *a, __global const float *b)
{
    float s = 0.0f;
    for (int i = 0; i < HEAD_DIM; i++)
        s = MAD(a[i], b[i], s);
    return s;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attention_back_q(BACK_ARGUMENTS MORE_BACK_ARGUMENTS)
{
    __local float query[HEAD_DIM], out[HEAD_DIM], weight[WG], scratch[WG];
    int row = GROUP(0), head = get_global_id(1), q = OWN_QUERY(row), l = get_local_id(0);
    size_t cache = ((size_t)(row / t) * heads + head / QUERY_HEADS) * length * HEAD_DIM;
    size_t at_lse = (size_t)row * heads * QUERY_HEADS + head, at = at_lse * HEAD_DIM;
    size_t at_q = ((size_t)row * PARTS * heads + head) * HEAD_DIM;
    const float scale = rsqrt((float)HEAD_DIM), log_sum = AT(lse)[at_lse];
    float own = 0.0f, sum[PER_ITEM];
    for (int i = 0; i < PER_ITEM; i++)
        sum[i] = 0.0f;
    for (int i = l; i < HEAD_DIM; i += WG) {
        query[i] = AT(qkv)[at_q + i] * scale;
        out[i] = AT(dy)[at + i];
        own += out[i] * AT(y)[at + i];
    }
    own = group_sum(own, scratch);
    if (l == 0)
        AT(delta)[at_lse] = own;
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = run_of(run, q, kind, text, width, side);
        for (int first = 0; first < r.count; first += WG) {
            int n = min(WG, r.count - first);
            __global const float *ks = AT(k) + cache + (size_t)(r.start + first * r.step) * HEAD_DIM;
            __global const float *vs = AT(v) + cache + (size_t)(r.start + first * r.step) * HEAD_DIM;
            barrier(CLK_LOCAL_MEM_FENCE); /* the query is there; the last weights are used up */
            if (l < n) {
                size_t key = (size_t)l * r.step * HEAD_DIM;
                const int at_key = r.start + (first + l) * r.step;
                const float p = exp(BIASED(dot_head(query, ks + key), head, row, at_key) - log_sum);
                weight[l] = SEEN(row, at_key) ? p * (dot_head(out, vs + key) - own) : 0.0f;
                KEEP_DS(at_key, weight[l])
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = 0; i < PER_ITEM; i++)
                if (l + i * WG < HEAD_DIM)
                    for (int j = 0; j < n; j++)
                        sum[i] = MAD(weight[j], ks[(size_t)j * r.step * HEAD_DIM + l + i * WG], sum[i]);
        }
    }
    for (int i = 0; i < PER_ITEM && dqkv_buffer; i++)
        if (l + i * WG < HEAD_DIM)
            ADD_TO(AT(dqkv) + at_q + l + i * WG, sum[i] * scale);
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attention_back_kv(BACK_ARGUMENTS MORE_BACK_ARGUMENTS)
{
    __local float key[HEAD_DIM], value[HEAD_DIM], weight[WG], probability[WG];
    int row = GROUP(0), head = get_global_id(1), key_at = row % OWN_KEYS, image = row / OWN_KEYS, l = get_local_id(0);
    const float scale = rsqrt((float)HEAD_DIM);
    size_t at = (((size_t)image * heads + head) * length + key_at) * HEAD_DIM;
    size_t d = heads * HEAD_DIM, column = head * HEAD_DIM;
    float dk[PER_ITEM], dv[PER_ITEM];
    for (int i = 0; i < PER_ITEM; i++)
        dk[i] = dv[i] = 0.0f;
    for (int i = l; i < HEAD_DIM; i += WG) {
        key[i] = AT(k)[at + i] * scale;
        value[i] = AT(v)[at + i];
    }
    int runs = KEY_SEEN ? seen_runs_of(key_at, kind, text, width, side) : 0;
    for (int run = 0; run < runs * QUERY_HEADS; run++) { /* of one head of queries, then of the next */
        keys r = seen_run_of(run % runs, key_at, kind, text, width, side, t);
        const size_t at_head = head * QUERY_HEADS + run / runs;
        for (int first = 0; first < r.count; first += WG) {
            int n = min(WG, r.count - first);
            size_t query = (size_t)image * t + r.start + first * r.step;
            __global const float *qs = AT(qkv) + query * PARTS * d + at_head * HEAD_DIM;
            __global const float *outs = AT(dy) + query * QUERY_HEADS * d + at_head * HEAD_DIM;
            barrier(CLK_LOCAL_MEM_FENCE); /* the key is there; the last weights are used up */
            if (l < n) {
                size_t i = (query + (size_t)l * r.step) * heads * QUERY_HEADS + at_head;
                float score = BIASED(dot_head(key, qs + l * r.step * PARTS * d), head, r.start + first + l, key_at);
                float p = exp(score - AT(lse)[i]);
                probability[l] = p;
                weight[l] = p * (dot_head(value, outs + l * r.step * QUERY_HEADS * d) - AT(delta)[i]);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = 0; i < PER_ITEM; i++)
                if (l + i * WG < HEAD_DIM)
                    for (int j = 0; j < n; j++) {
                        dk[i] = MAD(weight[j], qs[j * r.step * PARTS * d + l + i * WG], dk[i]);
                        dv[i] = MAD(probability[j], outs[j * r.step * QUERY_HEADS * d + l + i * WG], dv[i]);
                    }
        }
    }
    for (int i = 0; i < PER_ITEM; i++)
        if (l + i * WG < HEAD_DIM) {
            ADD_TO(KEY_TO + l + i * WG, dk[i] * scale);
            ADD_TO(VALUE_TO + l + i * WG, dv[i]);
        }
}
#endif

/* dx[b,t,2d] of store_kv from the gradients of the cache's keys and values */
__kernel void collect_kv(IN(float, k), IN(float, v), OUT(float, dx), const int t, const int heads, const int length,
                         const int add)
{
    int i = get_global_id(0), d = heads * HEAD_DIM, row = get_global_id(1), c = i % d;
    if (i >= 2 * d)
        return;
    size_t from = (((size_t)(row / t) * heads + c / HEAD_DIM) * length + row % t) * HEAD_DIM + c % HEAD_DIM;
    ADD_TO(AT(dx) + (size_t)row * 2 * d + i, i < d ? AT(k)[from] : AT(v)[from]);
}
#endif
