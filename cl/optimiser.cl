/* Parameters' steps.  A group takes an ELEMENT_BLOCK. */

/* parts[p] = the sum of squares of `each` elements */
__kernel void square_parts(IN(float, x), OUT(float, parts), const int count, const int each)
{
    SCRATCH
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *xr = AT(x) + first;
    float sum;
#define SQUARE(LOAD) LOAD(xr) * LOAD(xr)
    ROW_SUM(sum, n, SQUARE)
    if (get_local_id(0) == 0)
        AT(parts)[GROUP(0)] = sum;
}

/* total += the sum of parts[n], by one group */
__kernel void add_parts(IN(float, parts), OUT(float, total_of), const int n)
{
    SCRATCH
    float sum;
#define PART(LOAD) LOAD(AT(parts))
    ROW_SUM(sum, n, PART)
    if (get_local_id(0) == 0)
        AT(total_of)[0] += sum;
}

__kernel void ema(OUT(float, average), IN(float, x), const int count, const float decay)
{
#define BODY(T, LOAD, STORE) STORE(decay * LOAD(AT(average)) + (1.0f - decay) * LOAD(AT(x)), AT(average));
    EACH(count, BODY)
#undef BODY
}

/* x = keep x - rate m / (sqrt(v) correction + eps), with m and v the moments of the clipped gradient.
 * rate: lr / (1 - beta1^step); correction: 1 / sqrt(1 - beta2^step); keep: 1 - lr decay. */
__kernel void adamw(OUT(float, x), IN(float, gradient), OUT(float, m), OUT(float, v), IN(float, squares),
                    const int count, const float rate, const float beta1, const float beta2, const float eps,
                    const float correction, const float keep, const float clip)
{
    float scale = 1.0f;
    if (squares_buffer) {
        float sum = AT(squares)[0];
        if (!isfinite(sum))
            return;
        if (clip > 0.0f && sum > clip * clip)
            scale = clip * rsqrt(sum);
    }
#define BODY(T, LOAD, STORE)                                                                                           \
    T g = LOAD(AT(gradient)) * scale;                                                                                  \
    T first = beta1 * LOAD(AT(m)) + (1.0f - beta1) * g, second = beta2 * LOAD(AT(v)) + (1.0f - beta2) * g * g;         \
    STORE(first, AT(m));                                                                                               \
    STORE(second, AT(v));                                                                                              \
    STORE(keep * LOAD(AT(x)) - rate * first / (sqrt(second) * correction + eps), AT(x));
    EACH(count, BODY)
#undef BODY
}
