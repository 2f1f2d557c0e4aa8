/* Attention of many queries, forwards and back, by tiles of SPAN queries and SPAN keys, with online softmax over the
 * blocks of keys (Dao et al. 2022).  Arguments and layouts are those of cl/attention.cl.
 *
 * CPU: a work-item makes a tile's products in registers; HEAD_DIM is a multiple of 32, and keys and values come in
 * panels [b,heads,places/32][HEAD_DIM][32].  else: work-groups of SIDE x SIDE over local memory, HEAD_DIM at most 64.
 *
 * Tiles are of neighbours in an order of all positions, which is theirs but for MASK_COLUMN, where the grid is ordered
 * by columns: then its mask is that of rows.  Blocks of keys that no query of a tile sees are left out.  `places`: of
 * the order, a multiple of SPAN.  kt, vt: panels of keys and values; else: these themselves. */
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#if CPU
#define SPAN ATTENTION_SPAN_CPU
#else
#define SPAN TILE_M_OF(SIDE)
#endif

/* The mask, in the order of tiles. */
typedef struct mask {
    int kind, text, width; /* of a row, or column, of the order */
    int grid_width;        /* MASK_COLUMN: cells of a row of the grid, else 0 */
    int up, left, right;   /* MASK_CONV, MASK_CORNER: how far a cell sees */
} mask;

inline mask mask_of(int kind, int text, int width, int side, int length)
{
    mask m = {kind, text, width, 0, 0, 0, 0};
    if (kind == MASK_COLUMN) {
        m.kind = MASK_ROW;
        m.grid_width = width;
        m.width = max(1, (length - text + width - 1) / width);
    }
    if (kind == MASK_CONV)
        m.up = m.left = m.right = side / 2;
    if (kind == MASK_CORNER)
        m.up = m.left = side - 1;
    return m;
}

/* The position of place i; behind all positions where there is none. */
inline int place_position(mask m, int i)
{
    int cell = i - m.text;
    if (!m.grid_width || cell < 0)
        return i;
    return cell < m.width * m.grid_width ? m.text + cell % m.width * m.grid_width + cell / m.width : INT_MAX;
}

inline bool near_alone(mask m)
{
    return m.kind == MASK_CONV || m.kind == MASK_CORNER;
}

/* The last place that i sees; of the grid it sees none before first_seen. */
inline int last_seen(mask m, int i)
{
    return m.kind == MASK_ALL ? m.text - 1 : i;
}
inline int first_seen(mask m, int i)
{
    int cell = i - m.text;
    if (cell < 0 || m.kind == MASK_FULL || m.kind == MASK_ALL)
        return m.text;
    if (m.kind == MASK_WINDOW)
        return max(m.text, i - m.width);
    return m.text + max(0, cell / m.width - m.up) * m.width;
}

/* Whether the places from i to i + SPAN - 1 see any of those from j on. */
inline bool tile_sees(mask m, int i, int j)
{
    return j <= last_seen(m, i + SPAN - 1) && (j < m.text || j + SPAN > first_seen(m, max(i, m.text)));
}
/* Whether the n places from i on see all of those. */
inline bool tile_sees_all(mask m, int i, int n, int j)
{
    return j + SPAN - 1 <= last_seen(m, i) &&
           (j + SPAN <= m.text || (!near_alone(m) && first_seen(m, i + n - 1) <= max(j, m.text)));
}

#if CPU
#define KT float /* of panels */
#else
#define KT KV
#endif
#define ARGUMENTS                                                                                                      \
    IN(float, qkv), IN(KT, kt), IN(KV, v), OUT(float, y), OUT(float, lse), IN(int, position), const int t,             \
        const int heads, const int length, const int kind, const int text, const int width, const int side,            \
        const int places, const int head_dim
/* As attention_back_q and attention_back_kv of cl/attention.cl. */
#define BACK_ARGUMENTS                                                                                                 \
    IN(float, qkv), IN(float, k), IN(float, kt), IN(float, vt), IN(float, lse), IN(float, dy), OUT(float, dqkv),       \
        IN(float, delta), const int t, const int heads, const int length, const int kind, const int text,              \
        const int width, const int side, const int places, const int head_dim, const int add

#if CPU

/* -1 for those of 16 places from j on that i sees. */
inline int16 seen(mask m, int i, int j)
{
    int16 at = j + (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), in_text = at < m.text;
    int16 grid = at >= first_seen(m, i);
    if (near_alone(m) && j + 16 > m.text) {
        int col = (i - m.text) % m.width;
        int16 column = (at - m.text) % m.width;
        grid = grid && column >= col - m.left && column <= col + m.right;
    }
    return at <= last_seen(m, i) && (in_text || grid);
}

/* ---- panels ---- */

/* One work-item: 16 of HEAD_DIM of one block; the positions from `end` on, p + t or t, are zeros. */
CPU_KERNEL void panels(IN(KV, k), OUT(float, panels), IN(int, position), const int t, const int length, const int kind,
                     const int text, const int width, const int places)
{
    int d0 = get_global_id(0) * 16, first = get_global_id(1) * SPAN, head = get_global_id(2);
    int end = min(length, (position_buffer ? AT(position)[0] : 0) + t);
    const mask m = mask_of(kind, text, width, 1, length);
    if (!m.grid_width && first >= end)
        return;
    __global const KV *from = AT(k) + (size_t)head * length * HEAD_DIM + d0;
    __global float *to = AT(panels) + ((size_t)head * places + first) * HEAD_DIM + d0 * SPAN;
    float block[SPAN][16];
    for (int j = 0; j < SPAN; j++) {
        int at = place_position(m, first + j);
        float16 v = 0.0f;
        if (at < end)
            v = KV_16(from + (size_t)at * HEAD_DIM);
        vstore16(v, 0, block[j]);
    }
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < SPAN; j += 16)
            vstore16((float16)(block[j][i], block[j + 1][i], block[j + 2][i], block[j + 3][i], block[j + 4][i],
                               block[j + 5][i], block[j + 6][i], block[j + 7][i], block[j + 8][i], block[j + 9][i],
                               block[j + 10][i], block[j + 11][i], block[j + 12][i], block[j + 13][i], block[j + 14][i],
                               block[j + 15][i]),
                     0, to + i * SPAN + j);
}

#define EIGHT(F)  F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define PUT_ROW(i) vstore16(c##i##0, 0, to + i * stride), vstore16(c##i##1, 1, to + i * stride);
#define GET_ROW(i) float16 c##i##0 = vload16(0, to + i * stride), c##i##1 = vload16(1, to + i * stride);
#define ADD_ROW(i)                                                                                                     \
    c##i##0 = MAD((float16)(a[(i)*row]), b0, c##i##0);                                                                 \
    c##i##1 = MAD((float16)(a[(i)*row]), b1, c##i##1);

/* to[8][SPAN] = the rows of x at at[8] times a panel */
#define SCORES(to_, x, at, panel)                                                                                      \
    {                                                                                                                  \
        float *to = to_;                                                                                               \
        const int stride = SPAN;                                                                                       \
        __global const float *a0 = (x) + (at)[0], *a1 = (x) + (at)[1], *a2 = (x) + (at)[2], *a3 = (x) + (at)[3],       \
                             *a4 = (x) + (at)[4], *a5 = (x) + (at)[5], *a6 = (x) + (at)[6], *a7 = (x) + (at)[7];       \
        TILE_DECLARE                                                                                                   \
        TILE_LOOP(panel, head_dim)                                                                                     \
        EIGHT(PUT_ROW)                                                                                                 \
    }
/* sums[8][head_dim] += weights (element j of row i: w[i * row_step + j * step]) times the `count` rows of x at at[]:
 * values, or what BACKWARD has, where all is F32 */
#if SPLIT /* quarters, as TILE_QUARTERS has them */
#define WEIGH(sums, w, row_step, step, x, at, count)                                                                   \
    for (int c = 0; c < head_dim; c += 16)                                                                             \
        ROLL for (int four = 0; four < 8; four += 4) {                                                                 \
            float *to = (sums) + four * HEAD_DIM + c;                                                                  \
            float16 t0 = vload16(0, to), t1 = vload16(0, to + HEAD_DIM);                                               \
            float16 t2 = vload16(0, to + 2 * HEAD_DIM), t3 = vload16(0, to + 3 * HEAD_DIM);                            \
            for (int j = 0; j < (count); j++) {                                                                        \
                float16 b = KV_16((x) + (at)[j] + c);                                                                  \
                const float *a = (w) + four * (row_step) + j * (step);                                                 \
                t0 = MAD((float16)(a[0]), b, t0);                                                                      \
                t1 = MAD((float16)(a[row_step]), b, t1);                                                               \
                t2 = MAD((float16)(a[2 * (row_step)]), b, t2);                                                         \
                t3 = MAD((float16)(a[3 * (row_step)]), b, t3);                                                         \
            }                                                                                                          \
            vstore16(t0, 0, to), vstore16(t1, 0, to + HEAD_DIM);                                                       \
            vstore16(t2, 0, to + 2 * HEAD_DIM), vstore16(t3, 0, to + 3 * HEAD_DIM);                                    \
        }
#else
#define WEIGH(sums, w, row_step, step, x, at, count)                                                                   \
    for (int c = 0; c < head_dim; c += 32) {                                                                           \
        float *to = (sums) + c;                                                                                        \
        const int stride = HEAD_DIM, row = row_step;                                                                   \
        EIGHT(GET_ROW)                                                                                                 \
        for (int j = 0; j < (count); j++) {                                                                            \
            __global const KV *from = (x) + (at)[j] + c;                                                               \
            float16 b0 = KV_16(from), b1 = KV_16(from + 16);                                                           \
            const float *a = (w) + j * (step);                                                                         \
            EIGHT(ADD_ROW)                                                                                             \
        }                                                                                                              \
        EIGHT(PUT_ROW)                                                                                                 \
    }
#endif

/* Where the places from i on lie in rows of `stride`, of the positions p to end - 1; those outside: any of these. */
inline void rows_at(uint *at, mask m, int i, int p, int end, uint stride)
{
    for (int j = 0; j < SPAN; j++)
        at[j] = (uint)(clamp(place_position(m, i + j), p, end - 1) - p) * stride;
}

#ifndef BACKWARD

CPU_KERNEL void attention(ARGUMENTS)
{
    int head = get_global_id(1), image = get_global_id(2), p = AT(position)[0], end = min(length, p + t);
    const mask m = mask_of(kind, text, width, side, length);
    int first = get_global_id(0) * SPAN + (m.grid_width ? 0 : p), rows = m.grid_width ? SPAN : min(SPAN, end - first);
    if (rows <= 0)
        return;
    const size_t d = heads * HEAD_DIM, cache = (size_t)image * heads + head;
    __global const float *queries = AT(qkv) + (size_t)image * t * 3 * d + head * HEAD_DIM;
    __global const float *kp = AT(kt) + cache * places * HEAD_DIM;
    __global const KV *vp = AT(v) + cache * length * HEAD_DIM;
    const float scale = rsqrt((float)HEAD_DIM);
    float sum[SPAN * HEAD_DIM], score[8 * SPAN], most[SPAN], total[SPAN];
    uint at_q[SPAN], at_v[SPAN];
    for (int i = 0; i < SPAN * head_dim; i += 16)
        vstore16((float16)(0.0f), 0, sum + i);
    for (int i = 0; i < SPAN; i++) {
        most[i] = -FLT_MAX; /* finite: a difference to it is a number where no key is seen yet */
        total[i] = 0.0f;
    }
    rows_at(at_q, m, first, p, end, 3 * d);
    for (int block = 0; block < places; block += SPAN) {
        if (!tile_sees(m, first, block))
            continue;
        rows_at(at_v, m, block, 0, end, HEAD_DIM);
        for (int r = 0; r < rows; r += 8) {
            SCORES(score, queries, at_q + r, kp + (size_t)block * HEAD_DIM)
            const bool all = tile_sees_all(m, first + r, 8, block);
            for (int i = 0; i < min(8, rows - r); i++) {
                float *s = score + i * SPAN, *o = sum + (r + i) * HEAD_DIM;
                float16 a = vload16(0, s) * scale, b = vload16(1, s) * scale;
                if (!all) {
                    a = select((float16)(-INFINITY), a, seen(m, first + r + i, block));
                    b = select((float16)(-INFINITY), b, seen(m, first + r + i, block + 16));
                }
                float before = most[r + i], now = fmax(before, max16(fmax(a, b)));
                a = exp(a - now);
                b = exp(b - now);
                vstore16(a, 0, s);
                vstore16(b, 1, s);
                if (now > before) {
                    float keep = exp(before - now);
                    total[r + i] *= keep;
                    for (int c = 0; c < head_dim; c += 16)
                        vstore16(vload16(0, o + c) * keep, 0, o + c);
                }
                most[r + i] = now;
                total[r + i] += sum16(a + b);
            }
            WEIGH(sum + r * HEAD_DIM, score, SPAN, 1, vp, at_v, SPAN)
        }
    }
    for (int i = 0; i < rows; i++) {
        int at = place_position(m, first + i);
        if (at < p || at >= end)
            continue;
        size_t to = ((size_t)image * t + at - p) * heads + head;
        for (int c = 0; c < head_dim; c += 16)
            vstore16(vload16(0, sum + i * HEAD_DIM + c) / total[i], 0, AT(y) + to * HEAD_DIM + c);
        if (lse_buffer)
            AT(lse)[to] = most[i] + log(total[i]);
    }
}

#else

#define BACK_DECLARE                                                                                                   \
    const int head = get_global_id(1), image = get_global_id(2), first = get_global_id(0) * SPAN;                      \
    const mask m = mask_of(kind, text, width, side, length);                                                           \
    const size_t d = heads * HEAD_DIM, cache = (size_t)image * heads + head;                                           \
    const size_t at_head = (size_t)image * t * heads + head; /* of y, in heads; of lse */                              \
    __global const float *queries = AT(qkv) + (size_t)image * t * 3 * d + head * HEAD_DIM;                             \
    __global const float *outs = AT(dy) + at_head * HEAD_DIM;                                                          \
    __global const float *kp = AT(kt) + cache * places * HEAD_DIM, *vp = AT(vt) + cache * places * HEAD_DIM;           \
    const float scale = rsqrt((float)HEAD_DIM);                                                                        \
    float ps[SPAN * SPAN], ds[SPAN * SPAN];                                                                            \
    uint at_q[SPAN], at_y[SPAN];

/* ps and ds of the n queries from place i on and of the keys from place j on */
#define BACK_TILE(i, j, n)                                                                                             \
    for (int r = 0; r < (n); r += 8) {                                                                                 \
        SCORES(ps + r * SPAN, queries, at_q + r, kp + (size_t)(j)*HEAD_DIM)                                            \
        SCORES(ds + r * SPAN, outs, at_y + r, vp + (size_t)(j)*HEAD_DIM)                                               \
    }                                                                                                                  \
    for (int r = 0; r < (n); r++) {                                                                                    \
        const bool all = tile_sees_all(m, (i) + r, 1, j), real = place_position(m, (i) + r) < t;                       \
        const float own = AT(delta)[at_head + at_y[r] / HEAD_DIM], log_sum = AT(lse)[at_head + at_y[r] / HEAD_DIM];    \
        for (int c = 0; c < SPAN; c += 16) {                                                                           \
            float16 p = exp(vload16(0, ps + r * SPAN + c) * scale - log_sum);                                          \
            if (!all || !real)                                                                                         \
                p = select((float16)(0.0f), p, real ? seen(m, (i) + r, (j) + c) : (int16)0);                           \
            vstore16(p, 0, ps + r * SPAN + c);                                                                         \
            vstore16(p * (vload16(0, ds + r * SPAN + c) - own), 0, ds + r * SPAN + c);                                 \
        }                                                                                                              \
    }

/* delta[b,t,heads] = dy y */
__kernel void delta(IN(float, y), IN(float, dy), OUT(float, delta), const int heads)
{
    int head = get_global_id(0);
    size_t at = (size_t)get_global_id(1) * heads + head;
    float16 sum = 0.0f;
    for (int i = 0; i < HEAD_DIM; i += 16)
        sum = MAD(vload16(0, AT(y) + at * HEAD_DIM + i), vload16(0, AT(dy) + at * HEAD_DIM + i), sum);
    AT(delta)[at] = sum16(sum);
}

CPU_KERNEL void attention_back_q(BACK_ARGUMENTS)
{
    BACK_DECLARE
    __global const float *keys = AT(k) + cache * length * HEAD_DIM;
    float sum[SPAN * HEAD_DIM];
    uint at_k[SPAN];
    const int rows = m.grid_width ? SPAN : min(SPAN, t - first);
    for (int i = 0; i < SPAN * head_dim; i += 16)
        vstore16((float16)(0.0f), 0, sum + i);
    rows_at(at_q, m, first, 0, t, 3 * d);
    rows_at(at_y, m, first, 0, t, d);
    for (int block = 0; block < places; block += SPAN) {
        if (!tile_sees(m, first, block))
            continue;
        rows_at(at_k, m, block, 0, t, HEAD_DIM);
        BACK_TILE(first, block, rows)
        for (int r = 0; r < rows; r += 8)
            WEIGH(sum + r * HEAD_DIM, ds + r * SPAN, SPAN, 1, keys, at_k, SPAN)
    }
    for (int i = 0; i < rows; i++) {
        int at = place_position(m, first + i);
        __global float *to = AT(dqkv) + ((size_t)image * t + at) * 3 * d + head * HEAD_DIM;
        for (int c = 0; c < head_dim && at < t; c += 16) {
            float16 v = vload16(0, sum + i * HEAD_DIM + c) * scale;
            vstore16(add ? vload16(0, to + c) + v : v, 0, to + c);
        }
    }
}

CPU_KERNEL void attention_back_kv(BACK_ARGUMENTS)
{
    BACK_DECLARE
    float dk[SPAN * HEAD_DIM], dv[SPAN * HEAD_DIM];
    for (int i = 0; i < SPAN * head_dim; i += 16) {
        vstore16((float16)(0.0f), 0, dk + i);
        vstore16((float16)(0.0f), 0, dv + i);
    }
    for (int block = 0; block < places; block += SPAN) {
        if (!tile_sees(m, block, first))
            continue;
        rows_at(at_q, m, block, 0, t, 3 * d);
        rows_at(at_y, m, block, 0, t, d);
        BACK_TILE(block, first, SPAN)
        for (int r = 0; r < SPAN; r += 8) {
            WEIGH(dv + r * HEAD_DIM, ps + r, 1, SPAN, outs, at_y, SPAN)
            WEIGH(dk + r * HEAD_DIM, ds + r, 1, SPAN, queries, at_q, SPAN)
        }
    }
    for (int i = 0; i < SPAN; i++) {
        int at = place_position(m, first + i);
        __global float *to = AT(dqkv) + ((size_t)image * t + at) * 3 * d + d + head * HEAD_DIM;
        for (int c = 0; c < head_dim && at < t; c += 16) {
            float16 a = vload16(0, dk + i * HEAD_DIM + c) * scale, b = vload16(0, dv + i * HEAD_DIM + c);
            vstore16(add ? vload16(0, to + c) + a : a, 0, to + c);
            vstore16(add ? vload16(0, to + d + c) + b : b, 0, to + d + c);
        }
    }
}

#endif

#else

inline bool sees(mask m, int i, int j)
{
    if (j > last_seen(m, i) || j < m.text)
        return j <= last_seen(m, i);
    if (near_alone(m)) {
        int between = (j - m.text) % m.width - (i - m.text) % m.width;
        if (between < -m.left || between > m.right)
            return false;
    }
    return j >= first_seen(m, i);
}

/* The first block from `block` on that the tile of queries at `first` sees; that sees the keys at `first`.  Loops, as
 * a barrier behind a condition, though it be the same for all, is more than some compilers manage. */
inline int next_block(mask m, int first, int block, int places)
{
    while (block < places && !tile_sees(m, first, block))
        block += SPAN;
    return block;
}
inline int next_queries(mask m, int first, int block, int places)
{
    while (block < places && !tile_sees(m, block, first))
        block += SPAN;
    return block;
}

#define ACROSS ((HEAD_DIM + SPAN - 1) / SPAN) /* tiles of a head */
/* Where a place lies in rows of `stride`; -1: not among the positions p to end - 1. */
#define ROWS_AT(rows, first, p, end)                                                                                   \
    for (int l = lid; l < SPAN; l += SIDE * SIDE) {                                                                    \
        int position = place_position(m, (first) + l);                                                                 \
        rows[l] = position >= (p) && position < (end) ? position - (p) : -1;                                           \
    }
/* One number of a head in row `row` of x; 0 where there is none. */
#define HEAD_OF(x, row, stride, i) ((row) >= 0 && (i) < HEAD_DIM ? (x)[(size_t)(row) * (stride) + (i)] : 0.0f)
/* The same of a cache, or of what BACKWARD has, where all is F32. */
#define KV_OF(x, row, stride, i)                                                                                       \
    ((row) >= 0 && (i) < HEAD_DIM ? KV_1((x) + (size_t)(row) * (stride) + (i)) : 0.0f)
#define CLEAR(acc)                                                                                                     \
    UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] = 0.0f;
/* The 16 numbers of a work-item; all of a tile, without registers. */
#define OWN_SCORES(BODY)                                                                                               \
    UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++)                                              \
    {                                                                                                                  \
        const int r = ly + SIDE * i, c = lx + SIDE * j;                                                                \
        BODY                                                                                                           \
    }
#define EACH_SCORE(BODY)                                                                                               \
    ROLL for (int l = lid; l < SPAN * SPAN; l += SIDE * SIDE) {                                                        \
        const int r = l / SPAN, c = l % SPAN;                                                                          \
        BODY                                                                                                           \
    }
/* acc[4][4] += A(row of a work-item, kk) bv */
#define MULTIPLY(acc, A)                                                                                               \
    for (int kk = 0; kk < TILE_K; kk++) {                                                                              \
        float av[4], bv[4];                                                                                            \
        UNROLL for (int i = 0; i < 4; i++)                                                                             \
        {                                                                                                              \
            av[i] = A(ly + SIDE * i, kk);                                                                              \
            bv[i] = tb[kk][lx + SIDE * i];                                                                             \
        }                                                                                                              \
        UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] =                              \
            MAD(av[i], bv[j], acc[i][j]);                                                                              \
    }
#define FROM_TA(r, kk)      ta[kk][r]
#define FROM_SCORES(r, kk)  scores[r][k0 + kk]
#define FROM_SCORES_T(r, kk) scores[k0 + kk][r]
/* acc = the rows a of x times the rows b of z */
#define SCORES(acc, x, x_stride, a, z, z_stride, b)                                                                    \
    CLEAR(acc)                                                                                                         \
    ROLL for (int k0 = 0; k0 < HEAD_DIM; k0 += TILE_K) {                                                               \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        ROLL for (int l = lid; l < SPAN * TILE_K; l += SIDE * SIDE) {                                                  \
            ta[l % TILE_K][l / TILE_K] = HEAD_OF(x, a[l / TILE_K], x_stride, k0 + l % TILE_K);                         \
            tb[l % TILE_K][l / TILE_K] = KV_OF(z, b[l / TILE_K], z_stride, k0 + l % TILE_K);                           \
        }                                                                                                              \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        MULTIPLY(acc, FROM_TA)                                                                                         \
    }
/* sums[ACROSS] += the scores, by FROM, times the rows b of z.  Begins with a barrier. */
#define WEIGH(sums, FROM, z, z_stride, b)                                                                              \
    UNROLL for (int n = 0; n < ACROSS; n++) ROLL for (int k0 = 0; k0 < SPAN; k0 += TILE_K)                             \
    {                                                                                                                  \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        ROLL for (int l = lid; l < SPAN * TILE_K; l += SIDE * SIDE)                                                    \
            tb[l / SPAN][l % SPAN] = KV_OF(z, b[k0 + l / SPAN], z_stride, n * SPAN + l % SPAN);                        \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        MULTIPLY(sums[n], FROM)                                                                                        \
    }
#define GROUP_DECLARE                                                                                                  \
    __local float ta[TILE_K][SPAN + 1], tb[TILE_K][SPAN + 1], scores[SPAN][SPAN + 1];                                  \
    __local int at_q[SPAN], at_k[SPAN];                                                                                \
    const int lid = get_local_id(0), lx = lid % SIDE, ly = lid / SIDE;                                                 \
    const int head = GROUP(1), image = get_global_id(2);                                                               \
    const mask m = mask_of(kind, text, width, side, length);                                                           \
    const size_t d = heads * HEAD_DIM, cache = ((size_t)image * heads + head) * length * HEAD_DIM;                     \
    const size_t at_head = (size_t)image * t * heads + head; /* of y, in heads; of lse */                              \
    const float scale = rsqrt((float)HEAD_DIM);                                                                        \
    __global const float *queries = AT(qkv) + (size_t)image * t * 3 * d + head * HEAD_DIM;                             \
    __global const KT *kp = AT(kt) + cache;
#define GROUP_SIZE __attribute__((reqd_work_group_size(SIDE * SIDE, 1, 1)))

#ifndef BACKWARD

__kernel GROUP_SIZE void attention(ARGUMENTS)
{
    GROUP_DECLARE
    __global const KV *vp = AT(v) + cache;
    __local float most[SPAN], total[SPAN], keep[SPAN];
    const int p = AT(position)[0], end = min(length, p + t);
    const int first = (int)GROUP(0) * SPAN + (m.grid_width ? 0 : p);
    float acc[4][4], sum[ACROSS][4][4];
    UNROLL
    for (int n = 0; n < ACROSS; n++)
        CLEAR(sum[n])
    for (int l = lid; l < SPAN; l += SIDE * SIDE) {
        most[l] = -FLT_MAX; /* finite: a difference to it is a number where no key is seen yet */
        total[l] = 0.0f;
    }
    ROWS_AT(at_q, first, p, end)
    for (int block = next_block(m, first, 0, places); block < places;
         block = next_block(m, first, block + SPAN, places)) {
        barrier(CLK_LOCAL_MEM_FENCE); /* the last block is used up */
        ROWS_AT(at_k, block, 0, end)
        SCORES(acc, queries, 3 * d, at_q, kp, HEAD_DIM, at_k)
        OWN_SCORES(scores[r][c] = acc[i][j] * scale;)
        barrier(CLK_LOCAL_MEM_FENCE);
        if (m.grid_width || !tile_sees_all(m, first, SPAN, block))
            EACH_SCORE(if (at_k[c] < 0 || !sees(m, first + r, block + c)) scores[r][c] = -INFINITY;)
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int l = lid; l < SPAN; l += SIDE * SIDE) {
            float now = most[l];
            for (int c = 0; c < SPAN; c++)
                now = fmax(now, scores[l][c]);
            keep[l] = exp(most[l] - now);
            most[l] = now;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH_SCORE(scores[r][c] = exp(scores[r][c] - most[r]);)
        UNROLL
        for (int n = 0; n < ACROSS; n++)
            OWN_SCORES(sum[n][i][j] *= keep[r]; (void)c;)
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int l = lid; l < SPAN; l += SIDE * SIDE) {
            float s = 0.0f;
            for (int c = 0; c < SPAN; c++)
                s += scores[l][c];
            total[l] = total[l] * keep[l] + s;
        }
        WEIGH(sum, FROM_SCORES, vp, HEAD_DIM, at_k)
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL
    for (int n = 0; n < ACROSS; n++)
        OWN_SCORES(if (at_q[r] >= 0 && n * SPAN + c < HEAD_DIM)
                AT(y)[(at_head + (size_t)at_q[r] * heads) * HEAD_DIM + n * SPAN + c] = sum[n][i][j] / total[r];)
    for (int l = lid; l < SPAN && lse_buffer; l += SIDE * SIDE)
        if (at_q[l] >= 0)
            AT(lse)[at_head + (size_t)at_q[l] * heads] = most[l] + log(total[l]);
}

#else

#define BACK_DECLARE                                                                                                   \
    GROUP_DECLARE                                                                                                      \
    const int first = (int)GROUP(0) * SPAN;                                                                            \
    __global const float *outs = AT(dy) + at_head * HEAD_DIM, *vp = AT(vt) + cache;                                    \
    float acc[4][4];                                                                                                   \
    __local float log_sum[SPAN], own[SPAN];
/* Queries from place i0 on. */
#define QUERIES_AT(i0)                                                                                                 \
    for (int l = lid; l < SPAN; l += SIDE * SIDE) {                                                                    \
        int position = place_position(m, (i0) + l);                                                                    \
        at_q[l] = position < t ? position : -1;                                                                        \
        log_sum[l] = position < t ? AT(lse)[at_head + (size_t)position * heads] : 0.0f;                                \
        own[l] = position < t ? AT(delta)[at_head + (size_t)position * heads] : 0.0f;                                  \
    }
/* The scores become p, and then ds, of these and of the keys at_k, from place j0 on. */
#define PROBABILITIES(i0, j0)                                                                                          \
    SCORES(acc, queries, 3 * d, at_q, kp, HEAD_DIM, at_k)                                                              \
    OWN_SCORES(scores[r][c] = acc[i][j] * scale;)                                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                      \
    EACH_SCORE(const bool seen = at_q[r] >= 0 && at_k[c] >= 0 && sees(m, (i0) + r, (j0) + c);                          \
        scores[r][c] = seen ? exp(scores[r][c] - log_sum[r]) : 0.0f;)
#define DIFFERENCES                                                                                                    \
    SCORES(acc, outs, d, at_q, vp, HEAD_DIM, at_k)                                                                     \
    OWN_SCORES(scores[r][c] *= acc[i][j] - own[r];)

/* delta[b,t,heads] = dy y; a work-item each */
__kernel void delta(IN(float, y), IN(float, dy), OUT(float, delta), const int heads)
{
    size_t at = (size_t)get_global_id(1) * heads + get_global_id(0);
    float sum = 0.0f;
    for (int i = 0; i < HEAD_DIM; i++)
        sum = MAD(AT(y)[at * HEAD_DIM + i], AT(dy)[at * HEAD_DIM + i], sum);
    AT(delta)[at] = sum;
}

__kernel GROUP_SIZE void attention_back_q(BACK_ARGUMENTS)
{
    BACK_DECLARE
    float sum[ACROSS][4][4];
    UNROLL
    for (int n = 0; n < ACROSS; n++)
        CLEAR(sum[n])
    QUERIES_AT(first)
    for (int block = next_block(m, first, 0, places); block < places;
         block = next_block(m, first, block + SPAN, places)) {
        barrier(CLK_LOCAL_MEM_FENCE);
        ROWS_AT(at_k, block, 0, t)
        PROBABILITIES(first, block)
        DIFFERENCES
        WEIGH(sum, FROM_SCORES, kp, HEAD_DIM, at_k)
    }
    UNROLL
    for (int n = 0; n < ACROSS; n++)
        OWN_SCORES(if (at_q[r] >= 0 && n * SPAN + c < HEAD_DIM) {
            size_t at = ((size_t)image * t + at_q[r]) * 3 * d + head * HEAD_DIM + n * SPAN + c;
            ADD_TO(AT(dqkv) + at, sum[n][i][j] * scale);
        })
}

__kernel GROUP_SIZE void attention_back_kv(BACK_ARGUMENTS)
{
    BACK_DECLARE
    float dk[ACROSS][4][4], dv[ACROSS][4][4];
    UNROLL
    for (int n = 0; n < ACROSS; n++) {
        CLEAR(dk[n])
        CLEAR(dv[n])
    }
    ROWS_AT(at_k, first, 0, t)
    for (int block = next_queries(m, first, 0, places); block < places;
         block = next_queries(m, first, block + SPAN, places)) {
        barrier(CLK_LOCAL_MEM_FENCE);
        QUERIES_AT(block)
        PROBABILITIES(block, first)
        WEIGH(dv, FROM_SCORES_T, outs, d, at_q)
        DIFFERENCES
        WEIGH(dk, FROM_SCORES_T, queries, 3 * d, at_q)
    }
    UNROLL
    for (int n = 0; n < ACROSS; n++)
        OWN_SCORES(if (at_k[r] >= 0 && n * SPAN + c < HEAD_DIM) {
            size_t at = ((size_t)image * t + at_k[r]) * 3 * d + d + head * HEAD_DIM + n * SPAN + c;
            ADD_TO(AT(dqkv) + at, dk[n][i][j] * scale);
            ADD_TO(AT(dqkv) + at + d, dv[n][i][j]);
        })
}

#endif
#endif
