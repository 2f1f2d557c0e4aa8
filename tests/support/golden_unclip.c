/* unCLIP's golden instance: its arrays, and models of it. */
#include "golden_unclip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "support.h"

/* Pictures come as [b,h,w,c]. */
npy golden_unclip_floats(golden_npz *golden, const char *name)
{
    npy a = golden_npz_read(golden, name, DTYPE_F32);
    if (a.nd != 4)
        return a;
    int64_t c = a.shape[1], area = a.shape[2] * a.shape[3];
    float *from = a.data, *to = malloc((size_t)a.count * sizeof *to);
    for (int64_t i = 0; i < a.count; i++)
        to[(i / (c * area) * area + i % area) * c + i / area % c] = from[i];
    free(from);
    a.data = to;
    return a;
}

void golden_unclip_close(const float *have, const float *want, int64_t n, double tolerance, const char *what)
{
    double error = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        error = fmax(error, isfinite(have[i]) ? fabs((double)have[i] - (double)want[i]) : INFINITY);
        most = fmax(most, fabs((double)want[i]));
    }
    if (!(error <= tolerance * most))
        fail_msg("%s differ by %g of the largest", what, error / most);
}

/* A folder with these parts of the instance. */
static void convert(const char *name, bool imagines, bool sees, char path[512])
{
    static const char *const parts[] = {"text_encoder",    "text_proj",           "decoder",
                                        "super_res_first", "super_res_last",      "decoder_scheduler",
                                        "prior_scheduler", "super_res_scheduler", "prior",
                                        "image_encoder",   "feature_extractor",   "tokenizer"};
    char folder[512], from[600], to[600], file[64];
    const char *input = folder;
    err e = {0};
    snprintf(folder, sizeof folder, "%s", support_path(name));
    assert_true(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    for (size_t i = 0; i < COUNT(parts); i++) {
        if ((!imagines && !strcmp(parts[i], "prior")) || (!sees && !strcmp(parts[i], "image_encoder")))
            continue;
        snprintf(from, sizeof from, GOLDEN_UNCLIP "%s", parts[i]);
        snprintf(to, sizeof to, "%s/%s", folder, parts[i]);
        assert_true(symlink(from, to) == 0 || access(to, F_OK) == 0);
    }
    snprintf(file, sizeof file, "%s.gguf", name);
    snprintf(path, 512, "%s", support_path(file));
    const import_request q = {.inputs = &input, .n_inputs = 1, .output = path};
    good(import_convert(&q, &e), &e);
}

model *golden_unclip_open(device *dev, const char *name, bool imagines, bool sees)
{
    char path[512];
    err e = {0};
    convert(name, imagines, sees, path);
    model *m = limn_model_open(dev, path, &e);
    good(m != NULL, &e);
    return m;
}

uint8_t *golden_unclip_rgb(golden_npz *golden, int *width, int *height)
{
    npy rgb = golden_npz_read(golden, "image_rgb", DTYPE_I32);
    uint8_t *bytes = malloc((size_t)rgb.count);
    for (int64_t i = 0; i < rgb.count; i++)
        bytes[i] = (uint8_t)((const int32_t *)rgb.data)[i];
    *height = (int)rgb.shape[0];
    *width = (int)rgb.shape[1];
    npy_release(&rgb);
    return bytes;
}
