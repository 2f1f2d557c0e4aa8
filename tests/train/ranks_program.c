/* Trains a tiny codec and a tiny transformer, in one process or in several, and compares what two runs made:
 *   ranks_program train FOLDER DATA BATCH      FOLDER/codec.gguf, dalle.gguf and parts.gguf, the last one with a pause
 *   ranks_program compare A.gguf B.gguf        weights of equal names
 * DATA gets pictures, captions, a tokenizer and a codec to make codes with, where they are not there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/ranks.h"
#include "cli/launcher.h"
#include "io/gguf.h"
#include "io/image.h"
#include "support.h"
#include "train/train.h"

enum { PICTURES = 12, SIDE = 16, STEPS = 5 };

/* Between a run of two processes and one with twice the batch the sums are in another order: gradients differ by some
 * 1e-7 of their size, and the steps of AdamW with them.  Measured: 7e-6 (codec), 1e-6 (transformer).  What is wrong on
 * purpose shows as 2e-3 (entropy of each rank's own use) and more: noise or dropped captions by the rank's own numbers,
 * the mean over each rank's own text, no mean of gradients. */
#define TOLERANCE 3e-5

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

/* Squares of one colour on another, with captions of one to four words. */
static bool make_data(const char *folder, err *e)
{
    static const char *const names[] = {"red", "green", "blue"};
    char path[600];
    bool ok = mkdir(folder, 0700) == 0;
    for (int i = 0; ok && i < PICTURES; i++) {
        image im = {0};
        ok = image_new(&im, SIDE, SIDE, e);
        for (int p = 0; ok && p < SIDE * SIDE; p++) {
            bool inside = p % SIDE >= 4 && p % SIDE < 4 + i && p / SIDE >= 4 && p / SIDE < 12;
            for (int c = 0; c < 3; c++)
                im.pixels[p * 3 + c] = (uint8_t)(c == (inside ? i % 3 : i / 3 % 3) ? 220 - 5 * i : 30 + p % 7);
        }
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        ok = ok && image_write_png(&im, path, NULL, 0, e);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%02d.txt", folder, i);
        FILE *f = ok ? fopen(path, "w") : NULL;
        for (int k = 0; f && k <= i % 4; k++)
            fprintf(f, "%s ", names[(i + k) % 3]);
        ok = f && fclose(f) == 0;
    }
    return ok;
}

static bool on_step(void *context, const train_progress *p)
{
    const int64_t *pause_after = context;
    return p->step != *pause_after;
}

static void fill_run(train_run *q, const char *const *sources, const char *output, int batch, int64_t *pause_after)
{
    q->output = output;
    q->sources = sources;
    q->n_sources = 1;
    q->batch = batch;
    q->save_every = 0;
    q->settings.steps = STEPS;
    q->settings.warm_up = 0;
    q->settings.seed = 7;
    q->settings.lr = 3e-3f;
    q->settings.clip = 1;
    q->settings.ema = 0.5f;
    /* a gradient that is 0 but for rounding (that of the keys' bias) is not to become a step: with 1e-8 it makes 3e-4
     */
    q->settings.eps = 1e-3f;
    q->progress = on_step;
    q->context = pause_after;
}

static train_codec_options codec_options(void)
{
    train_codec_options o = train_codec_defaults();
    o.model = support_autoencoder(SIDE);
    o.usage = o.usage_end = 1;
    o.kl = 0.1f;
    o.crop = 0.7;
    return o;
}

static train_dalle_options dalle_options(const char *codec_file, const char *tokenizer_file)
{
    train_dalle_options o = train_dalle_defaults();
    o.model.base.dim = 32;
    o.model.base.heads = 2;
    o.model.base.layers = 2;
    o.model.mlp = 64;
    o.model.base.text_length = 24;
    o.codec = codec_file;
    o.tokenizer = tokenizer_file;
    o.text_weight = o.image_weight = 0.5f;
    o.condition_dropout = 0.3f;
    return o;
}

static bool train(device *d, const char *folder, const char *data, int batch, err *e)
{
    char pictures[512], tokenizer_file[512], codec_file[512], output[512];
    snprintf(pictures, sizeof pictures, "%s/pictures", data);
    snprintf(tokenizer_file, sizeof tokenizer_file, "%s/tokenizer.gguf", data);
    snprintf(codec_file, sizeof codec_file, "%s/codec.gguf", data);
    const char *const sources[] = {pictures};
    struct stat there;
    int64_t never = 0, once = ranks_rank() == ranks_size() - 1 ? 2 : 0; /* one rank's wish is enough */
    bool ok = stat(data, &there) == 0 || (mkdir(data, 0700) == 0 && make_data(pictures, e) &&
                                          tiny_model_write(tokenizer_file, &(tiny_config){.layers = 1}, e) &&
                                          tiny_model_write(codec_file, &(tiny_config){.stages = 2, .seed = 3}, e));
    train_codec_options c = codec_options();
    snprintf(output, sizeof output, "%s/codec.gguf", folder);
    fill_run(&c.run, sources, output, batch, &never);
    ok = ok && train_codec(d, &c, e);
    train_dalle_options t = dalle_options(codec_file, tokenizer_file);
    snprintf(output, sizeof output, "%s/dalle.gguf", folder);
    fill_run(&t.run, sources, output, batch, &never);
    ok = ok && train_dalle(d, &t, e);
    snprintf(output, sizeof output, "%s/parts.gguf", folder);
    t.model.base.recompute = true; /* the same bytes */
    fill_run(&t.run, sources, output, batch, &once);
    ok = ok && train_dalle(d, &t, e);
    fill_run(&t.run, sources, output, batch, &never);
    t.run.resume = true;
    return ok && train_dalle(d, &t, e);
}

static void print(void *context, int level, const char *line)
{
    (void)context;
    if (level <= LOG_WARNING || strncmp(line, "gradients", 9) == 0)
        fprintf(stderr, "rank %d: %s\n", ranks_rank(), line);
}

static int run_train(const char *folder, const char *data, int batch)
{
    err e = {0};
    device *d = NULL;
    limn_set_log(print, NULL);
    if (launcher_join(&e))
        d = support_device();
    bool ok = d && train(d, folder, data, batch, &e);
    device_free(d);
    if (!ok)
        fail("train", e.text);
    launcher_leave(!ok);
    return !ok;
}

/* The largest difference of a tensor, in units of the root mean square of its values. */
static double difference(const file_tensor *a, const file_tensor *b)
{
    const float *x = a->data, *y = b->data;
    double most = 0, squares = 0;
    int64_t n = file_tensor_count(a);
    if (n != file_tensor_count(b) || a->type != DTYPE_F32 || b->type != DTYPE_F32)
        return INFINITY;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
        squares += (double)x[i] * x[i];
    }
    return squares > 0 ? most / fmax(sqrt(squares / (double)n), 1e-2) : most;
}

static int compare(const char *path_a, const char *path_b)
{
    err e = {0};
    file_map a = {0}, b = {0};
    gguf *x = file_map_open(&a, path_a, &e) ? gguf_open(a.data, a.size, path_a, &e) : NULL;
    gguf *y = x && file_map_open(&b, path_b, &e) ? gguf_open(b.data, b.size, path_b, &e) : NULL;
    double most = 0;
    const char *where = "";
    bool ok = y && gguf_tensor_count(x) == gguf_tensor_count(y);
    for (size_t i = 0; ok && i < gguf_tensor_count(x); i++) {
        const file_tensor *other = gguf_find(y, gguf_tensor(x, i)->name);
        double d = other ? difference(gguf_tensor(x, i), other) : INFINITY;
        if (!(d <= most)) {
            most = d;
            where = gguf_tensor(x, i)->name;
        }
    }
    printf("%s: at most %.2g apart, %s\n", path_a, most, where);
    ok = ok && most < TOLERANCE;
    if (!ok)
        fail(path_a, e.code ? e.text : "differs from the other");
    gguf_free(x);
    gguf_free(y);
    file_map_release(&a);
    file_map_release(&b);
    return !ok;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "train"))
        return run_train(argv[2], argv[3], atoi(argv[4]));
    if (argc == 4 && !strcmp(argv[1], "compare"))
        return compare(argv[2], argv[3]);
    return fail("ranks_program", "train FOLDER DATA BATCH, or compare A.gguf B.gguf");
}
