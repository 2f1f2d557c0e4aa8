/* What published transformers have between their products: gates, scales, rotary positions, shifted tokens. */

/* y[i] = a[i] * b[i % period] */
__kernel void multiply(IN(float, a), IN(float, b), OUT(float, y), const int count, const int period)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(a)[i] * AT(b)[i % period];
}

/* y[n,d] = x[n,0:d] act(x[n,d:2d]) */
__kernel void glu(IN(float, x), OUT(float, y), const int d, const int act)
{
    int i = get_global_id(0);
    size_t n = get_global_id(1);
    if (i < d)
        AT(y)[n * d + i] = AT(x)[2 * n * d + i] * activate_float(AT(x)[(2 * n + 1) * d + i], act);
}

/* y[n,d] = x[n,d] / max over d */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void divide_max(IN(float, x), OUT(float, y), const int d)
{
    __local float scratch[WG];
    size_t row = GROUP(0);
    int l = get_local_id(0);
    float most = -INFINITY;
    for (int i = l; i < d; i += WG)
        most = fmax(most, AT(x)[row * d + i]);
    most = group_max(most, scratch);
    for (int i = l; i < d; i += WG)
        AT(y)[row * d + i] = AT(x)[row * d + i] / most;
}

/* Each head's first `turned` numbers as pairs, turned by angles[position, turned]; x, y[b,t,width] */
__kernel void rotate_heads(IN(float, x), IN(float, angles), IN(int, position), OUT(float, y), const int width,
                           const int t, const int head_dim, const int turned, const int length)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t, c = i % head_dim;
    if (i >= width || p >= length)
        return;
    size_t at = (size_t)n * width + i;
    float v = AT(x)[at];
    if (c < turned) {
        float angle = AT(angles)[(size_t)p * turned + c], other = c % 2 ? AT(x)[at - 1] : -AT(x)[at + 1];
        v = v * cos(angle) + other * sin(angle);
    }
    AT(y)[at] = v;
}

/* history[b, p, kept] = x[b, t, 0:kept] of the positions p from *position on */
__kernel void store_history(IN(float, x), OUT(float, history), IN(int, position), const int d, const int t,
                            const int kept, const int length)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t;
    if (i < kept && p < length)
        AT(history)[((size_t)(n / t) * length + p) * kept + i] = AT(x)[(size_t)n * d + i];
}

/* y[b,t,d]: a text position has its first half from the position before, a cell its first quarter from the cell above
 * and its second from the cell to the left; zeros where there is none. */
__kernel void shift_tokens(IN(float, x), IN(float, history), IN(int, position), OUT(float, y), const int d, const int t,
                           const int kept, const int length, const int text, const int grid_width)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t, cell = p - text, back = 0;
    if (i >= d || p >= length)
        return;
    bool there = true;
    if (p < text) {
        back = i < (d + 1) / 2;
        there = p > 0;
    } else if (i < (d + 3) / 4) {
        back = grid_width;
        there = cell >= grid_width;
    } else if (i < (d + 3) / 4 * 2) {
        back = 1;
        there = cell % grid_width > 0;
    }
    float v = 0.0f;
    if (back == 0)
        v = AT(x)[(size_t)n * d + i];
    else if (there)
        v = AT(history)[((size_t)(n / t) * length + p - back) * kept + i];
    AT(y)[(size_t)n * d + i] = v;
}
