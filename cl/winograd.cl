/* Convolutions of 3x3 and stride 1 by Winograd's minimal filtering, F(4x4, 3x3): Lavin & Gray 2016.
 * A tile of 4x4 output pixels takes 36 products of each input with each output channel where the plain sum takes 144:
 * its 6x6 input pixels d and the weights g are transformed, and y = A^T [(G g G^T) * (B^T d B)] A.
 *
 * The points of the interpolation are 0, 2/3, -2/3, 3/2, -3/2 and infinity: reciprocals keep the error small (Barabasz
 * et al. 2020); with the usual 0, 1, -1, 2, -2 it is more than twice as large.  in is a multiple of 16.
 * winograd_weights: u[36][panels][in][32] of `panels` of them, floats, halves (PANEL_F16) or blocks (PANEL_Q8_0).
 * winograd_input: v[36][n][in] of n tiles.
 * winograd_output: y, with bias, activation and residual.
 *
 * CPU: a work-item transforms 16 channels at a time, and winograd_output makes the products of u and v as well.  else:
 * one channel, so that neighbours read neighbours; winograd_product makes m[36][n][32 panels] of u and v, by
 * work-groups of SIDE x SIDE and tiles of TILE_M x TILE_N (tile_gpu.clh; TILE_TALL: there is no other kernel). */
#include "panel.clh"

#if CPU
#define LANES float16
#else
#define LANES float
#endif

#define P   0.66666667f /* the points */
#define Q   1.5f
#define PP  0.44444444f /* their squares and cubes */
#define QQ  2.25f
#define PPP 0.29629630f
#define QQQ 3.375f

/* The three weights (or rows of weights) a, b, c to six, STORE(i, value). */
#define WEIGHTS(a, b, c, STORE)                                                                                        \
    {                                                                                                                  \
        const LANES even_p = MAD(c, (LANES)PP, a) * (1 / (2 * PP * (PP - QQ)));                                        \
        const LANES odd_p = b * (1 / (2 * P * (PP - QQ)));                                                             \
        const LANES even_q = MAD(c, (LANES)QQ, a) * (1 / (2 * QQ * (QQ - PP)));                                        \
        const LANES odd_q = b * (1 / (2 * Q * (QQ - PP)));                                                             \
        STORE(0, a);                                                                                                   \
        STORE(1, even_p + odd_p);                                                                                      \
        STORE(2, even_p - odd_p);                                                                                      \
        STORE(3, even_q + odd_q);                                                                                      \
        STORE(4, even_q - odd_q);                                                                                      \
        STORE(5, c);                                                                                                   \
    }

/* Six pixels d(0) to d(5) to six. */
#define PIXELS(d, STORE)                                                                                               \
    {                                                                                                                  \
        const LANES d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5);                                  \
        const LANES even_p = MAD(d2, (LANES)-QQ, d4), odd_p = MAD(d1, (LANES)-QQ, d3) * P;                             \
        const LANES even_q = MAD(d2, (LANES)-PP, d4), odd_q = MAD(d1, (LANES)-PP, d3) * Q;                             \
        STORE(0, MAD(d2, (LANES)(-PP - QQ), d0 + d4));                                                                 \
        STORE(1, even_p + odd_p);                                                                                      \
        STORE(2, even_p - odd_p);                                                                                      \
        STORE(3, even_q + odd_q);                                                                                      \
        STORE(4, even_q - odd_q);                                                                                      \
        STORE(5, MAD(d3, (LANES)(-PP - QQ), d1 + d5));                                                                 \
    }

/* Six sums m(0) to m(5) to four pixels. */
#define SUMS(m, STORE)                                                                                                 \
    {                                                                                                                  \
        const LANES m1 = m(1), m2 = m(2), m3 = m(3), m4 = m(4);                                                        \
        const LANES even_p = m1 + m2, odd_p = m1 - m2, even_q = m3 + m4, odd_q = m3 - m4;                              \
        STORE(0, m(0) + even_p + even_q);                                                                              \
        STORE(1, MAD(odd_p, (LANES)P, odd_q *Q));                                                                      \
        STORE(2, MAD(even_p, (LANES)PP, even_q *QQ));                                                                  \
        STORE(3, MAD(odd_p, (LANES)PPP, MAD(odd_q, (LANES)QQQ, m(5))));                                                \
    }

#if CPU

/* u of the panels from `first` on.  flip: of the transposed convolution, whose taps are in the opposite order.  One
 * work-item: 16 rows of a panel. */
CPU_KERNEL void winograd_weights(IN(PANEL, panels), OUT(float, u), const int in, const int first, const int n,
                                 const int flip)
{
    const int c0 = get_global_id(0) * 16, panel = get_global_id(1);
    const size_t plane = (size_t)n * in * 32, tap = (size_t)in * 32;
    __global const PANEL *p = PANEL_AT(AT(panels), (first + panel) * 9 * tap);
    for (int c = c0; c < c0 + 16; c++)
        for (int j = 0; j < 32; j += 16) {
            const size_t g = (size_t)c * 32 + j;
            __global float *to = AT(u) + ((size_t)panel * in + c) * 32 + j;
            float16 rows[18];
            for (int x = 0; x < 3; x++) {
                const int kx = flip ? 2 - x : x;
                const float16 top = PANEL_16(p, g + (flip ? 6 + kx : kx) * tap),
                              middle = PANEL_16(p, g + (3 + kx) * tap),
                              bottom = PANEL_16(p, g + (flip ? kx : 6 + kx) * tap);
#define THREE(i, value) rows[(i)*3 + x] = value
                WEIGHTS(top, middle, bottom, THREE)
            }
            for (int i = 0; i < 6; i++) {
#define TO(k, value) vstore16(value, 0, to + (i * 6 + (k)) * plane)
                WEIGHTS(rows[i * 3], rows[i * 3 + 1], rows[i * 3 + 2], TO)
            }
        }
}

/* v of the n tiles from `first` on, of tw x th in a picture.  x[b, h / factor, w / factor, c] is read as if each pixel
 * were factor x factor of them.  One work-item: a tile. */
CPU_KERNEL void winograd_input(IN(float, x), IN(float, zeros), OUT(float, v), const int h, const int w, const int c,
                               const int tw, const int th, const int pad_top, const int pad, const int factor,
                               const int first, const int n)
{
    const int tile = get_global_id(0), t = first + tile;
    const int x0 = t % tw * 4 - pad, y0 = t / tw % th * 4 - pad_top, sw = w / factor, sh = h / factor;
    __global const float *picture = AT(x) + (size_t)(t / tw / th) * sh * sw * c, *from[36];
    for (int i = 0; i < 36; i++) {
        const int px = x0 + i % 6, py = y0 + i / 6;
        from[i] = px < 0 || px >= w || py < 0 || py >= h ? AT(zeros)
                                                         : picture + ((size_t)(py / factor) * sw + px / factor) * c;
    }
    const size_t plane = (size_t)n * c;
    for (int k = 0; k < c; k += 16) {
        __global float *to = AT(v) + (size_t)tile * c + k;
        float16 rows[36];
        for (int i = 0; i < 6; i++) {
#define FROM(j)       vload16(0, from[i * 6 + (j)] + k)
#define SIX(j, value) rows[i * 6 + (j)] = value
            PIXELS(FROM, SIX)
        }
        for (int i = 0; i < 6; i++) {
#define COLUMN(j)      rows[(j)*6 + i]
#define TO_V(j, value) vstore16(value, 0, to + ((j)*6 + i) * plane)
            PIXELS(COLUMN, TO_V)
        }
    }
}

/* y[b,oh,ow,out] of n tiles from `first` on and of the panels from `first_panel` on. */
CPU_KERNEL void winograd_output(IN(float, u), IN(float, v), IN(float, b), IN(float, residual), OUT(float, y),
                                const int in, const int panels, const int first_panel, const int oh, const int ow,
                                const int out, const int tw, const int th, const int first, const int n, const int act)
{
    const int row0 = get_global_id(0) * WINOGRAD_TILES, panel = get_global_id(1), col = (first_panel + panel) * 32;
    const int rows = min(WINOGRAD_TILES, n - row0);
    float sums[36 * WINOGRAD_TILES * 32];
    for (int k = 0; k < 36; k++) {
        __global const float *p = AT(u) + ((size_t)k * panels + panel) * in * 32;
        for (int row = 0; row < rows; row += 8) {
#define ROW(i) __global const float *a##i = AT(v) + ((size_t)k * n + min(row0 + row + i, n - 1)) * in;
            ROW(0)
            ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
#undef ROW
                TILE_DECLARE
#define TILE_PANEL p
#define TILE_COUNT in
#define TILE_WHOLE /* quarters are no faster for so short sums */
#include "tile_cpu.clh"
                float *s = sums + (k * WINOGRAD_TILES + row) * 32;
#define KEEP(i) vstore16(c##i##0, 2 * i, s), vstore16(c##i##1, 2 * i + 1, s);
            KEEP(0) KEEP(1) KEEP(2) KEEP(3) KEEP(4) KEEP(5) KEEP(6) KEEP(7)
#undef KEEP
        }
    }
    for (int row = 0; row < rows; row++) {
        const int t = first + row0 + row, x0 = t % tw * 4, y0 = t / tw % th * 4;
        for (int j = 0; j < 32 && col + j < out; j += 16) {
            __global const float *bias = b_buffer ? AT(b) + col + j : 0;
            const float *s = sums + row * 32 + j;
            float16 columns[24];
            for (int i = 0; i < 6; i++) {
#define SUM(k)              vload16(0, s + ((k)*6 + i) * WINOGRAD_TILES * 32)
#define COLUMNS_4(k, value) columns[(k)*6 + i] = value
                SUMS(SUM, COLUMNS_4)
            }
            for (int i = 0; i < 4 && y0 + i < oh; i++) {
                float16 four[4];
#define OF_ROW(k)      columns[i * 6 + (k)]
#define FOUR(k, value) four[k] = value
                SUMS(OF_ROW, FOUR)
                for (int k = 0; k < 4 && x0 + k < ow; k++) {
                    const size_t at = (((size_t)(t / tw / th) * oh + y0 + i) * ow + x0 + k) * out + col + j;
                    tile_store(four[k], bias, residual_buffer ? AT(residual) + at : 0, AT(y) + at, out - col - j, act);
                }
            }
        }
    }
}

#else

#if !TILE_TALL
/* u of the panels from `first` on.  flip: of the transposed convolution, whose taps are in the opposite order.  One
 * work-item: a channel of the input, one of the output. */
__kernel void winograd_weights(IN(PANEL, panels), OUT(float, u), const int in, const int first, const int n,
                               const int flip)
{
    const int c = get_global_id(0) / 32, j = get_global_id(0) % 32, panel = get_global_id(1);
    const size_t plane = (size_t)n * in * 32, tap = (size_t)in * 32;
    __global const PANEL *p = PANEL_AT(AT(panels), (first + panel) * 9 * tap);
    const size_t g = (size_t)c * 32 + j;
    __global float *to = AT(u) + ((size_t)panel * in + c) * 32 + j;
    float rows[18];
    UNROLL
    for (int x = 0; x < 3; x++) {
        const int kx = flip ? 2 - x : x;
        const float top = PANEL_ONE(p, g + (flip ? 6 + kx : kx) * tap), middle = PANEL_ONE(p, g + (3 + kx) * tap),
                    bottom = PANEL_ONE(p, g + (flip ? kx : 6 + kx) * tap);
#define THREE(i, value) rows[(i)*3 + x] = value
        WEIGHTS(top, middle, bottom, THREE)
    }
    UNROLL
    for (int i = 0; i < 6; i++) {
#define TO(k, value)    to[(i * 6 + (k)) * plane] = value
        WEIGHTS(rows[i * 3], rows[i * 3 + 1], rows[i * 3 + 2], TO)
    }
}

/* v of the n tiles from `first` on, of tw x th in a picture.  x[b, h / factor, w / factor, c] is read as if each pixel
 * were factor x factor of them.  One work-item: a channel of a tile. */
__kernel void winograd_input(IN(float, x), IN(float, zeros), OUT(float, v), const int h, const int w, const int c,
                             const int tw, const int th, const int pad_top, const int pad, const int factor,
                             const int first, const int n)
{
    const int k = get_global_id(0), tile = get_global_id(1), t = first + tile;
    const int x0 = t % tw * 4 - pad, y0 = t / tw % th * 4 - pad_top, sw = w / factor, sh = h / factor;
    __global const float *picture = AT(x) + (size_t)(t / tw / th) * sh * sw * c + k;
    __global float *to = AT(v) + (size_t)tile * c + k;
    const size_t plane = (size_t)n * c;
    float rows[36];
    int column[6];
    UNROLL
    for (int j = 0; j < 6; j++)
        column[j] = (uint)(x0 + j) < (uint)w ? (x0 + j) / factor * c : -1;
    UNROLL
    for (int i = 0; i < 6; i++) {
        const bool inside = (uint)(y0 + i) < (uint)h;
        __global const float *line = picture + (size_t)(inside ? (y0 + i) / factor : 0) * sw * c;
#define FROM(j)         (inside && column[j] >= 0 ? line[column[j]] : 0.0f)
#define SIX(j, value)   rows[i * 6 + (j)] = value
        PIXELS(FROM, SIX)
    }
    UNROLL
    for (int i = 0; i < 6; i++) {
#define COLUMN(j)       rows[(j)*6 + i]
#define TO_V(j, value)  to[((j)*6 + i) * plane] = value
        PIXELS(COLUMN, TO_V)
    }
}

#endif

/* m[36][n][32 panels] from u and v: 36 products, one in each of the third dimension. */
__kernel __attribute__((reqd_work_group_size(SIDE * SIDE, 1, 1))) void
winograd_product(IN(float, u), IN(float, v), OUT(float, m), const int n, const int panels, const int in)
{
    TILED_DECLARE
    const int col0 = TILE_COLUMN0, row0 = TILE_ROW0, col = min(col0 + TILE_B_OF(0), panels * 32 - 4);
    const size_t k = get_global_id(2);
    __global const float *tile_a[TILE_A_FOURS], *tile_b = AT(u) + (k * panels + col / 32) * in * 32 + col % 32;
    UNROLL
    for (int i = 0; i < TILE_A_FOURS; i++)
        tile_a[i] = AT(v) + (k * n + min(row0 + TILE_A_OF(i), n - 1)) * in;
#define TILE_PARTS      1
#define TILE_COUNT      in
#include "tile_gpu.clh"
    UNROLL
    for (int q = 0; q < ITEM; q++) {
        const int row = row0 + 4 * ly + q / (ITEM / 4), to = col0 + 4 * lx + q % (ITEM / 4) * 4 * TILE_X;
        if (row < n && to < panels * 32)
            *(__global float4 *)(AT(m) + (k * n + row) * panels * 32 + to) = acc[q];
    }
}

#if !TILE_TALL
/* y[b,oh,ow,out] of n tiles from `first` on and of the `panels` from `first_panel` on.  One work-item: a channel of a
 * tile. */
__kernel void winograd_output(IN(float, m), IN(float, b), IN(float, residual), OUT(float, y), const int panels,
                              const int first_panel, const int oh, const int ow, const int out, const int tw,
                              const int th, const int first, const int n, const int act)
{
    const int tile = get_global_id(1), t = first + tile, col = first_panel * 32 + (int)get_global_id(0);
    const int x0 = t % tw * 4, y0 = t / tw % th * 4;
    const size_t plane = (size_t)n * panels * 32;
    __global const float *from = AT(m) + (size_t)tile * panels * 32 + get_global_id(0);
    if (col >= out)
        return;
    const float bias = b_buffer ? AT(b)[col] : 0.0f;
    float columns[24], four[16];
    UNROLL
    for (int i = 0; i < 6; i++) {
#define SUM(k)              from[((k)*6 + i) * plane]
#define COLUMNS_4(k, value) columns[(k)*6 + i] = value
        SUMS(SUM, COLUMNS_4)
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
#define OF_ROW(k)           columns[i * 6 + (k)]
#define FOUR(k, value)      four[i * 4 + (k)] = value
        SUMS(OF_ROW, FOUR)
    }
    /* the activation once: the pixels move up by one place */
    ROLL for (int p = 0; p < 16; p++)
    {
        const int oy = y0 + p / 4, ox = x0 + p % 4;
        float value = four[0] + bias;
        UNROLL
        for (int i = 1; i < 16; i++)
            four[i - 1] = four[i];
        if (oy < oh && ox < ow) {
            const size_t at = (((size_t)(t / tw / th) * oh + oy) * ow + ox) * out + col;
            value = activate_float(value, act);
            AT(y)[at] = residual_buffer ? value + AT(residual)[at] : value;
        }
    }
}
#endif

#endif
