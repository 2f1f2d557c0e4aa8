/* The reference of the ops in src/ops/gate.c. */
#include <math.h>

#include "ref_ops.h"

void ref_glu(double *y, const float *x, int m, int d, activation act)
{
    for (int i = 0; i < m * d; i++)
        y[i] = x[i / d * 2 * d + i % d] * ref_activation(x[i / d * 2 * d + d + i % d], act);
}

void ref_divide_max(double *y, const float *x, int m, int d)
{
    for (int row = 0; row < m; row++) {
        double most = -INFINITY;
        for (int i = 0; i < d; i++)
            most = fmax(most, x[row * d + i]);
        for (int i = 0; i < d; i++)
            y[row * d + i] = x[row * d + i] / most;
    }
}

void ref_rotate(double *y, const float *x, const float *angles, int b, int t, int heads, int head_dim, int turned)
{
    for (int row = 0; row < b * t; row++)
        for (int head = 0; head < heads; head++) {
            const float *from = x + (row * heads + head) * head_dim, *angle = angles + row % t * turned;
            double *to = y + (row * heads + head) * head_dim;
            for (int i = 0; i < head_dim; i++)
                to[i] = from[i];
            for (int i = 0; i < turned; i += 2) {
                to[i] = from[i] * cos(angle[i]) - from[i + 1] * sin(angle[i]);
                to[i + 1] = from[i + 1] * cos(angle[i + 1]) + from[i] * sin(angle[i + 1]);
            }
        }
}

void ref_rotary(double *y, const float *x, const float *frequencies, int b, int t, int width, int columns, int n)
{
    for (int row = 0; row < b * t; row++)
        for (int i = 0; i < width; i++) {
            const float *from = x + row * width;
            int k = i % (2 * n);
            double angle = (float)(row % t) * frequencies[k % n];
            y[row * width + i] = i >= columns ? from[i]
                                 : k < n      ? from[i] * cos(angle) - from[i + n] * sin(angle)
                                              : from[i] * cos(angle) + from[i - n] * sin(angle);
        }
}

void ref_rotate_grid(double *y, const float *x, int b, int t, int heads, int head_dim, int text, int grid_width)
{
    int d = heads * head_dim;
    for (int i = 0; i < b * t * 3 * d; i++) {
        int cell = i / (3 * d) % t - text, c = i % head_dim, quarter = head_dim / 4;
        int place = c / 2 < quarter ? cell / grid_width : cell % grid_width;
        double angle = place * pow(10000, -(double)(c / 2 % quarter) / quarter);
        double other = c % 2 ? x[i - 1] : -x[i + 1];
        bool turned = i % (3 * d) < 2 * d;
        y[i] = !turned ? x[i] : cell < 0 ? 0 : x[i] * cos(angle) + other * sin(angle);
    }
}

void ref_rms_norm(double *y, const float *x, const float *w, int m, int d, double eps)
{
    for (int row = 0; row < m; row++) {
        double squares = 0;
        for (int i = 0; i < d; i++)
            squares += (double)x[row * d + i] * x[row * d + i];
        for (int i = 0; i < d; i++)
            y[row * d + i] = x[row * d + i] / sqrt(squares / d + eps) * w[i];
    }
}

void ref_shift_tokens(double *y, const float *x, int b, int t, int d, int text, int grid_width)
{
    int half = (d + 1) / 2, quarter = (d + 3) / 4;
    for (int row = 0; row < b * t; row++)
        for (int i = 0; i < d; i++) {
            int p = row % t, cell = p - text, from = p;
            if (p < text && i < half)
                from = p - 1;
            else if (p >= text && i < quarter)
                from = cell >= grid_width ? p - grid_width : -1;
            else if (p >= text && i < 2 * quarter)
                from = cell % grid_width ? p - 1 : -1;
            y[row * d + i] = from < 0 ? 0 : x[(row - p + from) * d + i];
        }
}
