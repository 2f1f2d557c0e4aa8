/* The gradients of linear layers and convolutions: each product of the forward pass once more, added to the gradients
 * of both of its factors. */
#include "ref_grad.h"

#include <string.h>

double ref_activation_back(double v, double g, activation act)
{
    const double h = 1e-5;
    if (act == ACT_RELU || act == ACT_LEAKY_RELU)
        return v > 0 ? g : act == ACT_RELU ? 0 : 0.2 * g;
    return g * (ref_activation(v + h, act) - ref_activation(v - h, act)) / (2 * h);
}

static void clear(double *to, int n)
{
    if (to)
        memset(to, 0, (size_t)n * sizeof *to);
}

void ref_linear_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w, int m, int n,
                     int k)
{
    clear(dx, m * k);
    clear(dw, n * k);
    clear(db, n);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double g = dz[i * n + j];
            if (db)
                db[j] += g;
            for (int c = 0; c < k && dx; c++)
                dx[i * k + c] += g * w[j * k + c];
            for (int c = 0; c < k && dw; c++)
                dw[j * k + c] += g * x[i * k + c];
        }
}

void ref_conv_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w,
                   const ref_conv *c, bool transposed)
{
    int oh = ref_conv_side(c, c->h, transposed), ow = ref_conv_side(c, c->w, transposed), k = c->kernel;
    int small_h = transposed ? c->h : oh, small_w = transposed ? c->w : ow;
    int large_h = transposed ? oh : c->h, large_w = transposed ? ow : c->w;
    clear(dx, c->b * c->h * c->w * c->in);
    clear(dw, c->out * k * k * c->in);
    clear(db, c->out);
    for (int i = 0; i < c->b * oh * ow * c->out && db; i++)
        db[i % c->out] += dz[i];
    for (int b = 0; b < c->b; b++)
        for (int sy = 0; sy < small_h; sy++)
            for (int sx = 0; sx < small_w; sx++)
                for (int ky = 0; ky < k; ky++)
                    for (int kx = 0; kx < k; kx++) {
                        int ly = sy * c->stride - c->pad + ky, lx = sx * c->stride - c->pad + kx;
                        if (ly < 0 || ly >= large_h || lx < 0 || lx >= large_w)
                            continue;
                        int small = (b * small_h + sy) * small_w + sx, large = (b * large_h + ly) * large_w + lx;
                        int at_x = (transposed ? small : large) * c->in, at_y = (transposed ? large : small) * c->out;
                        for (int o = 0; o < c->out; o++)
                            for (int i = 0; i < c->in; i++) {
                                int at_w = ((o * k + ky) * k + kx) * c->in + i;
                                if (dx)
                                    dx[at_x + i] += dz[at_y + o] * w[at_w];
                                if (dw)
                                    dw[at_w] += dz[at_y + o] * x[at_x + i];
                            }
                    }
}
