/* Convolution and transposed convolution as products without a column buffer (implicit GEMM).
 * x[b,h,w,c] channels-last; panels [ceil(out/32)][kernel*kernel*c][32] in the order ky, kx, c; y[b,oh,ow,out].
 *
 * A row of the product is an output pixel, a column an output channel, k runs over taps and channels.
 * Transposed: output pixels of one phase (oy % stride, ox % stride) share their taps, those with
 * (oy + pad - ky) % stride == 0; a launch covers all stride * stride phases in its third dimension.
 *
 * CPU: a work-item computes ROWS pixels x panels_each * 32 channels, 8 x 32 at a time in registers; a tap outside the
 * picture reads from `zeros`, which holds at least kernel * c zeros.  else: work-groups of SIDE x SIDE compute 4 SIDE
 * pixels x 4 SIDE channels. */

#define CONV_ARGUMENTS                                                                                                 \
    IN(float, x), IN(float, panels), IN(float, b), IN(float, residual), IN(float, zeros), OUT(float, y),               \
        const int pixels, const int h, const int w, const int c, const int oh, const int ow, const int out,            \
        const int kernel_side, const int stride, const int pad, const int act

/* What a launch's product looks like: rows of pixels pw wide and ph high, taps from t0y, t0x in steps of `step`. */
typedef struct geometry {
    int pw, ph;           /* pixels of the phase in a row, in a column */
    int py, px, scale;    /* output pixel = phase pixel * scale + phase */
    int t0y, t0x, step;   /* first tap and step between taps */
    int ny, nx;           /* taps */
} geometry;

inline geometry geometry_of(int transposed, int phase, int oh, int ow, int side, int stride, int pad)
{
    geometry g;
    if (transposed) {
        g.py = phase / stride;
        g.px = phase % stride;
        g.scale = stride;
        g.pw = (ow - g.px + stride - 1) / stride;
        g.ph = (oh - g.py + stride - 1) / stride;
        g.t0y = (g.py + pad) % stride;
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

/* Where output coordinate o of tap t reads; the caller checks the range. */
#define SOURCE(o, t) (transposed ? ((o) + pad - (t)) / stride : (o) * stride - pad + (t))

#if CPU

#define ROWS 32 /* of a work-item: tiles that share what they read of x */

inline void conv_tile(CONV_ARGUMENTS, const int panels_each, const int transposed)
{
    const geometry g = geometry_of(transposed, get_global_id(2), oh, ow, kernel_side, stride, pad);
    const int in_phase = pixels / (oh * ow) * g.pw * g.ph, row0 = get_global_id(0) * ROWS;
    const int rows = min(ROWS, in_phase - row0), taps = kernel_side * kernel_side, sign = transposed ? -1 : 1;
    const int first = get_global_id(1) * panels_each, last = min(first + panels_each, (out + 31) / 32);
    __global const float *z = AT(zeros), *from[ROWS];
    int y0[ROWS], x0[ROWS], at[ROWS];
    if (rows <= 0)
        return;
    for (int i = 0; i < ROWS; i++) { /* the first tap's pixel, inside or not; the next ones are `sign` further */
        int r = row0 + min(i, rows - 1), image = r / g.pw / g.ph;
        int oy = r / g.pw % g.ph * g.scale + g.py, ox = r % g.pw * g.scale + g.px;
        y0[i] = SOURCE(oy, g.t0y);
        x0[i] = SOURCE(ox, g.t0x);
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
                        TILE_LOOP(pt, run)
                    } else {
                        TILE_LOOP_NARROW(pt, run)
                    }
                }
#define PUT(i)                                                                                                         \
    if (row + i < rows) {                                                                                              \
        size_t to = (size_t)at[row + i] * out + col;                                                                   \
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
    __kernel void NAME(CONV_ARGUMENTS, const int panels_each)                                                          \
    {                                                                                                                  \
        conv_tile(x_buffer, x_at, panels_buffer, panels_at, b_buffer, b_at, residual_buffer, residual_at,              \
                  zeros_buffer, zeros_at, y_buffer, y_at, pixels, h, w, c, oh, ow, out, kernel_side, stride, pad, act, \
                  panels_each, TRANSPOSED);                                                                            \
    }

#else

/* x at product row r, inner index kk; 0 outside of the picture and of the product. */
inline float conv_load(IN(float, x), const geometry g, int r, int kk, int in_phase, int h, int w, int c, int stride,
                       int pad, int transposed)
{
    int tap = kk / c, ty = tap / g.nx, tx = tap % g.nx;
    if (r >= in_phase || ty >= g.ny)
        return 0.0f;
    int oy = r / g.pw % g.ph * g.scale + g.py, ox = r % g.pw * g.scale + g.px;
    int y = SOURCE(oy, g.t0y + ty * g.step), u = SOURCE(ox, g.t0x + tx * g.step);
    if (y < 0 || y >= h || u < 0 || u >= w)
        return 0.0f;
    return AT(x)[(((size_t)(r / g.pw / g.ph) * h + y) * w + u) * c + kk % c];
}

/* The panel element of column `col` at inner index kk of this phase's taps. */
inline float conv_weight(IN(float, panels), const geometry g, int col, int kk, int c, int side, int columns)
{
    int tap = kk / c, ty = tap / g.nx, tx = tap % g.nx;
    if (col >= columns || ty >= g.ny)
        return 0.0f;
    int full = ((g.t0y + ty * g.step) * side + g.t0x + tx * g.step) * c + kk % c;
    return AT(panels)[((size_t)(col / 32) * side * side * c + full) * 32 + col % 32];
}

#define CONV(NAME, TRANSPOSED)                                                                                         \
    __kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void NAME(CONV_ARGUMENTS, const int panels_each)     \
    {                                                                                                                  \
        __local float ta[TILE_K][TILE + 1], tb[TILE_K][TILE];                                                          \
        const geometry g = geometry_of(TRANSPOSED, get_global_id(2), oh, ow, kernel_side, stride, pad);                \
        const int in_phase = pixels / (oh * ow) * g.pw * g.ph, columns = (out + 31) / 32 * 32;                         \
        const int col0 = GROUP(0) * TILE, row0 = GROUP(1) * TILE;                                                      \
        TILED_LOOP(LOAD_##NAME, row0, col0, g.ny * g.nx * c, LOAD_WEIGHT)                                              \
        UNROLL                                                                                                         \
        for (int i = 0; i < 4; i++)                                                                                    \
            UNROLL                                                                                                     \
            for (int j = 0; j < 4; j++) {                                                                              \
                int r = row0 + ly + SIDE * i, o = col0 + lx + SIDE * j;                                                \
                if (r >= in_phase || o >= out)                                                                         \
                    continue;                                                                                          \
                int oy = r / g.pw % g.ph * g.scale + g.py, ox = r % g.pw * g.scale + g.px;                             \
                size_t at = (((size_t)(r / g.pw / g.ph) * oh + oy) * ow + ox) * out + o;                               \
                float v = activate_float(acc[i][j] + (b_buffer ? AT(b)[o] : 0.0f), act);                               \
                AT(y)[at] = residual_buffer ? v + AT(residual)[at] : v;                                                \
            }                                                                                                          \
    }
#define LOAD_conv2d(r, kk)           conv_load(x_buffer, x_at, g, r, kk, in_phase, h, w, c, stride, pad, 0)
#define LOAD_conv_transpose2d(r, kk) conv_load(x_buffer, x_at, g, r, kk, in_phase, h, w, c, stride, pad, 1)
#define LOAD_WEIGHT(col, kk)         conv_weight(panels_buffer, panels_at, g, col, kk, c, kernel_side, columns)

#endif

CONV(conv2d, 0)
CONV(conv_transpose2d, 1)
