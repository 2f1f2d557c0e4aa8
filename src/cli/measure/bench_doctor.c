/* The measurements of limn doctor, and what they should take by the device's own limits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/measure/bench.h"

/* What a decoder, a codec and a training step are made of, and two works; launches first, which the predictions need.
 */
static const char *const cases[] = {"launches, one after another",
                                    "product, 1 row, 64 MiB, F16",
                                    "product, 1 row, 64 MiB, Q8_0",
                                    "product, 18 rows, 64 MiB, F16",
                                    "product, 1024 x 1024 x 1024, F32",
                                    "attention, 1 row, 8192 keys",
                                    "layer norm",
                                    "convolution 3 x 3, 256 channels, 64 x 64",
                                    "generate builtin, F16, 1 row",
                                    "decode builtin, 8 pictures"};
enum { CASES = sizeof cases / sizeof *cases };
#define ENOUGH 120 /* seconds, after which a slow device is not asked for more */

static double number_of(const json_t *rows, const char *name, const char *key)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (!strcmp(json_string_value(json_object_get(row, "name")), name))
            return json_number_value(json_object_get(row, key));
    }
    return 0;
}

static bool measure(bench *b, err *e)
{
    if (!bench_device(b, e))
        return false;
    double began = clock_seconds();
    for (int i = 0; i < CASES && !b->d->lost && !interrupted(); i++) {
        err why = {0};
        if (clock_seconds() - began > ENOUGH) {
            bench_skip(b, cases[i], "the ones before took two minutes (limn bench takes its time)");
            continue;
        }
        if (bench_run(b, cases[i], &why))
            continue;
        err_copy(e, &why);
        bench_skip(b, cases[i], why.text);
    }
    return e->code == ERR_NONE;
}

/* The same on the description of b's device, by compiled code of one kind; the rows, a new array. */
static json_t *predict(const bench *b, predict_isa isa, err *e)
{
    predict_device p = predict_measured(&b->d->info, isa, b->d->info.gflops, b->d->info.gbytes_per_s,
                                        number_of(b->rows, cases[0], "value"));
    bench on = {.o = b->o, .on = &p, .d = device_described(&p.info, e), .rows = json_array()};
    bool ok = on.d;
    if (ok) {
        on.d->tune = b->d->tune;
        on.d->tune.clblast = false;
        on.r = run_new(on.d, e);
        ok = on.r && bench_device(&on, e);
    }
    for (int i = 1; ok && i < CASES; i++)
        ok = bench_run(&on, cases[i], e);
    buffer_free(on.zeros.buf);
    run_free(on.r);
    device_free(on.d);
    if (ok)
        return on.rows;
    json_decref(on.rows);
    return NULL;
}

/* A row for each measured time: between which the predictions by all kinds of compiled code are. */
static bool predict_all(bench *b, err *e)
{
    json_t *by[PREDICT_ISAS] = {NULL}, *row;
    size_t i;
    bool ok = true;
    for (int isa = 0; ok && isa < PREDICT_ISAS; isa++)
        ok = (by[isa] = predict(b, (predict_isa)isa, e)) != NULL;
    json_array_foreach(ok ? b->rows : NULL, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        double least = INFINITY, most = 0;
        for (int isa = 0; isa < PREDICT_ISAS; isa++) {
            double seconds = number_of(by[isa], name, "seconds");
            least = fmin(least, seconds);
            most = fmax(most, seconds);
        }
        double seconds = json_number_value(json_object_get(row, "seconds"));
        if (seconds > 0 && least > 0 && b->heard) {
            json_t *told =
                json_pack("{s:s, s:f, s:[f, f]}", "name", name, "seconds", seconds, "predicted_seconds", least, most);
            b->heard(b->hearer, told);
            json_decref(told);
        }
    }
    for (int isa = 0; isa < PREDICT_ISAS; isa++)
        json_decref(by[isa]);
    return ok;
}

bool bench_doctor(const options *o, device *d, bench_heard *heard, void *hearer, err *e)
{
    bench b = {.o = o, .d = d, .heard = heard, .hearer = hearer, .rows = json_array(), .r = run_new(d, e)};
    bool ok = b.r && measure(&b, e);
    /* of CPUs nothing is known but the limits */
    if (b.r && !d->lost && !d->tune.cpu_form && number_of(b.rows, cases[0], "value") > 0)
        ok = predict_all(&b, ok ? e : NULL) && ok;
    buffer_free(b.zeros.buf);
    json_decref(b.rows);
    run_free(b.r);
    return ok;
}
