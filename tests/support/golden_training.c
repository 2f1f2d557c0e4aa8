/* Training runs and their twins. */
#include "golden_training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "checks.h"
#include "golden_tensors.h"
#include "io/gguf.h"

#define BOUND 1e-4

/* The column of that name in the log's header. */
static int column(const char *header, const char *name)
{
    int k = 0;
    size_t n = strlen(name);
    for (const char *at = header; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL, k++)
        if (!strncmp(at, name, n) && (at[n] == ',' || at[n] == '\n'))
            return k;
    return -1;
}

static double value_at(const char *line, int k)
{
    while (k-- > 0)
        line = strchr(line, ',') + 1;
    return atof(line);
}

static FILE *open_log(const char *model, char header[1024])
{
    char path[600];
    snprintf(path, sizeof path, "%s.csv", model);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(header, 1024, f));
    return f;
}

train_settings golden_training_settings(int64_t steps)
{
    return (train_settings){.steps = steps,
                            .warm_up = 4,
                            .lr = 2e-3f,
                            .lr_end = 1e-5f,
                            .beta1 = 0.9f,
                            .beta2 = 0.96f,
                            .eps = 1e-8f,
                            .decay = 0.02f,
                            .clip = 1,
                            .seed = 1};
}

void golden_training_losses(const char *model, const char *name, const json_t *want)
{
    static const char *const parts[] = {"loss", "text", "image"};
    char header[1024], line[1024];
    double worst = 0;
    FILE *f = open_log(model, header);
    for (size_t i = 0; i < json_array_size(want); i++) {
        assert_non_null(fgets(line, sizeof line, f));
        for (size_t k = 0; k < COUNT(parts); k++) {
            const json_t *expected = json_object_get(json_array_get(want, i), parts[k]);
            assert_int_equal(column(header, parts[k]) >= 0, expected != NULL);
            if (!expected)
                continue;
            double loss = value_at(line, column(header, parts[k]));
            double error = fabs(loss - json_number_value(expected)) / json_number_value(expected);
            worst = fmax(worst, error);
            if (!(error <= BOUND))
                fail_msg("%s: step %zu: %s is %g, and its twin's %g", name, i + 1, parts[k], loss,
                         json_number_value(expected));
        }
    }
    fclose(f);
    print_message("%s: losses differ by %.2g at most\n", name, worst);
}

/* The first moments after one step are a tenth of the gradients. */
void golden_training_gradients(const char *model, const char *name, const json_t *want)
{
    err e = {0};
    file_map m = {0};
    char path[600];
    const char *key;
    json_t *v;
    size_t moments = 0;
    double worst = 0;
    snprintf(path, sizeof path, "%s.checkpoint", model);
    good(file_map_open(&m, path, &e), &e);
    gguf *g = gguf_open(m.data, m.size, path, &e);
    good(g, &e);
    for (size_t i = 0; i < gguf_tensor_count(g); i++)
        moments += strstr(gguf_tensor(g, i)->name, "#m") != NULL;
    assert_int_equal(moments, json_object_size(want));
    json_object_foreach((json_t *)want, key, v)
    {
        char own[160];
        snprintf(own, sizeof own, "%s#m", key);
        const file_tensor *t = gguf_find(g, own);
        if (!t)
            fail_msg("%s: %s is missing", name, own);
        double squares = 0, product = 0, length = json_number_value(json_array_get(v, 0));
        for (int64_t i = 0; t && i < file_tensor_count(t); i++) {
            double d = 10 * (double)((const float *)t->data)[i];
            squares += d * d;
            product += d * golden_number(key, (uint32_t)i);
        }
        double error = fmax(fabs(sqrt(squares) - length), fabs(product - json_number_value(json_array_get(v, 1)))) /
                       (length > 0 ? length : 1);
        worst = fmax(worst, error);
        if (!(error <= BOUND))
            fail_msg("%s: %s: the gradient is of length %g, and its twin's of %g; it differs by %g", name, key,
                     sqrt(squares), length, error);
    }
    gguf_free(g);
    file_map_release(&m);
    print_message("%s: gradients differ by %.2g at most\n", name, worst);
}

double golden_training_loss(const char *model, int step)
{
    char header[1024], line[1024];
    FILE *f = open_log(model, header);
    for (int i = 0; i < step; i++)
        assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    return value_at(line, column(header, "loss"));
}
