/* The family "dalle-mini": DALL-E Mini and Mega with the names that min-dalle gives their tensors, as its encoder.pt,
 * decoder.pt and detoker.pt, or both sides in one file behind "encoder." and "decoder.". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/names.h"
#include "models/transformers/bart.h"
#include "text/tokenizer.h"

#define CROSS "layers.0.encoder_attn.q_proj.weight" /* the decoder's alone */
#define SELF  "layers.0.self_attn.q_proj.weight"

/* Published sizes: min-dalle's sampling reads the first 2^14 logits, and its heads are 64 wide. */
enum { CODES = 1 << 14, HEAD = 64 };

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

/* ---- architecture ---- */

static int count_layers(const import *im, const char *side)
{
    int n = 0;
    while (n < 1024 && import_has(im, "%slayers.%d.self_attn.q_proj.weight", side, n))
        n++;
    return n;
}

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

static bool read_config(bart *b, import *im, const char *encoder, const char *decoder, err *e)
{
    b->dim = import_size(im, 1, "%sembed_tokens.weight", decoder);
    b->vocabulary = import_size(im, 0, "%sembed_tokens.weight", encoder);
    b->text_length = import_size(im, 0, "%sembed_positions.weight", encoder);
    b->mlp = import_size(im, 0, "%slayers.0.glu.fc0.weight", decoder);
    b->layers = count_layers(im, decoder);
    b->encoder_layers = count_layers(im, encoder);
    b->heads = import_setting(im, "heads", b->dim % HEAD ? 0 : b->dim / HEAD);
    b->start_id = 0;
    b->pad_id = 1;
    b->end_id = 2;
    b->act = ACT_GELU_ERF;
    b->eps = 1e-5f; /* PyTorch's default */
    /* the tables have a row that is none of a picture's codes (Mega's 32), and the decoder starts with the last code */
    int rows = import_size(im, 0, "%slm_head.weight", decoder);
    b->codes = at_most(at_most(rows - 1, CODES), codec_codes(im, CODES));
    b->start_code = b->codes - 1;
    int cells = import_size(im, 0, "%sembed_positions.weight", decoder);
    b->grid_width = b->grid_height = (int)lround(sqrt(cells));
    if (im->error.code)
        return err_set(e, im->error.code, "%s", im->error.text);
    if (b->grid_width * b->grid_height != cells)
        return err_set(e, ERR_FAILED, "convert: tensor %sembed_positions.weight: %d positions are no square grid",
                       decoder, cells);
    return b->heads ||
           err_set(e, ERR_USAGE,
                   "convert: the files don't tell the number of heads, and %d is not a multiple of %d (give "
                   "--set heads=N)",
                   b->dim, HEAD);
}

/* ---- tensors ---- */

/* The source's names for the parts of one of our parameters, behind a layer's prefix: as many as are not NULL. */
static const struct {
    const char *ours, *parts[3];
} names[] = {
    {"self.norm.", {"pre_self_attn_layer_norm."}},
    {"self.norm_after.", {"self_attn_layer_norm."}},
    {"self.q.", {"self_attn.q_proj."}},
    {"self.kv.", {"self_attn.k_proj.", "self_attn.v_proj."}},
    {"self.qkv.", {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."}},
    {"self.out.", {"self_attn.out_proj."}},
    {"cross.norm.", {"pre_encoder_attn_layer_norm."}},
    {"cross.norm_after.", {"encoder_attn_layer_norm."}},
    {"cross.q.", {"encoder_attn.q_proj."}},
    {"cross.kv.", {"encoder_attn.k_proj.", "encoder_attn.v_proj."}},
    {"cross.out.", {"encoder_attn.out_proj."}},
    {"mlp.norm.", {"glu.ln0."}},
    {"mlp.up.", {"glu.fc1.", "glu.fc0."}}, /* the value, then the gate */
    {"mlp.norm_middle.", {"glu.ln1."}},
    {"mlp.down.", {"glu.fc2."}},
};
static const struct {
    const char *ours, *theirs;
} outer_names[] = {
    {"embedding.", "embed_tokens."},
    {"embedding_norm.", "layernorm_embedding."},
    {"position.", "embed_positions."},
    {"norm.", "final_ln."},
    {"head.", "lm_head."},
};

/* Half of the norms have no scale: the published files leave it out, though min-dalle's classes have it, as ones. */
static bool is_left_out(const import *im, const param *p, const char *from)
{
    return p->use == PARAM_VECTOR && p->nd == 1 && !strcmp(strrchr(from, '.'), ".weight") &&
           !source_has(im->from, from);
}

/* A parameter of a layer; name: after "transformer.block.3.". */
static void put_layer(import *im, const param *p, const char *name, const char *side, int layer)
{
    const char *last = strrchr(name, '.') + 1; /* weight or bias */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(name, names[i].ours, strlen(names[i].ours)) != 0 || name + strlen(names[i].ours) != last)
            continue;
        char text[3][160];
        const char *parts[3];
        int n = 0;
        for (; n < 3 && names[i].parts[n]; n++) {
            snprintf(text[n], sizeof text[n], "%slayers.%d.%s%s", side, layer, names[i].parts[n], last);
            parts[n] = text[n];
        }
        if (is_left_out(im, p, parts[0]))
            import_ones(im, p);
        else
            import_stack(im, p, parts, n);
        return;
    }
}

static void put_param(import *im, const param *p, const char *encoder, const char *decoder)
{
    const char *name = p->name + strlen("transformer."), *side = decoder;
    int layer = 0, at = 0;
    if (!strncmp(name, "encoder.", 8)) {
        name += 8;
        side = encoder;
    }
    if (sscanf(name, "block.%d.%n", &layer, &at) == 1 && at) {
        put_layer(im, p, name + at, side, layer);
        return;
    }
    for (size_t i = 0; i < sizeof outer_names / sizeof *outer_names; i++)
        if (!strncmp(name, outer_names[i].ours, strlen(outer_names[i].ours))) {
            char from[160];
            snprintf(from, sizeof from, "%s%s%s", side, outer_names[i].theirs, name + strlen(outer_names[i].ours));
            if (is_left_out(im, p, from))
                import_ones(im, p);
            else
                import_part(im, p, from, 0);
            return;
        }
}

static bool put_transformer(import *im, bart *b, err *e)
{
    char encoder[64], decoder[64];
    param_table params = {0};
    if (!find_sides(im->from, encoder, decoder, e) || !read_config(b, im, encoder, decoder, e))
        return false;
    bool ok = bart_declare(b, "convert", &params, e);
    if (ok)
        bart_put(b, im->to);
    for (size_t i = 0; ok && i < params.n; i++)
        put_param(im, &params.list[i], encoder, decoder);
    return import_codec_end(im, &(codec){0}, &params, ok, e);
}

/* The files that --tokenizer names, or those beside the input; without any, prompts are ids. */
static bool put_tokenizer(import *im, const bart *b, err *e)
{
    char vocabulary[4200];
    const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
    snprintf(vocabulary, sizeof vocabulary, "%s/vocab.json", folder);
    size_t size = 0;
    if (!im->tokenizer && access(vocabulary, F_OK) != 0) {
        log_write(LOG_WARNING, "convert: no %s: the model will take --text-ids, but no words (give --tokenizer FOLDER)",
                  vocabulary);
        return true;
    }
    if (!tokenizer_import(im->to, "dalle-mini", folder, &size, e))
        return false;
    if (size > (size_t)b->vocabulary)
        log_write(LOG_WARNING, "convert: %s: %zu tokens, and the transformer knows the first %d of them", folder, size,
                  b->vocabulary);
    return true;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "top_k=256", "guidance=16"};
    char prefix[64];
    bart *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e, "transformer", sizeof *b);
    gguf_put_string(im->to, "general.architecture", "limn");
    bool ok = put_transformer(im, b, e);
    if (ok && import_vqgan_prefix(im->from, prefix))
        ok = import_vqgan(im, prefix, b->grid_width, e);
    ok = ok && put_tokenizer(im, b, e);
    if (ok)
        import_put_settings(im, defaults, sizeof defaults / sizeof *defaults);
    bart_free(b);
    return ok;
}

const family family_dalle_mini = {"dalle-mini", recognise, convert,
                                  NETWORK_BART_ENCODER | NETWORK_BART_DECODER | NETWORK_VQGAN};
