/* Ops that change a picture's size by what is in it; pictures channels-last.  A work-item for each window and channel.
 */

/* The first element of output i's window in x[b, h f, w f, c], where y is [b,h,w,c]: p / w is image and row at once. */
#define WINDOW(i) (((size_t)((i) / c / w) * f * w + (i) / c % w) * f * c + (i) % c)

/* y[b,h,w,c] = the largest of each f x f window of x */
__kernel void max_pool(IN(float, x), OUT(float, y), const int count, const int w, const int c, const int f)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    __global const float *p = AT(x) + WINDOW(i);
    float most = p[0];
    for (int ky = 0; ky < f; ky++)
        for (int kx = 0; kx < f; kx++)
            most = fmax(most, p[((size_t)ky * w * f + kx) * c]);
    AT(y)[i] = most;
}

/* y[b,h,w,c] = the mean of each f x f window of x */
__kernel void mean_pool(IN(float, x), OUT(float, y), const int count, const int w, const int c, const int f)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    __global const float *p = AT(x) + WINDOW(i);
    float sum = 0;
    for (int ky = 0; ky < f; ky++)
        for (int kx = 0; kx < f; kx++)
            sum += p[((size_t)ky * w * f + kx) * c];
    AT(y)[i] = sum / (float)(f * f);
}

/* Channels of x[b,h,w,4c]: c of the mean, then for each of c the differences of rows, of columns and of both.  Each
 * cell becomes 2 x 2 pixels of y[b,2h,2w,c]. */
__kernel void inverse_haar(IN(float, x), OUT(float, y), const int count, const int w, const int c)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    const int f = 2;
    __global const float *p = AT(x) + (size_t)(i / c) * 4 * c;
    __global const float *high = p + c + i % c * 3;
    float a = p[i % c], rows = high[0], columns = high[1], both = high[2];
    __global float *q = AT(y) + WINDOW(i);
    q[0] = 0.5f * (a + rows + columns + both);
    q[c] = 0.5f * (a + rows - columns - both);
    q[(size_t)2 * w * c] = 0.5f * (a - rows + columns - both);
    q[(size_t)2 * w * c + c] = 0.5f * (a - rows - columns + both);
}

#ifdef BACKWARD

/* dy goes to the first of the largest of each window. */
__kernel void max_pool_back(IN(float, x), IN(float, dy), OUT(float, dx), const int count, const int w, const int c,
                            const int f, const int add)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    size_t first = WINDOW(i);
    __global const float *p = AT(x) + first;
    int at = 0;
    float most = p[0];
    for (int k = 1; k < f * f; k++) {
        float v = p[((size_t)(k / f) * w * f + k % f) * c];
        at = v > most ? k : at;
        most = fmax(most, v);
    }
    for (int k = 0; k < f * f; k++) {
        __global float *q = AT(dx) + first + ((size_t)(k / f) * w * f + k % f) * c;
        ADD_TO(q, k == at ? AT(dy)[i] : 0.0f);
    }
}

/* Each of a window has the same share. */
__kernel void mean_pool_back(IN(float, dy), OUT(float, dx), const int count, const int w, const int c, const int f,
                             const int add)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    float share = AT(dy)[i] / (float)(f * f);
    __global float *p = AT(dx) + WINDOW(i);
    for (int k = 0; k < f * f; k++) {
        __global float *q = p + ((size_t)(k / f) * w * f + k % f) * c;
        ADD_TO(q, share);
    }
}

/* The transform is its own transpose's inverse: its gradient is the forward Haar transform of dy. */
__kernel void inverse_haar_back(IN(float, dy), OUT(float, dx), const int count, const int w, const int c, const int add)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    const int f = 2;
    __global const float *q = AT(dy) + WINDOW(i);
    float p00 = q[0], p01 = q[c], p10 = q[(size_t)2 * w * c], p11 = q[(size_t)2 * w * c + c];
    __global float *p = AT(dx) + (size_t)(i / c) * 4 * c;
    __global float *high = p + c + i % c * 3;
    ADD_TO(p + i % c, 0.5f * (p00 + p01 + p10 + p11));
    ADD_TO(high, 0.5f * (p00 + p01 - p10 - p11));
    ADD_TO(high + 1, 0.5f * (p00 - p01 + p10 - p11));
    ADD_TO(high + 2, 0.5f * (p00 - p01 - p10 + p11));
}
#endif
