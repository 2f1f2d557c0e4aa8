/* Products with many rows: y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n], bound by arithmetic.
 *
 * pack_T: any weight type to F32 panels [ceil(n/32)][k][32]: panel p holds rows 32p to 32p+31 of w, zeros beyond n.
 * gemm: from panels.  CPU: a work-item computes 8 rows x 32 columns in registers.  else: work-groups of SIDE x SIDE
 * compute 4 SIDE x 4 SIDE through local memory.
 * gemm_epilogue: bias, activation and residual after a product by a library. */

/* One work-item: 16 elements of k (or the rest) of one panel.  w is a piece of n rows.
 * CPU: through a block of private memory, so that each row is read once, as rows of a power of two share cache sets. */
#if CPU
#define PACK(T, TYPE)                                                                                                  \
    __kernel void pack_##T(IN(TYPE, w), OUT(float, panels), const int n, const int k, const int first_panel)           \
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
    __kernel void pack_##T(IN(TYPE, w), OUT(float, panels), const int n, const int k, const int first_panel)           \
    {                                                                                                                  \
        int k0 = get_global_id(0) * 16, panel = get_global_id(1);                                                      \
        __global float *to = AT(panels) + ((size_t)(first_panel + panel) * k + k0) * 32;                               \
        for (int j = 0; j < 32; j++) {                                                                                 \
            int row = panel * 32 + j;                                                                                  \
            size_t from = (size_t)row * k + k0;                                                                        \
            for (int i = 0; i < 16 && k0 + i < k; i++)                                                                 \
                to[i * 32 + j] = row < n ? load1_##T(AT(w), from + i) : 0.0f;                                          \
        }                                                                                                              \
    }
#endif
PACK(f32, float)
PACK(f16, half)
PACK(q8_0, uchar)
PACK(q4_0, uchar)

#define GEMM_ARGUMENTS                                                                                                 \
    IN(float, x), IN(float, panels), IN(float, b), IN(float, residual), OUT(float, y), const int m, const int n,       \
        const int k, const int act

#if CPU

__kernel void gemm(GEMM_ARGUMENTS)
{
    int row = get_global_id(0) * 8, panel = get_global_id(1), col = panel * 32;
    __global const float *x0 = AT(x), *p = AT(panels) + (size_t)panel * k * 32;
#define ROW(i) __global const float *a##i = x0 + (size_t)min(row + i, m - 1) * k;
    ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
#undef ROW
    TILE_DECLARE
    TILE_LOOP(p, k)
    __global const float *bias = b_buffer ? AT(b) + col : 0;
    __global const float *bias1 = b_buffer ? AT(b) + col + 16 : 0;
#define PUT(i)                                                                                                         \
    if (row + i < m) {                                                                                                 \
        size_t at = (size_t)(row + i) * n + col;                                                                       \
        tile_store(c##i##0, bias, residual_buffer ? AT(residual) + at : 0, AT(y) + at, n - col, act);                  \
        tile_store(c##i##1, bias1, residual_buffer ? AT(residual) + at + 16 : 0, AT(y) + at + 16, n - col - 16, act);  \
    }
    PUT(0) PUT(1) PUT(2) PUT(3) PUT(4) PUT(5) PUT(6) PUT(7)
#undef PUT
}

#else

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void gemm(GEMM_ARGUMENTS)
{
    __local float ta[TILE_K][TILE + 1], tb[TILE_K][TILE];
    int col0 = GROUP(0) * TILE, row0 = GROUP(1) * TILE;
#define LOAD_X(r, kk) ((r) < m && (kk) < k ? AT(x)[(size_t)(r)*k + (kk)] : 0.0f)
#define LOAD_P(c, kk)                                                                                                  \
    ((c) < (n + 31) / 32 * 32 && (kk) < k ? AT(panels)[((size_t)((c) / 32) * k + (kk)) * 32 + (c) % 32] : 0.0f)
    TILED_LOOP(LOAD_X, row0, col0, k, LOAD_P)
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int r = row0 + ly + SIDE * i, c = col0 + lx + SIDE * j;
            if (r >= m || c >= n)
                continue;
            float v = activate_float(acc[i][j] + (b_buffer ? AT(b)[c] : 0.0f), act);
            size_t at = (size_t)r * n + c;
            AT(y)[at] = residual_buffer ? v + AT(residual)[at] : v;
        }
}

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
