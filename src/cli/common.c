/* Device, model, pictures and arrays: what the commands that run a model share. */
#include "cli/common.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/ranks.h"
#include "cli/guard.h"
#include "cli/latents.h"
#include "cli/model_input.h"
#include "cli/probe.h"
#include "cli/watchdog.h"

static const char profile_path[] = "limn-trace.json";

/* ---- device and model ---------------------------------------------------------------------------------------- */

const char *command_device_spec(const options *o)
{
    const char *environment = getenv("LIMN_DEVICE");
    return options_text(o, "device", environment && *environment ? environment : "auto");
}

limn_device *command_device(const options *o, err *e)
{
    return command_device_at(o, command_device_spec(o), e);
}

limn_device *command_device_at(const options *o, const char *spec, err *e)
{
    if (options_given(o, "profile") && !output_check("profile", profile_path, NULL, e))
        return NULL;
    limn_device_options d = {
        .memory_limit = options_unsigned(o, "mem-limit", 0),
        .no_cache = options_given(o, "no-cache"),
        .profile = options_given(o, "profile"),
    };
    if (!probe_check(false, e))
        return NULL;
    watchdog_start();
    guard_loading(true);
    limn_device *device = limn_device_open(spec, &d, e);
    guard_loading(false);
    if (device) {
        const limn_device_info *i = limn_device_get_info(device);
        say(strcmp(spec, "auto") == 0 || ranks_size() > 1 ? LOG_WARNING : LOG_INFO, "device %d.%d, %s: %s", i->platform,
            i->device, i->name, limn_device_reason(device));
    }
    return device;
}

/* "FILE" or "FILE:SCALE": a new string for the path. */
static bool read_lora(const char *text, limn_adapter *a, err *e)
{
    const char *colon = strrchr(text, ':');
    double scale = 1;
    bool whole = !colon || access(text, F_OK) == 0 || !parse_number(colon + 1, &scale);
    a->path = strndup(text, whole ? strlen(text) : (size_t)(colon - text));
    a->scale = whole ? 1 : (float)scale;
    return a->path ? access(a->path, R_OK) == 0 || err_set(e, ERR_FAILED, "--lora: %s: %s", a->path, strerror(errno))
                   : err_no_memory(e, "--lora", strlen(text));
}

/* "FILE" or "FILE:WORD": a new string for the path, behind which the word is in it. */
static bool read_embedding(const char *text, limn_embedding *a, err *e)
{
    char *path = strdup(text), *colon = path ? strrchr(path, ':') : NULL;
    a->path = path;
    if (colon && access(path, F_OK) != 0) {
        *colon = 0;
        a->name = colon + 1;
    }
    return path ? access(path, R_OK) == 0 || err_set(e, ERR_FAILED, "--embedding: %s: %s", path, strerror(errno))
                : err_no_memory(e, "--embedding", strlen(text));
}

static size_t count_options(const options *o, const char *name)
{
    size_t n = 0;
    while (options_list(o, name, (int)n))
        n++;
    return n;
}

bool command_adapt(const options *o, limn_model_options *m, err *e)
{
    m->n_adapters = count_options(o, "lora");
    m->n_embeddings = count_options(o, "embedding");
    limn_adapter *list = array_new(m->n_adapters, sizeof *list, "adapters", e);
    limn_embedding *words = array_new(m->n_embeddings, sizeof *words, "embeddings", e);
    bool ok = list && words;
    for (size_t i = 0; ok && i < m->n_adapters; i++)
        ok = read_lora(options_list(o, "lora", (int)i), &list[i], e);
    for (size_t i = 0; ok && i < m->n_embeddings; i++)
        ok = read_embedding(options_list(o, "embedding", (int)i), &words[i], e);
    m->adapters = list;
    m->embeddings = words;
    return ok;
}

void command_adapt_release(limn_model_options *m)
{
    for (size_t i = 0; m->adapters && i < m->n_adapters; i++)
        free((char *)m->adapters[i].path);
    for (size_t i = 0; m->embeddings && i < m->n_embeddings; i++)
        free((char *)m->embeddings[i].path);
    free((limn_adapter *)m->adapters);
    free((limn_embedding *)m->embeddings);
    m->adapters = NULL;
    m->embeddings = NULL;
}

bool command_adapters(const options *o, char **all, err *e)
{
    os_text joined;
    const char *text;
    *all = NULL;
    if (!options_given(o, "lora"))
        return true;
    bool ok = os_text_open(&joined);
    for (int i = 0; ok && (text = options_list(o, "lora", i)); i++)
        fprintf(joined.stream, "%s%s", i ? ", " : "", text);
    *all = os_text_close(&joined);
    return *all || err_no_memory(e, "--lora", 4096);
}

bool command_size(const options *o, int *width, int *height, err *e)
{
    const char *text = options_text(o, "size", NULL);
    int end = 0;
    return !text ||
           (sscanf(text, "%5d%*1[xX]%5d%n", width, height, &end) == 2 && !text[end] && *width > 0 && *height > 0) ||
           err_set(e, ERR_USAGE, "--size %.64s: not of the form WIDTHxHEIGHT, such as 512x512", text);
}

/* The model of --model, for pictures of that size (0: its own), on the device, which is opened where it isn't. */
static bool open_model(opened_model *s, const options *o, int width, int height, err *e)
{
    limn_model_options m = {.size = sizeof m, .width = width, .height = height};
    const char *path = options_text(o, "model", NULL);
    char *own = NULL;
    if (!model_input(o, path, &own, e))
        return false;
    if (!s->device)
        s->device = command_device(o, e);
    s->model = s->device && command_adapt(o, &m, e) ? limn_model_open_with(s->device, own ? own : path, &m, e) : NULL;
    command_adapt_release(&m);
    free(own);
    if (!s->model)
        return false;
    s->info = limn_model_get_info(s->model);
    s->cells = s->info->grid_width * s->info->grid_height;
    return true;
}

bool command_resize(opened_model *s, const options *o, int width, int height, err *e)
{
    const int *own = s->info->sizes, step = s->info->size_step;
    if (step && width > 0 && height > 0 && width % step == 0 && height % step == 0 &&
        (s->info->width != width || s->info->height != height)) {
        limn_model_free(&s->model);
        return open_model(s, o, width, height, e);
    }
    for (int i = 0; i < s->info->n_sizes; i++)
        if (own[2 * i] == width && own[2 * i + 1] == height && (s->info->width != width || s->info->height != height)) {
            limn_model_free(&s->model);
            return open_model(s, o, width, height, e);
        }
    return true;
}

bool command_open(opened_model *s, const options *o, bool codec, bool transformer, err *e)
{
    const char *path = options_text(o, "model", NULL);
    int width = 0, height = 0;
    *s = (opened_model){0};
    interrupt_catch();
    if (!command_size(o, &width, &height, e) || !open_model(s, o, width, height, e))
        return false;
    if ((codec && !s->info->has_codec) || (transformer && !s->info->has_transformer))
        return err_set(e, ERR_FAILED, "%s: holds no %s, which limn %s needs (limn inspect shows what it holds)",
                       path ? path : "the built-in model", codec && !s->info->has_codec ? "image codec" : "transformer",
                       o->command->name);
    return interrupt_check(e);
}

bool command_profile(const opened_model *s, const options *o, err *e)
{
    limn_kernel_profile *rows = NULL;
    size_t n = 0;
    double total = 0;
    if (!options_given(o, "profile") || ranks_rank() > 0)
        return true;
    /* the file first: whoever reads the table may stop early */
    if (!limn_device_write_trace(s->device, profile_path, e) || !limn_device_profile(s->device, &rows, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        total += rows[i].seconds;
    fprintf(stderr, "%-36s %8s %11s %6s %9s %9s\n", "kernel", "calls", "total ms", "share", "GB/s", "GFLOP/s");
    for (size_t i = 0; i < n; i++) {
        double t = rows[i].seconds > 0 ? rows[i].seconds : INFINITY;
        fprintf(stderr, "%-36s %8llu %11.3f %5.1f%% %9.2f %9.2f\n", rows[i].name, (unsigned long long)rows[i].calls,
                1e3 * rows[i].seconds, total > 0 ? 100 * rows[i].seconds / total : 0, 1e-9 * rows[i].bytes / t,
                1e-9 * rows[i].flops / t);
    }
    fprintf(stderr, "%-36s %8s %11.3f\n", "all", "", 1e3 * total);
    free(rows);
    say_wrote(profile_path, "the timeline of the kernels (open it in chrome://tracing or ui.perfetto.dev)");
    return true;
}

void command_close(opened_model *s)
{
    limn_model_free(&s->model);
    limn_device_free(&s->device);
    *s = (opened_model){0};
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

void *array_new(size_t n, size_t size, const char *what, err *e)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        err_no_memory(e, what, (unsigned long long)n * size);
    return p;
}

/* ---- pictures ------------------------------------------------------------------------------------------------ */

bool picture_read(image *im, const char *path, const opened_model *s, err *e)
{
    image whole = {0};
    bool ok = input_check(path, e) && image_read(&whole, path, e) &&
              image_fit(im, &whole, s->info->encode_width, s->info->encode_height, e);
    image_release(&whole);
    return ok;
}

bool pictures_encode(const opened_model *s, const image *ims, int n, int32_t *codes, float *logits, err *e)
{
    size_t bytes = (size_t)s->info->encode_width * (size_t)s->info->encode_height * 3;
    size_t row = (size_t)s->info->codebook * (size_t)s->cells;
    uint8_t *rgb = array_new(BATCH, bytes, "pictures to encode", e);
    bool ok = rgb != NULL;
    progress bar;
    progress_begin(&bar, "encode", "pictures");
    for (int i = 0; ok && i < n; i += BATCH) {
        int m = n - i < BATCH ? n - i : BATCH;
        for (int k = 0; k < m; k++)
            memcpy(rgb + (size_t)k * bytes, ims[i + k].pixels, bytes);
        ok = limn_encode(s->model, rgb, m, codes + (size_t)i * (size_t)s->cells,
                         logits ? logits + (size_t)i * row : NULL, e) &&
             interrupt_check(e);
        progress_update(&bar, i + m, n);
    }
    progress_end(&bar);
    free(rgb);
    return ok;
}

bool pictures_decode(const opened_model *s, const int32_t *codes, int n, image *ims, float *pixels, err *e)
{
    int width = s->info->width, height = s->info->height;
    size_t picture = 3 * (size_t)width * (size_t)height;
    uint8_t *rgb = ims ? array_new(BATCH, picture, "decoded pictures", e) : NULL;
    bool ok = rgb || !ims;
    progress bar;
    progress_begin(&bar, "decode", "pictures");
    for (int i = 0; ok && i < n; i += BATCH) {
        int m = n - i < BATCH ? n - i : BATCH;
        const int32_t *some = codes + (size_t)i * (size_t)s->cells;
        ok = (ims ? limn_decode_pixels(s->model, some, m, LIMN_U8, rgb, NULL, e)
                  : limn_decode(s->model, some, m, pixels + (size_t)i * picture, e)) &&
             interrupt_check(e);
        for (int k = 0; ok && ims && k < m; k++)
            if ((ok = image_new(&ims[i + k], width, height, e)))
                memcpy(ims[i + k].pixels, rgb + (size_t)k * picture, picture);
        progress_update(&bar, i + m, n);
    }
    progress_end(&bar);
    free(rgb);
    return ok;
}

void pictures_free(image *ims, int n)
{
    for (int i = 0; ims && i < n; i++)
        image_release(&ims[i]);
    free(ims);
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

static void shape_text(const npy *a, char out[96])
{
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < a->nd; i++)
        n += snprintf(out + n, 96 - (size_t)n, "%s%lld", i ? ", " : "", (long long)a->shape[i]);
    snprintf(out + n, 96 - (size_t)n, "]");
}

bool codes_read(npy *a, int *n, const char *path, const opened_model *s, bool masked, err *e)
{
    if (s->info->latent_channels) {
        int32_t *bits = NULL;
        bool ok = latents_read(&bits, n, path, s->info, e);
        *a = (npy){.type = DTYPE_I32, .nd = 2, .shape = {*n, s->cells}, .data = bits, .count = (int64_t)*n * s->cells};
        return ok;
    }
    if (!input_check(path, e) || !npy_read(a, path, DTYPE_I32, e))
        return false;
    int64_t rows = -1, h = s->info->grid_height, w = s->info->grid_width, cells = s->cells;
    char shape[96];
    shape_text(a, shape);
    if (a->nd >= 1 && a->nd <= 2 && a->shape[a->nd - 1] == cells)
        rows = a->nd == 2 ? a->shape[0] : 1;
    else if (a->nd >= 2 && a->nd <= 3 && a->shape[a->nd - 2] == h && a->shape[a->nd - 1] == w)
        rows = a->nd == 3 ? a->shape[0] : 1;
    if (rows < 1 || rows > INT32_MAX)
        return err_set(e, ERR_FAILED, "%s: the shape is %s, but this model's codes are [n, %d] or [n, %d, %d]%s", path,
                       shape, s->cells, s->info->grid_height, s->info->grid_width,
                       s->info->n_sizes > 1 ? " (give the --size of their pictures)" : "");
    const int32_t *codes = a->data;
    for (int64_t i = 0; i < a->count; i++) {
        if ((codes[i] < 0 && !(masked && codes[i] == -1)) || codes[i] >= s->info->codebook)
            return err_set(e, ERR_FAILED, "%s: row %d, cell %d: code %d is not one of this model (0 to %d)", path,
                           (int)(i / cells), (int)(i % cells), (int)codes[i], s->info->codebook - 1);
    }
    *n = (int)rows;
    return true;
}

bool text_ids_read(npy *a, int *n, const char *path, err *e)
{
    if (!input_check(path, e) || !npy_read(a, path, DTYPE_I32, e))
        return false;
    char shape[96];
    shape_text(a, shape);
    if (a->nd < 1 || a->nd > 2 || a->count < 1 || a->shape[0] > INT32_MAX)
        return err_set(e, ERR_FAILED, "%s: the shape is %s, but token ids are [n, T] or [T]", path, shape);
    *n = a->nd == 2 ? (int)a->shape[0] : 1;
    return true;
}
