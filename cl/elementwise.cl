/* Ops that touch each element once: a group takes an ELEMENT_BLOCK of them, or, where an index is taken apart, a
 * work-item takes one, and those beyond the count do nothing. */

__kernel void activate(IN(float, x), OUT(float, y), const int count, const int act)
{
#define BODY(T, LOAD, STORE) STORE(activate_##T(LOAD(AT(x)), act), AT(y));
    EACH(count, BODY)
#undef BODY
}

__kernel void add(IN(float, a), IN(float, b), OUT(float, y), const int count)
{
#define BODY(T, LOAD, STORE) STORE(LOAD(AT(a)) + LOAD(AT(b)), AT(y));
    EACH(count, BODY)
#undef BODY
}

/* y = wa a + wb b; b: or NULL */
__kernel void scale_add(IN(float, a), IN(float, b), OUT(float, y), const int count, const float wa, const float wb)
{
#define BODY(T, LOAD, STORE) STORE(b_buffer ? wa * LOAD(AT(a)) + wb * LOAD(AT(b)) : wa * LOAD(AT(a)), AT(y));
    EACH(count, BODY)
#undef BODY
}

/* x = value */
__kernel void fill(OUT(float, x), const int count, const float value)
{
#define BODY(T, LOAD, STORE) STORE((T)value, AT(x));
    EACH(count, BODY)
#undef BODY
}

/* y[b,n,d] = x[b, first : first + n, d], x[b,t,d]; a group takes a row */
__kernel void slice(IN(float, x), OUT(float, y), const int d, const int n, const int t, const int first)
{
    int row = GROUP(0);
    __global const float *from = AT(x) + ((size_t)(row / n) * t + first + row % n) * d;
    __global float *to = AT(y) + (size_t)row * d;
#define COPY(LOAD) LOAD(from)
    ROW_SET(to, d, COPY)
#undef COPY
}

/* y[n,ca+cb]: rows of a[n,ca], and behind them those of b[n,cb]; a group takes a row */
__kernel void join(IN(float, a), IN(float, b), OUT(float, y), const int ca, const int cb)
{
    size_t row = GROUP(0);
    __global const float *first = AT(a) + row * ca, *second = AT(b) + row * cb;
    __global float *to = AT(y) + row * (ca + cb), *behind = to + ca;
#define FIRST(LOAD)  LOAD(first)
#define SECOND(LOAD) LOAD(second)
    ROW_SET(to, ca, FIRST)
    ROW_SET(behind, cb, SECOND)
#undef FIRST
#undef SECOND
}

/* y[b, h*f, w*f, c] = x[b, y/f, x/f, c]; plain `upsample` is a function of OpenCL C */
__kernel void upsample_nearest(IN(float, x), OUT(float, y), const int w, const int c, const int f)
{
    int p = GROUP(0); /* of x; p / w: image and row at once */
    __global const float *from = AT(x) + (size_t)p * c;
#define PIXEL(LOAD) LOAD(from)
    for (int ky = 0; ky < f; ky++)
        for (int kx = 0; kx < f; kx++) {
            __global float *to = AT(y) + (((size_t)(p / w) * f + ky) * w * f + p % w * f + kx) * c;
            ROW_SET(to, c, PIXEL)
        }
}

/* y[i] = x[i % period] */
__kernel void repeat(IN(float, x), OUT(float, y), const int count, const int period)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(x)[i % period];
}

/* The same of F16, whose bits are copied. */
__kernel void repeat_f16(IN(ushort, x), OUT(ushort, y), const int count, const int period)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = AT(x)[i % period];
}

/* y[b,n,d] = position[n,d] + first[d] (or NULL), then x[b,t,d]; a group takes a row */
__kernel void add_position(IN(float, x), IN(float, first), IN(float, position), OUT(float, y), const int t, const int n,
                           const int d)
{
    int row = GROUP(0), p = row % n, at = p - (n - t);
    __global const float *from = at < 0 ? AT(first) : AT(x) + ((size_t)(row / n) * t + at) * d;
    __global const float *positions = AT(position) + (size_t)p * d;
    __global float *to = AT(y) + (size_t)row * d;
#define BODY(LOAD) LOAD(from) + LOAD(positions)
    ROW_SET(to, d, BODY)
#undef BODY
}

/* y[b,d] = the mean of x[b,t,d] over t */
__kernel void mean_rows(IN(float, x), OUT(float, y), const int t, const int d)
{
    int row = get_global_id(1);
#define BODY(T, LOAD, STORE)                                                                                           \
    T sum = 0.0f;                                                                                                      \
    for (int k = 0; k < t; k++)                                                                                        \
        sum += LOAD(AT(x) + ((size_t)row * t + k) * d);                                                                \
    STORE(sum / (float)t, AT(y) + (size_t)row * d);
    COLUMNS(get_global_id(0), d, BODY)
#undef BODY
}

/* y (+)= exp(min(s, most)) x: also the gradient of x */
__kernel void scale_exp(IN(float, x), IN(float, s), OUT(float, y), const int count, const float most, const int add)
{
    float scale = exp(fmin(AT(s)[0], most));
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = scale * LOAD(AT(x));                                                                                         \
    STORE(add ? LOAD(AT(y)) + v : v, AT(y));
    EACH(count, BODY)
#undef BODY
}

/* position += n, of each row */
__kernel void advance(OUT(int, position), const int rows, const int n)
{
    int i = get_global_id(0);
    if (i < rows)
        AT(position)[i] += n;
}

#ifdef BACKWARD

__kernel void activate_back(IN(float, x), IN(float, dy), OUT(float, dx), const int count, const int act, const int add)
{
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = LOAD(AT(dy)) * derivative_##T(LOAD(AT(x)), act);                                                             \
    STORE(add ? LOAD(AT(dx)) + v : v, AT(dx));
    EACH(count, BODY)
#undef BODY
}

/* dx = scale dy, also of those whose y is a sum */
__kernel void scale_back(IN(float, dy), OUT(float, dx), const int count, const float scale, const int add)
{
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = scale * LOAD(AT(dy));                                                                                        \
    STORE(add ? LOAD(AT(dx)) + v : v, AT(dx));
    EACH(count, BODY)
#undef BODY
}

/* dx[b,t,d] from dy[b,n,d]; 0 outside of the slice; a group takes a row */
__kernel void slice_back(IN(float, dy), OUT(float, dx), const int d, const int n, const int t, const int first,
                         const int add)
{
    int row = GROUP(0), p = row % t - first;
    __global float *to = AT(dx) + (size_t)row * d;
#define NOTHING(LOAD) 0.0f
#define COPY(LOAD)    LOAD(from)
#define ADD(LOAD)     LOAD(to) + LOAD(from)
    if (p >= 0 && p < n) {
        __global const float *from = AT(dy) + ((size_t)(row / t) * n + p) * d;
        if (add)
            ROW_SET(to, d, ADD)
        else
            ROW_SET(to, d, COPY)
    } else if (!add)
        ROW_SET(to, d, NOTHING)
#undef NOTHING
#undef COPY
#undef ADD
}

/* dx[n,d] from the columns first to first + d - 1 of dy[n,all]; a group takes a row */
__kernel void join_back(IN(float, dy), OUT(float, dx), const int d, const int all, const int first, const int add)
{
    size_t row = GROUP(0);
    __global const float *from = AT(dy) + row * all + first;
    __global float *to = AT(dx) + row * d;
#define COPY(LOAD) LOAD(from)
#define ADD(LOAD)  LOAD(to) + LOAD(from)
    if (add)
        ROW_SET(to, d, ADD)
    else
        ROW_SET(to, d, COPY)
#undef COPY
#undef ADD
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

/* dx[b,t,d] = dy[b,d] / t */
__kernel void mean_rows_back(IN(float, dy), OUT(float, dx), const int t, const int d, const int add)
{
    int row = get_global_id(1);
    __global float *out = AT(dx) + (size_t)row * d;
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = LOAD(AT(dy) + (size_t)(row / t) * d) / (float)t;                                                             \
    STORE(add ? LOAD(out) + v : v, out);
    COLUMNS(get_global_id(0), d, BODY)
#undef BODY
}

/* parts[p] = the sum of y dy over `each` elements; 0 where s > most, beyond which y doesn't depend on it */
__kernel void scale_parts(IN(float, y), IN(float, dy), IN(float, s), OUT(float, parts), const int count,
                          const int each, const float most)
{
    SCRATCH
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *yr = AT(y) + first, *gr = AT(dy) + first;
    float sum;
#define PRODUCT(LOAD) LOAD(yr) * LOAD(gr)
    ROW_SUM(sum, n, PRODUCT)
    if (get_local_id(0) == 0)
        AT(parts)[GROUP(0)] = AT(s)[0] > most ? 0.0f : sum;
}
#endif
