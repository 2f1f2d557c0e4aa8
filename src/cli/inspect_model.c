/* What a model of limn's is, in words. */
#include "cli/inspect_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/terminal.h"

static const limn_key *find(const limn_inspection *in, const char *name)
{
    const limn_key *k;
    for (size_t n = 0; (k = limn_inspection_key(in, n)); n++)
        if (!strcmp(k->name, name))
            return k;
    return NULL;
}

/* A key's value, 0 where it isn't there. */
static int64_t number(const limn_inspection *in, const char *name)
{
    const limn_key *k = find(in, name);
    bool is = k && k->kind == LIMN_VALUE_INTEGER && k->integer >= 0 && k->integer <= INT64_C(1) << 40;
    return is ? k->integer : 0;
}

static const char *text(const limn_inspection *in, const char *name)
{
    const limn_key *k = find(in, name);
    return k && k->kind == LIMN_VALUE_TEXT ? k->text : NULL;
}

/* " (or --size 512x512, 1024x1024)" of "[512, 512, 1024, 1024]" */
static void print_sizes(const char *pairs)
{
    const char *comma = " (or --size ";
    for (const char *at = pairs + strcspn(pairs, "0123456789"); *at; at += strcspn(at, "0123456789")) {
        char *end;
        long width = strtol(at, &end, 10);
        at = end + strcspn(end, "0123456789");
        if (!*at)
            break;
        printf("%s%ldx%ld", comma, width, strtol(at, &end, 10));
        comma = ", ";
        at = end;
    }
    if (*comma == ',')
        putchar(')');
}

/* "draws: pictures of 64 x 64 pixels, by 8 x 8 codes, from text of up to 24 tokens, its marks included" */
static void print_use(const limn_inspection *in, const char *codec, const char *transformer)
{
    int64_t doubled = 1 + number(in, "limn.codec.wavelet"); /* the decoder's pictures beside the encoder's */
    int64_t width = doubled * number(in, "limn.image.width"), height = doubled * number(in, "limn.image.height");
    int64_t classes = number(in, "limn.transformer.classes"), most = number(in, "limn.transformer.text_length");
    most = most ? most : number(in, "limn.transformer.text.length"); /* of a text encoder */
    int64_t step = number(in, "limn.image.step");                    /* of diffusion models */
    if (codec)
        printf("  %s: pictures of %" PRId64 " x %" PRId64 " pixels", transformer ? "draws" : "codes", width, height);
    if (codec)
        print_sizes(find(in, "limn.image.sizes") ? find(in, "limn.image.sizes")->text : "");
    else if (transformer)
        printf("  draws: codes alone (it needs its codec, by limn convert)");
    if (transformer && step > 0)
        printf(", or with other sides that are multiples of %" PRId64 ", by %" PRId64 " x %" PRId64 " latents, from ",
               step, width / step, height / step);
    else if (transformer && find(in, "limn.decoder.width")) /* unCLIP */
        printf(", enlarged from %" PRId64 " x %" PRId64 ", from %s%s", number(in, "limn.decoder.width"),
               number(in, "limn.decoder.height"),
               find(in, "limn.transformer.image.size") ? "what CLIP sees in a picture" : "",
               !find(in, "limn.transformer.image.size") ? ""
               : find(in, "limn.prior.width")           ? ", or "
                                                        : " and ");
    else if (transformer)
        printf(", by %" PRId64 " x %" PRId64 " codes, from ", number(in, "limn.transformer.grid_width"),
               number(in, "limn.transformer.grid_height"));
    if (transformer && classes > 0)
        printf("classes: --class 0 to %" PRId64, classes - 1);
    else if (transformer)
        printf("text of up to %" PRId64 " tokens, its marks included", most);
    if (codec || transformer)
        putchar('\n');
}

/* "parts: transformer (bart, 3 layers of 48), codec (resnet_vq), tokenizer (dalle-mini)" */
static void print_parts(const limn_inspection *in, const char *codec, const char *transformer)
{
    const char *tokenizer = text(in, "tokenizer.ggml.model"), *comma = "";
    fputs("  parts: ", stdout);
    if (transformer) {
        fputs("transformer (", stdout);
        print_clean(transformer);
        if (find(in, "limn.unet.channels")) {
            fputs(", a U-Net of ", stdout);
            print_clean(find(in, "limn.unet.channels")->text);
            fputs(" channels)", stdout);
        } else {
            printf(", %" PRId64 " layers of %" PRId64 ")", number(in, "limn.transformer.layers"),
                   number(in, "limn.transformer.dim"));
        }
        comma = ", ";
    }
    if (codec) {
        printf("%scodec (", comma);
        print_clean(codec);
        putchar(')');
        comma = ", ";
    }
    if (number(in, "limn.clip.dim")) {
        printf("%sCLIP (generate --rank)", comma);
        comma = ", ";
    }
    if (tokenizer) {
        printf("%stokenizer (", comma);
        print_clean(tokenizer);
        putchar(')');
    }
    putchar('\n');
}

void print_model(const limn_inspection *in)
{
    const char *architecture = text(in, "general.architecture"), *name = text(in, "general.name");
    const char *codec = text(in, "limn.codec.kind"), *transformer = text(in, "limn.transformer.kind");
    if (!architecture || strcmp(architecture, "limn") != 0)
        return;
    if (number(in, "limn.transformer.layers") && !transformer)
        transformer = "dalle"; /* files from before there were others */
    fputs("model:", stdout);
    if (name) {
        putchar(' ');
        print_clean(name);
    }
    putchar('\n');
    print_use(in, codec, transformer);
    print_parts(in, codec, transformer);
}
