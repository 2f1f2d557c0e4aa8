/* Losses: each a mean, by parts that are then summed in a fixed order, and the gradients of them.  A work-group of WG
 * shares a row (CPU: one work-item, 16 elements at a time).  dloss[1]: the gradient that arrives. */

/* y[0] = scale * (sum of x[n], divided by the number of targets[n] >= 0 where there are targets), by one group.
 * count[0]: that number, where there are targets. */
__kernel void total(IN(float, x), OUT(float, y), IN(int, targets), OUT(float, count), const int n, const float scale)
{
    SCRATCH
    float sum, valid = 0.0f;
#define X(LOAD) LOAD(AT(x))
    ROW_SUM(sum, n, X)
    if (targets_buffer) {
        for (int i = get_local_id(0); i < n; i += WG)
            valid += AT(targets)[i] >= 0 ? 1.0f : 0.0f;
#if !CPU
        valid = group_sum(valid, scratch);
#endif
    }
    if (get_local_id(0) == 0) {
        AT(y)[0] = scale * (targets_buffer ? sum / fmax(valid, 1.0f) : sum);
        if (targets_buffer)
            AT(count)[0] = valid;
    }
}

#define LOGIT(LOAD) LOAD(xr)
#define POWER(LOAD) exp(LOAD(xr) - most_x)
/* The row x[k] by its maximum and log_sum = log sum exp(x - maximum), since their sum would lose digits where x is
 * large: log p = x - maximum - log_sum. */
#define LOG_SUM                                                                                                        \
    __global const float *xr = AT(x) + (size_t)GROUP(0) * k;                                                           \
    float most_x, log_sum;                                                                                             \
    ROW_MAX(most_x, k, LOGIT)                                                                                          \
    ROW_SUM(log_sum, k, POWER)                                                                                         \
    log_sum = log(log_sum);
#define LOG_P(LOAD) (LOAD(xr) - most_x - log_sum)

/* sums[n, 2]: maximum, log_sum */
#define STORE_SUMS(p)                                                                                                  \
    {                                                                                                                  \
        (p)[0] = most_x;                                                                                               \
        (p)[1] = log_sum;                                                                                              \
    }
#define SAVED_SUMS(p) float most_x = (p)[0], log_sum = (p)[1];

/* Row losses -(1 - s) log p[target] - s mean(log p), 0 where there is no target. */
__kernel void cross_entropy(IN(float, x), IN(int, targets), OUT(float, rows), OUT(float, sums), const int k,
                            const float smoothing)
{
    SCRATCH
    int row = GROUP(0), target = AT(targets)[row];
    LOG_SUM
    float mean = 0.0f;
    if (smoothing > 0.0f) {
        ROW_SUM(mean, k, LOG_P)
        mean /= k;
    }
    if (get_local_id(0) == 0) {
        bool valid = target >= 0 && target < k;
        AT(rows)[row] = valid ? (smoothing - 1.0f) * (xr[target] - most_x - log_sum) - smoothing * mean : 0.0f;
        STORE_SUMS(AT(sums) + 2 * row)
    }
}

/* dx = (p - (1 - s) [target] - s / k) dloss / count */
__kernel void cross_entropy_back(IN(float, x), IN(int, targets), IN(float, sums), IN(float, count), IN(float, dloss),
                                 OUT(float, dx), const int k, const float smoothing, const int add)
{
    int row = GROUP(0), target = AT(targets)[row];
    bool valid = target >= 0 && target < k;
    if (!valid && add)
        return;
    __global const float *xr = AT(x) + (size_t)row * k;
    __global float *out = AT(dx) + (size_t)row * k;
    SAVED_SUMS(AT(sums) + 2 * row)
    float scale = valid ? AT(dloss)[0] / AT(count)[0] : 0.0f, spread = smoothing / k;
#define DX(LOAD)     scale *(exp(LOG_P(LOAD)) - spread)
#define DX_ADD(LOAD) LOAD(out) + DX(LOAD)
    if (add) {
        ROW_SET(out, k, DX_ADD)
    } else {
        ROW_SET(out, k, DX)
    }
    if (valid && get_local_id(0) == target % WG) /* the item that wrote it */
        out[target] -= scale * (1.0f - smoothing);
#undef DX
#undef DX_ADD
}

/* ---- mean differences: part p is the sum over `each` elements (logit-Laplace: rows) ---- */

__kernel void difference(IN(float, x), IN(float, target), OUT(float, parts), const int count, const int each,
                         const int kind)
{
    SCRATCH
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *xr = AT(x) + first, *tr = AT(target) + first;
    float sum;
#define DIFFERENCE(LOAD) (LOAD(xr) - LOAD(tr))
#define ABSOLUTE(LOAD)   fabs(DIFFERENCE(LOAD))
#define SQUARE(LOAD)     DIFFERENCE(LOAD) * DIFFERENCE(LOAD)
    if (kind == LOSS_L1) {
        ROW_SUM(sum, n, ABSOLUTE)
    } else {
        ROW_SUM(sum, n, SQUARE)
    }
    if (get_local_id(0) == 0)
        AT(parts)[GROUP(0)] = sum;
}

__kernel void difference_back(IN(float, x), IN(float, target), IN(float, dloss), OUT(float, dx), const int count,
                              const int each, const int kind, const int add)
{
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *xr = AT(x) + first, *tr = AT(target) + first;
    __global float *out = AT(dx) + first;
    float scale = AT(dloss)[0] / count;
#define D1(LOAD)     scale *sign(DIFFERENCE(LOAD))
#define D2(LOAD)     2.0f * scale *DIFFERENCE(LOAD)
#define D1_ADD(LOAD) LOAD(out) + D1(LOAD)
#define D2_ADD(LOAD) LOAD(out) + D2(LOAD)
    if (kind == LOSS_L1 && add) {
        ROW_SET(out, n, D1_ADD)
    } else if (kind == LOSS_L1) {
        ROW_SET(out, n, D1)
    } else if (add) {
        ROW_SET(out, n, D2_ADD)
    } else {
        ROW_SET(out, n, D2)
    }
}

/* -log f(t) = ln 2 + ln b + ln(t (1 - t)) + |logit(t) - mu| / b; x[rows,2c]: mu, ln b; target[rows,c] */
__kernel void logit_laplace(IN(float, x), IN(float, target), OUT(float, parts), const int rows, const int each,
                            const int c)
{
    SCRATCH
    int first = GROUP(0) * each, n = min(each, rows - first) * c;
    float sum = 0.0f;
    for (int i = get_local_id(0); i < n; i += WG) {
        size_t row = first + i / c, channel = i % c;
        float t = AT(target)[row * c + channel], mu = AT(x)[row * 2 * c + channel], b = AT(x)[row * 2 * c + c + channel];
        sum += 0.69314718056f + b + log(t * (1.0f - t)) + fabs(log(t / (1.0f - t)) - mu) * exp(-b);
    }
#if !CPU
    sum = group_sum(sum, scratch);
#endif
    if (get_local_id(0) == 0)
        AT(parts)[GROUP(0)] = sum;
}

__kernel void logit_laplace_back(IN(float, x), IN(float, target), IN(float, dloss), OUT(float, dx), const int count,
                                 const int c, const int add)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    size_t row = i / c, at = row * 2 * c + i % c;
    float t = AT(target)[i], scale = AT(dloss)[0] / count;
    float far = (log(t / (1.0f - t)) - AT(x)[at]) * exp(-AT(x)[at + c]);
    ADD_TO(AT(dx) + at, -scale * sign(far) * exp(-AT(x)[at + c]));
    ADD_TO(AT(dx) + at + c, scale * (1.0f - fabs(far)));
}

/* ---- how far from uniform ---- */

/* rows = sum p log p + log k, p = softmax(x); means[row] = sum p log p */
__kernel void kl_uniform(IN(float, x), OUT(float, rows), OUT(float, sums), OUT(float, means), const int k)
{
    SCRATCH
    LOG_SUM
    float mean;
#define P_LOG_P(LOAD) exp(LOG_P(LOAD)) * LOG_P(LOAD)
    ROW_SUM(mean, k, P_LOG_P)
    if (get_local_id(0) == 0) {
        AT(rows)[GROUP(0)] = mean + log((float)k);
        AT(means)[GROUP(0)] = mean;
        STORE_SUMS(AT(sums) + 2 * GROUP(0))
    }
}

/* dx = p (log p - mean) dloss / n */
__kernel void kl_uniform_back(IN(float, x), IN(float, sums), IN(float, means), IN(float, dloss), OUT(float, dx),
                              const int n, const int k, const int add)
{
    int row = GROUP(0);
    __global const float *xr = AT(x) + (size_t)row * k;
    __global float *out = AT(dx) + (size_t)row * k;
    SAVED_SUMS(AT(sums) + 2 * row)
    float mean = AT(means)[row], scale = AT(dloss)[0] / n;
#define DX(LOAD)     scale *exp(LOG_P(LOAD)) * (LOG_P(LOAD) - mean)
#define DX_ADD(LOAD) LOAD(out) + DX(LOAD)
    if (add) {
        ROW_SET(out, k, DX_ADD)
    } else {
        ROW_SET(out, k, DX)
    }
#undef DX
#undef DX_ADD
}

__kernel void log_sums(IN(float, x), OUT(float, sums), const int k)
{
    SCRATCH
    LOG_SUM
    if (get_local_id(0) == 0)
        STORE_SUMS(AT(sums) + 2 * GROUP(0))
}

/* parts[part, k] = sum over `each` rows of softmax(x) */
__kernel void usage(IN(float, x), IN(float, sums), OUT(float, parts), const int n, const int k, const int each)
{
    int part = get_global_id(1), first = part * each, end = min(n, first + each);
#define BODY(T, LOAD, STORE)                                                                                           \
    T sum = 0.0f;                                                                                                      \
    for (int row = first; row < end; row++)                                                                            \
        sum += exp(LOAD(AT(x) + (size_t)row * k) - AT(sums)[2 * row] - AT(sums)[2 * row + 1]);                         \
    STORE(sum, AT(parts) + (size_t)part * k);
    COLUMNS(get_global_id(0), k, BODY)
#undef BODY
}

/* y[0] = -sum m log m for m = use / n, and logs[k] = -log m, by one group */
__kernel void usage_entropy(IN(float, use), OUT(float, logs), OUT(float, y), const int n, const int k)
{
    SCRATCH
    float entropy, inverse = 1.0f / n;
#define MEAN(LOAD)    (LOAD(AT(use)) * inverse)
#define LOG(LOAD)     -log(fmax(MEAN(LOAD), 1e-37f)) /* 0 log 0 = 0 */
#define ENTROPY(LOAD) MEAN(LOAD) * LOG(LOAD)
    ROW_SET(AT(logs), k, LOG)
    ROW_SUM(entropy, k, ENTROPY)
    if (get_local_id(0) == 0)
        AT(y)[0] = entropy;
}

/* dx = p (logs - sum p logs) dloss / n */
__kernel void usage_entropy_back(IN(float, x), IN(float, sums), IN(float, logs), IN(float, dloss), OUT(float, dx),
                                 const int n, const int k, const int add)
{
    SCRATCH
    int row = GROUP(0);
    __global const float *xr = AT(x) + (size_t)row * k;
    __global float *out = AT(dx) + (size_t)row * k;
    SAVED_SUMS(AT(sums) + 2 * row)
    float scale = AT(dloss)[0] / n, mean;
#define LOG_MEAN(LOAD) exp(LOG_P(LOAD)) * LOAD(AT(logs))
#define DX(LOAD)       scale *exp(LOG_P(LOAD)) * (LOAD(AT(logs)) - mean)
#define DX_ADD(LOAD)   LOAD(out) + DX(LOAD)
    ROW_SUM(mean, k, LOG_MEAN)
    if (add) {
        ROW_SET(out, k, DX_ADD)
    } else {
        ROW_SET(out, k, DX)
    }
#undef DX
#undef DX_ADD
}

/* ---- means: part p is the sum over `each` elements of max(shift + scale x, least) ---- */

#define SHIFTED(LOAD) (shift + scale * LOAD(xr))

__kernel void mean_parts(IN(float, x), OUT(float, parts), const int count, const int each, const float shift,
                         const float scale, const float least)
{
    SCRATCH
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *xr = AT(x) + first;
    float sum;
#define ABOVE(LOAD) fmax(SHIFTED(LOAD), least)
    ROW_SUM(sum, n, ABOVE)
    if (get_local_id(0) == 0)
        AT(parts)[GROUP(0)] = sum;
}

/* dx = scale dloss / count where it is above */
__kernel void mean_back(IN(float, x), IN(float, dloss), OUT(float, dx), const int count, const int each,
                        const float shift, const float scale, const float least, const int add)
{
    int first = GROUP(0) * each, n = min(each, count - first);
    __global const float *xr = AT(x) + first;
    __global float *out = AT(dx) + first;
    float slope = scale * AT(dloss)[0] / count;
#define DX(LOAD)     slope *sign(fmax(SHIFTED(LOAD) - least, 0.0f))
#define DX_ADD(LOAD) LOAD(out) + DX(LOAD)
    if (add) {
        ROW_SET(out, n, DX_ADD)
    } else {
        ROW_SET(out, n, DX)
    }
#undef DX
#undef DX_ADD
}

/* ---- two losses in balance ---- */

/* weight[0] = share * min(sqrt(squares[0]) / (sqrt(squares[1]) + 1e-4), most), by one work-item */
__kernel void balance_weight(IN(float, squares), OUT(float, weight), const float share, const float most)
{
    AT(weight)[0] = share * fmin(sqrt(AT(squares)[0]) / (sqrt(AT(squares)[1]) + 1e-4f), most);
}

/* dx = da + weight[0] db */
__kernel void balance_back(IN(float, da), IN(float, db), IN(float, weight), OUT(float, dx), const int count,
                           const int add)
{
    float w = AT(weight)[0];
#define BODY(T, LOAD, STORE)                                                                                           \
    T v = LOAD(AT(da)) + w * LOAD(AT(db));                                                                             \
    STORE(add ? LOAD(AT(dx)) + v : v, AT(dx));
    EACH(count, BODY)
#undef BODY
}
