/* Convolution and transposed convolution as products without a column buffer (implicit GEMM).
 * x[b,h,w,c] channels-last; panels [ceil(out/32)][kernel*kernel*c][32] in the order ky, kx, c; y[b,oh,ow,out].
 *
 * A row of the product is an output pixel, a column an output channel, k runs over taps and channels.  A launch computes
 * `out` neighbouring channels of a y (and residual) that has `width` of them: panels may be in several buffers.
 * Transposed: output pixels of one phase (oy % stride, ox % stride) share their taps, those with
 * (oy + pad - ky) % stride == 0; a launch covers all stride * stride phases in its third dimension.
 *
 * CPU: a work-item computes CONV_ROWS pixels x panels_each * 32 channels, 8 x 32 at a time in registers; a tap outside
 * the picture reads from `zeros`, which holds at least kernel * c zeros.  else: work-groups of SIDE x SIDE compute
 * TILE_M pixels x TILE_N channels; those named _scalar for numbers of channels that can't be read by fours. */

#define CONV_ARGUMENTS                                                                                                 \
    IN(float, x), IN(float, panels), IN(float, b), IN(float, residual), IN(float, zeros), OUT(float, y),               \
        const int pixels, const int h, const int w, const int c, const int oh, const int ow, const int out,            \
        const int width, const int kernel_side, const int stride, const int pad_top, const int pad, const int act

/* What a launch's product looks like: rows of pixels pw wide and ph high, taps from t0y, t0x in steps of `step`. */
typedef struct geometry {
    int pw, ph;           /* pixels of the phase in a row, in a column */
    int py, px, scale;    /* output pixel = phase pixel * scale + phase */
    int t0y, t0x, step;   /* first tap and step between taps */
    int ny, nx;           /* taps */
} geometry;

inline geometry geometry_of(int transposed, int phase, int oh, int ow, int side, int stride, int pad_top,
                            int pad)
{
    geometry g;
    if (transposed) {
        g.py = phase / stride;
        g.px = phase % stride;
        g.scale = stride;
        g.pw = (ow - g.px + stride - 1) / stride;
        g.ph = (oh - g.py + stride - 1) / stride;
        g.t0y = (g.py + pad_top) % stride;
        g.t0x = (g.px + pad) % stride;
        g.step = stride;
    } else {
        g.py = g.px = g.t0y = g.t0x = 0;
        g.scale = g.step = 1;
        g.pw = ow;
        g.ph = oh;
    }
    g.ny = (side - g.t0y + g.step - 1) / g.step;
    g.nx = (side - g.t0x + g.step - 1) / g.step;
    return g;
}

/* Where output coordinate o of tap t reads, with so many zeros before it; the caller checks the range. */
#define SOURCE(o, t, pad) (transposed ? ((o) + (pad) - (t)) / stride : (o) * stride - (pad) + (t))

#if CPU

inline void conv_tile(CONV_ARGUMENTS, const int panels_each, const int transposed)
{
    const geometry g = geometry_of(transposed, get_global_id(2), oh, ow, kernel_side, stride, pad_top, pad);
    const int in_phase = pixels / (oh * ow) * g.pw * g.ph, row0 = get_global_id(0) * CONV_ROWS;
    const int rows = min(CONV_ROWS, in_phase - row0), taps = kernel_side * kernel_side, sign = transposed ? -1 : 1;
    const int first = get_global_id(1) * panels_each, last = min(first + panels_each, (out + 31) / 32);
    __global const float *z = AT(zeros), *from[CONV_ROWS];
    int y0[CONV_ROWS], x0[CONV_ROWS], at[CONV_ROWS];
    if (rows <= 0)
        return;
    for (int i = 0; i < CONV_ROWS; i++) { /* the first tap's pixel, inside or not; the next ones are `sign` further */
        int r = row0 + min(i, rows - 1), image = r / g.pw / g.ph;
        int oy = r / g.pw % g.ph * g.scale + g.py, ox = r % g.pw * g.scale + g.px;
        y0[i] = SOURCE(oy, g.t0y, pad_top);
        x0[i] = SOURCE(ox, g.t0x, pad);
        at[i] = (image * oh + oy) * ow + ox;
        from[i] = AT(x) + (((long)image * h + y0[i]) * w + x0[i]) * c;
    }
    for (int panel = first; panel < last; panel++) {
        const int col = panel * 32;
        __global const float *p = AT(panels) + (size_t)panel * taps * c * 32;
        __global const float *bias = b_buffer ? AT(b) + col : 0, *bias1 = b_buffer ? AT(b) + col + 16 : 0;
        for (int row = 0; row < rows; row += 8) {
            int whole = !transposed; /* all taps of a row of the kernel are inside, and neighbours as the weights are */
            for (int i = row; i < row + 8; i++)
                whole = whole && x0[i] >= 0 && x0[i] + kernel_side <= w;
            TILE_DECLARE
            for (int ty = 0; ty < g.ny; ty++)
                for (int tx = 0; tx < (whole ? 1 : g.nx); tx++) {
                    const int ky = g.t0y + ty * g.step, kx = g.t0x + tx * g.step;
                    const long step = sign * ((long)ty * w + tx) * c;
#define TAP(i)                                                                                                         \
    __global const float *a##i =                                                                                       \
        (uint)(y0[row + i] + sign * ty) < (uint)h && (uint)(x0[row + i] + sign * tx) < (uint)w ? from[row + i] + step  \
                                                                                               : z;
                    TAP(0) TAP(1) TAP(2) TAP(3) TAP(4) TAP(5) TAP(6) TAP(7)
#undef TAP
                    __global const float *pt = p + (size_t)(ky * kernel_side + kx) * c * 32;
                    const int run = whole ? kernel_side * c : c;
                    if (out - col > 16) {
#define TILE_PANEL pt
#define TILE_COUNT run
#include "tile_cpu.clh"
                    } else {
#define TILE_PANEL pt
#define TILE_COUNT run
#define TILE_NARROW
#include "tile_cpu.clh"
                    }
                }
#define PUT(i)                                                                                                         \
    if (row + i < rows) {                                                                                              \
        size_t to = (size_t)at[row + i] * width + col;                                                                 \
        tile_store(c##i##0, bias, residual_buffer ? AT(residual) + to : 0, AT(y) + to, out - col, act);                \
        tile_store(c##i##1, bias1, residual_buffer ? AT(residual) + to + 16 : 0, AT(y) + to + 16, out - col - 16,      \
                   act);                                                                                               \
    }
            PUT(0) PUT(1) PUT(2) PUT(3) PUT(4) PUT(5) PUT(6) PUT(7)
#undef PUT
        }
    }
}

#define CONV(NAME, TRANSPOSED)                                                                                         \
    CPU_KERNEL void NAME(CONV_ARGUMENTS, const int panels_each)                                                        \
    {                                                                                                                  \
        conv_tile(x_buffer, x_at, panels_buffer, panels_at, b_buffer, b_at, residual_buffer, residual_at,              \
                  zeros_buffer, zeros_at, y_buffer, y_at, pixels, h, w, c, oh, ow, out, width, kernel_side, stride,    \
                  pad_top, pad, act, panels_each, TRANSPOSED);                                                         \
    }
CONV(conv2d, 0)
CONV(conv_transpose2d, 1)

#else

#define CONV_NAME       conv2d
#define CONV_TRANSPOSED 0
#include "conv_gpu.clh"
#define CONV_NAME       conv_transpose2d
#define CONV_TRANSPOSED 1
#include "conv_gpu.clh"
#define CONV_NAME       conv2d_scalar
#define CONV_TRANSPOSED 0
#define TILE_SCALAR
#include "conv_gpu.clh"
#define CONV_NAME       conv_transpose2d_scalar
#define CONV_TRANSPOSED 1
#define TILE_SCALAR
#include "conv_gpu.clh"

#endif

/* ---- CPU: kernels of 3x3 and stride 1 by Winograd's minimal filtering, F(4x4, 3x3): Lavin & Gray 2016 ----
 * A tile of 4x4 output pixels takes 36 products of each input with each output channel where the plain sum takes 144:
 * its 6x6 input pixels d and the weights g are transformed, and y = A^T [(G g G^T) * (B^T d B)] A.
 *
 * The points of the interpolation are 0, 2/3, -2/3, 3/2, -3/2 and infinity: reciprocals keep the error small (Barabasz
 * et al. 2020); with the usual 0, 1, -1, 2, -2 it is more than twice as large.  in is a multiple of 16.
 * winograd_weights: u[36][panels][in][32] of `panels` of them.  winograd_input: v[36][n][in] of n tiles.
 * winograd_output: y from u and v, with bias, activation and residual. */
#if CPU

#define P  0.66666667f /* the points */
#define Q  1.5f
#define PP 0.44444444f /* their squares and cubes */
#define QQ 2.25f
#define PPP 0.29629630f
#define QQQ 3.375f

/* The three weights (or rows of weights) a, b, c to six, STORE(i, value). */
#define WEIGHTS(a, b, c, STORE)                                                                                        \
    {                                                                                                                  \
        const float16 even_p = MAD(c, (float16)PP, a) * (1 / (2 * PP * (PP - QQ)));                                    \
        const float16 odd_p = b * (1 / (2 * P * (PP - QQ)));                                                           \
        const float16 even_q = MAD(c, (float16)QQ, a) * (1 / (2 * QQ * (QQ - PP)));                                    \
        const float16 odd_q = b * (1 / (2 * Q * (QQ - PP)));                                                           \
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
        const float16 d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5);                                \
        const float16 even_p = MAD(d2, (float16)-QQ, d4), odd_p = MAD(d1, (float16)-QQ, d3) * P;                       \
        const float16 even_q = MAD(d2, (float16)-PP, d4), odd_q = MAD(d1, (float16)-PP, d3) * Q;                       \
        STORE(0, MAD(d2, (float16)(-PP - QQ), d0 + d4));                                                               \
        STORE(1, even_p + odd_p);                                                                                      \
        STORE(2, even_p - odd_p);                                                                                      \
        STORE(3, even_q + odd_q);                                                                                      \
        STORE(4, even_q - odd_q);                                                                                      \
        STORE(5, MAD(d3, (float16)(-PP - QQ), d1 + d5));                                                               \
    }

/* Six sums m(0) to m(5) to four pixels. */
#define SUMS(m, STORE)                                                                                                 \
    {                                                                                                                  \
        const float16 m1 = m(1), m2 = m(2), m3 = m(3), m4 = m(4);                                                      \
        const float16 even_p = m1 + m2, odd_p = m1 - m2, even_q = m3 + m4, odd_q = m3 - m4;                            \
        STORE(0, m(0) + even_p + even_q);                                                                              \
        STORE(1, MAD(odd_p, (float16)P, odd_q *Q));                                                                    \
        STORE(2, MAD(even_p, (float16)PP, even_q *QQ));                                                                \
        STORE(3, MAD(odd_p, (float16)PPP, MAD(odd_q, (float16)QQQ, m(5))));                                            \
    }

/* u of the panels from `first` on.  flip: of the transposed convolution, whose taps are in the opposite order.  One
 * work-item: 16 rows of a panel. */
CPU_KERNEL void winograd_weights(IN(float, panels), OUT(float, u), const int in, const int first, const int n,
                               const int flip)
{
    const int c0 = get_global_id(0) * 16, panel = get_global_id(1);
    const size_t plane = (size_t)n * in * 32, tap = (size_t)in * 32;
    for (int c = c0; c < c0 + 16; c++)
        for (int j = 0; j < 32; j += 16) {
            __global const float *g = AT(panels) + ((size_t)(first + panel) * 9 * in + c) * 32 + j;
            __global float *to = AT(u) + ((size_t)panel * in + c) * 32 + j;
            float16 rows[18];
            for (int x = 0; x < 3; x++) {
                const int kx = flip ? 2 - x : x;
                const float16 top = vload16(0, g + (flip ? 6 + kx : kx) * tap), middle = vload16(0, g + (3 + kx) * tap);
                const float16 bottom = vload16(0, g + (flip ? kx : 6 + kx) * tap);
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
#define FROM(j)        vload16(0, from[i * 6 + (j)] + k)
#define SIX(j, value) rows[i * 6 + (j)] = value
            PIXELS(FROM, SIX)
        }
        for (int i = 0; i < 6; i++) {
#define COLUMN(j)     rows[(j)*6 + i]
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
            ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
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
#define SUM(k)           vload16(0, s + ((k)*6 + i) * WINOGRAD_TILES * 32)
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

#endif
