/* Masked multi-head attention over a cache of keys and values, by online softmax (Milakov & Gimelshein 2018): the
 * score matrix is never stored, and only the keys that the mask allows are read.
 * qkv[b,t,3d]; k, v caches [b,heads,length,HEAD_DIM]; y[b,t,d]; query t has the position *position + t.
 *
 * HEAD_DIM is a build option.  CPU: a work-item for each query and head; else a work-group of WG. */
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif

/* cache[b,h,p+t,:] = the keys and values of qkv[b,t,:] */
__kernel void store_kv(IN(float, qkv), OUT(float, k), OUT(float, v), IN(int, position), const int t, const int heads,
                       const int length)
{
    int i = get_global_id(0), d = heads * HEAD_DIM, row = get_global_id(1), p = AT(position)[0] + row % t;
    if (i >= d || p >= length)
        return;
    size_t to = (((size_t)(row / t) * heads + i / HEAD_DIM) * length + p) * HEAD_DIM + i % HEAD_DIM;
    size_t from = (size_t)row * 3 * d + i;
    AT(k)[to] = AT(qkv)[from + d];
    AT(v)[to] = AT(qkv)[from + 2 * d];
}

/* The keys of a query are a few runs: start, start + step, …, count of them. */
typedef struct keys {
    int start, step, count;
} keys;

enum { FULL, ROW, COLUMN, CONV, WINDOW };

inline int runs_of(int q, int kind, int text, int width, int side)
{
    if (q < text || kind == FULL)
        return 1;
    return kind == CONV ? 2 + min((q - text) / width, side / 2) : 2;
}

/* Run 0 is the text (or all there is), then the part of the grid. */
inline keys run_of(int run, int q, int kind, int text, int width, int side)
{
    if (q < text || kind == FULL)
        return (keys){0, 1, q + 1};
    if (run == 0)
        return (keys){0, 1, text};
    int cell = q - text, row = cell / width, col = cell % width;
    if (kind == ROW)
        return (keys){text + row * width, 1, col + 1};
    if (kind == COLUMN)
        return (keys){text + col, width, row + 1};
    if (kind == WINDOW) {
        int start = max(text, q - width);
        return (keys){start, 1, q - start + 1};
    }
    int above = row - (run - 1), left = max(0, col - side / 2), right = run == 1 ? col : min(width - 1, col + side / 2);
    return (keys){text + above * width + left, 1, right - left + 1};
}

#define ATTENTION_ARGUMENTS                                                                                            \
    IN(float, qkv), IN(float, k), IN(float, v), OUT(float, y), IN(int, position), const int t, const int heads,        \
        const int length, const int kind, const int text, const int width, const int side

#if CPU

#if HEAD_DIM % 16 == 0
#define VN 16
typedef float16 vec;
#define LOAD(p)     vload16(0, p)
#define STORE(v, p) vstore16(v, 0, p)
#define SUM(v)      sum16(v)
#elif HEAD_DIM % 4 == 0
#define VN 4
typedef float4 vec;
#define LOAD(p)     vload4(0, p)
#define STORE(v, p) vstore4(v, 0, p)
#define SUM(v)      ((v).x + (v).y + (v).z + (v).w)
#else
#define VN 1
typedef float vec;
#define LOAD(p)     (*(p))
#define STORE(v, p) (*(p) = (v))
#define SUM(v)      (v)
#endif
#define NV (HEAD_DIM / VN)

__kernel void attention(ATTENTION_ARGUMENTS)
{
    int row = get_global_id(0), head = get_global_id(1), q = AT(position)[0] + row % t;
    if (q >= length)
        return;
    size_t cache = ((size_t)(row / t) * heads + head) * length * HEAD_DIM;
    __global const float *kp = AT(k) + cache, *vp = AT(v) + cache;
    __global const float *qp = AT(qkv) + (size_t)row * 3 * heads * HEAD_DIM + head * HEAD_DIM;
    const float scale = rsqrt((float)HEAD_DIM);
    vec query[NV], sum[NV];
    for (int i = 0; i < NV; i++) {
        query[i] = LOAD(qp + i * VN) * scale;
        sum[i] = 0.0f;
    }
    float most = -INFINITY, total = 0.0f;
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = run_of(run, q, kind, text, width, side);
        for (int first = 0; first < r.count; first += 16) {
            int n = min(16, r.count - first);
            float s[16];
            for (int j = 0; j < 16; j++) {
                __global const float *key = kp + (size_t)(r.start + (first + min(j, n - 1)) * r.step) * HEAD_DIM;
                vec d = 0.0f;
                for (int i = 0; i < NV; i++)
                    d = MAD(query[i], LOAD(key + i * VN), d);
                s[j] = j < n ? SUM(d) : -INFINITY;
            }
            float16 sv = vload16(0, s);
            float8 m8 = fmax(sv.lo, sv.hi);
            float4 m4 = fmax(m8.lo, m8.hi);
            float now = fmax(most, fmax(fmax(m4.x, m4.y), fmax(m4.z, m4.w)));
            float16 p = exp(sv - now);
            float keep = exp(most - now);
            most = now;
            total = total * keep + sum16(p);
            vstore16(p, 0, s);
            for (int i = 0; i < NV; i++)
                sum[i] *= keep;
            for (int j = 0; j < n; j++) {
                __global const float *value = vp + (size_t)(r.start + (first + j) * r.step) * HEAD_DIM;
                for (int i = 0; i < NV; i++)
                    sum[i] = MAD((vec)(s[j]), LOAD(value + i * VN), sum[i]);
            }
        }
    }
    for (int i = 0; i < NV; i++)
        STORE(sum[i] / total, AT(y) + ((size_t)row * heads + head) * HEAD_DIM + i * VN);
}

#else

#define PER_ITEM ((HEAD_DIM + WG - 1) / WG)

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attention(ATTENTION_ARGUMENTS)
{
    __local float query[HEAD_DIM], weight[WG], scratch[WG];
    int row = GROUP(0), head = get_global_id(1), q = AT(position)[0] + row % t, l = get_local_id(0);
    if (q >= length) /* the same for the whole group */
        return;
    size_t cache = ((size_t)(row / t) * heads + head) * length * HEAD_DIM;
    __global const float *kp = AT(k) + cache, *vp = AT(v) + cache;
    __global const float *qp = AT(qkv) + (size_t)row * 3 * heads * HEAD_DIM + head * HEAD_DIM;
    for (int i = l; i < HEAD_DIM; i += WG)
        query[i] = qp[i] * rsqrt((float)HEAD_DIM);
    float sum[PER_ITEM], most = -INFINITY, total = 0.0f;
    for (int i = 0; i < PER_ITEM; i++)
        sum[i] = 0.0f;
    int runs = runs_of(q, kind, text, width, side);
    for (int run = 0; run < runs; run++) {
        keys r = run_of(run, q, kind, text, width, side);
        for (int first = 0; first < r.count; first += WG) {
            int n = min(WG, r.count - first);
            float s = -INFINITY;
            barrier(CLK_LOCAL_MEM_FENCE); /* the query is there; the last weights are used up */
            if (l < n) {
                __global const float *key = kp + (size_t)(r.start + (first + l) * r.step) * HEAD_DIM;
                s = 0.0f;
                for (int i = 0; i < HEAD_DIM; i++)
                    s = MAD(query[i], key[i], s);
            }
            float now = fmax(most, group_max(s, scratch)), keep = exp(most - now), p = exp(s - now);
            most = now;
            weight[l] = p;
            total = total * keep + group_sum(p, scratch); /* its barriers publish the weights */
            for (int i = 0; i < PER_ITEM; i++) {
                int d = l + i * WG;
                sum[i] *= keep;
                if (d < HEAD_DIM)
                    for (int j = 0; j < n; j++)
                        sum[i] = MAD(weight[j], vp[(size_t)(r.start + (first + j) * r.step) * HEAD_DIM + d], sum[i]);
            }
        }
    }
    for (int i = 0; i < PER_ITEM; i++)
        if (l + i * WG < HEAD_DIM)
            AT(y)[((size_t)row * heads + head) * HEAD_DIM + l + i * WG] = sum[i] / total;
}

#endif
