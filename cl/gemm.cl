/* Products with many rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by arithmetic.
 *
 * pack_T: any weight type to F32 panels [ceil(n/32)][k][32]: panel p holds rows 32p to 32p+31 of w, zeros beyond n.
 * gemm: from panels.  CPU: a work-item computes item_rows x 32 columns, 8 rows at a time in registers (tile_cpu.clh).
 * Tunable: GEMM_CHUNK (0): the panel passes by in pieces of so many numbers of a sum, which stay in the nearest cache
 * for all the item's rows; their sums are kept meanwhile.
 * else: work-groups of SIDE x SIDE compute TILE_M x TILE_N through local memory (tile_gpu.clh); gemm_scalar: the same
 * for rows of x that can't be read by fours.
 * PANEL_F16 (else): panels of F16 weights are F16 (panel.clh).
 * gemm_epilogue: bias, activation and residual after a product by a library.
 *
 * With -DBACKWARD, the kernels of gradients instead (inference never compiles them):
 * pack_columns_T, transpose_panels: panels of w's columns, for products with w where the forward pass has w transposed.
 * weight_gradient: sums over pixels of products of two tensors' channels, for linear layers and convolutions. */
#include "panel.clh"

#define PACK_K      (SIDE < 4 ? 4 : 16) /* at a time: where there is little local memory, tiles are small too */
#define PACK_UNROLL _Pragma("unroll 8")
#ifndef BACKWARD

/* One work-item (else: a group): 16 elements of k (or the rest) of one panel.  w is a piece of n rows.
 * CPU: through a block of private memory, so that each row is read once, as rows of a power of two share cache sets.
 * else: through local memory, so that neighbours read neighbours of w's rows and write neighbours of the panel's. */
#if CPU
#define PACK(T, TYPE)                                                                                                  \
    CPU_KERNEL void pack_##T(IN(TYPE, w), OUT(float, panels), const int n, const int k, const int first_panel)         \
    {                                                                                                                  \
        int k0 = get_global_id(0) * 16, panel = get_global_id(1), count = min(16, k - k0);                             \
        __global float *to = AT(panels) + ((size_t)(first_panel + panel) * k + k0) * 32;                               \
        float block[32][16];                                                                                           \
        for (int j = 0; j < 32; j++) {                                                                                 \
            int row = panel * 32 + j;                                                                                  \
            size_t from = (size_t)row * k + k0;                                                                        \
            float16 v = 0.0f;                                                                                          \
            if (row < n && count == 16)                                                                                \
                v = load16_##T(AT(w), from);                                                                           \
            vstore16(v, 0, block[j]);                                                                                  \
            if (row < n && count < 16)                                                                                 \
                for (int i = 0; i < count; i++)                                                                        \
                    block[j][i] = load1_##T(AT(w), from + i);                                                          \
        }                                                                                                              \
        for (int i = 0; i < count; i++)                                                                                \
            for (int j = 0; j < 32; j += 16)                                                                           \
                vstore16((float16)(block[j][i], block[j + 1][i], block[j + 2][i], block[j + 3][i], block[j + 4][i],    \
                                   block[j + 5][i], block[j + 6][i], block[j + 7][i], block[j + 8][i],                 \
                                   block[j + 9][i], block[j + 10][i], block[j + 11][i], block[j + 12][i],              \
                                   block[j + 13][i], block[j + 14][i], block[j + 15][i]),                              \
                         0, to + i * 32 + j);                                                                          \
    }
#else
#define PACK(T, TYPE)                                                                                                  \
    __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void pack_##T(                                            \
        IN(TYPE, w), OUT(PANEL, panels), const int n, const int k, const int first_panel)                              \
    {                                                                                                                  \
        __local float block[PACK_K][33];                                                                               \
        const int group = (uint)get_global_id(0) / WG, blocks = (k + 15) / 16;                                         \
        const int k0 = group % blocks * 16, panel = group / blocks;                                                    \
        __global PANEL *to = AT(panels) + ((size_t)(first_panel + panel) * k + k0) * 32;                               \
        for (int k1 = 0; k1 < 16; k1 += PACK_K) {                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            PACK_UNROLL for (int t = get_local_id(0); t < 32 * PACK_K; t += WG)                                        \
            {                                                                                                          \
                const int row = panel * 32 + t / PACK_K, i = k0 + k1 + t % PACK_K;                                     \
                block[t % PACK_K][t / PACK_K] = row < n && i < k ? load1_##T(AT(w), (size_t)row * k + i) : 0.0f;       \
            }                                                                                                          \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            for (int t = get_local_id(0); t < 32 * PACK_K; t += WG)                                                    \
                if (k0 + k1 + t / 32 < k)                                                                              \
                    PANEL_PUT(block[t / 32][t % 32], k1 * 32 + t, to);                                                 \
        }                                                                                                              \
    }
#endif
PACK(f16, half)
#ifndef PANEL_F16
PACK(f32, float)
PACK(q8_0, uchar)
PACK(q4_0, uchar)
#endif

#define GEMM_ARGUMENTS                                                                                                 \
    IN(float, x), IN(PANEL, panels), IN(float, b), IN(float, residual), OUT(float, y), const int m, const int n,       \
        const int k, const int act, const int item_rows

#if CPU

CPU_KERNEL void gemm(GEMM_ARGUMENTS)
{
    const int first = get_global_id(0) * item_rows, panel = get_global_id(1), col = panel * 32;
#if GEMM_CHUNK
    float16 sums[GEMM_ROWS_MOST * 2];
    for (int k0 = 0; k0 < k; k0 += GEMM_CHUNK) {
        const int count = min(GEMM_CHUNK, k - k0);
#else
    {
        const int k0 = 0, count = k;
#endif
        __global const float *x0 = AT(x) + k0, *p = AT(panels) + ((size_t)panel * k + k0) * 32;
        for (int row = first; row < min(m, first + item_rows); row += 8) {
#define ROW(i) __global const float *a##i = x0 + (size_t)min(row + i, m - 1) * k;
            ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
#undef ROW
            TILE_DECLARE
#if GEMM_CHUNK
            float16 *s = sums + (row - first) * 2;
#define LOAD(i) c##i##0 = s[2 * i], c##i##1 = s[2 * i + 1];
#define KEEP(i) s[2 * i] = c##i##0, s[2 * i + 1] = c##i##1;
            if (k0 > 0) {
                LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7)
            }
#endif
#define TILE_PANEL p
#define TILE_COUNT count
#include "tile_cpu.clh"
#if GEMM_CHUNK
            if (k0 + count < k) {
                KEEP(0) KEEP(1) KEEP(2) KEEP(3) KEEP(4) KEEP(5) KEEP(6) KEEP(7)
                continue;
            }
#undef LOAD
#undef KEEP
#endif
            __global const float *bias = b_buffer ? AT(b) + col : 0;
            __global const float *bias1 = b_buffer ? AT(b) + col + 16 : 0;
#define PUT(i)                                                                                                         \
            if (row + i < m) {                                                                                         \
                size_t at = (size_t)(row + i) * n + col;                                                               \
                tile_store(c##i##0, bias, residual_buffer ? AT(residual) + at : 0, AT(y) + at, n - col, act);          \
                tile_store(c##i##1, bias1, residual_buffer ? AT(residual) + at + 16 : 0, AT(y) + at + 16,              \
                           n - col - 16, act);                                                                         \
            }
            PUT(0) PUT(1) PUT(2) PUT(3) PUT(4) PUT(5) PUT(6) PUT(7)
#undef PUT
        }
    }
}

#else

#define GEMM_NAME gemm
#include "gemm_gpu.clh"
#define GEMM_NAME gemm_scalar
#define TILE_SCALAR
#include "gemm_gpu.clh"

#endif

/* y[m,n] = act(y + b[n]) + residual, in place */
__kernel void gemm_epilogue(IN(float, b), IN(float, residual), OUT(float, y), const int n, const int act)
{
    size_t at = (size_t)get_global_id(1) * n + get_global_id(0);
    float v = activate_float(AT(y)[at] + (b_buffer ? AT(b)[get_global_id(0)] : 0.0f), act);
    AT(y)[at] = residual_buffer ? v + AT(residual)[at] : v;
}

/* The weight as F32 rows: y[n*k] = w, for libraries that know F32 alone. */
#define UNPACK(T, TYPE)                                                                                                \
    __kernel void unpack_##T(IN(TYPE, w), OUT(float, y))                                                               \
    {                                                                                                                  \
        AT(y)[get_global_id(0)] = load1_##T(AT(w), get_global_id(0));                                                  \
    }
UNPACK(f16, half)
UNPACK(q8_0, uchar)
UNPACK(q4_0, uchar)

#else /* BACKWARD */

/* w[n,k] to panels [ceil(k/32)][n][32]: panel p holds columns 32p to 32p+31, zeros beyond k.  w is a piece of n rows of
 * `rows`, from row `first` on.  16 rows of one panel: one work-item; else: 32 of them, each its column. */
#if CPU
#define PACK_COLUMNS(T, TYPE)                                                                                          \
    CPU_KERNEL void pack_columns_##T(IN(TYPE, w), OUT(float, panels), const int n, const int k, const int first,       \
                                   const int rows)                                                                     \
    {                                                                                                                  \
        int row0 = get_global_id(0) * 16, panel = get_global_id(1), col = panel * 32;                                  \
        __global float *to = AT(panels) + ((size_t)panel * rows + first + row0) * 32;                                  \
        for (int row = row0; row < min(row0 + 16, n); row++, to += 32) {                                               \
            size_t from = (size_t)row * k + col;                                                                       \
            if (col + 32 <= k) {                                                                                       \
                vstore16(load16_##T(AT(w), from), 0, to);                                                              \
                vstore16(load16_##T(AT(w), from + 16), 1, to);                                                         \
                continue;                                                                                              \
            }                                                                                                          \
            for (int j = 0; j < 32; j++)                                                                               \
                to[j] = col + j < k ? load1_##T(AT(w), from + j) : 0.0f;                                               \
        }                                                                                                              \
    }
#else
#define PACK_COLUMNS(T, TYPE)                                                                                          \
    __kernel void pack_columns_##T(IN(TYPE, w), OUT(float, panels), const int n, const int k, const int first,         \
                                   const int rows)                                                                     \
    {                                                                                                                  \
        int row0 = get_global_id(0) / 32 * 16, j = get_global_id(0) % 32, panel = get_global_id(1);                    \
        for (int row = row0; row < min(row0 + 16, n); row++)                                                           \
            AT(panels)[((size_t)panel * rows + first + row) * 32 + j] =                                                \
                panel * 32 + j < k ? load1_##T(AT(w), (size_t)row * k + panel * 32 + j) : 0.0f;                        \
    }
#endif
PACK_COLUMNS(f32, float)
PACK_COLUMNS(f16, half)
PACK_COLUMNS(q8_0, uchar)
PACK_COLUMNS(q4_0, uchar)

/* A convolution's panels [ceil(out/32)][taps][in][32] to those of its transpose, [ceil(in/32)][taps][out][32], zeros
 * beyond `in`.  CPU: one work-item, a row of those.  else: a group, 32 of them through local memory, so that neighbours
 * read and write neighbours. */
#if CPU
__kernel void transpose_panels(IN(PANEL, panels), OUT(float, y), const int taps, const int in, const int out)
{
    int o = get_global_id(0), tap = get_global_id(1), c0 = get_global_id(2) * 32;
    __global const PANEL *from = AT(panels) + (((size_t)(o / 32) * taps + tap) * in + c0) * 32 + o % 32;
    __global float *to = AT(y) + (((size_t)(c0 / 32) * taps + tap) * out + o) * 32;
    for (int j = 0; j < 32; j++)
        to[j] = c0 + j < in ? PANEL_ONE(from, j * 32) : 0.0f;
}
#else
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void
transpose_panels(IN(PANEL, panels), OUT(float, y), const int taps, const int in, const int out)
{
    __local float block[PACK_K][33];
    const int group = (uint)get_global_id(0) / WG, blocks = (out + 31) / 32;
    const int o0 = group % blocks * 32, tap = group / blocks % taps, c0 = group / blocks / taps * 32;
    __global const PANEL *from = AT(panels) + (((size_t)(o0 / 32) * taps + tap) * in + c0) * 32;
    __global float *to = AT(y) + (((size_t)(c0 / 32) * taps + tap) * out + o0) * 32;
    for (int o1 = 0; o1 < 32; o1 += PACK_K) {
        barrier(CLK_LOCAL_MEM_FENCE);
        PACK_UNROLL for (int t = get_local_id(0); t < 32 * PACK_K; t += WG)
            block[t % PACK_K][t / PACK_K] =
                c0 + t / PACK_K < in ? PANEL_ONE(from, t / PACK_K * 32 + o1 + t % PACK_K) : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = get_local_id(0); t < 32 * PACK_K; t += WG)
            if (o0 + o1 + t / 32 < out)
                to[o1 * 32 + t] = block[t / 32][t % 32];
    }
}
#endif

/* y[row,tap,col] (+)= sum over the pixels of a small grid of a[.., row] b[.., col]: one of a and b lies on the small
 * grid (images, h, w), the other on the large one (images, large_h, large_w), where the pixel that tap (ky, kx) sees is
 * y * stride - pad + ky, x * stride - pad + kx; those outside add nothing.  y's strides are given, so that rows may be
 * either factor's channels.  Part i of the pixels, chunk of them, goes to y + i * part. */
#define GRADIENT_ARGUMENTS                                                                                             \
    IN(float, a), IN(float, b), OUT(float, y), const int na, const int nb, const int a_large, const int images,        \
        const int h, const int w, const int large_h, const int large_w, const int kernel_side, const int stride,       \
        const int pad, const int row_stride, const int tap_stride, const int column_stride, const int chunk,           \
        const int part, const int add

#if CPU

/* A work-item makes GRADIENT_ROWS x GRADIENT_COLUMNS of y by blocks of pixels: the coordinates of a block once, then
 * one register tile after the other reads its rows, which stay in the cache.  Tiles at y's edges read copies that are
 * filled up with zeros. */
#define GRADIENT_PIXELS 32 /* of a block */

/* to[n][width]: `valid` numbers from from[at[i]] on for each of n pixels, and zeros. */
inline void copy_filled(float *to, int width, __global const float *from, const uint *at, int n, int valid)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < width; j++)
            to[i * width + j] = j < valid ? from[at[i] + j] : 0.0f;
}

/* A tile's sums go to y: 8 rows from row rr on, 32 columns from cc on, as far as y has them. */
inline void put_gradient(const float16 *s, __global float *y, int rr, int cc, int na, int nb, int row_stride,
                         int column_stride, int add)
{
    for (int i = 0; i < 16; i++) {
        int row = rr + i / 2, col = cc + i % 2 * 16, count = min(16, nb - col);
        if (row >= na || count <= 0)
            continue;
        __global float *yp = y + (size_t)row * row_stride + (size_t)col * column_stride;
        if (column_stride == 1 && count == 16) {
            vstore16(add ? s[i] + vload16(0, yp) : s[i], 0, yp);
            continue;
        }
        float t[16];
        vstore16(s[i], 0, t);
        for (int j = 0; j < count; j++)
            ADD_TO(yp + (size_t)j * column_stride, t[j]);
    }
}

CPU_KERNEL void weight_gradient(GRADIENT_ARGUMENTS)
{
    const int row = get_global_id(0) * GRADIENT_ROWS, col = get_global_id(1) * GRADIENT_COLUMNS;
    const int taps = kernel_side * kernel_side;
    const int tap = get_global_id(2) % taps, ky = tap / kernel_side, kx = tap % kernel_side;
    const int first = get_global_id(2) / taps * chunk, last = min(first + chunk, images * h * w);
    const int rows = min(GRADIENT_ROWS, na - row), columns = min(GRADIENT_COLUMNS, nb - col);
    float ablock[GRADIENT_PIXELS * 8], bblock[GRADIENT_PIXELS * 32];
    uint at_a[GRADIENT_PIXELS], at_b[GRADIENT_PIXELS];
    float16 sums[(GRADIENT_ROWS / 8) * (GRADIENT_COLUMNS / 32) * 16];
    __global const float *ga = AT(a), *gb = AT(b);
    for (int i = 0; i < (GRADIENT_ROWS / 8) * (GRADIENT_COLUMNS / 32) * 16; i++)
        sums[i] = 0.0f;
    int px = first % w, py = first / w % h, image = first / w / h;
    for (int p = first; p < last;) {
        int n = 0;
        for (; p < last && n < GRADIENT_PIXELS; p++) {
            int u = px * stride - pad + kx, v = py * stride - pad + ky;
            if (u >= 0 && u < large_w && v >= 0 && v < large_h) {
                uint large = (image * large_h + v) * large_w + u;
                at_a[n] = (a_large ? large : (uint)p) * na + row;
                at_b[n++] = (a_large ? (uint)p : large) * nb + col;
            }
            if (++px == w) {
                px = 0;
                if (++py == h) {
                    py = 0;
                    image++;
                }
            }
        }
        if (rows % 8)
            copy_filled(ablock, 8, ga + rows / 8 * 8, at_a, n, rows % 8);
        float16 *s = sums;
        for (int c = 0; c < columns; c += 32) {
            const int narrow = columns - c < 32;
            if (narrow)
                copy_filled(bblock, 32, gb + c, at_b, n, columns - c);
            for (int r = 0; r < rows; r += 8, s += 16) {
                if (rows - r >= 8 && !narrow)
#define TILE_A (ga + at_a[i] + r)
#define TILE_B (gb + at_b[i] + c)
#include "gemm_gradient_tile.clh"
                else if (rows - r >= 8)
#define TILE_A (ga + at_a[i] + r)
#define TILE_B (bblock + i * 32)
#include "gemm_gradient_tile.clh"
                else if (!narrow)
#define TILE_A (ablock + i * 8)
#define TILE_B (gb + at_b[i] + c)
#include "gemm_gradient_tile.clh"
                else
#define TILE_A (ablock + i * 8)
#define TILE_B (bblock + i * 32)
#include "gemm_gradient_tile.clh"
            }
        }
    }
    __global float *to = AT(y) + (size_t)(get_global_id(2) / taps) * part + (size_t)tap * tap_stride;
    const float16 *s = sums;
    for (int c = 0; c < columns; c += 32)
        for (int r = 0; r < rows; r += 8, s += 16)
            put_gradient(s, to, row + r, col + c, na, nb, row_stride, column_stride, add);
}

#else

/* The i-th four of a work-item in ta: TILE_M / 4 = SIDE of them are a row. */
#define GRADIENT_A_OF(i) ((int)(lid % SIDE) * 4)
#define GRADIENT_A_K(i)  ((int)(lid / SIDE) + (i)*SIDE)

/* Work-groups of SIDE x SIDE make 4 SIDE rows x ITEM SIDE columns, which lie side by side in y. */
__kernel __attribute__((reqd_work_group_size(SIDE * SIDE, 1, 1))) void weight_gradient(GRADIENT_ARGUMENTS)
{
    TILED_DECLARE
    __local int pixel_a[TILE_K], pixel_b[TILE_K]; /* -1: outside */
    const int col0 = TILE_COLUMN0, row0 = TILE_ROW0, taps = kernel_side * kernel_side;
    const int tap = get_global_id(2) % taps, ky = tap / kernel_side, kx = tap % kernel_side;
    const int first = get_global_id(2) / taps * chunk, last = min(first + chunk, images * h * w);
    const int whole_a = na % 4 == 0 && a_at % 4 == 0, whole_b = nb % 4 == 0 && b_at % 4 == 0;
    for (int k0 = first; k0 < last; k0 += TILE_K) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = lid; t < TILE_K; t += SIDE * SIDE) {
            int p = k0 + t, u = p % w * stride - pad + kx, v = p / w % h * stride - pad + ky;
            int inside = p < last && u >= 0 && u < large_w && v >= 0 && v < large_h;
            int large = (p / w / h * large_h + v) * large_w + u;
            pixel_a[t] = !inside ? -1 : a_large ? large : p;
            pixel_b[t] = !inside ? -1 : a_large ? p : large;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float4 four_a[TILE_A_FOURS], four_b[TILE_B_FOURS];
        UNROLL
        for (int i = 0; i < TILE_A_FOURS; i++) {
            const int pixel = pixel_a[GRADIENT_A_K(i)], row = row0 + GRADIENT_A_OF(i);
            four_a[i] = pixel >= 0 && row < na ? load_four(AT(a) + (size_t)pixel * na + row, na - row, whole_a)
                                               : (float4)(0.0f);
        }
        UNROLL
        for (int i = 0; i < TILE_B_FOURS; i++) {
            const int pixel = pixel_b[TILE_B_K(i)], col = col0 + TILE_B_OF(i);
            four_b[i] = pixel >= 0 && col < nb ? load_four(AT(b) + (size_t)pixel * nb + col, nb - col, whole_b)
                                               : (float4)(0.0f);
        }
        UNROLL
        for (int i = 0; i < TILE_A_FOURS; i++)
            *(__local float4 *)&ta[GRADIENT_A_K(i)][GRADIENT_A_OF(i)] = four_a[i];
        UNROLL
        for (int i = 0; i < TILE_B_FOURS; i++)
            *(__local float4 *)&tb[TILE_B_K(i)][TILE_B_OF(i)] = four_b[i];
        barrier(CLK_LOCAL_MEM_FENCE);
#define TILE_STEPS       TILE_K
#define TILE_UNROLL      4
#include "tile_gpu_multiply.clh"
    }
    __global float *to = AT(y) + (size_t)(get_global_id(2) / taps) * part + (size_t)tap * tap_stride;
    const int whole = nb % 4 == 0 && row_stride % 4 == 0 && tap_stride % 4 == 0 && part % 4 == 0 && y_at % 4 == 0;
    UNROLL
    for (int q = 0; q < ITEM; q++) {
        const int r = row0 + 4 * ly + q / (ITEM / 4), c = col0 + 4 * lx + q % (ITEM / 4) * 4 * SIDE;
        __global float *at = to + (size_t)r * row_stride + c;
        if (r < na && c < nb)
            store_four(add ? acc[q] + load_four(at, nb - c, whole) : acc[q], at, nb - c, whole);
    }
}

#endif

#endif
