/* Sums over rows, in an order that the shapes alone decide: what many of a gradient's parts make together.
 * add: 1 adds to what is there. */

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

#if CPU

/* y[n] (+)= sums of x[rows,n]'s columns; part i has `chunk` rows and goes to y + i * part.  32 columns a work-item. */
CPU_KERNEL void column_sums(IN(float, x), OUT(float, y), const int rows, const int n, const int chunk, const int part,
                          const int add)
{
    const int col = get_global_id(0) * 32, first = get_global_id(1) * chunk, last = min(first + chunk, rows);
    __global float *to = AT(y) + (size_t)get_global_id(1) * part + col;
    __global const float *from = AT(x) + (size_t)first * n + col;
    const int columns = min(32, n - col);
    if (columns == 32) {
        float16 s0 = 0.0f, s1 = 0.0f;
        for (int i = first; i < last; i++, from += n) {
            s0 += vload16(0, from);
            s1 += vload16(1, from);
        }
        vstore16(add ? s0 + vload16(0, to) : s0, 0, to);
        vstore16(add ? s1 + vload16(1, to) : s1, 1, to);
        return;
    }
    float t[32];
    for (int j = 0; j < columns; j++)
        t[j] = 0.0f;
    for (int i = first; i < last; i++, from += n)
        for (int j = 0; j < columns; j++)
            t[j] += from[j];
    for (int j = 0; j < columns; j++)
        ADD_TO(to + j, t[j]);
}

#else

/* One column of one part a work-item. */
__kernel void column_sums(IN(float, x), OUT(float, y), const int rows, const int n, const int chunk, const int part,
                          const int add)
{
    const int col = get_global_id(0), first = get_global_id(1) * chunk, last = min(first + chunk, rows);
    if (col >= n)
        return;
    float s = 0.0f;
    for (int i = first; i < last; i++)
        s += AT(x)[(size_t)i * n + col];
    ADD_TO(AT(y) + (size_t)get_global_id(1) * part + col, s);
}

#endif

/* y[count] (+)= sum of parts[n][count]; one work-item: an element (CPU: 16) */
#if CPU
__kernel void sum_parts(IN(float, parts), OUT(float, y), const int count, const int n, const int add)
{
    int at = get_global_id(0) * 16;
    if (at + 16 <= count) {
        float16 s = vload16(0, AT(parts) + at);
        for (int i = 1; i < n; i++)
            s += vload16(0, AT(parts) + (size_t)i * count + at);
        vstore16(add ? s + vload16(0, AT(y) + at) : s, 0, AT(y) + at);
        return;
    }
    for (; at < count; at++) {
        float s = AT(parts)[at];
        for (int i = 1; i < n; i++)
            s += AT(parts)[(size_t)i * count + at];
        ADD_TO(AT(y) + at, s);
    }
}
#else
__kernel void sum_parts(IN(float, parts), OUT(float, y), const int count, const int n, const int add)
{
    const int at = get_global_id(0);
    if (at >= count)
        return;
    float s = AT(parts)[at];
    for (int i = 1; i < n; i++)
        s += AT(parts)[(size_t)i * count + at];
    ADD_TO(AT(y) + at, s);
}
#endif
