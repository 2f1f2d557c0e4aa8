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
 * TILE_M pixels x TILE_N channels; those named _scalar for numbers of channels that can't be read by fours.  panel.clh:
 * the type of panels.  TILE_TALL: conv2d alone, with tall tiles (tile_gpu.clh). */

#include "panel.clh"

#define CONV_ARGUMENTS                                                                                                 \
    IN(float, x), IN(PANEL, panels), IN(float, b), IN(float, residual), IN(float, zeros), OUT(float, y),               \
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
#if !TILE_TALL
/* With tall tiles the places of twice as many rows are more than Intel's compiler has registers for. */
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

/* y[pixels,width] = act(the sum of parts[n][pixels][out] + b[out]) + residual */
__kernel void join_parts(IN(float, parts), IN(float, b), IN(float, residual), OUT(float, y), const int n,
                         const int pixels, const int out, const int width, const int act)
{
    const int col = get_global_id(0), row = get_global_id(1);
    const size_t at = (size_t)row * width + col;
    __global const float *from = AT(parts) + (size_t)row * out + col;
    float v = from[0];
    for (int i = 1; i < n; i++)
        v += from[(size_t)i * pixels * out];
    if (b_buffer)
        v += AT(b)[col];
    v = activate_float(v, act);
    AT(y)[at] = residual_buffer ? v + AT(residual)[at] : v;
}
#endif

#endif
