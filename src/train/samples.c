/* Pictures of what a model in training does. */
#include "train/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "generate/generate.h"
#include "io/image.h"
#include "models/model.h"

bool sample_sheet(const uint8_t *rgb, int rows, int columns, int height, int width, const char *path, err *e)
{
    image im = {0};
    bool ok = image_new(&im, columns * width, rows * height, e);
    for (int i = 0; ok && i < rows * columns; i++)
        for (int y = 0; y < height; y++) {
            size_t to = ((size_t)(i / columns * height + y) * (size_t)im.width + (size_t)(i % columns * width)) * 3;
            memcpy(im.pixels + to, rgb + ((size_t)i * (size_t)height + (size_t)y) * (size_t)width * 3,
                   (size_t)width * 3);
        }
    ok = ok && image_write_png(&im, path, NULL, 0, e);
    image_release(&im);
    return ok;
}

bool sample_reconstructions(run *r, const codec *c, const uint8_t *rgb, int n, const char *path, err *e)
{
    size_t one = (size_t)c->width * (size_t)c->height * 3, cells = (size_t)(c->grid_width * c->grid_height);
    int32_t *codes = malloc((size_t)n * cells * sizeof *codes);
    uint8_t *both = malloc(2 * (size_t)n * one);
    float *pixels = malloc((size_t)n * one * sizeof *pixels);
    bool ok = codes && both && pixels ? true : err_no_memory(e, "sample", 6 * (size_t)n * one);
    if (ok)
        memcpy(both, rgb, (size_t)n * one);
    ok = ok && codec_encode(r, c, rgb, n, codes, NULL, e) && codec_decode_pictures(r, c, codes, n, pixels, e);
    for (size_t i = 0; ok && i < (size_t)n * one; i++)
        both[(size_t)n * one + i] = (uint8_t)lrintf(pixels[i] * 255);
    ok = ok && sample_sheet(both, 2, n, c->height, c->width, path, e);
    free(codes);
    free(both);
    free(pixels);
    return ok;
}

/* ---- what captions become --------------------------------------------------------------------------------------- */

#define SAMPLE_SEED 1 /* always the same, so that pictures differ by the model alone */

bool sample_choose(dataset *data, char *captions[SAMPLES], int *n, err *e)
{
    dataset_batch b = {0};
    bool ok = dataset_next(data, &b, e);
    for (int i = 0; ok && i < b.n && *n < SAMPLES; i++) {
        int k = 0;
        while (k < *n && strcmp(captions[k], b.captions[i]) != 0)
            k++;
        if (k == *n && (captions[k] = strdup(b.captions[i])))
            (*n)++;
    }
    dataset_batch_release(&b);
    return ok && dataset_seek(data, (dataset_position){0}, e);
}

typedef struct asking {
    bool (*goes_on)(void *context);
    void *context;
} asking;

static bool on_code(void *self, int done, int total, const int32_t *codes)
{
    const asking *a = self;
    (void)done;
    (void)total;
    (void)codes;
    return a->goes_on(a->context);
}

/* codes[n,cells] of the captions. */
static bool generate_samples(model *m, const train_sample *s, asking *a, int32_t *codes, err *e)
{
    int cells = m->info.grid_width * m->info.grid_height;
    bool ok = true;
    for (int i = 0; ok && i < s->n; i++) {
        limn_generate_options g = model_generate_defaults(m);
        int32_t *ids = NULL, class = (int32_t)strtol(s->captions[i], NULL, 10);
        size_t n = 1, most = m->info.classes ? 1 : (size_t)m->info.text_length - 1;
        g.seed = SAMPLE_SEED;
        g.progress = on_code;
        g.context = a;
        ok = m->info.classes > 0 || model_tokenize_warned(m, s->captions[i], &ids, &n, e);
        g.text_ids = ids ? ids : &class;
        g.n_text_ids = n < most ? n : most; /* a long caption loses its end, as in training */
        ok = ok && generate_pictures(m, &g, codes + i * cells, e);
        free(ids);
    }
    return ok;
}

/* pixels[n,height,width,3] as a grid. */
static bool write_samples(const model *m, uint8_t *pixels, const train_sample *s, err *e)
{
    size_t one = (size_t)m->info.width * (size_t)m->info.height * 3;
    char *captions = NULL;
    image grid = {0}, *ims = calloc((size_t)s->n, sizeof *ims);
    os_text list;
    bool ok = os_text_open(&list);
    for (int i = 0; ims && ok && i < s->n; i++) {
        ims[i] = (image){.width = m->info.width, .height = m->info.height, .pixels = pixels + (size_t)i * one};
        fprintf(list.stream, "%s\n", s->captions[i]);
    }
    captions = os_text_close(&list);
    ok = captions && ims ? true : err_no_memory(e, "captions", 1024);
    ok = ok && image_grid(&grid, ims, s->n, 2, e) &&
         image_write_png(&grid, s->picture, &(image_text){"captions", captions}, 1, e);
    image_release(&grid);
    free(ims);
    free(captions);
    return ok;
}

bool sample_captions(device *d, const train_sample *s, bool (*goes_on)(void *context), void *context, err *e)
{
    const limn_adapter adapter = {s->adapter, 1};
    model *m = model_open_with(
        d, s->model,
        &(limn_model_options){
            .adapters = &adapter, .n_adapters = s->adapter != NULL, .width = s->width, .height = s->height},
        e);
    if (!m)
        return false;
    asking a = {goes_on, context};
    size_t n = (size_t)s->n, cells = (size_t)(m->info.grid_width * m->info.grid_height);
    size_t bytes = n * 3 * (size_t)m->info.width * (size_t)m->info.height;
    int32_t *codes = calloc(n * cells + 1, sizeof *codes);
    uint8_t *pixels = malloc(bytes + 1);
    const pixel_place to = {.bytes = pixels};
    bool ok = codes && pixels ? true : err_no_memory(e, "samples", bytes);
    ok = ok && generate_samples(m, s, &a, codes, e) && codes_decode(m, codes, s->n, &to, NULL, e) &&
         write_samples(m, pixels, s, e);
    free(codes);
    free(pixels);
    model_free(m);
    return ok;
}
