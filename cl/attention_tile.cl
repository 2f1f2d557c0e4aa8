/* Attention of many queries, forwards and back, by tiles of SPAN queries and SPAN keys, with online softmax over the
 * blocks of keys (Dao et al. 2022).  Arguments and layouts are those of cl/attention.cl: `heads` of keys, each with
 * QUERY_HEADS of queries.
 *
 *                 keys, in blocks of SPAN
 *              +------+------+------+------+
 *   SPAN       |######|##### |      |      |     A work-item (CPU) or work-group takes a row of tiles, block by block:
 *   queries    +------+------+------+------+     scores = queries keys^T, the mask (#), p = exp(scores - largest yet),
 *              |######|######|##### |      |     sums += p values, and what was added up before is scaled where a
 *              +------+------+------+------+     larger score comes.  Tiles that the mask leaves empty are left out.
 *
 * Backwards the same tiles give p again, from the log of its sum, and ds = p (dy values^T - delta): a row of tiles
 * gives the gradient of its queries, a column of tiles that of its keys and values.
 *
 * A tile takes neighbouring places.  Places are positions; for MASK_COLUMN the grid is put in order by columns first, so
 * that its mask is that of rows.  `places`: how many there are, a multiple of SPAN.
 *
 * attention_tile_cpu.clh: a tile's products in registers; HEAD_DIM is a multiple of 8, with BACKWARD of 32, and kt and
 *   vt are keys and values in panels [b,heads,places/32][HEAD_DIM][32].
 * attention_tile_gpu.clh: work-groups over local memory; kt and vt are keys and values.
 *
 * Build options:
 *   HEAD_DIM     numbers of a head (64)
 *   QUERY_HEADS  heads of queries for each head of keys (1)
 *   KV_F16       keys and values are F16; not with BACKWARD
 *   CROSS        keys and values are of another sequence, `length` of it: qkv[b,t,d] holds queries alone, QUERY_HEADS is
 *                1 and the mask MASK_ALL; not with BACKWARD
 *   BACKWARD     the kernels of gradients instead
 * Tunables of common.cl: SIDE (GPU), SPLIT (CPU). */
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#ifndef QUERY_HEADS
#define QUERY_HEADS 1
#endif
#ifdef CROSS
#define QKV_PARTS      1
#define FIRST_QUERY    0
#define KEYS_END(last) length
#else
#define QKV_PARTS      (QUERY_HEADS + 2) /* of a row of qkv, as wide as all keys */
#define FIRST_QUERY    AT(position)[0]
#define KEYS_END(last) (last) /* of queries */
#endif
/* Heads of queries that read the keys of BACK_DECLARE's, one after the other; no loop, which takes registers, where
 * there is one. */
#if QUERY_HEADS > 1
#define EACH_QUERY_HEAD for (int g = 0; g < QUERY_HEADS; g++, at_head++, queries += HEAD_DIM, outs += HEAD_DIM)
#else
#define EACH_QUERY_HEAD
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
#include "attention_tile_cpu.clh"
#else
#include "attention_tile_gpu.clh"
#endif
