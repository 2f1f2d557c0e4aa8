/* limn decode: codes to pictures, as PNG files or as an array before rounding. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/pictures.h"

/* The pictures of a batch, from number `first` of n on. */
static bool write_batch(const image *ims, int first, int some, int n, const char *out, int quality, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < some; i++) {
        char *name = n == 1 ? strdup(out) : numbered_path(out, first + i, n);
        ok = name ? picture_write(&ims[i], name, quality, NULL, false, e) : err_no_memory(e, "file name", strlen(out));
        free(name);
    }
    return ok;
}

/* Each batch is written before the next is decoded, so that what is there stays. */
static bool decode_pictures(const opened_model *s, const int32_t *codes, int n, const char *out, int quality, err *e)
{
    bool ok = true;
    int done = 0;
    progress bar;
    progress_begin(&bar, "decode", "pictures");
    while (ok && done < n) {
        image ims[BATCH] = {0};
        int some = n - done < BATCH ? n - done : BATCH;
        ok = pictures_decode(s, codes + (size_t)done * (size_t)s->cells, some, ims, NULL, e) &&
             write_batch(ims, done + 1, some, n, out, quality, e);
        for (int i = 0; i < some; i++)
            image_release(&ims[i]);
        done += ok ? some : 0;
        progress_update(&bar, done, n);
    }
    progress_end(&bar);
    if (ok)
        say_pictures(out, n, "%d x %d pixels", s->info->width, s->info->height);
    if (ok || !interrupted() || done == 0)
        return ok;
    *e = (err){0};
    return err_set(e, ERR_FAILED, "interrupted: %d of %d pictures are written", done, n);
}

static bool decode_array(const opened_model *s, const int32_t *codes, int n, const char *out, err *e)
{
    int64_t shape[] = {n, 3, s->info->height, s->info->width};
    float *pixels = array_new((size_t)n, (size_t)(3 * shape[2] * shape[3]) * sizeof *pixels, "pixels", e);
    bool ok = pixels && pictures_decode(s, codes, n, NULL, pixels, e) && npy_write(out, DTYPE_F32, 4, shape, pixels, e);
    if (ok)
        say_wrote(out, "float32 [%d, 3, %d, %d]", n, s->info->height, s->info->width);
    free(pixels);
    return ok;
}

/* For n rows. */
static bool check_files(const options *o, int n, err *e)
{
    file_set files = {0};
    const char *out = options_text(o, "output", NULL);
    bool ok = n == 1 || has_ending(out, ".npy") || !picture_is_stream(out) ||
              err_set(e, ERR_USAGE, "--output: %s takes one picture, and %s has %d rows (name a file)", out,
                      o->operands[0], n);
    files_read(&files, "CODES.npy", o->operands[0]);
    files_read(&files, "--model", options_text(o, "model", NULL));
    if (n == 1 || has_ending(out, ".npy"))
        files_write(&files, "--output", out);
    for (int i = 1; ok && n > 1 && !has_ending(out, ".npy") && i <= n; i++) {
        char *name = numbered_path(out, i, n);
        ok = name ? output_check("output", name, NULL, e) : err_no_memory(e, "file name", strlen(out));
        files_write(&files, "--output", name);
        free(name);
    }
    return files_check(&files, e) && ok;
}

static bool output_is_good(const char *out, err *e)
{
    if (has_ending(out, ".npy"))
        return output_check("output", out, NULL, e);
    if (image_format_of_name(out) == IMAGE_NONE && !picture_is_stream(out))
        return err_set(
            e, ERR_USAGE,
            "--output: %s does not end in .png, .jpg, .webp or .npy (limn writes pictures, or a NumPy array)", out);
    return picture_check("output", out, e);
}

static bool decode(opened_model *s, const options *o, err *e)
{
    const char *out = options_text(o, "output", NULL), *in = o->operands[0];
    npy codes = {0};
    int n = 0;
    bool ok = output_is_good(out, e) && input_check(in, e) && check_files(o, 1, e) &&
              command_open(s, o, true, false, e) && codes_read(&codes, &n, in, s, false, e) && check_files(o, n, e) &&
              (has_ending(out, ".npy") ? decode_array(s, codes.data, n, out, e)
                                       : decode_pictures(s, codes.data, n, out, picture_quality(o, out), e));
    npy_release(&codes);
    return ok;
}

int command_decode(const options *o)
{
    err e = {0};
    opened_model s = {0};
    bool ok = decode(&s, o, &e) && command_profile(&s, o, &e);
    command_close(&s);
    return ok ? 0 : report(&e);
}
