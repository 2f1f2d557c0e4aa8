/* Ops that touch each element once.  Work-items beyond the count do nothing: launches are rounded up. */

__kernel void activate(IN(float, x), OUT(float, y), const int count, const int act)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = activate_float(AT(x)[i], act);
}

__kernel void add(IN(float, a), IN(float, b), OUT(float, y), const int count)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(a)[i] + AT(b)[i];
}

/* y[b,n,d] = x[b, first : first + n, d], x[b,t,d] */
__kernel void slice(IN(float, x), OUT(float, y), const int count, const int d, const int n, const int t, const int first)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(x)[((size_t)(i / d / n) * t + first + i / d % n) * d + i % d];
}

/* y[b, h*f, w*f, c] = x[b, y/f, x/f, c]; plain `upsample` is a function of OpenCL C */
__kernel void upsample_nearest(IN(float, x), OUT(float, y), const int count, const int h, const int w, const int c, const int f)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    int p = i / c, ox = p % (w * f), oy = p / (w * f) % (h * f), image = p / (w * f) / (h * f);
    AT(y)[i] = AT(x)[(((size_t)image * h + oy / f) * w + ox / f) * c + i % c];
}

/* y[i] = x[i % period] */
__kernel void repeat(IN(float, x), OUT(float, y), const int count, const int period)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(x)[i % period];
}

/* y[b,k] = u + scale (c - u): the first count elements of x are c, the next count u */
__kernel void guide(IN(float, x), OUT(float, y), const int count, const float scale)
{
    int i = get_global_id(0);
    if (i < count) {
        float u = AT(x)[count + i];
        AT(y)[i] = u + scale * (AT(x)[i] - u);
    }
}

/* position += n, by one work-item */
__kernel void advance(OUT(int, position), const int n)
{
    AT(position)[0] += n;
}
