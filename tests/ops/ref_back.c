/* The references of gradients and of losses. */
#include "ref_back.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* The gradient of xhat w + b over n elements with the strides that `at` gives. */
static void norm_back(double *dx, double *dw, double *db, const double *dy, const float *x, const float *w, double eps,
                      const int *at, const int *channel, int n)
{
    double mean = 0, variance = 0, sum = 0, product = 0;
    for (int i = 0; i < n; i++)
        mean += x[at[i]] / (double)n;
    for (int i = 0; i < n; i++)
        variance += (x[at[i]] - mean) * (x[at[i]] - mean) / n;
    double scale = 1 / sqrt(variance + eps);
    for (int i = 0; i < n; i++) {
        double g = dy[at[i]], hat = (x[at[i]] - mean) * scale;
        db[channel[i]] += g;
        dw[channel[i]] += g * hat;
        sum += g * w[channel[i]] / n;
        product += g * w[channel[i]] * hat / n;
    }
    for (int i = 0; i < n; i++)
        dx[at[i]] = scale * (dy[at[i]] * w[channel[i]] - sum - (x[at[i]] - mean) * scale * product);
}

void ref_group_norm_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w,
                         double eps, int batch, int pixels, int c, int groups)
{
    int width = c / groups, n = pixels * width, *at = malloc(2 * (size_t)n * sizeof *at), *channel = at + n;
    memset(dw, 0, (size_t)c * sizeof *dw);
    memset(db, 0, (size_t)c * sizeof *db);
    for (int image = 0; image < batch; image++)
        for (int g = 0; g < groups; g++) {
            for (int i = 0; i < n; i++) {
                channel[i] = g * width + i % width;
                at[i] = (image * pixels + i / width) * c + channel[i];
            }
            norm_back(dx, dw, db, dz, x, w, eps, at, channel, n);
        }
    free(at);
}

void ref_layer_norm_back(double *dx, double *dw, double *db, const float *dy, const float *x, const float *w,
                         double eps, int rows, int d)
{
    double *dz = malloc((size_t)(rows * d) * sizeof *dz);
    for (int i = 0; i < rows * d; i++)
        dz[i] = dy[i];
    ref_group_norm_back(dx, dw, db, dz, x, w, eps, rows, 1, d, 1); /* a picture of one pixel, one group */
    free(dz);
}

void ref_softmax_back(double *dx, const double *y, const float *dy, double scale, int rows, int d)
{
    for (int r = 0; r < rows; r++, dx += d, y += d, dy += d) {
        double sum = 0;
        for (int i = 0; i < d; i++)
            sum += y[i] * dy[i];
        for (int i = 0; i < d; i++)
            dx[i] = scale * y[i] * (dy[i] - sum);
    }
}

void ref_attention_back(double *dqkv, const float *dy, const float *qkv, int b, int t, int heads, int keys,
                        int head_dim, const attention_mask *mask)
{
    int d = heads * head_dim, width = keys * head_dim, row = d + 2 * width;
    double *p = malloc(2 * (size_t)t * sizeof *p), *dp = p + t, scale = 1 / sqrt(head_dim);
    memset(dqkv, 0, (size_t)(b * t * row) * sizeof *dqkv);
    for (int image = 0; image < b; image++, qkv += t * row, dqkv += t * row, dy += t * d)
        for (int h = 0; h < heads; h++)
            for (int q = 0; q < t; q++) {
                int at = q * row + h * head_dim, all = d + h / (heads / keys) * head_dim;
                const float *g = dy + q * d + h * head_dim;
                double total = 0, mean = 0;
                for (int j = 0; j < t; j++) {
                    int key = j * row + all;
                    p[j] = dp[j] = 0;
                    for (int i = 0; i < head_dim; i++) {
                        p[j] += scale * qkv[at + i] * qkv[key + i];
                        dp[j] += (double)g[i] * qkv[key + width + i];
                    }
                    total += p[j] = ref_mask_allows(mask, q, j) ? exp(p[j]) : 0;
                }
                for (int j = 0; j < t; j++)
                    mean += (p[j] /= total) * dp[j];
                for (int j = 0; j < t; j++)
                    for (int i = 0; i < head_dim; i++) {
                        int key = j * row + all + i;
                        double ds = scale * p[j] * (dp[j] - mean);
                        dqkv[at + i] += ds * qkv[key];
                        dqkv[key] += ds * qkv[at + i];
                        dqkv[key + width] += p[j] * g[i];
                    }
            }
    free(p);
}

static double log_sum(const float *x, int k)
{
    double most = x[0], sum = 0;
    for (int i = 1; i < k; i++)
        most = fmax(most, x[i]);
    for (int i = 0; i < k; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

double ref_cross_entropy(double *dx, const float *x, const int32_t *targets, double smoothing, int n, int k)
{
    double loss = 0;
    int valid = 0;
    for (int r = 0; r < n; r++)
        valid += targets[r] >= 0;
    for (int r = 0; r < n; r++, x += k) {
        double sum = log_sum(x, k);
        for (int i = 0; i < k; i++) {
            double wanted = smoothing / k + (i == targets[r] ? 1 - smoothing : 0);
            if (targets[r] >= 0)
                loss -= wanted * (x[i] - sum) / valid;
            if (dx)
                *dx++ = targets[r] >= 0 ? (exp(x[i] - sum) - wanted) / valid : 0;
        }
    }
    return loss;
}

double ref_l1(double *dx, const float *x, const float *target, int n)
{
    double loss = 0;
    for (int i = 0; i < n; i++) {
        loss += fabs((double)x[i] - target[i]) / n;
        if (dx)
            dx[i] = (double)((x[i] > target[i]) - (x[i] < target[i])) / n;
    }
    return loss;
}

double ref_l2(double *dx, const float *x, const float *target, int n)
{
    double loss = 0;
    for (int i = 0; i < n; i++) {
        double far = (double)x[i] - target[i];
        loss += far * far / n;
        if (dx)
            dx[i] = 2 * far / n;
    }
    return loss;
}

double ref_logit_laplace(double *dx, const float *x, const float *target, int rows, int c)
{
    double loss = 0, n = (double)rows * c;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < c; i++) {
            double t = target[r * c + i], b = exp(x[r * 2 * c + c + i]);
            double far = (log(t / (1 - t)) - x[r * 2 * c + i]) / b;
            loss -= log(1 / (2 * b * t * (1 - t)) * exp(-fabs(far))) / n;
            if (dx) {
                dx[r * 2 * c + i] = (far > 0 ? -1 : 1) / b / n;
                dx[r * 2 * c + c + i] = (1 - fabs(far)) / n;
            }
        }
    return loss;
}

double ref_kl_uniform(double *dx, const float *x, int n, int k)
{
    double loss = 0;
    for (int r = 0; r < n; r++, x += k) {
        double sum = log_sum(x, k), own = 0;
        for (int i = 0; i < k; i++)
            own += exp(x[i] - sum) * (x[i] - sum + log(k));
        loss += own / n;
        for (int i = 0; i < k && dx; i++)
            *dx++ = exp(x[i] - sum) * (x[i] - sum + log(k) - own) / n;
    }
    return loss;
}

double ref_usage_entropy(double *dx, const float *x, int n, int k)
{
    double *mean = calloc((size_t)k, sizeof *mean), entropy = 0;
    for (int r = 0; r < n; r++) {
        double sum = log_sum(x + r * k, k);
        for (int i = 0; i < k; i++)
            mean[i] += exp(x[r * k + i] - sum) / n;
    }
    for (int i = 0; i < k; i++)
        entropy -= mean[i] * log(mean[i]);
    for (int r = 0; r < n && dx; r++, x += k, dx += k) {
        double sum = log_sum(x, k), own = 0;
        for (int i = 0; i < k; i++)
            own -= exp(x[i] - sum) * log(mean[i]);
        for (int i = 0; i < k; i++)
            dx[i] = exp(x[i] - sum) * (-log(mean[i]) - own) / n;
    }
    free(mean);
    return entropy;
}

void ref_gumbel_noise(double *y, const gumbel *g, int pictures, int per)
{
    uint32_t stream = g->stream;
    for (int i = 0; i < pictures; i++, stream += g->stride ? g->stride : 1)
        for (int j = 0; j < per; j++)
            *y++ = -log(-log((double)rng_uniform(g->seed, stream, g->step, (uint32_t)j)));
}

void ref_gumbel_softmax(double *y, const float *x, const gumbel *g, int pictures, int rows, int k)
{
    ref_gumbel_noise(y, g, pictures, rows * k);
    for (int r = 0; r < pictures * rows; r++, y += k, x += k) {
        double most = -INFINITY, sum = 0;
        int best = 0;
        for (int i = 0; i < k; i++) {
            y[i] = (x[i] + y[i]) / g->tau;
            if (y[i] > most) {
                most = y[i];
                best = i;
            }
        }
        for (int i = 0; i < k; i++)
            sum += exp(y[i] - most);
        for (int i = 0; i < k; i++)
            y[i] = g->hard ? i == best : exp(y[i] - most) / sum;
    }
}

void ref_adamw(double *x, double *m, double *v, const float *gradient, double scale, const adamw *o, int n)
{
    for (int i = 0; i < n; i++) {
        double g = scale * gradient[i];
        m[i] = o->beta1 * m[i] + (1 - (double)o->beta1) * g;
        v[i] = o->beta2 * v[i] + (1 - (double)o->beta2) * g * g;
        double first = m[i] / (1 - pow(o->beta1, (double)o->step)),
               second = v[i] / (1 - pow(o->beta2, (double)o->step));
        x[i] -= (double)o->lr * o->decay * x[i] + o->lr * first / (sqrt(second) + o->eps);
    }
}

void ref_codebook_step(const ref_codebook *c, const float *x, const int32_t *ids, int n, const codebook_step *o)
{
    for (int k = 0; k < c->k; k++) {
        double count = o->decay * c->counts[k];
        for (int i = 0; i < n; i++)
            count += ids[i] == k ? 1 - (double)o->decay : 0;
        bool again = count < o->least;
        uint32_t word[4];
        rng_philox(word, o->seed, CODEBOOK_STREAM, o->step, (uint32_t)k);
        const float *from = x + (int)((double)word[0] * n / 0x1p32) * c->d;
        c->counts[k] = again ? o->fresh : count;
        for (int j = 0; j < c->d; j++) {
            double sum = c->sums ? o->decay * c->sums[k * c->d + j] : 0;
            for (int i = 0; i < n; i++)
                sum += ids[i] == k ? (1 - (double)o->decay) * x[i * c->d + j] : 0;
            if (again)
                sum = o->fresh * (double)from[j];
            if (c->sums)
                c->sums[k * c->d + j] = sum;
            if (again || c->sums)
                c->rows[k * c->d + j] = sum / c->counts[k];
        }
    }
}
