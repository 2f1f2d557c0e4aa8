/* limn selftest: does this device compute what it should?  Products against the host, then the built-in model against
 * the codes and likelihoods that other devices gave. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/selftest.h"
#include "device/run.h"
#include "ops/ops.h"

/* "a panda", greedy, by PyTorch in F32 with the same weights; its log-likelihoods by the same. */
#include "cli/selftest_expected.h"

/* Who hears of the checks, and whether all were passed. */
typedef struct hearer {
    selftest_heard *heard;
    void *context;
    bool all;
} hearer;

static void check(hearer *h, const char *name, double error, double bound)
{
    const selftest_check c = {.name = name, .error = error, .bound = bound, .ok = error <= bound};
    h->all &= c.ok;
    h->heard(h->context, &c);
}

/* Largest error of y = x w^T in parts of its largest value, for a weight of one type. */
static bool check_product(run *r, dtype type, int64_t m, int64_t n, int64_t k, hearer *h, err *e)
{
    float *w = array_new((size_t)(n * k), sizeof *w, "selftest", e),
          *x = array_new((size_t)(m * k), sizeof *x, "selftest", e);
    float *y = array_new((size_t)(m * n), sizeof *y, "selftest", e);
    void *stored = array_new((size_t)(n * k), 4, "selftest", e);
    linear l = {0};
    double most = 0, worst = 0;
    bool rounds = linear_rounds(run_device(r), type), ok = w && x && y && stored;
    for (int64_t i = 0; ok && i < n * k; i++)
        w[i] = rng_normal(1, 0, 0, (uint32_t)i);
    for (int64_t i = 0; ok && i < m * k; i++)
        x[i] = rng_normal(2, 0, 0, (uint32_t)i);
    if (ok) {
        dtype_from_float(type, stored, w, n * k);
        dtype_to_float(w, type, stored, n * k);
        ok = tensor_new(&l.w, run_device(r), type, 2, (int64_t[]){n, k}, stored, false, "selftest", e);
    }
    if (ok && linear_packs(type)) { /* as models have it */
        tensor from = l.w;
        ok = linear_pack(r, &l.w, from, "selftest", e);
        ok = run_finish(r, e) && ok;
        buffer_free(from.buf);
    }
    if (ok) {
        tensor xt = run_upload(r, DTYPE_F32, 2, (int64_t[]){m, k}, x);
        run_read(r, op_linear(r, xt, &l, ACT_NONE), y);
        ok = run_finish(r, e);
    }
    for (int64_t i = 0; ok && i < m * n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < k; c++)
            sum += (double)x[i / n * k + c] * w[i % n * k + c];
        most = fmax(most, fabs(sum));
        worst = fmax(worst, fabs(sum - y[i]));
    }
    char name[64];
    snprintf(name, sizeof name, "product, %lld rows, %s", (long long)m, dtype_table[type].name);
    if (ok)
        check(h, name, worst / most, rounds ? 1e-4 : 1e-5); /* rounds: x has 16 bits */
    run_reset(r);
    buffer_free(l.w.buf);
    free(w);
    free(x);
    free(y);
    free(stored);
    return ok;
}

static bool check_products(limn_device *d, hearer *h, err *e)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    static const int rows[] = {1, 5, 70};
    run *r = run_new(d, e);
    bool ok = r;
    for (int t = 0; ok && t < 4; t++)
        for (int i = 0; ok && i < 3; i++)
            ok = check_product(r, types[t], rows[i], 100, 192, h, e);
    run_free(r);
    return ok;
}

static bool check_model(limn_device *d, hearer *h, err *e)
{
    limn_model *m = limn_model_open(d, NULL, e);
    if (!m)
        return false;
    const limn_model_info *i = limn_model_get_info(m);
    int cells = i->grid_width * i->grid_height, different = 0, changed = 0;
    int32_t *codes = array_new((size_t)cells, sizeof *codes, "codes", e),
            *again = array_new((size_t)cells, sizeof *again, "codes", e);
    uint8_t *rgb = array_new((size_t)(3 * i->width * i->height), 1, "pixels", e);
    int32_t *ids = NULL;
    size_t n = 0;
    limn_generate_options o = {.prompt = expected_prompt, .count = 1};
    limn_score score = {0};
    bool ok = codes && again && rgb && limn_generate(m, &o, codes, e) &&
              limn_tokenize(m, expected_prompt, &ids, &n, e) && limn_score_codes(m, ids, n, codes, NULL, &score, e) &&
              limn_decode_pixels(m, codes, 1, LIMN_U8, rgb, NULL, e) && limn_encode(m, rgb, 1, again, NULL, e);
    for (int c = 0; ok && c < cells; c++) {
        different += codes[c] != expected_codes[c];
        changed += again[c] != expected_again[c];
    }
    if (ok) {
        check(h, "built-in model: greedy codes", different, 0);
        check(h, "built-in model: log-likelihood", fabs(score.image_log_likelihood - expected_log_likelihood), 1e-3);
        check(h, "built-in model: codec round trip", changed, 0);
    }
    free(codes);
    free(again);
    free(rgb);
    free(ids);
    limn_model_free(&m);
    return ok;
}

bool selftest_device(limn_device *d, selftest_heard *heard, void *context, err *e)
{
    hearer h = {.heard = heard, .context = context, .all = true};
    return check_products(d, &h, e) && check_model(d, &h, e) &&
           (h.all || err_set(e, ERR_FAILED,
                             "selftest: %s computes wrong results (report it with the file that limn "
                             "doctor writes)",
                             limn_device_get_info(d)->name));
}

void selftest_print(void *unused, const selftest_check *c)
{
    (void)unused;
    printf("%-32s %s  error %.2g, bound %.2g\n", c->name, c->ok ? "ok    " : "FAILED", c->error, c->bound);
}

int command_selftest(const options *o)
{
    err e = {0};
    limn_device *d = command_device(o, &e);
    bool ok = d && selftest_device(d, selftest_print, NULL, &e);
    limn_device_free(&d);
    return ok ? 0 : report(&e);
}
