/* Golden instances of DALL-E's descendants to train. */
#include "golden_descendants.h"
#include "golden_training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "checks.h"
#include "convert/convert.h"
#include "io/image.h"
#include "io/npy.h"
#include "support.h"

const char *descendant_data, *descendant_model, *descendant_tuned, *descendant_codes;

json_t *descendants_load(void)
{
    json_error_t why;
    descendant_data = support_path("data");
    descendant_model = support_path("model.gguf");
    descendant_tuned = support_path("tuned.gguf");
    descendant_codes = support_path("codes.npy");
    json_t *all = json_load_file(TEST_DATA "/descendants_training.json", 0, &why);
    if (!all)
        fprintf(stderr, "%s\n", why.text);
    return all;
}

const char *descendant_picture(int i)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%d.png", descendant_data, i);
    return path;
}

static void write_data(const descendant *t)
{
    err e = {0};
    good(file_make_directory(descendant_data, &e), &e);
    for (int i = 0; i < ITEMS; i++) {
        char path[600];
        image im = {0};
        good(image_new(&im, 16, 16, &e), &e);
        for (int k = 0; k < 16 * 16 * 3; k++)
            im.pixels[k] = (uint8_t)(k * (7 + 4 * i) + 60 * i);
        good(image_write_png(&im, descendant_picture(i), NULL, 0, &e), &e);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%d.txt", descendant_data, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "%s\n", t->captions[i]);
        fclose(f);
    }
    good(npy_write(descendant_codes, DTYPE_I32, 2, (int64_t[]){ITEMS, t->cells}, t->codes, &e), &e);
}

/* model.gguf, and the data. */
void descendant_open(descendant *t, const json_t *all, size_t k, dtype type)
{
    err e = {0};
    char from[300];
    *t = (descendant){.json = json_array_get(all, k)};
    t->name = json_string_value(json_object_get(t->json, "name"));
    const json_t *codes = json_object_get(t->json, "codes"), *captions = json_object_get(t->json, "captions");
    t->cells = (int)json_array_size(json_array_get(codes, 0));
    for (int i = 0; i < ITEMS; i++)
        t->captions[i] = json_string_value(json_array_get(captions, (size_t)i));
    for (int i = 0; i < ITEMS * t->cells; i++)
        t->codes[i] = (int32_t)json_integer_value(
            json_array_get(json_array_get(codes, (size_t)(i / t->cells)), (size_t)(i % t->cells)));
    snprintf(from, sizeof from, TEST_DATA "/golden/%s", t->name);
    static const char *const of_llamagen[] = {"image_size=8", "heads=4"}, *const of_simplear[] = {"image_size=48"};
    const char *inputs[] = {from};
    unlink(descendant_model);
    good(import_convert(&(import_request){.inputs = inputs,
                                          .n_inputs = 1,
                                          .output = descendant_model,
                                          .typed = true,
                                          .type = type,
                                          .settings = k == LLAMAGEN ? of_llamagen : of_simplear,
                                          .n_settings = k == LLAMAGEN ? 2 : k == SIMPLEAR},
                        &e),
         &e);
    write_data(t);
}

train_dalle_options descendant_options(int64_t steps)
{
    static const char *sources[1], *const ends[] = {"", ".checkpoint", ".csv", ".codes"};
    train_dalle_options o = train_dalle_defaults();
    char path[600];
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", descendant_tuned, ends[i]);
        unlink(path);
    }
    sources[0] = descendant_data;
    o.run.output = descendant_tuned;
    o.run.init = descendant_model;
    o.run.sources = sources;
    o.run.n_sources = 1;
    o.run.batch = ITEMS;
    o.run.save_every = o.run.sample_every = 0;
    o.run.settings = golden_training_settings(steps);
    o.made_codes = descendant_codes;
    return o;
}
