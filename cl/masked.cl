/* What models that fill masked cells have between their products (aMUSEd: Patil et al. 2024), and how they choose. */

/* y[b,n,d] = x (1 + s[b,0:d]) + s[b,d:2d] */
__kernel void modulate(IN(float, x), IN(float, s), OUT(float, y), const int d, const int n)
{
    int i = get_global_id(0);
    size_t row = get_global_id(1);
    if (i >= d)
        return;
    __global const float *m = AT(s) + row / n * 2 * d;
    AT(y)[row * d + i] = MAD(AT(x)[row * d + i], 1.0f + m[i], m[d + i]);
}

/* s[b,0:c] = gamma g / (mean of g + eps), s[b,c:2c] = beta, where g = sqrt(count squares[b,c]): with modulate, GRN */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void response(IN(float, squares), IN(float, gamma),
                                                                       IN(float, beta), OUT(float, s), const int c,
                                                                       const float count, const float eps)
{
    __local float scratch[WG];
    int l = get_local_id(0);
    __global const float *q = AT(squares) + (size_t)GROUP(0) * c;
    __global float *to = AT(s) + (size_t)GROUP(0) * 2 * c;
    float sum = 0.0f;
    for (int i = l; i < c; i += WG)
        sum += sqrt(count * q[i]);
    float scale = 1.0f / (group_sum(sum, scratch) / c + eps);
    for (int i = l; i < c; i += WG) {
        to[i] = AT(gamma)[i] * sqrt(count * q[i]) * scale;
        to[c + i] = AT(beta)[i];
    }
}

/* y[b,h,w,c] (+)= the sum over the window around a pixel of x[b,y+ky-side/2,x+kx-side/2,c] weights[c,ky,kx], zeros
 * outside.  flip: the window is turned round, which gives the gradient of x from that of y. */
__kernel void depthwise(IN(float, x), IN(float, weights), OUT(float, y), const int h, const int w, const int c,
                        const int side, const int flip, const int add)
{
    int i = get_global_id(0), pixel = get_global_id(1), taps = side * side;
    if (i >= c)
        return;
    int py = pixel / w % h, px = pixel % w;
    __global const float *wc = AT(weights) + (size_t)i * taps;
    float sum = 0.0f;
    for (int ky = 0; ky < side; ky++)
        for (int kx = 0; kx < side; kx++) {
            int dy = ky - side / 2, dx = kx - side / 2, tap = ky * side + kx;
            if (py + dy < 0 || py + dy >= h || px + dx < 0 || px + dx >= w)
                continue;
            sum = MAD(AT(x)[(size_t)(pixel + dy * w + dx) * c + i], wc[flip ? taps - 1 - tap : tap], sum);
        }
    ADD_TO(AT(y) + (size_t)pixel * c + i, sum);
}

/* chosen[n]: drawn[n] in masked cells (codes[n] is `mask`), else what is there.  confidence[n] = max(ln p(drawn), ln
 * 1e-20) + temperature noise[n], p the softmax of logits[n,k]; nothing is as sure as what is known. */
__kernel void weigh_drawn(IN(float, logits), IN(int, drawn), IN(float, noise), IN(int, codes), OUT(int, chosen),
                          OUT(float, confidence), const int k, const int mask, const float temperature)
{
    SCRATCH
    const size_t cell = GROUP(0);
    __global const float *p = AT(logits) + cell * k;
    float largest, sum;
#define LOGIT(LOAD) LOAD(p)
#define POWER(LOAD) exp(LOAD(p) - largest)
    ROW_MAX(largest, k, LOGIT)
    ROW_SUM(sum, k, POWER)
#undef LOGIT
#undef POWER
    if (get_local_id(0) == 0) {
        const int code = AT(codes)[cell], fresh = AT(drawn)[cell];
        const float sure = fmax(p[fresh] - largest - log(sum), -46.0517018f);
        AT(chosen)[cell] = code == mask ? fresh : code;
        AT(confidence)[cell] = code != mask         ? INFINITY
                               : temperature > 0.0f ? MAD(temperature, AT(noise)[cell], sure)
                                                    : sure;
    }
}

/* codes[cells] = chosen, or `mask` where the confidence is below the n-th smallest one, from 0 on: n = max(1, min(those
 * that are masked now - 1, wanted)).  wanted < 0: none is masked. */
__kernel void mask_again(IN(int, chosen), IN(float, confidence), IN(int, codes), OUT(int, next), const int cells,
                         const int mask, const int wanted)
{
    int i = get_global_id(0), masked = 0, below = 0;
    if (i >= cells)
        return;
    const float own = AT(confidence)[i];
    for (int j = 0; j < cells; j++) {
        masked += AT(codes)[j] == mask;
        below += AT(confidence)[j] <= own;
    }
    /* it is below the n-th smallest if no more than n aren't above it */
    AT(next)[i] = wanted >= 0 && own < INFINITY && below <= max(1, min(masked - 1, wanted)) ? mask : AT(chosen)[i];
}

#ifdef BACKWARD

/* dx[b,n,d] (+)= dy (1 + s[b,0:d]) */
__kernel void modulate_back(IN(float, dy), IN(float, s), OUT(float, dx), const int d, const int n, const int add)
{
    int i = get_global_id(0);
    size_t row = get_global_id(1);
    if (i < d)
        ADD_TO(AT(dx) + row * d + i, AT(dy)[row * d + i] * (1.0f + AT(s)[row / n * 2 * d + i]));
}

/* ds[b,0:d] (+)= the sum over n of dy x, ds[b,d:2d] (+)= that of dy */
__kernel void modulate_sums(IN(float, dy), IN(float, x), OUT(float, ds), const int d, const int n, const int add)
{
    int i = get_global_id(0);
    size_t at = (size_t)get_global_id(1) * n * d + i;
    float scale = 0.0f, shift = 0.0f;
    if (i >= d)
        return;
    for (int k = 0; k < n; k++, at += d) {
        scale = MAD(AT(dy)[at], AT(x)[at], scale);
        shift += AT(dy)[at];
    }
    __global float *to = AT(ds) + (size_t)get_global_id(1) * 2 * d + i;
    ADD_TO(to, scale);
    ADD_TO(to + d, shift);
}

/* dsquares[b,c] (+)= and parts[b,2c], what each of b adds to the gradients of gamma and beta, from ds[b,2c].  With
 * u = ds gamma and M = the mean of g + eps: dg = u / M - (the mean of u g) / M^2, dsquares = dg count / (2 g). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void response_back(IN(float, squares), IN(float, gamma),
                                                                            IN(float, ds), OUT(float, dsquares),
                                                                            OUT(float, parts), const int c,
                                                                            const float count, const float eps,
                                                                            const int add)
{
    __local float scratch[WG];
    int l = get_local_id(0);
    __global const float *q = AT(squares) + (size_t)GROUP(0) * c, *from = AT(ds) + (size_t)GROUP(0) * 2 * c;
    __global float *part = parts_buffer ? AT(parts) + (size_t)GROUP(0) * 2 * c : 0;
    float sum = 0.0f, weighted = 0.0f;
    for (int i = l; i < c; i += WG) {
        float g = sqrt(count * q[i]);
        sum += g;
        weighted += from[i] * AT(gamma)[i] * g;
    }
    float scale = 1.0f / (group_sum(sum, scratch) / c + eps);
    weighted = group_sum(weighted, scratch) / c * scale * scale;
    for (int i = l; i < c; i += WG) {
        float g = sqrt(count * q[i]), dg = from[i] * AT(gamma)[i] * scale - weighted;
        if (dsquares_buffer)
            ADD_TO(AT(dsquares) + (size_t)GROUP(0) * c + i, g > 0.0f ? dg * count / (2.0f * g) : 0.0f);
        if (part) {
            part[i] = from[i] * g * scale;
            part[c + i] = from[c + i];
        }
    }
}

/* dw[c,taps] (+)= the sum over all pixels of dy times what the tap saw */
__kernel void depthwise_weights(IN(float, dy), IN(float, x), OUT(float, dw), const int images, const int h, const int w,
                                const int c, const int side, const int add)
{
    int i = get_global_id(0), tap = get_global_id(1), dv = tap / side - side / 2, du = tap % side - side / 2;
    float sum = 0.0f;
    if (i >= c)
        return;
    for (int n = 0; n < images; n++)
        for (int py = max(0, -dv); py < min(h, h - dv); py++)
            for (int px = max(0, -du); px < min(w, w - du); px++) {
                size_t at = ((size_t)n * h + py) * w + px;
                sum = MAD(AT(dy)[at * c + i], AT(x)[(at + dv * w + du) * c + i], sum);
            }
    ADD_TO(AT(dw) + (size_t)i * side * side + tap, sum);
}
#endif
