/* limn reconstruct: a picture through the image codec and back, to see what the codec keeps. */
#include <math.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/pictures.h"

/* Peak signal-to-noise ratio in dB, of 8-bit values. */
static double psnr(const image *a, const image *b)
{
    double sum = 0;
    size_t n = (size_t)a->width * (size_t)a->height * 3;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a->pixels[i] - b->pixels[i];
        sum += d * d;
    }
    return 10 * log10(255.0 * 255.0 * (double)n / sum);
}

static bool reconstruct(opened_model *s, const options *o, err *e)
{
    const char *out = options_text(o, "output", NULL), *in = o->operands[0];
    file_set files = {0};
    files_read(&files, "IMG", in);
    files_read(&files, "--model", options_text(o, "model", NULL));
    files_write(&files, "--output", out);
    if (!files_check(&files, e) || !picture_check("output", out, e) || !input_check(in, e) ||
        !command_open(s, o, true, false, e))
        return false;
    image before = {0}, after = {0}, same = {0};
    int32_t *codes = array_new((size_t)s->cells, sizeof *codes, "codes", e);
    bool ok = codes && picture_read(&before, in, s, e) && pictures_encode(s, &before, 1, codes, NULL, e) &&
              pictures_decode(s, codes, 1, &after, NULL, e) &&
              picture_write(&after, out, picture_quality(o, out), NULL, false, e);
    ok = ok && image_fit(&same, &before, s->info->width, s->info->height, e); /* the decoder may double it */
    if (ok)
        say_wrote(out, "%d x %d pixels, PSNR %.1f dB", after.width, after.height, psnr(&same, &after));
    image_release(&before);
    image_release(&after);
    image_release(&same);
    free(codes);
    return ok;
}

int command_reconstruct(const options *o)
{
    err e = {0};
    opened_model s = {0};
    bool ok = reconstruct(&s, o, &e) && command_profile(&s, o, &e);
    command_close(&s);
    return ok ? 0 : report(&e);
}
