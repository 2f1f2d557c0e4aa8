/* The family "llamagen-t2i": LlamaGen's models of texts (Sun et al. 2024): its GPT and its tokenizer of pictures, each
 * in a file, with the folder of T5's encoder beside them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/gpt.h"
#include "convert/networks.h"
#include "convert/t5.h"
#include "models/prompt.h"

#define NOTHING                                                                                                        \
    "cls_embedding.uncond_embedding" /* what stands for no text, before the layers that texts go through               \
                                      */
#define LAYERS "cls_embedding.cap_proj."

static bool recognise(const source *s)
{
    return source_has(s, NOTHING) || import_has_t5(s);
}

static const import_row rows[] = {
    IMPORT_LLAMAGEN_GPT,
    {"encoder.project_up.*", {LAYERS "fc1.*"}},
    {"encoder.project_down.*", {LAYERS "fc2.*"}},
    {"encoder.no_text.weight", {"limn.no_text"}},
};

/* The size of pictures, which the tensors don't tell: by the name of the GPT's file, as published. */
static int picture_size(import *im)
{
    const char *name = "";
    for (size_t i = 0; i < im->from->n; i++)
        if (!strcmp(im->from->tensors[i].t->name, NOTHING))
            name = file_base_name(im->from->tensors[i].file);
    bool large = strstr(name, "512") || strstr(name, "stage2"), small = strstr(name, "256") || strstr(name, "stage1");
    int size = import_setting(im, "image_size", 0), likely = large && !small ? 512 : 256;
    if (!size)
        log_write(LOG_WARNING, "convert: pictures of %d x %d, %s (else give `settings` image_size=%d)", likely, likely,
                  large != small ? "by the file's name" : "as in the first stage of training",
                  likely == 256 ? 512 : 256);
    return size ? size : likely;
}

/* The tokenizer of --tokenizer, or in T5's folder. */
static bool put_text(import *im, const gpt *d, err *e)
{
    static const char *const names[] = {"spiece.model", "tokenizer.json"};
    char folder[4200], path[4300];
    bool there = im->tokenizer;
    import_t5_folder(im, folder);
    for (size_t i = 0; i < 2 && !there; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        there = access(path, R_OK) == 0;
    }
    prompt_form_put(&(prompt_form){.begin_id = -1, .cleans = true}, im->to);
    if (there)
        return import_gpt_tokenizer(im, d, "t5", im->tokenizer ? im->tokenizer : folder, e);
    log_write(LOG_WARNING,
              "convert: without `tokenizer`, the folder of spiece.model, the model reads token ids, no words");
    return true;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "top_k=1000", "guidance=7.5"};
    char prefix[64];
    gpt d = {.encodes = true, .base.own_lengths = true};
    if (!source_has(im->from, NOTHING))
        return err_set(e, ERR_FAILED,
                       "convert: T5's encoder alone is no model (give LlamaGen's t2i_XL_….pt and vq_ds16_t2i.pt too)");
    if (!import_has_t5(im->from))
        return err_set(e, ERR_FAILED,
                       "convert: LlamaGen reads texts with the encoder of flan-t5-xl, which isn't there (give its "
                       "folder too)");
    const import_map maps[] = {
        {"transformer.encoder.", "t5.", import_t5_rows, import_t5_n_rows, {{"table", .text = import_t5_table(im)}}},
        {"transformer.", "", IMPORT_ROWS(rows)},
        {0}};
    d.base.text_length = import_size(im, 0, NOTHING);
    bool ok = import_t5(im, &d.encoder, e) && import_llamagen_sizes(im, maps, picture_size(im), &d, e);
    d.base.vocabulary = d.encoder.vocabulary;
    ok = ok && import_fold_mlp(im, "limn.no_text", NOTHING, LAYERS "fc1", LAYERS "fc2", ACT_GELU_TANH, e) &&
         put_text(im, &d, e) && import_gpt(im, &d, maps, e);
    if (ok && import_vqgan_prefix(im->from, prefix))
        ok = import_vqgan(im, prefix, d.base.grid_width, e);
    if (ok)
        import_put_settings(im, defaults, 3);
    return ok;
}

const family family_llamagen_t2i = {
    .recognise = recognise, .run = convert, .networks = NETWORK_LLAMAGEN_T2I | NETWORK_T5 | NETWORK_VQGAN};
