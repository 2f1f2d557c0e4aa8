/* limn encode: pictures to the codes of the model's image codec. */
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/latents.h"

static bool encode_write(const opened_model *s, const options *o, int n, const int32_t *codes, const float *logits,
                         err *e)
{
    const limn_model_info *i = s->info;
    const char *out = options_text(o, "output", NULL), *logits_out = options_text(o, "logits-out", NULL);
    const bool latents = i->latent_channels;
    if (!(latents ? latents_write(out, i, n, codes, e)
                  : npy_write(out, DTYPE_I32, 2, (int64_t[]){n, s->cells}, codes, e)))
        return false;
    if (latents)
        say_wrote(out, "the latents of %d picture%s", n, n == 1 ? "" : "s");
    else
        say_wrote(out, "%d row%s of %d codes", n, n == 1 ? "" : "s", s->cells);
    if (!logits_out)
        return true;
    if (!npy_write(logits_out, DTYPE_F32, 4, (int64_t[]){n, i->codebook, i->grid_height, i->grid_width}, logits, e))
        return false;
    say_wrote(logits_out, "float32 [%d, %d, %d, %d]", n, i->codebook, i->grid_height, i->grid_width);
    return true;
}

static bool check_files(const options *o, err *e)
{
    file_set files = {0};
    const char *out = options_text(o, "output", NULL), *logits_out = options_text(o, "logits-out", NULL);
    if (!output_check("output", out, ".npy", e) || !output_check("logits-out", logits_out, ".npy", e))
        return false;
    for (int i = 0; i < o->n_operands; i++)
        if (!input_check(o->operands[i], e))
            return false;
    for (int i = 0; i < o->n_operands; i++)
        files_read(&files, "IMG", o->operands[i]);
    files_read(&files, "--model", options_text(o, "model", NULL));
    files_write(&files, "--output", out);
    files_write(&files, "--logits-out", logits_out);
    return files_check(&files, e);
}

static bool encode(opened_model *s, const options *o, err *e)
{
    int n = o->n_operands;
    const char *logits_out = options_text(o, "logits-out", NULL);
    if (!check_files(o, e) || !command_open(s, o, true, false, e))
        return false;
    size_t codes = (size_t)n * (size_t)s->cells;
    image *ims = array_new((size_t)n, sizeof *ims, "pictures", e);
    int32_t *z = array_new(codes, sizeof *z, "codes", e);
    float *logits = logits_out ? array_new(codes, (size_t)s->info->codebook * sizeof *logits, "logits", e) : NULL;
    bool ok = ims && z && (logits || !logits_out);
    for (int i = 0; ok && i < n; i++)
        ok = picture_read(&ims[i], o->operands[i], s, e);
    ok = ok && pictures_encode(s, ims, n, z, logits, e) && encode_write(s, o, n, z, logits, e);
    pictures_free(ims, n);
    free(z);
    free(logits);
    return ok;
}

int command_encode(const options *o)
{
    err e = {0};
    opened_model s = {0};
    bool ok = encode(&s, o, &e) && command_profile(&s, o, &e);
    command_close(&s);
    return ok ? 0 : report(&e);
}
