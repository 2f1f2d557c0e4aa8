/* What the parts of limn bench share: the case table's entries, the clock, and rows of results.
 * A row is held against physics: it can't be faster than its bytes at the measured read bandwidth, nor than its
 * multiply-adds at the measured peak.  The larger of the two times is its limit. */
#ifndef CLI_MEASURE_BENCH_H
#define CLI_MEASURE_BENCH_H
#include "cli/measure/predict.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "device/run.h"
#include "models/model.h"

/* A row, as soon as it is measured. */
typedef void bench_heard(void *context, const json_t *row);

typedef struct bench {
    const options *o;
    device *d;
    run *r;
    json_t *rows;       /* of all results */
    json_t *before;     /* the rows of --compare, or NULL */
    bench_heard *heard; /* NULL: nobody */
    void *hearer;
    double most_seconds;      /* of a generation, after which it is ended; 0: it isn't */
    double peak;              /* FLOP/s: the limits as they were just before */
    double bandwidth;         /* bytes/s */
    const predict_device *on; /* times are predicted, and d is the description of this; NULL: they are measured */
    prediction guess;         /* for the next row */
    tensor zeros;             /* F32, of up to 256 MiB: what kernels read where values don't matter */
} bench;

typedef struct bench_case bench_case;
struct bench_case {
    const char *name; /* what patterns are held against, and how its rows begin */
    bool (*measure)(bench *b, const bench_case *c, err *e);
    bool quick;       /* part of the default */
    const char *what; /* a model's size, … */
    dtype type;
    int64_t a, b, c, d; /* as the function has it */
};
/* Each ends with an entry without a name. */
extern const bench_case bench_op_cases[], bench_work_cases[], bench_diffusion_cases[], bench_codec_cases[],
    bench_train_cases[], bench_sweep_cases[];

/* The row as text. */
void bench_print(const json_t *row);

/* The limits of the device, which are rows too, and then its measurement of that name. */
bool bench_device(bench *b, err *e);
bool bench_run(bench *b, const char *name, err *e);
/* bench_doctor.c: a short set on d, of about a minute.  A measurement that fails is a row that says why; false where
 * one did.  On a GPU each has another row, with what is predicted from the device's limits. */
bool bench_doctor(const options *o, device *d, bench_heard *heard, void *hearer, err *e);

/* What was done in `seconds`. */
typedef struct bench_result {
    double seconds;
    double flops, bytes; /* 0: not known */
    const char *unit;    /* of the value that is shown */
    double value;
} bench_result;
/* Adds the row NAME or, where part is not NULL, NAME: PART. */
void bench_row(bench *b, const char *name, const char *part, const bench_result *result);
/* A row that says why there is none. */
void bench_skip(bench *b, const char *name, const char *why);
/* Whether times are predicted: then this case, which asks the device itself, got such a row. */
bool bench_needs_device(bench *b, const bench_case *c);
double bench_limit(const bench *b, double flops, double bytes); /* seconds */

typedef void bench_body(run *r, void *context);
/* Median seconds of a body, which may reset the run; *flops and *bytes of one (each may be NULL), as its launches say.
 */
bool bench_measure(bench *b, run *r, bench_body *body, void *context, double *seconds, double *flops, double *bytes,
                   err *e);
double bench_median(double *values, int n); /* sorts them */

/* Where b->on, whose launches are d's since they were cleared: what they take, or the recorded ones for one replay. */
prediction bench_predict(const bench *b, device *d, bool recorded);

/* A model of published size, "mini", with random weights (on d, of which there may be another); "builtin" is the
 * built-in model itself, "model" the file of --model.  NULL without an error where memory is too short: then `name` got
 * a row that says so. */
model *bench_model(bench *b, device *d, const char *name, const char *size, dtype type, err *e);
/* The same by its keys; rows of the name. */
model *bench_model_by(bench *b, device *d, const char *name, void (*keys)(gguf_writer *w, const void *context),
                      const void *context, dtype type, err *e);
typedef struct generation_time {
    double whole;     /* seconds of it all; 0 where it was ended */
    double step;      /* seconds of a step of all rows: the median over the lines of the grid, so at half the length */
    double share;     /* of the codes, that were made */
    prediction guess; /* of it all, where b->on; b->guess is then of a step */
} generation_time;
/* Generates `count` pictures (guidance 1: none), five times or, where one lasts over two seconds, once; ended after
 * `most` seconds and two lines of the grid, where that isn't 0. */
bool bench_generate(bench *b, model *m, int count, float guidance, dtype keys, double most, generation_time *time,
                    err *e);
/* What a step of so many rows must read and multiply, at half the length of a picture of which only a share is made:
 * weights once, and caches. */
void bench_step_cost(const model *m, int rows, dtype keys, double share, double *flops, double *bytes);
#endif
