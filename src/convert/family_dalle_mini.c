/* The family "dalle-mini": DALL-E Mini and Mega with the names that min-dalle gives their tensors, as its encoder.pt,
 * decoder.pt and detoker.pt, or both sides in one file behind "encoder." and "decoder.". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/mapping.h"
#include "convert/names.h"
#include "models/transformers/bart.h"
#include "text/tokenizer.h"

#define CROSS "layers.0.encoder_attn.q_proj.weight" /* the decoder's alone */
#define SELF  "layers.0.self_attn.q_proj.weight"

/* Published sizes: min-dalle's sampling reads the first 2^14 logits, and its heads are 64 wide. */
enum { CODES = 1 << 14, HEAD = 64, LAYERS_MOST = 1024 };

static bool ends_in(const char *name, const char *end, char before[64])
{
    size_t n = strlen(name), m = strlen(end);
    if (n < m || n - m >= 64 || strcmp(name + n - m, end) != 0)
        return false;
    snprintf(before, 64, "%.*s", (int)(n - m), name);
    return true;
}

static bool recognise(const source *s)
{
    char prefix[64];
    for (size_t i = 0; i < s->n; i++)
        if (ends_in(s->tensors[i].t->name, CROSS, prefix))
            return true;
    return false;
}

/* The two sides have the same names in two files; those get prefixes.  Then the prefixes are found. */
static bool find_sides(source *s, char encoder[64], char decoder[64], err *e)
{
    static const struct {
        const char *tensor, *prefix;
    } sides[] = {{CROSS, "decoder."}, {SELF, "encoder."}};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < s->n; i++)
            if (!strcmp(s->tensors[i].t->name, sides[k].tensor) &&
                !source_prefix(s, s->tensors[i].input, sides[k].prefix, e))
                return false;
    char prefix[64];
    snprintf(decoder, 64, "decoder.");
    snprintf(encoder, 64, "encoder.");
    for (size_t i = 0; i < s->n; i++)
        if (ends_in(s->tensors[i].t->name, CROSS, prefix))
            snprintf(decoder, 64, "%s", prefix);
    for (size_t i = 0; i < s->n; i++)
        if (ends_in(s->tensors[i].t->name, SELF, prefix) && strcmp(prefix, decoder) != 0)
            snprintf(encoder, 64, "%s", prefix);
    return true;
}

/* The encoder or the decoder, each behind its prefix.  Half of the norms have no scale: the published files leave it
 * out, though min-dalle's classes have it, as ones. */
static const import_row side[] = {
    {"block.{i}.self.norm.*", {"layers.{i}.pre_self_attn_layer_norm.*"}, IMPORT_OR_ONES},
    {"block.{i}.self.norm_after.*", {"layers.{i}.self_attn_layer_norm.*"}, IMPORT_OR_ONES},
    {"block.{i}.self.q.*", {"layers.{i}.self_attn.q_proj.*"}},
    {"block.{i}.self.kv.*", {"layers.{i}.self_attn.k_proj.*", "layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.self.qkv.*",
     {"layers.{i}.self_attn.q_proj.*", "layers.{i}.self_attn.k_proj.*", "layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.self.out.*", {"layers.{i}.self_attn.out_proj.*"}},
    {"block.{i}.cross.norm.*", {"layers.{i}.pre_encoder_attn_layer_norm.*"}, IMPORT_OR_ONES},
    {"block.{i}.cross.norm_after.*", {"layers.{i}.encoder_attn_layer_norm.*"}, IMPORT_OR_ONES},
    {"block.{i}.cross.q.*", {"layers.{i}.encoder_attn.q_proj.*"}},
    {"block.{i}.cross.kv.*", {"layers.{i}.encoder_attn.k_proj.*", "layers.{i}.encoder_attn.v_proj.*"}},
    {"block.{i}.cross.out.*", {"layers.{i}.encoder_attn.out_proj.*"}},
    {"block.{i}.mlp.norm.*", {"layers.{i}.glu.ln0.*"}, IMPORT_OR_ONES},
    {"block.{i}.mlp.up.*", {"layers.{i}.glu.fc1.*", "layers.{i}.glu.fc0.*"}}, /* the value, then the gate */
    {"block.{i}.mlp.norm_middle.*", {"layers.{i}.glu.ln1.*"}, IMPORT_OR_ONES},
    {"block.{i}.mlp.down.*", {"layers.{i}.glu.fc2.*"}},
    {"embedding.*", {"embed_tokens.*"}, .first = "0"},
    {"embedding_norm.*", {"layernorm_embedding.*"}, IMPORT_OR_ONES},
    {"position.*", {"embed_positions.*"}, .first = "0"},
    {"norm.*", {"final_ln.*"}, IMPORT_OR_ONES},
    {"head.*", {"lm_head.*"}, .first = "0"},
};

/* ---- architecture ---- */

static int at_most(int n, int most)
{
    return n < most ? n : most;
}

/* The codes of the codec beside it; `otherwise` where there is none. */
static int codec_codes(import *im, int otherwise)
{
    char prefix[64];
    if (!import_vqgan_prefix(im->from, prefix))
        return otherwise;
    static const char *const tables[] = {"embedding.weight", "quantize.embedding.weight", "quantize.embed.weight"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (import_has(im, "%s%s", prefix, tables[i]))
            return import_size(im, 0, "%s%s", prefix, tables[i]);
    return otherwise;
}

static bool read_config(bart *b, import *im, const import_map *maps, err *e)
{
    b->base.dim = import_mapped_size(im, maps, 1, "transformer.embedding.weight");
    b->base.vocabulary = import_mapped_size(im, maps, 0, "transformer.encoder.embedding.weight");
    b->base.text_length = import_mapped_size(im, maps, 0, "transformer.encoder.position.weight");
    b->mlp = import_mapped_size(im, maps, 0, "transformer.block.0.mlp.up.weight");
    b->base.layers = import_mapped_count(im, maps, "transformer.block.{i}.self.qkv.weight", LAYERS_MOST);
    b->encoder_layers = import_mapped_count(im, maps, "transformer.encoder.block.{i}.self.q.weight", LAYERS_MOST);
    b->base.heads = import_setting(im, "heads", b->base.dim % HEAD ? 0 : b->base.dim / HEAD);
    b->start_id = 0;
    b->pad_id = 1;
    b->end_id = 2;
    b->act = ACT_GELU_ERF;
    b->eps = 1e-5f; /* PyTorch's default */
    /* the tables have a row that is none of a picture's codes (Mega's 32), and the decoder starts with the last code */
    int rows = import_mapped_size(im, maps, 0, "transformer.head.weight");
    b->base.codes = at_most(at_most(rows - 1, CODES), codec_codes(im, CODES));
    b->start_code = b->base.codes - 1;
    int cells = import_mapped_size(im, maps, 0, "transformer.position.weight");
    b->base.grid_width = b->base.grid_height = (int)lround(sqrt(cells));
    if (b->base.grid_width * b->base.grid_height != cells)
        return err_set(e, ERR_FAILED, "convert: tensor %sembed_positions.weight: %d positions are no square grid",
                       maps[1].theirs, cells);
    return b->base.heads ||
           err_set(e, ERR_USAGE,
                   "convert: the files don't tell the number of heads, and %d is not a multiple of %d (give "
                   "`settings` heads=N)",
                   b->base.dim, HEAD);
}

static bool put_transformer(import *im, bart *b, err *e)
{
    char encoder[64], decoder[64];
    param_table params = {0};
    if (!find_sides(im->from, encoder, decoder, e))
        return false;
    const import_map maps[] = {
        {"transformer.encoder.", encoder, IMPORT_ROWS(side)}, {"transformer.", decoder, IMPORT_ROWS(side)}, {0}};
    bool ok = read_config(b, im, maps, e) && bart_prepare(b, "convert", e);
    if (ok) {
        bart_declare(b, &params);
        bart_put(b, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    return ok;
}

/* The files that --tokenizer names, or those beside the input; without any, prompts are ids. */
static bool put_tokenizer(import *im, const bart *b, err *e)
{
    char vocabulary[4200];
    const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
    snprintf(vocabulary, sizeof vocabulary, "%s/vocab.json", folder);
    size_t size = 0;
    if (!im->tokenizer && access(vocabulary, F_OK) != 0) {
        log_write(LOG_WARNING, "convert: no %s: the model will take `text_ids`, but no words (give `tokenizer` FOLDER)",
                  vocabulary);
        return true;
    }
    if (!tokenizer_import(im->to, "dalle-mini", folder, &size, e))
        return false;
    if (size > (size_t)b->base.vocabulary)
        log_write(LOG_WARNING, "convert: %s: %zu tokens, and the transformer knows the first %d of them", folder, size,
                  b->base.vocabulary);
    return true;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "top_k=256", "guidance=16"};
    char prefix[64];
    bart *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e, "transformer", sizeof *b);
    bool ok = put_transformer(im, b, e);
    if (ok && import_vqgan_prefix(im->from, prefix))
        ok = import_vqgan(im, prefix, b->base.grid_width, e);
    ok = ok && put_tokenizer(im, b, e);
    if (ok)
        import_put_settings(im, defaults, sizeof defaults / sizeof *defaults);
    bart_free(b);
    return ok;
}

const family family_dalle_mini = {
    .recognise = recognise, .run = convert, .networks = NETWORK_BART_ENCODER | NETWORK_BART_DECODER | NETWORK_VQGAN};
