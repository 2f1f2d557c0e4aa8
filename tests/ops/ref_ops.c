/* The reference of every op: direct from the definitions, nothing shared with the kernels. */
#include "ref_ops.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

double ref_activation(double v, activation act)
{
    switch (act) {
    case ACT_RELU:
        return v > 0 ? v : 0;
    case ACT_GELU_ERF:
        return v / 2 * (1 + erf(v / sqrt(2)));
    case ACT_GELU_TANH:
        return v / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * pow(v, 3))));
    case ACT_SILU:
        return v / (1 + exp(-v));
    case ACT_QUICK_GELU:
        return v / (1 + exp(-1.702 * v));
    case ACT_SIGMOID:
        return 1 / (1 + exp(-v));
    case ACT_TANH:
        return tanh(v);
    case ACT_LEAKY_RELU:
        return v > 0 ? v : 0.2 * v;
    default:
        return v;
    }
}

void ref_linear(double *y, const float *x, const float *w, const float *b, const float *residual, int m, int n, int k,
                activation act)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = b ? b[j] : 0;
            for (int c = 0; c < k; c++)
                sum += (double)x[i * k + c] * w[j * k + c];
            y[i * n + j] = ref_activation(sum, act) + (residual ? residual[i * n + j] : 0);
        }
}

int ref_conv_side(const ref_conv *c, int side, bool transposed)
{
    return transposed ? (side - 1) * c->stride - 2 * c->pad + c->kernel
                      : (side + 2 * c->pad + c->pad_end - c->kernel) / c->stride + 1;
}

void ref_conv2d(double *y, const float *x, const float *w, const float *bias, const float *residual, const ref_conv *c)
{
    int oh = ref_conv_side(c, c->h, false), ow = ref_conv_side(c, c->w, false), k = c->kernel;
    int at = 0;
    for (int b = 0; b < c->b; b++)
        for (int oy = 0; oy < oh; oy++)
            for (int ox = 0; ox < ow; ox++)
                for (int o = 0; o < c->out; o++, at++) {
                    double sum = bias ? bias[o] : 0;
                    for (int ky = 0; ky < k; ky++)
                        for (int kx = 0; kx < k; kx++) {
                            int iy = oy * c->stride - c->pad + ky, ix = ox * c->stride - c->pad + kx;
                            if (iy < 0 || iy >= c->h || ix < 0 || ix >= c->w)
                                continue;
                            for (int i = 0; i < c->in; i++)
                                sum += (double)x[((b * c->h + iy) * c->w + ix) * c->in + i] *
                                       w[((o * k + ky) * k + kx) * c->in + i];
                        }
                    y[at] = ref_activation(sum, c->act) + (residual ? residual[at] : 0);
                }
}

void ref_conv_transpose2d(double *y, const float *x, const float *w, const float *bias, const ref_conv *c)
{
    int oh = ref_conv_side(c, c->h, true), ow = ref_conv_side(c, c->w, true), k = c->kernel;
    for (int i = 0; i < c->b * oh * ow * c->out; i++)
        y[i] = bias ? bias[i % c->out] : 0;
    for (int b = 0; b < c->b; b++)
        for (int iy = 0; iy < c->h; iy++)
            for (int ix = 0; ix < c->w; ix++)
                for (int ky = 0; ky < k; ky++)
                    for (int kx = 0; kx < k; kx++) {
                        int oy = iy * c->stride - c->pad + ky, ox = ix * c->stride - c->pad + kx;
                        if (oy < 0 || oy >= oh || ox < 0 || ox >= ow)
                            continue;
                        for (int o = 0; o < c->out; o++)
                            for (int i = 0; i < c->in; i++)
                                y[((b * oh + oy) * ow + ox) * c->out + o] +=
                                    (double)x[((b * c->h + iy) * c->w + ix) * c->in + i] *
                                    w[((o * k + ky) * k + kx) * c->in + i];
                    }
    for (int i = 0; i < c->b * oh * ow * c->out; i++)
        y[i] = ref_activation(y[i], c->act);
}

void ref_layer_norm(double *y, const float *x, const float *w, const float *b, double eps, int rows, int d)
{
    for (int r = 0; r < rows; r++, x += d, y += d) {
        double mean = 0, variance = 0;
        for (int i = 0; i < d; i++)
            mean += x[i] / (double)d;
        for (int i = 0; i < d; i++)
            variance += (x[i] - mean) * (x[i] - mean) / d;
        for (int i = 0; i < d; i++)
            y[i] = (x[i] - mean) / sqrt(variance + eps) * w[i] + b[i];
    }
}

void ref_group_norm(double *y, const float *x, const float *w, const float *b, double eps, int batch, int pixels, int c,
                    int groups, activation act)
{
    int width = c / groups;
    double n = (double)pixels * width;
    for (int image = 0; image < batch; image++, x += pixels * c, y += pixels * c)
        for (int g = 0; g < groups; g++) {
            double mean = 0, variance = 0;
            for (int p = 0; p < pixels; p++)
                for (int i = g * width; i < (g + 1) * width; i++)
                    mean += x[p * c + i] / n;
            for (int p = 0; p < pixels; p++)
                for (int i = g * width; i < (g + 1) * width; i++)
                    variance += (x[p * c + i] - mean) * (x[p * c + i] - mean) / n;
            for (int p = 0; p < pixels; p++)
                for (int i = g * width; i < (g + 1) * width; i++)
                    y[p * c + i] = ref_activation((x[p * c + i] - mean) / sqrt(variance + eps) * w[i] + b[i], act);
        }
}

void ref_softmax(double *y, const float *x, int rows, int d)
{
    for (int r = 0; r < rows; r++, x += d, y += d) {
        double most = x[0], sum = 0;
        for (int i = 1; i < d; i++)
            most = fmax(most, x[i]);
        for (int i = 0; i < d; i++)
            sum += exp(x[i] - most);
        for (int i = 0; i < d; i++)
            y[i] = exp(x[i] - most) / sum;
    }
}

bool ref_mask_allows(const attention_mask *mask, int q, int key)
{
    if (mask->kind == MASK_ALL)
        return key < mask->text;
    if (key > q)
        return false;
    if (mask->kind == MASK_FULL || key < mask->text) /* all see the text before them */
        return true;
    int cell = q - mask->text, other = key - mask->text; /* key is an image position, so q is one too */
    int dy = cell / mask->grid_width - other / mask->grid_width,
        dx = cell % mask->grid_width - other % mask->grid_width;
    switch (mask->kind) {
    case MASK_ROW:
        return dy == 0;
    case MASK_COLUMN:
        return dx == 0;
    case MASK_CONV:
        return abs(dy) <= mask->kernel / 2 && abs(dx) <= mask->kernel / 2;
    case MASK_CORNER:
        return dy < mask->kernel && dx >= 0 && dx < mask->kernel;
    case MASK_TORUS: {
        int w = mask->grid_width, side = mask->kernel / 2, ax = abs(dx), ay = abs(dy);
        return (ax <= side || w - ax <= side) && (ay <= side || w - ay <= side);
    }
    case MASK_WINDOW:
        return cell - other <= mask->grid_width;
    default:
        return false;
    }
}

/* Head h of queries reads head h / (heads / keys). */
void ref_attention(double *y, const float *qkv, int b, int t, int heads, int keys, int head_dim,
                   const attention_mask *mask)
{
    int d = heads * head_dim, width = keys * head_dim, row = d + 2 * width;
    double *p = malloc((size_t)t * sizeof *p);
    for (int image = 0; image < b; image++, qkv += t * row, y += t * d)
        for (int h = 0; h < heads; h++)
            for (int q = 0; q < t; q++) {
                const float *query = qkv + q * row + h * head_dim;
                const float *all = qkv + d + h / (heads / keys) * head_dim;
                double total = 0;
                for (int j = 0; j < t; j++) {
                    const float *key = all + j * row;
                    double score = 0;
                    for (int i = 0; i < head_dim; i++)
                        score += (double)query[i] * key[i] / sqrt(head_dim);
                    p[j] = ref_mask_allows(mask, q, j) ? exp(score) : 0;
                    total += p[j];
                }
                for (int i = 0; i < head_dim; i++) {
                    double sum = 0;
                    for (int j = 0; j < t; j++)
                        sum += p[j] / total * all[j * row + width + i];
                    y[q * d + h * head_dim + i] = sum;
                }
            }
    free(p);
}

void ref_upsample(double *y, const float *x, int b, int h, int w, int c, int factor)
{
    for (int image = 0; image < b; image++)
        for (int oy = 0; oy < h * factor; oy++)
            for (int ox = 0; ox < w * factor; ox++)
                for (int i = 0; i < c; i++)
                    *y++ = x[((image * h + oy / factor) * w + ox / factor) * c + i];
}

void ref_slice(double *y, const float *x, int b, int t, int d, int first, int n)
{
    for (int image = 0; image < b; image++)
        for (int p = first; p < first + n; p++)
            for (int i = 0; i < d; i++)
                *y++ = x[(image * t + p) * d + i];
}

void ref_guide(double *y, const float *x, int b, int k, double scale)
{
    for (int i = 0; i < b * k; i++) {
        double c = x[i], u = x[b * k + i];
        y[i] = u + scale * (c - u);
    }
}

void ref_embed(double *y, const int32_t *ids, int n, const float *table, int rows, int d)
{
    for (int j = 0; j < n; j++)
        for (int i = 0; i < d; i++)
            y[j * d + i] = table[(ids[j] < 0 || ids[j] >= rows ? 0 : ids[j]) * d + i];
}

void ref_embed_position(double *y, const ref_sequence *e, const int32_t *ids, const int32_t *codes, int p)
{
    int cell = p - e->text_length;
    if (cell < 0) {
        ref_embed(y, &ids[p], 1, e->text, e->text_vocabulary, e->d);
        for (int i = 0; i < e->d; i++)
            y[i] += e->text_position[p * e->d + i];
    } else {
        ref_embed(y, &codes[cell], 1, e->image, e->codes, e->d);
        for (int i = 0; i < e->d; i++)
            y[i] += (double)e->row_position[cell / e->grid_width * e->d + i] +
                    e->column_position[cell % e->grid_width * e->d + i];
    }
}

int ref_argmax(const float *x, int k)
{
    int best = 0;
    for (int i = 1; i < k; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

typedef struct candidate {
    float logit;
    int index;
} candidate;

static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : x->index - y->index;
}

int ref_sample(const float *logits, int k, const sampling *s, int row, int cell)
{
    if (s->temperature <= 0)
        return ref_argmax(logits, k);
    candidate *c = malloc((size_t)k * sizeof *c);
    for (int i = 0; i < k; i++)
        c[i] = (candidate){logits[i], i};
    qsort(c, (size_t)k, sizeof *c, by_logit);
    int n = k;
    if (s->top_k > 0 && s->top_k < k)
        for (n = s->top_k; n < k && c[n].logit == c[s->top_k - 1].logit;)
            n++;
    if (s->top_p > 0 && s->top_p < 1) {
        double total = 0, mass = 0;
        for (int i = 0; i < n; i++)
            total += exp((c[i].logit - (double)c[0].logit) / s->temperature);
        int kept = 0;
        while (kept < n && mass < s->top_p * total)
            mass += exp((c[kept++].logit - (double)c[0].logit) / s->temperature);
        while (kept < n && c[kept].logit == c[kept - 1].logit)
            kept++;
        n = kept;
    }
    int best = -1;
    double most = 0;
    for (int i = 0; i < n; i++) {
        double u = rng_uniform(s->seed, s->stream + (uint32_t)row, (uint32_t)cell, (uint32_t)c[i].index);
        double v = c[i].logit / (double)s->temperature - log(-log(u));
        if (best < 0 || v > most || (v == most && c[i].index < best)) {
            best = c[i].index;
            most = v;
        }
    }
    free(c);
    return best;
}
