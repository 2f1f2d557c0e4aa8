/* What published transformers have between their products: gates, scales, shifted tokens. */

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

/* history[b, p, kept] = x[b, t, 0:kept] of the positions p from *position on */
__kernel void store_history(IN(float, x), OUT(float, history), IN(int, position), const int d, const int t,
                            const int own, const int kept, const int length)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t);
    if (i < kept && p < length)
        AT(history)[((size_t)(n / t) * length + p) * kept + i] = AT(x)[(size_t)n * d + i];
}

/* y[b,t,d]: a text position has its first half from the position before, a cell its first quarter from the cell above
 * and its second from the cell to the left; zeros where there is none. */
__kernel void shift_tokens(IN(float, x), IN(float, history), IN(int, position), OUT(float, y), const int d, const int t,
                           const int own, const int kept, const int length, const int text, const int grid_width)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t), cell = p - text, back = 0;
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

#ifdef BACKWARD

/* da[i] = dy[i] b[i % period] */
__kernel void multiply_back(IN(float, dy), IN(float, b), OUT(float, da), const int count, const int period,
                            const int add)
{
    int i = get_global_id(0);
    if (i < count)
        ADD_TO(AT(da) + i, AT(dy)[i] * AT(b)[i % period]);
}

/* parts[part,d] = the sum of dy a over `each` of the rows[d] */
__kernel void multiply_parts(IN(float, dy), IN(float, a), OUT(float, parts), const int rows, const int each,
                             const int d)
{
    int part = get_global_id(1), first = part * each, n = min(each, rows - first);
    __global float *to = AT(parts) + (size_t)part * d;
#define BODY(T, LOAD, STORE)                                                                                           \
    T sum = 0.0f;                                                                                                      \
    __global const float *g = AT(dy) + (size_t)first * d, *v = AT(a) + (size_t)first * d;                              \
    for (int k = 0; k < n; k++, g += d, v += d)                                                                        \
        sum += LOAD(g) * LOAD(v);                                                                                      \
    STORE(sum, to);
    COLUMNS(get_global_id(0), d, BODY)
#undef BODY
}

/* dx[n,0:d] = dy act(x[n,d:2d]), dx[n,d:2d] = dy x[n,0:d] act'(x[n,d:2d]) */
__kernel void glu_back(IN(float, x), IN(float, dy), OUT(float, dx), const int d, const int act, const int add)
{
    int i = get_global_id(0);
    size_t n = get_global_id(1), at = 2 * n * d + i;
    if (i >= d)
        return;
    float g = AT(dy)[n * d + i], value = AT(x)[at], gate = AT(x)[at + d];
    ADD_TO(AT(dx) + at, g * activate_float(gate, act));
    ADD_TO(AT(dx) + at + d, g * value * derivative_float(gate, act));
}

/* dx[n,d] = dy / max over d of x, which counts as a constant */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void divide_max_back(IN(float, x), IN(float, dy),
                                                                              OUT(float, dx), const int d,
                                                                              const int add)
{
    __local float scratch[WG];
    size_t row = GROUP(0);
    int l = get_local_id(0);
    float most = -INFINITY;
    for (int i = l; i < d; i += WG)
        most = fmax(most, AT(x)[row * d + i]);
    most = group_max(most, scratch);
    for (int i = l; i < d; i += WG)
        ADD_TO(AT(dx) + row * d + i, AT(dy)[row * d + i] / most);
}

/* dx[b,t,d]: from the position that shift_tokens gave it to, where that one is among the t; else 0 */
__kernel void shift_tokens_back(IN(float, dy), IN(int, position), OUT(float, dx), const int d, const int t,
                                const int text, const int grid_width, const int add)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t, ahead = 0;
    if (i >= d)
        return;
    bool given = true;
    if (p < text) {
        ahead = i < (d + 1) / 2;
        given = p + ahead < text;
    } else if (i < (d + 3) / 4) {
        ahead = grid_width;
    } else if (i < (d + 3) / 4 * 2) {
        ahead = 1;
        given = (p - text + 1) % grid_width > 0;
    }
    given = given && n % t + ahead < t;
    ADD_TO(AT(dx) + (size_t)n * d + i, given ? AT(dy)[(size_t)(n + ahead) * d + i] : 0.0f);
}
#endif
