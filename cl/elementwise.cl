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

#ifdef BACKWARD

/* the derivatives of activate_T */
#define DERIVATIVE(T)                                                                                                  \
    inline T derivative_##T(T v, int act)                                                                              \
    {                                                                                                                  \
        T s;                                                                                                           \
        switch (act) {                                                                                                 \
        case 1: return step((T)FLT_MIN, v); /* 0 at 0 */                                                               \
        case 2:                                                                                                        \
            s = 0.5f + 0.5f * erf(v * 0.70710678118654752f);                                                           \
            return s + v * 0.39894228040143268f * exp(-0.5f * v * v);                                                  \
        case 3:                                                                                                        \
            s = tanh(0.79788456080286536f * (v + 0.044715f * v * v * v));                                              \
            return 0.5f * (1.0f + s) + v * (1.0f - s * s) * (0.39894228040143268f + 0.053516322f * v * v);             \
        case 4: s = 1.0f / (1.0f + exp(-v)); return s + v * s * (1.0f - s);                                            \
        case 5: s = 1.0f / (1.0f + exp(-1.702f * v)); return s + 1.702f * v * s * (1.0f - s);                          \
        case 6: s = 1.0f / (1.0f + exp(-v)); return s * (1.0f - s);                                                    \
        case 7: s = tanh(v); return 1.0f - s * s;                                                                      \
        }                                                                                                              \
        return 1.0f;                                                                                                   \
    }
DERIVATIVE(float)
#if CPU
DERIVATIVE(float16)
#endif

__kernel void activate_back(IN(float, x), IN(float, dy), OUT(float, dx), const int count, const int act, const int add)
{
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = LOAD(AT(dy)) * derivative_##T(LOAD(AT(x)), act);                                                             \
    STORE(add ? LOAD(AT(dx)) + v : v, AT(dx));
    COLUMNS(get_global_id(0), count, BODY)
#undef BODY
}

/* dx = scale dy, also of those whose y is a sum */
__kernel void scale_back(IN(float, dy), OUT(float, dx), const int count, const float scale, const int add)
{
    int i = get_global_id(0);
    if (i < count)
        ADD_TO(AT(dx) + i, scale * AT(dy)[i]);
}

/* dx[b,t,d] from dy[b,n,d]; 0 outside of the slice */
__kernel void slice_back(IN(float, dy), OUT(float, dx), const int count, const int d, const int n, const int t,
                         const int first, const int add)
{
    int i = get_global_id(0), p = i / d % t - first;
    bool inside = p >= 0 && p < n;
    if (i < count && (inside || !add))
        ADD_TO(AT(dx) + i, inside ? AT(dy)[((size_t)(i / d / t) * n + p) * d + i % d] : 0.0f);
}

/* dx[b,h,w,c] = sum over the f x f copies */
__kernel void upsample_back(IN(float, dy), OUT(float, dx), const int count, const int w, const int c, const int f,
                            const int add)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    int p = i / c, x = p % w; /* p / w: image and row at once */
    float sum = 0.0f;
    for (int ky = 0; ky < f; ky++)
        for (int kx = 0; kx < f; kx++)
            sum += AT(dy)[(((size_t)(p / w) * f + ky) * w * f + x * f + kx) * c + i % c];
    ADD_TO(AT(dx) + i, sum);
}

/* y[d] = sum over n rows of x[n,stride] */
__kernel void sum_rows(IN(float, x), OUT(float, y), const int d, const int n, const int stride, const int add)
{
#define BODY(T, LOAD, STORE)                                                                                           \
    T sum = 0.0f;                                                                                                      \
    __global const float *p = AT(x);                                                                                   \
    for (int k = 0; k < n; k++, p += stride)                                                                           \
        sum += LOAD(p);                                                                                                \
    STORE(add ? LOAD(AT(y)) + sum : sum, AT(y));
    COLUMNS(get_global_id(0), d, BODY)
#undef BODY
}
#endif
