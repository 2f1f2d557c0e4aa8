/* The families "taming" and "llamagen": VQGANs, and the GPTs over their codes that read a class. */
#include "convert/codecs.h"
#include "convert/gpt.h"
#include "convert/names.h"

static bool recognise(const source *s)
{
    char prefix[64];
    return import_has_taming_gpt(s) || import_vqgan_prefix(s, prefix);
}

/* A codec, a GPT, or both. */
static bool convert(import *im, err *e)
{
    static const char *const taming[] = {"temperature=1", "top_k=100"};
    static const char *const llamagen[] = {"temperature=1", "top_k=2000", "guidance=4"};
    char prefix[64] = "";
    int grid = 0;
    bool has_taming = import_has_taming_gpt(im->from), has_llamagen = import_has_llamagen_gpt(im->from), ok = true;
    if (has_taming)
        ok = import_taming_gpt(im, &grid, e);
    else if (has_llamagen)
        ok = import_llamagen_gpt(im, &grid, e);
    if (ok && (import_vqgan_prefix(im->from, prefix) || !grid))
        ok = import_vqgan(im, prefix, grid, e);
    if (ok && has_taming)
        import_put_settings(im, taming, 2);
    else if (ok)
        import_put_settings(im, llamagen, has_llamagen ? 3 : 0);
    return ok;
}

static bool recognise_llamagen(const source *s)
{
    return import_has_llamagen_gpt(s) || source_has(s, "decoder.conv_blocks.0.res.0.norm1.weight");
}

const family family_taming = {.recognise = recognise, .run = convert, .networks = NETWORK_TAMING_GPT | NETWORK_VQGAN};
const family family_llamagen = {.recognise = recognise_llamagen,
                                .run = convert,
                                .networks = NETWORK_LLAMAGEN | NETWORK_VQGAN}; /* LlamaGen's tokenizers and GPTs */
