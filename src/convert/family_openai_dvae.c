/* The family "openai-dvae": OpenAI's discrete VAE as encoder.pkl and decoder.pkl, their state dicts, or both in one. */
#include <stdio.h>
#include <string.h>

#include "convert/codecs.h"
#include "convert/mapping.h"
#include "convert/names.h"
#include "models/codecs/openai_dvae.h"

#define INPUT "blocks.input.w"

/* *before: the length of what precedes. */
static bool ends_in_input(const char *name, size_t *before)
{
    size_t n = strlen(name), end = strlen(INPUT);
    if (n < end || strcmp(name + n - end, INPUT) != 0)
        return false;
    *before = n - end;
    return true;
}

/* The encoder begins with a convolution of 7 x 7, the decoder with one of 1 x 1. */
static bool is_encoder(const file_tensor *t)
{
    return t->nd == 4 && t->shape[2] > 1;
}

bool import_has_openai_dvae(const source *s)
{
    size_t before;
    for (size_t i = 0; i < s->n; i++)
        if (ends_in_input(s->tensors[i].t->name, &before) && before < 32)
            return true;
    return false;
}

bool import_openai_dvae_sides(source *s, char encoder[32], char decoder[32], err *e)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].t->name, INPUT) &&
            !source_prefix(s, s->tensors[i].input, is_encoder(s->tensors[i].t) ? "encoder." : "decoder.", e))
            return false;
    size_t before;
    snprintf(encoder, 32, "encoder.");
    snprintf(decoder, 32, "decoder.");
    for (size_t i = 0; i < s->n; i++)
        if (ends_in_input(s->tensors[i].t->name, &before) && before < 32)
            snprintf(is_encoder(s->tensors[i].t) ? encoder : decoder, 32, "%.*s", (int)before, s->tensors[i].t->name);
    return true;
}

/* The encoder or the decoder, each behind its prefix. */
static const import_row side[] = {
    {"*.weight", {"blocks.*.w"}},
    {"*.bias", {"blocks.*.b"}},
};
/* A convolution of one-hot codes is a look-up in its weight. */
static const import_row table[] = {{"codebook.weight", {INPUT}, IMPORT_TRANSPOSED, .plus = "blocks.input.b"}};

static int count_blocks(const import *im, const char *prefix)
{
    int n = 0;
    while (n <= OPENAI_DVAE_BLOCKS && import_has(im, "%sblocks.group_1.block_%d.res_path.conv_1.w", prefix, n + 1))
        n++;
    return n;
}

bool import_openai_dvae(import *im, const char *encoder, const char *decoder, int grid, err *e)
{
    codec c = {0};
    param_table params = {0};
    const import_map maps[] = {{"codec.encoder.", encoder, IMPORT_ROWS(side)},
                               {"codec.decoder.", decoder, IMPORT_ROWS(side)},
                               {"codec.", decoder, IMPORT_ROWS(table)},
                               {0}};
    openai_dvae_config k = {.codes = import_size(im, 1, "%s" INPUT, decoder),
                            .code_dim = import_size(im, 0, "%s" INPUT, decoder),
                            .encoder_width = import_size(im, 0, "%s" INPUT, encoder),
                            .decoder_width = import_size(im, 1, "%sblocks.output.conv.w", decoder),
                            .encoder_blocks = count_blocks(im, encoder),
                            .decoder_blocks = count_blocks(im, decoder)};
    k.width = k.height = import_image_size(im, grid, 1 << (OPENAI_DVAE_GROUPS - 1));
    bool ok = openai_dvae_prepare(&c, &k, "convert", e);
    if (ok) {
        openai_dvae_declare(&c, &params);
        openai_dvae_put(&k, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    codec_release(&c);
    return ok;
}

static bool convert(import *im, err *e)
{
    char encoder[32], decoder[32];
    if (!import_openai_dvae_sides(im->from, encoder, decoder, e) || !import_openai_dvae(im, encoder, decoder, 0, e))
        return false;
    import_put_settings(im, NULL, 0);
    return true;
}

const family family_openai_dvae = {
    .recognise = import_has_openai_dvae, .run = convert, .networks = NETWORK_OPENAI_ENCODER | NETWORK_OPENAI_DECODER};
