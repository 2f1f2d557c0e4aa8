/* Rotary positions: of given angles, of given frequencies, and on a grid. */

/* Each head's first `turned` numbers as pairs, turned by angles[position, turned]; x, y[b,t,width] */
__kernel void rotate_heads(IN(float, x), IN(float, angles), IN(int, position), OUT(float, y), const int width,
                           const int t, const int own, const int head_dim, const int turned, const int length)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t), c = i % head_dim;
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

/* y[b,t,width] = x, of whose first `columns` numbers, heads of 2n, the numbers i and n + i are turned by the position
 * times frequencies[n]; sign -1: turned back.  A work-item takes a pair, or one of the numbers behind them. */
__kernel void rotate_halves(IN(float, x), IN(float, frequencies), IN(int, position), OUT(float, y), const int width,
                            const int columns, const int t, const int own, const int n, const int sign, const int add)
{
    int i = get_global_id(0), row = get_global_id(1), pairs = columns / 2;
    size_t at = (size_t)row * width + (i < pairs ? i / n * 2 * n + i % n : pairs + i);
    if (i >= width - pairs)
        return;
    if (i >= pairs) {
        ADD_TO(AT(y) + at, AT(x)[at]);
        return;
    }
    float angle = POSITION(row, t) * AT(frequencies)[i % n], a = AT(x)[at], b = AT(x)[at + n];
    float c = cos(angle), s = sign * sin(angle);
    ADD_TO(AT(y) + at, a * c - b * s);
    ADD_TO(AT(y) + at + n, b * c + a * s);
}

/* Of element c of a head. */
inline float grid_angle(int c, int cell, int head_dim, int grid_width)
{
    int quarter = head_dim / 4, pair = c / 2, place = pair < quarter ? cell / grid_width : cell % grid_width;
    return place * exp(-9.21034037f /* ln 10000 */ * (float)(pair % quarter) / (float)quarter);
}

/* y = x[b,t,3d] with the queries and keys of each cell turned, and those before the grid 0. */
__kernel void rotate_grid(IN(float, x), IN(int, position), OUT(float, y), const int d, const int t, const int own,
                          const int head_dim, const int text, const int grid_width)
{
    int i = get_global_id(0), n = get_global_id(1), cell = POSITION(n, t) - text;
    if (i >= 3 * d)
        return;
    size_t at = (size_t)n * 3 * d + i;
    float v = AT(x)[at];
    if (i < 2 * d) {
        int c = i % head_dim;
        float angle = grid_angle(c, cell, head_dim, grid_width);
        float other = c % 2 ? AT(x)[at - 1] : -AT(x)[at + 1];
        v = cell < 0 ? 0.0f : v * cos(angle) + other * sin(angle);
    }
    AT(y)[at] = v;
}

#ifdef BACKWARD

/* Turned back: the transpose of rotate_heads.  Positions beyond `length` get 0. */
__kernel void rotate_heads_back(IN(float, dy), IN(float, angles), IN(int, position), OUT(float, dx), const int width,
                                const int t, const int head_dim, const int turned, const int length, const int add)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t, c = i % head_dim;
    if (i >= width)
        return;
    size_t at = (size_t)n * width + i;
    float v = p < length ? AT(dy)[at] : 0.0f;
    if (c < turned && p < length) {
        __global const float *own = AT(angles) + (size_t)p * turned + c;
        float other = c % 2 ? -AT(dy)[at - 1] : AT(dy)[at + 1];
        v = v * cos(own[0]) + other * sin(own[c % 2 ? -1 : 1]);
    }
    ADD_TO(AT(dx) + at, v);
}

/* dangles[p,c] = the sum over b and the heads of dy (other cos - x sin), as rotate_heads has them */
__kernel void rotate_angles_back(IN(float, x), IN(float, dy), IN(float, angles), IN(int, position),
                                 OUT(float, dangles), const int b, const int width, const int t, const int head_dim,
                                 const int turned, const int add)
{
    int c = get_global_id(0), entry = get_global_id(1), p = entry - AT(position)[0];
    if (c >= turned)
        return;
    float sum = 0.0f, angle = AT(angles)[(size_t)entry * turned + c], sine = sin(angle), cosine = cos(angle);
    for (int image = 0; image < b && p >= 0 && p < t; image++)
        for (int head = 0; head < width; head += head_dim) {
            size_t at = ((size_t)image * t + p) * width + head + c;
            float other = c % 2 ? AT(x)[at - 1] : -AT(x)[at + 1];
            sum += AT(dy)[at] * (other * cosine - AT(x)[at] * sine);
        }
    ADD_TO(AT(dangles) + (size_t)entry * turned + c, sum);
}

/* Turned back: the transpose of rotate_grid. */
__kernel void rotate_grid_back(IN(float, dy), IN(int, position), OUT(float, dx), const int d, const int t,
                               const int own, const int head_dim, const int text, const int grid_width, const int add)
{
    int i = get_global_id(0), n = get_global_id(1), cell = POSITION(n, t) - text;
    if (i >= 3 * d)
        return;
    size_t at = (size_t)n * 3 * d + i;
    float v = AT(dy)[at];
    if (i < 2 * d) {
        int c = i % head_dim;
        float angle = grid_angle(c, cell, head_dim, grid_width), other = c % 2 ? -AT(dy)[at - 1] : AT(dy)[at + 1];
        v = cell < 0 ? 0.0f : v * cos(angle) + other * sin(angle);
    }
    ADD_TO(AT(dx) + at, v);
}
#endif
