/* Stable Diffusion's golden instances, tiny models with random weights in their diffusers folders and single files
 * (data/golden/README.md), through limn convert: tokens, text states, what the U-Net says, the autoencoder, and whole
 * pictures by every sampler with given noise, as diffusers has them; and what generation does with such models.
 * usage: diffusion_test [PATTERN]     the tests whose names match */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_npz.h"
#include "models/transformers/diffusion.h"
#include "support.h"

#define FOLDER  TEST_DATA "/golden/diffusion/"
#define MODULE  1e-4 /* of the range: what is summed is summed in another order */
#define LATENTS 1e-3 /* of the largest, after all steps */

static device *dev;

/* ---- arrays ----------------------------------------------------------------------------------------------------- */

/* [b,c,h,w] as [b,h,w,c] */
static void turn(npy *a)
{
    int64_t c = a->shape[1], area = a->shape[2] * a->shape[3];
    float *from = a->data, *to = malloc((size_t)a->count * sizeof *to);
    for (int64_t i = 0; i < a->count; i++) {
        int64_t picture = i / (c * area), channel = i / area % c, place = i % area;
        to[(picture * area + place) * c + channel] = from[i];
    }
    free(from);
    a->data = to;
}

static npy read_pictures(golden_npz *f, const char *name)
{
    npy a = golden_npz_read(f, name, DTYPE_F32);
    turn(&a);
    return a;
}

static npy array_of(golden_npz *f, const char *name, const char *what)
{
    char whole[64];
    snprintf(whole, sizeof whole, "%s_%s", name, what);
    return golden_npz_read(f, whole, DTYPE_F32);
}

/* Within so much of the largest of want. */
static void close_to(const float *have, const float *want, int64_t n, double tolerance, const char *what)
{
    double error = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        error = fmax(error, isfinite(have[i]) ? fabs((double)have[i] - (double)want[i]) : INFINITY);
        most = fmax(most, fabs((double)want[i]));
    }
    if (!(error <= tolerance * most))
        fail_msg("%s differ by %g of the largest", what, error / most);
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

/* A folder of an instance's name, in which what it lacks is sd15's. */
static const char *whole_folder(const char *name)
{
    static const char *const parts[] = {"unet", "scheduler", "vae", "text_encoder", "tokenizer"};
    static char folder[512];
    char from[600], to[600];
    snprintf(folder, sizeof folder, "%s", support_path(name));
    assert_true(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    for (size_t i = 0; i < COUNT(parts); i++) {
        snprintf(from, sizeof from, FOLDER "%s/%s", name, parts[i]);
        if (access(from, F_OK) != 0)
            snprintf(from, sizeof from, FOLDER "sd15/%s", parts[i]);
        snprintf(to, sizeof to, "%s/%s", folder, parts[i]);
        assert_true(symlink(from, to) == 0 || access(to, F_OK) == 0);
    }
    return folder;
}

/* The files of the authors' layout; NULL: the instance is a folder. */
static const char *single_file(const char *name, const char **tokens)
{
    *tokens = !strcmp(name, "sd15_single") ? FOLDER "sd15/tokenizer" : FOLDER "sd21/tokenizer";
    return !strcmp(name, "sd15_single")   ? FOLDER "sd15_single/sd15_single.safetensors"
           : !strcmp(name, "sd21_single") ? FOLDER "sd21_single/sd21_single.ckpt"
                                          : NULL;
}

static void convert(const char *name, char path[512])
{
    err e = {0};
    char file[64];
    const char *tokens, *single = single_file(name, &tokens), *from = single ? single : whole_folder(name);
    snprintf(file, sizeof file, "%s.gguf", name);
    snprintf(path, 512, "%s", support_path(file));
    const char *size = "image_size=16";
    const import_request q = {.inputs = &from,
                              .n_inputs = 1,
                              .output = path,
                              .tokenizer = single ? tokens : NULL,
                              .settings = &size,
                              .n_settings = single ? 1 : 0};
    good(import_convert(&q, &e), &e);
}

static model *open_sized(const char *path, int width, int height)
{
    err e = {0};
    const limn_model_options o = {.size = sizeof o, .width = width, .height = height};
    model *m = limn_model_open_with(dev, path, &o, &e);
    good(m != NULL, &e);
    return m;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

static void check_tokens(model *m, const char *key)
{
    json_t *root = json_load_file(FOLDER "tokenizer_cases.json", 0, NULL);
    const transformer *d = m->transformer;
    int32_t row[77], *ids;
    assert_int_equal(d->text_length, 77);
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *entry = json_array_get(root, i), *want = json_object_get(entry, key);
        const char *text = json_string_value(json_object_get(entry, "text"));
        err e = {0};
        size_t n, used;
        good(limn_tokenize(m, text, &ids, &n, &e) && d->kind->text_row(d, ids, n, row, &used, &e), &e);
        for (size_t k = 0; k < 77; k++)
            if (row[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("\"%s\": id %zu is %d", text, k, row[k]);
        free(ids);
    }
    json_decref(root);
}

static void check_text(model *m, golden_npz *f)
{
    err e = {0};
    npy ids = golden_npz_read(f, "text_ids", DTYPE_I32), want = golden_npz_read(f, "text_last_hidden_state", DTYPE_F32);
    float *have = calloc((size_t)want.count, sizeof *have);
    run *r = run_new(dev, &e);
    tensor x = run_upload(r, DTYPE_I32, 2, ids.shape, ids.data);
    run_read(r, clip_text_context(r, &diffusion_of(m->transformer)->text, x), have);
    good(run_finish(r, &e), &e);
    close_to(have, want.data, want.count, MODULE, "the text's states");
    run_free(r);
    free(have);
    npy_release(&ids);
    npy_release(&want);
}

/* Each picture of an array, which has a time of its own; all read the context's row of the same number. */
static void check_unet(model *m, golden_npz *f, const char *name)
{
    err e = {0};
    npy x = array_of(f, name, "sample"), want = array_of(f, name, "out"), time;
    npy context = golden_npz_read(f, "unet_context", DTYPE_F32);
    const unet *u = &diffusion_of(m->transformer)->net;
    char whole[64];
    snprintf(whole, sizeof whole, "%s_timestep", name);
    time = golden_npz_read(f, whole, DTYPE_I32);
    turn(&x);
    turn(&want);
    int64_t b = x.shape[0], h = x.shape[2], w = x.shape[3], words = context.shape[1], each = want.count / b;
    float *have = calloc((size_t)each, sizeof *have);
    unet_memory k;
    run *r = run_new(dev, &e);
    good(unet_memory_open(&k, u, dev, 2, (int)h, (int)w, (int)words, &e), &e);
    for (int64_t i = 0; i < b; i++) {
        const float *row = (const float *)context.data + i * words * u->k.context;
        run_reset(r);
        unet_read_text(r, u, &k, run_upload(r, DTYPE_F32, 3, (int64_t[]){1, words, u->k.context}, row), NULL);
        unet_set_time(r, u, &k, (float)((const int32_t *)time.data)[i], 0);
        tensor in = run_upload(r, DTYPE_F32, 4, (int64_t[]){1, h, w, u->k.in}, (const float *)x.data + i * x.count / b);
        run_read(r, unet_forward(r, u, &k, in), have);
        good(run_finish(r, &e), &e);
        close_to(have, (const float *)want.data + i * each, each, MODULE, name);
    }
    unet_memory_release(&k);
    run_free(r);
    free(have);
    npy_release(&x);
    npy_release(&want);
    npy_release(&time);
    npy_release(&context);
}

/* The autoencoder by itself, of pictures of another size. */
static void check_autoencoder(const char *path, golden_npz *f)
{
    err e = {0};
    npy image = read_pictures(f, "vae_image"), z = read_pictures(f, "vae_z"), want = read_pictures(f, "vae_decoded");
    npy mean = read_pictures(f, "vae_mean"), logvar = read_pictures(f, "vae_logvar");
    model *m = open_sized(path, (int)image.shape[3], (int)image.shape[2]);
    const codec *c = &m->codec;
    float *have = calloc((size_t)want.count, sizeof *have), *moments = calloc(2 * (size_t)mean.count, sizeof *moments);
    good(model_load(m, USE_ENCODER | USE_DECODER, &e), &e);
    run *r = run_new(dev, &e);
    int64_t cells[] = {1, c->grid_height, c->grid_width, c->latents};
    assert_int_equal(mean.count, codec_numbers(c));
    for (int64_t i = 0; i < z.count; i++)
        ((float *)z.data)[i] *= c->scale;
    run_read(r, c->kind->decode_grid(r, c, run_upload(r, DTYPE_F32, 4, cells, z.data)), have);
    good(run_finish(r, &e), &e);
    close_to(have, want.data, want.count, MODULE, "decoded pixels");
    run_reset(r);
    tensor x = run_upload(r, DTYPE_F32, 4, (int64_t[]){1, c->height, c->width, 3}, image.data);
    run_read(r, c->kind->encode(r, c, x), moments);
    good(run_finish(r, &e), &e);
    for (int64_t i = 0, n = c->latents; i < mean.count; i++) {
        have[i] = moments[i / n * 2 * n + i % n];
        moments[i] = fminf(fmaxf(moments[i / n * 2 * n + n + i % n], -30), 20);
    }
    close_to(have, mean.data, mean.count, MODULE, "means");
    close_to(moments, logvar.data, logvar.count, MODULE, "variances");
    run_free(r);
    free(have);
    free(moments);
    limn_model_free(&m);
    npy *all[] = {&image, &z, &want, &mean, &logvar};
    for (size_t i = 0; i < COUNT(all); i++)
        npy_release(all[i]);
}

/* ---- pictures --------------------------------------------------------------------------------------------------- */

/* Which sampler a case's name begins with, the longest one; what is behind it may be a spacing. */
static void sampler_of(const char *name, const char **sampler, const char **spaced)
{
    size_t most = 0;
    *sampler = *spaced = NULL;
    for (int i = 0; i < SAMPLERS; i++) {
        size_t n = strlen(sampler_names[i]);
        if (n > most && !strncmp(name, sampler_names[i], n)) {
            most = n;
            *sampler = sampler_names[i];
        }
    }
    *sampler = strstr(name, "_own") ? NULL : *sampler ? *sampler : "ddim"; /* batch, noguide */
    for (int i = 0; i < SPACINGS; i++)
        if (strstr(name, spacing_names[i]))
            *spaced = spacing_names[i];
}

static const char *text_at(const json_t *value, size_t i)
{
    return json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
}

/* The noise of a picture: what it begins with, and what its steps draw. */
static float *noise_of(golden_npz *f, const json_t *c, size_t picture, int cells, int *rows)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    char entry[64];
    size_t at;
    snprintf(entry, sizeof entry, "%s_initial_noise.npy", name);
    npy first = read_pictures(f, zip_find(f->z, entry, &at) ? "batch_initial_noise" : "initial_noise"), more = {0};
    snprintf(entry, sizeof entry, "%s_noise.npy", name);
    if (zip_find(f->z, entry, &at)) {
        more = array_of(f, name, "noise");
        turn(&more);
    }
    *rows = 1 + (int)(more.count / cells);
    float *all = malloc((size_t)*rows * (size_t)cells * sizeof *all);
    memcpy(all, (const float *)first.data + picture * (size_t)cells, (size_t)cells * sizeof *all);
    if (more.count)
        memcpy(all + cells, more.data, (size_t)more.count * sizeof *all);
    npy_release(&first);
    npy_release(&more);
    return all;
}

static void check_picture(model *m, golden_npz *f, const json_t *c, size_t i, size_t pictures)
{
    err e = {0};
    const char *name = json_string_value(json_object_get(c, "name"));
    int cells = m->info.grid_width * m->info.grid_height, rows;
    int64_t pixels = 3 * (int64_t)m->info.width * m->info.height;
    npy want = array_of(f, name, "latents"), rgb;
    char whole[64];
    snprintf(whole, sizeof whole, "%s_pixels_u8", name);
    rgb = golden_npz_read(f, whole, DTYPE_I32);
    turn(&want);
    float *noise = noise_of(f, c, i, cells, &rows);
    int32_t *codes = calloc((size_t)cells, sizeof *codes);
    uint8_t *have = calloc((size_t)pixels, 1);
    limn_generate_options o = limn_generate_defaults(m);
    sampler_of(name, &o.sampler, &o.spacing);
    o.prompt = text_at(json_object_get(c, "prompt"), i);
    o.negative = text_at(json_object_get(c, "negative_prompt"), i);
    o.steps = (int)json_integer_value(json_object_get(c, "num_inference_steps"));
    o.guidance = (float)json_number_value(json_object_get(c, "guidance_scale"));
    o.noise = noise;
    o.n_noise = rows;
    good(limn_generate(m, &o, codes, &e), &e);
    close_to((const float *)codes, (const float *)want.data + want.count - (int64_t)(pictures - i) * cells, cells,
             LATENTS, name);
    good(limn_decode_pixels(m, codes, 1, LIMN_U8, have, NULL, &e), &e);
    for (int64_t k = 0; k < pixels; k++)
        if (abs(have[k] - ((const int32_t *)rgb.data)[(int64_t)i * pixels + k]) > 1)
            fail_msg("%s: number %d of the pixels is %d, not %d", name, (int)k, have[k],
                     ((const int32_t *)rgb.data)[(int64_t)i * pixels + k]);
    free(noise);
    free(codes);
    free(have);
    npy_release(&want);
    npy_release(&rgb);
}

static void check_pictures(const char *path, golden_npz *f, const char *name)
{
    char cases[300];
    snprintf(cases, sizeof cases, FOLDER "%s/cases.json", name);
    json_t *root = json_load_file(cases, 0, NULL);
    assert_true(json_array_size(root) > 0);
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *c = json_array_get(root, i), *prompts = json_object_get(c, "prompt");
        size_t pictures = json_is_array(prompts) ? json_array_size(prompts) : 1;
        if (getenv("LIMN_TEST_BRIEF") && json_integer_value(json_object_get(c, "num_inference_steps")) > 6)
            continue; /* the same kernels; their numbers: sampler_test */
        model *m = open_sized(path, (int)json_integer_value(json_object_get(c, "width")),
                              (int)json_integer_value(json_object_get(c, "height")));
        for (size_t k = 0; k < pictures; k++)
            check_picture(m, f, c, k, pictures);
        limn_model_free(&m);
    }
    json_decref(root);
}

/* ---- instances -------------------------------------------------------------------------------------------------- */

/* The model of a kind, opened for its transformer, and what it should give. */
static model *open_kind(const char *name, char path[512], golden_npz *f)
{
    char reference[300];
    err e = {0};
    convert(name, path);
    snprintf(reference, sizeof reference, FOLDER "%s/reference.npz", name);
    golden_npz_open(f, reference);
    model *m = open_sized(path, 0, 0);
    good(model_load(m, USE_TRANSFORMER | USE_TEXT, &e), &e);
    return m;
}

static void test_instance(void **state)
{
    const char *name = *state;
    char path[512];
    golden_npz f;
    model *m = open_kind(name, path, &f);
    if (strcmp(name, "lcm") != 0) { /* its parts are sd15's */
        check_tokens(m, strncmp(name, "sd15", 4) == 0 ? "ids_sd1" : "ids_sd2");
        check_text(m, &f);
        check_unet(m, &f, "unet");
        check_unet(m, &f, "unet_wide");
        check_autoencoder(path, &f);
    }
    limn_model_free(&m);
    check_pictures(path, &f, name);
    golden_npz_release(&f);
}

/* What make_golden_diffusion.py writes; what is beside the U-Net is sd15's. */
static void test_kind(void **state)
{
    const char *name = *state;
    char path[512];
    golden_npz f;
    model *m = open_kind(name, path, &f);
    check_tokens(m, "ids_sd1");
    check_unet(m, &f, "unet");
    check_unet(m, &f, "unet_wide");
    limn_model_free(&m);
    check_pictures(path, &f, name);
    golden_npz_release(&f);
}

/* ---- generation ------------------------------------------------------------------------------------------------- */

static void draw(model *m, const limn_generate_options *o, int32_t *codes)
{
    err e = {0};
    good(limn_generate(m, o, codes, &e), &e);
}

static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    int *calls = context;
    float first;
    assert_true(done > 0 && done <= total);
    memcpy(&first, codes, sizeof first);
    assert_true(isfinite(first));
    ++*calls;
    return true;
}

/* Picture i of a seed is the same whatever the count, and beside other requests. */
static void check_same(model *m, int cells)
{
    err e = {0};
    size_t bytes = (size_t)cells * sizeof(int32_t);
    int32_t *codes = calloc(4, bytes), *two = codes + cells, *taken = codes + 3 * (int64_t)cells;
    limn_generate_options o = limn_generate_defaults(m);
    int calls = 0, left = 1, number, n = 0;
    uint64_t id;
    uint8_t *rgb = calloc(3, (size_t)m->info.width * (size_t)m->info.height);
    o.prompt = "an oil painting of a lighthouse in a storm";
    o.seed = 7;
    o.first = 1;
    o.steps = 3;
    o.sampler = "euler_a";
    o.progress = on_progress;
    o.context = &calls;
    o.preview = true;
    draw(m, &o, codes);
    assert_int_equal(calls, 3);
    good(limn_preview(m, codes, 1, rgb, &e), &e);
    const float *first = (const float *)codes;
    double red =
        0.298 * (double)first[0] + 0.187 * (double)first[1] - 0.158 * (double)first[2] - 0.184 * (double)first[3];
    assert_true(fabs(255 * fmin(fmax(red / 2 + 0.5, 0), 1) - rgb[0]) < 1);
    assert_memory_equal(rgb, rgb + 3, 3);
    free(rgb);
    o.first = 0;
    o.count = 2;
    o.progress = NULL;
    o.preview = false;
    draw(m, &o, two);
    assert_memory_equal(two + cells, codes, bytes);
    assert_memory_not_equal(two, codes, bytes);
    limn_generation *g =
        limn_generation_open(m, &(limn_generation_options){.size = sizeof(limn_generation_options), .rows = 4}, &e);
    const limn_request plain = {.size = sizeof plain, .prompt = "a bowl", .guidance = 1, .steps = 2};
    const limn_request same = {
        .size = sizeof same, .prompt = o.prompt, .seed = 7, .count = 2, .steps = 3, .sampler = "euler_a"};
    good(g && limn_generation_add(g, &plain, NULL, &e) && limn_generation_add(g, &same, NULL, &e), &e);
    while (left > 0) {
        good(limn_generation_step(g, &left, &e), &e);
        for (; limn_generation_take(g, &id, &number, taken); n++)
            if (id == 2)
                assert_memory_equal(taken, two + (int64_t)number * cells, bytes);
    }
    assert_int_equal(n, 3);
    limn_generation_free(&g);
    free(codes);
}

static void check_refused(model *m, const limn_generate_options *o, const char *part)
{
    err e = {0};
    int32_t codes[1];
    refused_with(limn_generate(m, o, codes, &e), &e, part, part, NULL);
}

/* ---- image prompts ---------------------------------------------------------------------------------------------- */

static uint8_t *read_bytes(golden_npz *f, const char *name)
{
    npy a = golden_npz_read(f, name, DTYPE_I32);
    uint8_t *bytes = malloc((size_t)a.count);
    for (int64_t i = 0; i < a.count; i++)
        bytes[i] = (uint8_t)((const int32_t *)a.data)[i];
    npy_release(&a);
    return bytes;
}

/* A picture that is changed everywhere, or where the mask says, by a model for that or by any. */
static void check_edit(model *m, golden_npz *f, const json_t *c, const uint8_t *image, const uint8_t *mask)
{
    err e = {0};
    char whole[64];
    const char *name = json_string_value(json_object_get(c, "name")), *behind = strchr(name, '_') + 1;
    int cells = m->info.grid_width * m->info.grid_height;
    npy want = array_of(f, name, "final_latents"), noise = array_of(f, name, "noise");
    snprintf(whole, sizeof whole, "%s_pixels_u8", name);
    uint8_t *rgb = read_bytes(f, whole), *have = calloc(3, 64 * 64);
    int32_t *codes = calloc((size_t)cells, sizeof *codes);
    limn_generate_options o = limn_generate_defaults(m);
    turn(&want);
    turn(&noise);
    sampler_of(behind, &o.sampler, &o.spacing);
    if (!strncmp(behind, "dpmpp", 5))
        o.sampler = strstr(behind, "karras") ? "dpmpp_2m_karras" : "dpmpp_2m";
    o.prompt = text_at(json_object_get(c, "prompt"), 0);
    o.steps = (int)json_integer_value(json_object_get(c, "num_inference_steps"));
    o.guidance = (float)json_number_value(json_object_get(c, "guidance_scale"));
    o.strength = (float)json_number_value(json_object_get(c, "strength"));
    o.image = image;
    o.paint = strstr(name, "inpaint") ? mask : NULL;
    o.noise = noise.data;
    o.n_noise = (int)noise.shape[0];
    good(limn_generate(m, &o, codes, &e), &e);
    close_to((const float *)codes, want.data, cells, LATENTS, name);
    good(limn_decode_pixels(m, codes, 1, LIMN_U8, have, NULL, &e), &e);
    for (int k = 0; k < 3 * 64 * 64; k++)
        if (abs(have[k] - rgb[k]) > 1)
            fail_msg("%s: number %d of the pixels is %d, not %d", name, k, have[k], rgb[k]);
    free(rgb);
    free(have);
    free(codes);
    npy_release(&want);
    npy_release(&noise);
}

static void check_edits_refused(model *plain, model *painter, const uint8_t *image, const uint8_t *mask)
{
    limn_generate_options o = limn_generate_defaults(painter);
    o.prompt = "a";
    check_refused(painter, &o, "it paints parts of pictures");
    o.image = image;
    check_refused(painter, &o, "`paint`");
    o = limn_generate_defaults(plain);
    o.prompt = "a";
    o.paint = mask;
    check_refused(plain, &o, "`paint`");
    o.paint = NULL;
    o.strength = 0.5f;
    check_refused(plain, &o, "no picture");
    o.image = image;
    o.strength = 2;
    check_refused(plain, &o, "outside 0 to 1");
    o.strength = 0;
    o.kept_codes = (const int32_t[1]){0};
    check_refused(plain, &o, "keeps parts of pictures");
}

static void test_edits(void **state)
{
    (void)state;
    char paths[2][512];
    golden_npz f;
    convert("sd15", paths[0]);
    convert("sd15_inpaint", paths[1]);
    model *models[] = {open_sized(paths[0], 64, 64), open_sized(paths[1], 64, 64)};
    golden_npz_open(&f, FOLDER "sd15_inpaint/reference.npz");
    err e = {0};
    good(model_load(models[1], USE_TRANSFORMER | USE_TEXT, &e), &e);
    check_unet(models[1], &f, "unet");
    check_unet(models[1], &f, "unet_wide");
    uint8_t *image = read_bytes(&f, "image"), *mask = read_bytes(&f, "mask");
    json_t *root = json_load_file(FOLDER "sd15_inpaint/cases.json", 0, NULL);
    assert_true(json_array_size(root) > 0);
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *c = json_array_get(root, i);
        const bool painter = strstr(json_string_value(json_object_get(c, "name")), "inpaint9");
        check_edit(models[painter], &f, c, image, mask);
    }
    check_edits_refused(models[0], models[1], image, mask);
    json_decref(root);
    free(image);
    free(mask);
    golden_npz_release(&f);
    limn_model_free(&models[0]);
    limn_model_free(&models[1]);
}

static void test_generation(void **state)
{
    (void)state;
    char path[512];
    err e = {0};
    convert("sd_turbo", path);
    model *m = open_sized(path, 0, 0);
    int cells = m->info.grid_width * m->info.grid_height;
    assert_true(m->info.latent_channels == 4 && m->info.size_step == 4 && m->info.default_steps == 1);
    assert_string_equal(m->info.default_sampler, "euler");
    assert_string_equal(m->info.default_spacing, "trailing");
    check_same(m, cells);
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a";
    o.sampler = "heun";
    check_refused(m, &o, "heun");
    o.sampler = "lcm";
    o.steps = 60;
    check_refused(m, &o, "outside 1 to 50");
    o.sampler = NULL;
    o.steps = 0;
    o.top_k = 3;
    check_refused(m, &o, "`top_k`");
    o.top_k = 0;
    o.noise = (const float[64 * 4]){0};
    o.n_noise = 1;
    o.sampler = "euler_a";
    o.steps = 2;
    check_refused(m, &o, "these steps read 2");
    limn_score s;
    int32_t zero[256] = {0};
    refused_with(limn_score_codes(m, zero, 1, zero, NULL, &s, &e), &e, "latents", "a score", NULL);
    limn_model_free(&m);
    e = (err){0};
    const limn_model_options odd = {.size = sizeof odd, .width = 30, .height = 32};
    m = limn_model_open_with(dev, path, &odd, &e);
    refused_with(m != NULL, &e, "multiples of 4", "a size", NULL);
}

/* As the best known models are published: beside the folders the same in a single file, which tells less. */
static void test_published(void **state)
{
    (void)state;
    char plain[512], both[512], link_path[600];
    err e = {0};
    file_map a = {0}, b = {0};
    convert("sd15", plain);
    const char *folder = whole_folder("sd15");
    snprintf(link_path, sizeof link_path, "%s/model_index.json", folder);
    assert_true(symlink(FOLDER "sd15/model_index.json", link_path) == 0);
    snprintf(link_path, sizeof link_path, "%s/v1-5-pruned-emaonly.safetensors", folder);
    assert_true(symlink(FOLDER "sd15_single/sd15_single.safetensors", link_path) == 0);
    snprintf(both, sizeof both, "%s", support_path("published.gguf"));
    const import_request q = {.inputs = &folder, .n_inputs = 1, .output = both};
    good(import_convert(&q, &e), &e);
    good(file_map_open(&a, plain, &e) && file_map_open(&b, both, &e), &e);
    assert_true(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    file_map_release(&a);
    file_map_release(&b);
    assert_true(unlink(link_path) == 0);
    snprintf(link_path, sizeof link_path, "%s/model_index.json", folder);
    assert_true(unlink(link_path) == 0);
}

/* Latents of odd sides: what is halved is rounded up, and comes back; whole and streamed. */
static void test_odd(void **state)
{
    (void)state;
    char path[512];
    convert("sd21", path);
    model *m = open_sized(path, 36, 20);
    int cells = m->info.grid_width * m->info.grid_height;
    int32_t *codes = calloc((size_t)cells, sizeof *codes);
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a";
    o.steps = 2;
    draw(m, &o, codes);
    for (int i = 0; i < cells; i++)
        assert_true(isfinite(((const float *)codes)[i]));
    /* the same of layers that are streamed, and whose pages of the file leave memory */
    int32_t *again = calloc((size_t)cells, sizeof *again);
    const uint64_t before = dev->memory_limit;
    assert_true(limn_model_rest(m, NULL));
    dev->memory_limit = m->planned - 1;
    draw(m, &o, again);
    dev->memory_limit = before;
    assert_non_null(m->params.stream);
    assert_memory_equal(again, codes, (size_t)cells * sizeof *codes);
    free(again);
    free(codes);
    limn_model_free(&m);
}

static void test_others(void **state)
{
    (void)state;
    model *m = support_tiny(dev);
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a";
    o.sampler = "ddim";
    check_refused(m, &o, "diffusion models");
    limn_model_free(&m);
}

int main(int argc, char **argv)
{
    static char sd15[] = "sd15", sd21[] = "sd21", turbo[] = "sd_turbo", lcm[] = "lcm", deep[] = "deep",
                small[] = "small", one[] = "sd15_single", two[] = "sd21_single";
    const struct CMUnitTest tests[] = {{"sd15", test_instance, NULL, NULL, sd15},
                                       {"sd21", test_instance, NULL, NULL, sd21},
                                       {"sd_turbo", test_instance, NULL, NULL, turbo},
                                       {"lcm", test_instance, NULL, NULL, lcm},
                                       {"sd15_single", test_instance, NULL, NULL, one},
                                       {"sd21_single", test_instance, NULL, NULL, two},
                                       {"deep", test_kind, NULL, NULL, deep},
                                       {"small", test_kind, NULL, NULL, small},
                                       TEST(test_edits),
                                       TEST(test_generation),
                                       TEST(test_odd),
                                       TEST(test_published),
                                       TEST(test_others)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    int failed = _cmocka_run_group_tests("diffusion", tests, COUNT(tests), NULL, NULL);
    device_free(dev);
    return failed;
}
