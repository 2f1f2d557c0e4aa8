/* Rotary positions on a grid. */

/* y = x[b,t,3d] with the queries and keys of each cell turned, and those before the grid 0. */
__kernel void rotate_grid(IN(float, x), IN(int, position), OUT(float, y), const int d, const int t, const int head_dim,
                          const int text, const int grid_width)
{
    int i = get_global_id(0), n = get_global_id(1), cell = AT(position)[0] + n % t - text;
    if (i >= 3 * d)
        return;
    size_t at = (size_t)n * 3 * d + i;
    float v = AT(x)[at];
    if (i < 2 * d) {
        int c = i % head_dim, quarter = head_dim / 4, pair = c / 2;
        int place = pair < quarter ? cell / grid_width : cell % grid_width;
        float angle = place * exp(-9.21034037f /* ln 10000 */ * (float)(pair % quarter) / (float)quarter);
        float other = c % 2 ? AT(x)[at - 1] : -AT(x)[at + 1];
        v = cell < 0 ? 0.0f : v * cos(angle) + other * sin(angle);
    }
    AT(y)[at] = v;
}
