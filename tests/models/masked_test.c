/* aMUSEd's golden instances, tiny models with random weights in their diffusers folders (data/golden/README.md),
 * through limn convert: tokens, CLIP's states, logits of partly masked cells, steps with given noise, pictures as their
 * authors' code has them; and what generation does with models that fill all cells at once. usage: masked_test [PATTERN
 * | FOLDER]     the tests whose names match; or of another instance.  With LIMN_TEST_TINY, for drivers whose launches
 * take long, the instances alone, one prompt of each, and the first two steps and the last */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "convert/convert.h"
#include "generate/masked.h"
#include "golden_npz.h"
#include "io/safetensors.h"
#include "models/transformers/masked.h"
#include "support.h"

#define LOGITS 1e-5 /* of their range */
#define PIXELS 2e-5

enum { PROMPTS = 2 };

static device *dev;
static bool tiny;

/* The array "p0_NAME" of prompt p; without one (p < 0) "NAME". */
static npy read_array(golden_npz *f, int p, const char *name, dtype type)
{
    char whole[64];
    snprintf(whole, sizeof whole, p < 0 ? "%.0d%s" : "p%d_%s", p < 0 ? 0 : p, name);
    return golden_npz_read(f, whole, type);
}

static void same_codes(const int32_t *have, const int32_t *want, int64_t n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (have[i] != want[i])
            fail_msg("%s: code %d is %d, not %d", what, i, have[i], want[i]);
}

/* Within LOGITS of the range of want. */
static void close_to(const float *have, const float *want, int64_t n, const char *what)
{
    double most = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)have[i] - want[i]));
        low = fmin(low, want[i]);
        high = fmax(high, want[i]);
    }
    if (!(most <= LOGITS * (high - low)))
        fail_msg("%s differ by %g of their range", what, most / (high - low));
}

/* The text of a case. */
static char *text_of(const char *folder, size_t i, json_t **root)
{
    char path[300];
    snprintf(path, sizeof path, "%s/tokenizer_cases.json", folder);
    *root = json_load_file(path, 0, NULL);
    const char *text = json_string_value(json_object_get(json_array_get(*root, i), "text"));
    assert_non_null(text);
    return strdup(text);
}

static void check_tokens(model *m, const char *folder)
{
    json_t *root;
    free(text_of(folder, 0, &root));
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *entry = json_array_get(root, i), *want = json_object_get(entry, "ids");
        const char *text = json_string_value(json_object_get(entry, "text"));
        err e = {0};
        int32_t *ids = NULL;
        size_t n = 0;
        good(limn_tokenize(m, text, &ids, &n, &e), &e);
        if (n != json_array_size(want))
            fail_msg("\"%s\": %zu ids, not %zu", text, n, json_array_size(want));
        for (size_t k = 0; k < n; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(want, k)));
        free(ids);
    }
    json_decref(root);
}

/* The row of a prompt's array of ids. */
static void check_row(model *m, const char *text, const npy *want)
{
    err e = {0};
    const transformer *d = m->transformer;
    int32_t *ids = NULL, *row = calloc((size_t)d->text_length, sizeof *row);
    size_t n = 0, used = 0;
    assert_int_equal(want->count, d->text_length);
    good(limn_tokenize(m, text, &ids, &n, &e) && d->kind->text_row(d, ids, n, row, &used, &e), &e);
    assert_int_equal(used, n);
    same_codes(row, want->data, want->count, "ids");
    good(d->kind->text_row(d, want->data, (size_t)want->count, row, &used, &e), &e); /* padded */
    same_codes(row, want->data, want->count, "padded ids");
    free(ids);
    free(row);
}

/* CLIP's states and projection of a row. */
static void check_text(model *m, golden_npz *f, const char *prefix, const npy *ids)
{
    err e = {0};
    char name[64];
    const clip *c = &((const masked *)m->transformer)->text;
    int32_t end = 0;
    while (((const int32_t *)ids->data)[end] != c->end_id)
        end++;
    snprintf(name, sizeof name, "%shidden", prefix);
    npy hidden = golden_npz_read(f, name, DTYPE_F32);
    snprintf(name, sizeof name, "%spooled", prefix);
    npy pooled = golden_npz_read(f, name, DTYPE_F32);
    float *have = calloc((size_t)hidden.count, sizeof *have);
    run *r = run_new(dev, &e);
    tensor projected, states = clip_text_states(
                          r, c, run_upload(r, DTYPE_I32, 2, (int64_t[]){1, ids->count}, ids->data), &end, &projected);
    run_read(r, states, have);
    good(run_finish(r, &e), &e);
    close_to(have, hidden.data, hidden.count, "CLIP's states");
    run_read(r, projected, have);
    good(run_finish(r, &e), &e);
    close_to(have, pooled.data, pooled.count, "pooled states");
    run_free(r);
    free(have);
    npy_release(&hidden);
    npy_release(&pooled);
}

/* want[2,cells,codes]: without and with the prompt, of partly masked codes. */
static void check_logits(model *m, golden_npz *f, int p, const npy *ids, const npy *null)
{
    err e = {0};
    npy codes = read_array(f, p, "partly_masked", DTYPE_I32), want = read_array(f, p, "partly_logits", DTYPE_F32);
    int64_t each = want.count / 2;
    float *have = calloc((size_t)each, sizeof *have);
    int32_t *c = codes.data, known = 0;
    limn_score s;
    for (int i = 0; i < codes.count; i++) {
        c[i] = c[i] == m->transformer->mask_code ? -1 : c[i];
        known += c[i] >= 0;
    }
    for (int with = 0; with < 2; with++) {
        const npy *text = with ? ids : null;
        good(limn_score_codes(m, text->data, (size_t)text->count, c, have, &s, &e), &e);
        close_to(have, (const float *)want.data + with * each, each, with ? "logits" : "logits without the prompt");
        assert_int_equal(s.image_tokens, known);
        assert_true(s.image_log_likelihood < 0);
    }
    free(have);
    npy_release(&codes);
    npy_release(&want);
}

/* All steps, with the noise that is given. */
static void check_steps(model *m, golden_npz *f, int p, const npy *ids, const npy *null)
{
    err e = {0};
    const transformer *d = m->transformer;
    npy want = read_array(f, p, "steps", DTYPE_I32), noise = read_array(f, p, "gumbel_tokens", DTYPE_F32);
    npy of_cells = read_array(f, p, "gumbel_mask", DTYPE_F32), first = read_array(f, p, "step0_guided", DTYPE_F32);
    npy temperatures = read_array(f, -1, "temperatures", DTYPE_F32);
    int steps = (int)want.shape[0], cells = d->grid_width * d->grid_height, k = d->codes;
    int32_t *codes = calloc((size_t)cells, sizeof *codes);
    float *logits = calloc((size_t)(cells * k), sizeof *logits);
    run *r = run_new(dev, &e);
    batch b;
    good(batch_open(&b, d, r, 2, d->text_length, DTYPE_F32, 1, &e), &e);
    b.row[0] = (batch_row){.used = true, .text = ids->data, .length = d->text_length};
    b.row[1] = (batch_row){.used = true, .text = null->data, .length = d->text_length};
    masked_begin(&b);
    for (int i = 0; i < cells; i++)
        codes[i] = d->mask_code;
    tensor row = tensor_rows(b.s.codes, 0, 1);
    run_write(r, row, codes);
    for (int i = 0; i < steps; i++) {
        if (tiny && i > 1 && i < steps - 1) {
            memcpy(codes, (const int32_t *)want.data + i * cells, (size_t)cells * sizeof *codes);
            run_write(r, row, codes);
            continue;
        }
        float t = masked_temperature(m->info.default_temperature, i, steps);
        assert_true(fabsf(t - ((const float *)temperatures.data)[i]) < 1e-6f);
        run_reset(r);
        tensor x = masked_logits(&b, &(sampling){.guidance = m->info.default_guidance, .row = 0, .other = 1});
        if (i == 0) {
            run_read(r, x, logits);
            good(run_finish(r, &e), &e);
            close_to(logits, first.data, first.count, "guided logits");
        }
        const masked_step step = {
            .noise = run_upload(r, DTYPE_F32, 2, (int64_t[]){cells, k}, (const float *)noise.data + i * cells * k),
            .noise_of_cells = run_upload(r, DTYPE_F32, 1, (int64_t[]){cells}, (const float *)of_cells.data + i * cells),
            .temperature = t,
            .mask = d->mask_code,
            .wanted = masked_wanted(cells, i, steps, 1)};
        op_fill_masked(r, x, row, &step);
        run_read(r, row, codes);
        good(run_finish(r, &e), &e);
        same_codes(codes, (const int32_t *)want.data + i * cells, cells, "step");
    }
    batch_release(&b);
    run_free(r);
    free(codes);
    free(logits);
    npy_release(&want);
    npy_release(&noise);
    npy_release(&of_cells);
    npy_release(&first);
    npy_release(&temperatures);
}

/* want[1,h,w,3], clipped to 0..1 */
static void check_pixels(model *m, const int32_t *codes, const npy *want)
{
    err e = {0};
    float *have = calloc((size_t)want->count, sizeof *have);
    assert_int_equal(m->info.height, want->shape[1]);
    assert_int_equal(m->info.width, want->shape[2]);
    good(limn_decode_pixels(m, codes, 1, LIMN_F32, have, NULL, &e), &e);
    for (int i = 0; i < want->count; i++) {
        float reference = fminf(fmaxf(((const float *)want->data)[i], 0), 1);
        if (!(fabsf(fminf(fmaxf(have[i], 0), 1) - reference) <= (float)PIXELS))
            fail_msg("pixel %d is %g, not %g", i, (double)have[i], (double)reference);
    }
    free(have);
}

static void check_codec(model *m, golden_npz *f, int p)
{
    npy steps = read_array(f, p, "steps", DTYPE_I32), pixels = read_array(f, p, "pixels", DTYPE_F32);
    npy given = read_array(f, p, "given", DTYPE_I32), raw = read_array(f, p, "given_raw", DTYPE_F32);
    check_pixels(m, (const int32_t *)steps.data + steps.count - given.count, &pixels);
    check_pixels(m, given.data, &raw);
    npy_release(&steps);
    npy_release(&pixels);
    npy_release(&given);
    npy_release(&raw);
}

static void check_encoder(model *m, golden_npz *f)
{
    err e = {0};
    npy image = read_array(f, -1, "enc_input", DTYPE_F32), want = read_array(f, -1, "enc_codes", DTYPE_I32);
    int32_t *codes = calloc((size_t)want.count, sizeof *codes);
    run *r = run_new(dev, &e); /* limn_encode_pixels rounds to bytes */
    good(model_load(m, USE_ENCODER, &e), &e);
    tensor x = run_upload(r, DTYPE_F32, 4, image.shape, image.data);
    assert_true(m->codec.input.scale == 1 && m->codec.input.shift == 0);
    run_read(r, op_argmax(r, m->codec.kind->encode(r, &m->codec, x)), codes);
    good(run_finish(r, &e), &e);
    run_free(r);
    same_codes(codes, want.data, want.count, "encoded");
    free(codes);
    npy_release(&image);
    npy_release(&want);
}

/* ---- generation ------------------------------------------------------------------------------------------------ */

typedef struct watched {
    model *m;
    int calls, last, open;
} watched;

/* What is known grows with each step. */
static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    watched *w = context;
    int cells = w->m->info.grid_width * w->m->info.grid_height, open = 0;
    assert_int_equal(total, cells);
    assert_true(done > w->last && done <= total);
    for (int i = 0; i < cells; i++) {
        assert_true(codes[i] >= -1 && codes[i] < w->m->info.codes);
        open += codes[i] < 0;
    }
    assert_true(open < w->open && (open == 0) == (done == total));
    w->last = done;
    w->open = open;
    w->calls++;
    return true;
}

static void draw(model *m, const limn_generate_options *o, int32_t *codes)
{
    err e = {0};
    good(limn_generate(m, o, codes, &e), &e);
    for (int i = 0; i < m->info.grid_width * m->info.grid_height * (o->count ? o->count : 1); i++)
        assert_true(codes[i] >= 0 && codes[i] < m->info.codes);
}

/* Requests of several kinds together are what each is alone, whatever else is at work. */
static void check_together(model *m)
{
    err e = {0};
    size_t cells = (size_t)(m->info.grid_width * m->info.grid_height);
    const limn_request requests[] = {{.prompt = "a red apple", .seed = 5, .count = 2},
                                     {.prompt = "a red cat", .seed = 6, .guidance = 1, .steps = 3},
                                     {.prompt = "a red cat", .negative = "blue", .seed = 5, .first = 1, .steps = 5},
                                     {.prompt = "a red apple", .greedy = true}};
    enum { REQUESTS = sizeof requests / sizeof *requests };
    uint64_t ids[REQUESTS], id;
    int32_t *codes = calloc(cells, sizeof *codes), *alone = calloc(cells, sizeof *alone);
    int left = 1, taken = 0, number, steps = 0;
    limn_generation *g = limn_generation_open(m, &(limn_generation_options){.rows = 5}, &e);
    good(g != NULL, &e);
    for (int i = 0; i < REQUESTS; i++)
        good(limn_generation_add(g, &requests[i], &ids[i], &e), &e);
    for (; left > 0; steps++) {
        good(limn_generation_step(g, &left, &e), &e);
        while (limn_generation_take(g, &id, &number, codes)) {
            int i = 0;
            while (ids[i] != id)
                i++;
            limn_generate_options o = limn_generate_defaults(m);
            o.prompt = requests[i].prompt;
            o.negative = requests[i].negative;
            o.seed = requests[i].seed;
            o.first = number;
            o.steps = requests[i].steps;
            o.guidance = requests[i].guidance > 0 ? requests[i].guidance : o.guidance;
            o.temperature = requests[i].greedy ? 0 : o.temperature;
            draw(m, &o, alone);
            same_codes(codes, alone, (int64_t)cells, "together");
            taken++;
        }
    }
    assert_int_equal(taken, 5);
    assert_true(steps >= m->info.default_steps && steps < 3 * m->info.default_steps);
    limn_generation_free(&g);
    free(codes);
    free(alone);
}

static void check_generation(model *m)
{
    err e = {0};
    size_t cells = (size_t)(m->info.grid_width * m->info.grid_height), same = 0;
    int32_t *codes = calloc(4 * cells, sizeof *codes);
    uint8_t *keep = calloc(cells, 1);
    limn_generate_options o = limn_generate_defaults(m);
    assert_true(o.guidance == 10 && o.temperature == 2 && m->info.default_steps == 12);
    watched w = {.m = m, .open = (int)cells};
    o.prompt = "a red apple on a blue table";
    o.seed = 3;
    o.progress = on_progress;
    o.context = &w;
    o.preview = true;
    draw(m, &o, codes);
    assert_int_equal(w.calls, 12);
    o.progress = NULL;
    o.preview = false;
    o.count = 2;
    draw(m, &o, codes + cells);
    same_codes(codes + cells, codes, (int64_t)cells, "the first of two");
    for (size_t i = 0; i < cells; i++)
        same += codes[i] == codes[2 * cells + i];
    assert_true(same < cells);

    /* kept cells stay; all kept: nothing changes */
    o.count = 1;
    for (size_t i = 0; i < cells; i++)
        keep[i] = i % 3 == 0;
    o.keep = keep;
    o.kept_codes = codes + 2 * cells;
    o.temperature = 50;
    draw(m, &o, codes + 3 * cells);
    for (size_t i = 0; i < cells; i += 3)
        assert_int_equal(codes[3 * cells + i], codes[2 * cells + i]);
    memset(keep, 1, cells);
    draw(m, &o, codes + 3 * cells);
    same_codes(codes + 3 * cells, codes + 2 * cells, (int64_t)cells, "kept");

    /* the less strength, the less changes */
    o.temperature = 2;
    o.keep = NULL;
    size_t before = 0;
    for (int i = 0; i < 3; i++, before = same) {
        o.strength = i == 0 ? 1 : i == 1 ? 0.5f : 0.1f;
        draw(m, &o, codes + 3 * cells);
        same = 0;
        for (size_t k = 0; k < cells; k++)
            same += codes[3 * cells + k] == codes[2 * cells + k];
        assert_true(i == 0 || same > before);
    }
    o.strength = 0;
    refused_with(limn_generate(m, &o, codes, &e), &e, "`strength`", "codes without strength", NULL);
    o.kept_codes = NULL;
    o.strength = 0.5f;
    e = (err){0};
    refused_with(limn_generate(m, &o, codes, &e), &e, "no image prompt", "strength", NULL);
    o.strength = 0;
    o.top_k = 5;
    e = (err){0};
    refused_with(limn_generate(m, &o, codes, &e), &e, "`top_k`", "top-k", NULL);
    free(codes);
    free(keep);
}

/* ---- instances ------------------------------------------------------------------------------------------------- */

static const char *const instances[] = {TEST_DATA "/golden/amused_256", TEST_DATA "/golden/amused_512"};
enum { INSTANCES = sizeof instances / sizeof *instances };

static void check_prompt(model *m, golden_npz *f, const char *folder, int p)
{
    json_t *root;
    char *text = text_of(folder, (size_t)p, &root);
    npy ids = read_array(f, p, "ids", DTYPE_I32), null = read_array(f, -1, "null_ids", DTYPE_I32);
    const char prefix[] = {'p', (char)('0' + p), '_', 0};
    check_row(m, text, &ids);
    check_row(m, "", &null);
    check_text(m, f, prefix, &ids);
    check_text(m, f, "null_", &null);
    check_logits(m, f, p, &ids, &null);
    check_steps(m, f, p, &ids, &null);
    check_codec(m, f, p);
    npy_release(&ids);
    npy_release(&null);
    free(text);
    json_decref(root);
}

static model *convert(const char *folder, const char *name)
{
    err e = {0};
    const import_request q = {.inputs = &folder, .n_inputs = 1, .output = support_path(name)};
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, support_path(name), &e);
    good(m != NULL, &e);
    return m;
}

static void test_instance(void **state)
{
    const char *folder = *state;
    char path[300];
    golden_npz f;
    model *m = convert(folder, "model.gguf");
    err e = {0};
    snprintf(path, sizeof path, "%s/io.npz", folder);
    golden_npz_open(&f, path);
    check_tokens(m, folder);
    good(model_load(m, USE_TRANSFORMER | USE_TEXT, &e), &e);
    for (int p = 0; p < (tiny ? 1 : PROMPTS); p++)
        check_prompt(m, &f, folder, p);
    check_encoder(m, &f);
    golden_npz_release(&f);
    limn_model_free(&m);
}

static void test_generation(void **state)
{
    (void)state;
    model *m = convert(instances[0], "generation.gguf");
    check_generation(m);
    check_together(m);
    limn_model_free(&m);
}

/* The schedule as the authors compute it: doubles would give 128. */
static void test_schedule(void **state)
{
    (void)state;
    static const int wanted[] = {253, 247, 236, 221, 203, 181, 155, 127, 97, 66, 33, -1};
    for (int i = 0; i < 12; i++)
        assert_int_equal(masked_wanted(256, i, 12, 1), wanted[i]);
}

static void test_others(void **state)
{
    (void)state;
    err e = {0};
    model *m = support_tiny(dev);
    int32_t codes[64];
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a";
    o.steps = 4;
    assert_int_equal(m->info.default_steps, 0);
    refused_with(limn_generate(m, &o, codes, &e), &e, "one code after the other", "steps", NULL);
    limn_model_free(&m);
}

/* ---- training -------------------------------------------------------------------------------------------------- */

typedef struct losses {
    double first, last;
    int n;
} losses;

/* The mean of the first and of the last ten steps: how much is masked differs. */
static bool on_step(void *context, const limn_train_progress *p)
{
    losses *l = context;
    if (p->phase != LIMN_TRAIN_STEPPING)
        return true;
    l->n++;
    l->first += p->done <= 10 ? p->loss / 10 : 0;
    l->last += p->done > p->total - 10 ? p->loss / 10 : 0;
    return true;
}

/* CLIP stays as it is; the rest learns what is masked. */
static void test_training(void **state)
{
    (void)state;
    err e = {0};
    losses l = {0};
    if (getenv("LIMN_TEST_BRIEF")) /* kernels of the backward pass: gradient_kinds_test */
        return;
    model *m = convert(instances[0], "init.gguf");
    const char *data = support_path("data"), *name = "transformer.text.block.0.qkv.weight";
    support_pictures(data);
    const limn_train_options q = {.size = sizeof q,
                                  .data = &data,
                                  .n_data = 1,
                                  .output = support_path("tuned.gguf"),
                                  .init = support_path("init.gguf"),
                                  .steps = 120,
                                  .save_every = -1,
                                  .batch = 4,
                                  .accumulate = 2,
                                  .warm_up = -1,
                                  .lr = 3e-3f,
                                  .progress = on_step,
                                  .context = &l};
    good(limn_train_dalle(dev, &q, NULL, &e), &e);
    assert_int_equal(l.n, 120);
    if (!(l.last < 0.7 * l.first))
        fail_msg("the loss went from %g to %g", l.first, l.last);
    model *tuned = limn_model_open(dev, support_path("tuned.gguf"), &e);
    good(tuned != NULL, &e);
    const file_tensor *a = gguf_find(m->gguf, name), *b = gguf_find(tuned->gguf, name);
    float before[64], after[64];
    file_tensor_read(a, 0, 64, before);
    file_tensor_read(b, 0, 64, after);
    assert_memory_equal(before, after, sizeof before);
    limn_generate_options o = limn_generate_defaults(tuned);
    int32_t codes[64];
    o.prompt = "red on blue";
    draw(tuned, &o, codes);
    limn_model_free(&tuned);
    limn_model_free(&m);
}

/* Adapters are of its own layers, not of CLIP's, and learn. */
static void test_adapters(void **state)
{
    (void)state;
    err e = {0};
    losses l = {0};
    char path[600];
    if (getenv("LIMN_TEST_BRIEF"))
        return;
    limn_model_free(&(limn_model *){convert(instances[0], "init.gguf")});
    const char *data = support_path("data"), *style = support_path("style");
    support_pictures(data);
    const limn_train_options q = {.size = sizeof q,
                                  .data = &data,
                                  .n_data = 1,
                                  .output = style,
                                  .init = support_path("init.gguf"),
                                  .steps = 120,
                                  .save_every = -1,
                                  .batch = 8,
                                  .warm_up = -1,
                                  .lr = 2e-2f,
                                  .progress = on_step,
                                  .context = &l};
    good(
        limn_train_dalle(dev, &q, &(limn_train_dalle_options){.size = sizeof(limn_train_dalle_options), .lora = 4}, &e),
        &e);
    if (!(l.last < 0.8 * l.first))
        fail_msg("the loss went from %g to %g", l.first, l.last);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", style);
    file_map map = {0};
    good(file_map_open(&map, path, &e), &e);
    safetensors *s = safetensors_open(map.data, map.size, path, &e);
    good(s != NULL, &e);
    assert_non_null(safetensors_find(s, "base_model.model.transformer.block.0.cross.q.lora_A.weight"));
    assert_null(safetensors_find(s, "base_model.model.transformer.text.block.0.qkv.lora_A.weight"));
    safetensors_free(s);
    file_map_release(&map);
}

int main(int argc, char **argv)
{
    const bool other = argc > 1 && strchr(argv[1], '/');
    if (argc > 1 && !other)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    const struct CMUnitTest tests[] = {
        {"amused_256", test_instance, NULL, NULL, (void *)(uintptr_t)(other ? argv[1] : instances[0])},
        {"amused_512", test_instance, NULL, NULL, (void *)(uintptr_t)instances[1]},
        TEST(test_generation),
        TEST(test_schedule),
        TEST(test_others),
        TEST(test_training),
        TEST(test_adapters),
    };
    tiny = getenv("LIMN_TEST_TINY");
    int failed = _cmocka_run_group_tests("masked", tests, other ? 1 : tiny ? INSTANCES : COUNT(tests), NULL, NULL);
    device_free(dev);
    return failed;
}
