/* The references of ops on pictures and codebooks. */
#include <math.h>
#include <stdlib.h>

#include "ref_ops.h"

void ref_self_attention(double *y, const float *q, const float *k, const float *v, int b, int n, int d)
{
    double *p = malloc((size_t)n * sizeof *p);
    for (int i = 0; p && i < b * n; i++) {
        const float *keys = k + i / n * n * d, *values = v + i / n * n * d;
        double sum = 0, most = -INFINITY;
        for (int j = 0; j < n; j++) {
            p[j] = 0;
            for (int c = 0; c < d; c++)
                p[j] += (double)q[i * d + c] * keys[j * d + c] / sqrt(d);
            most = fmax(most, p[j]);
        }
        for (int j = 0; j < n; j++)
            sum += p[j] = exp(p[j] - most);
        for (int c = 0; c < d; c++) {
            y[i * d + c] = 0;
            for (int j = 0; j < n; j++)
                y[i * d + c] += p[j] / sum * values[j * d + c];
        }
    }
    free(p);
}

void ref_distances(double *y, const float *x, const float *table, int m, int k, int d)
{
    for (int i = 0; i < m * k; i++) {
        y[i] = 0;
        for (int c = 0; c < d; c++) {
            double difference = (double)x[i / k * d + c] - table[i % k * d + c];
            y[i] -= difference * difference;
        }
    }
}

void ref_max_pool(double *y, const float *x, int b, int h, int w, int c, int factor)
{
    for (int i = 0; i < b * (h / factor) * (w / factor) * c; i++)
        y[i] = -INFINITY;
    for (int row = 0; row < b * h; row++)
        for (int column = 0; column < w; column++)
            for (int k = 0; k < c; k++) {
                double *to = y + (row / factor * (w / factor) + column / factor) * c + k;
                *to = fmax(*to, x[(row * w + column) * c + k]);
            }
}

void ref_mean_pool(double *y, const float *x, int b, int h, int w, int c, int factor)
{
    for (int i = 0; i < b * (h / factor) * (w / factor) * c; i++)
        y[i] = 0;
    for (int row = 0; row < b * h; row++)
        for (int column = 0; column < w; column++)
            for (int k = 0; k < c; k++)
                y[(row / factor * (w / factor) + column / factor) * c + k] +=
                    (double)x[(row * w + column) * c + k] / (factor * factor);
}

void ref_inverse_haar(double *y, const float *x, int b, int h, int w, int c)
{
    for (int row = 0; row < b * 2 * h; row++)
        for (int column = 0; column < 2 * w; column++)
            for (int k = 0; k < c; k++) {
                const float *cell = x + (row / 2 * w + column / 2) * 4 * c, *high = cell + c + 3 * k;
                double down = row % 2 ? -1 : 1, right = column % 2 ? -1 : 1;
                y[(row * 2 * w + column) * c + k] =
                    0.5 * (cell[k] + down * high[0] + right * high[1] + down * right * high[2]);
            }
}

void ref_join(double *y, const float *a, const float *b, int rows, int ca, int cb)
{
    for (int i = 0; i < rows * (ca + cb); i++) {
        int row = i / (ca + cb), c = i % (ca + cb);
        y[i] = c < ca ? a[row * ca + c] : b[row * cb + c - ca];
    }
}
