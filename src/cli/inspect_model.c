/* What a model of limn's is, in words. */
#include "cli/inspect_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/terminal.h"

/* A key's value, 0 where it isn't there. */
static int64_t number(const gguf *g, const char *key)
{
    int64_t value = 0;
    return gguf_has(g, key) && gguf_get_int(g, key, 0, INT64_C(1) << 40, &value, NULL) ? value : 0;
}

static const char *text(const gguf *g, const char *key)
{
    const char *value = NULL;
    return gguf_has(g, key) && gguf_get_string(g, key, &value, NULL) ? value : NULL;
}

/* "draws: pictures of 64 x 64 pixels, by 8 x 8 codes, from text of up to 24 tokens, its marks included" */
static void print_use(const gguf *g, const char *codec, const char *transformer)
{
    int64_t doubled = 1 + number(g, "limn.codec.wavelet"); /* the decoder's pictures beside the encoder's */
    int64_t width = doubled * number(g, "limn.image.width"), height = doubled * number(g, "limn.image.height");
    int64_t classes = number(g, "limn.transformer.classes"), most = number(g, "limn.transformer.text_length");
    if (codec)
        printf("  %s: pictures of %" PRId64 " x %" PRId64 " pixels", transformer ? "draws" : "codes", width, height);
    else if (transformer)
        printf("  draws: codes alone (it needs its codec, by limn convert)");
    if (transformer)
        printf(", by %" PRId64 " x %" PRId64 " codes, from ", number(g, "limn.transformer.grid_width"),
               number(g, "limn.transformer.grid_height"));
    if (transformer && classes > 0)
        printf("classes: --class 0 to %" PRId64, classes - 1);
    else if (transformer)
        printf("text of up to %" PRId64 " tokens, its marks included", most);
    if (codec || transformer)
        putchar('\n');
}

/* "parts: transformer (bart, 3 layers of 48), codec (resnet_vq), tokenizer (dalle-mini)" */
static void print_parts(const gguf *g, const char *codec, const char *transformer)
{
    const char *tokenizer = text(g, "tokenizer.ggml.model"), *comma = "";
    fputs("  parts: ", stdout);
    if (transformer) {
        fputs("transformer (", stdout);
        print_clean(transformer);
        printf(", %" PRId64 " layers of %" PRId64 ")", number(g, "limn.transformer.layers"),
               number(g, "limn.transformer.dim"));
        comma = ", ";
    }
    if (codec) {
        printf("%scodec (", comma);
        print_clean(codec);
        putchar(')');
        comma = ", ";
    }
    if (number(g, "limn.clip.dim")) {
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

void print_model(const gguf *g)
{
    const char *architecture = text(g, "general.architecture"), *name = text(g, "general.name");
    const char *codec = text(g, "limn.codec.kind"), *transformer = text(g, "limn.transformer.kind");
    if (!architecture || strcmp(architecture, "limn") != 0)
        return;
    if (number(g, "limn.transformer.layers") && !transformer)
        transformer = "dalle"; /* files from before there were others */
    fputs("model:", stdout);
    if (name) {
        putchar(' ');
        print_clean(name);
    }
    putchar('\n');
    print_use(g, codec, transformer);
    print_parts(g, codec, transformer);
}
