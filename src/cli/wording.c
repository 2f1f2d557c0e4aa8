/* The library's words in those of the command line.  tests/cli/wording_test.sh compares the table with both. */
#include "cli/wording.h"

#include <stdlib.h>
#include <string.h>

/* NULL: the option is called what the setting is, with dashes. */
static const struct {
    const char *setting, *here;
} settings[] = {
    {"accumulate", NULL},
    {"batch", NULL},
    {"between", "--interpolate"},
    {"block_width", NULL},
    {"bpe_dropout", NULL},
    {"class", NULL},
    {"codec", NULL},
    {"codes", NULL},
    {"codes_cache", NULL},
    {"condition_dropout", NULL},
    {"convert", NULL},
    {"data", NULL},
    {"decoder", NULL},
    {"device", NULL},
    {"dim", NULL},
    {"draft", NULL},
    {"embedding", NULL},
    {"encoder", NULL},
    {"family", NULL},
    {"guidance", NULL},
    {"heads", NULL},
    {"image_size", "--size"},
    {"image", "--image-prompt"},
    {"image_width", "--image-prompt"},
    {"init", NULL},
    {"keep", NULL},
    {"kv_cache_f16", "--kv-cache f16"},
    {"layers", NULL},
    {"limn devices", "limn devices --why"},
    {"lora", NULL},
    {"logits", "--logits-out"},
    {"memory_limit", "--mem-limit"},
    {"mlp", NULL},
    {"noise", NULL},
    {"output", NULL},
    {"overwrite", NULL},
    {"paint", "--mask"},
    {"perceptual", NULL},
    {"prior_guidance", NULL},
    {"prior_steps", NULL},
    {"recompute", NULL},
    {"resume", NULL},
    {"sampler", NULL},
    {"seed", NULL},
    {"settings", "--set"},
    {"spacing", NULL},
    {"steps", NULL},
    {"strength", NULL},
    {"super_steps", NULL},
    {"temperature", NULL},
    {"text_ids", NULL},
    {"text_length", NULL},
    {"text_width", NULL},
    {"tokenizer", NULL},
    {"top_k", NULL},
    {"top_p", NULL},
    {"type", NULL},
    {"width", NULL},
};

/* Writes what text[0..n) is called here to `out`, and returns its length; 0: it is no setting. */
static size_t put(char *out, const char *text, size_t n)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const char *setting = settings[i].setting, *here = settings[i].here;
        if (strlen(setting) != n || strncmp(setting, text, n) != 0)
            continue;
        if (here) {
            memcpy(out, here, strlen(here));
            return strlen(here);
        }
        out[0] = out[1] = '-';
        for (size_t k = 0; k < n; k++)
            out[2 + k] = text[k] == '_' ? '-' : text[k];
        return n + 2;
    }
    return 0;
}

char *worded(const char *text)
{
    enum { LONGEST = 32 }; /* of the names here, so much may each backtick add */
    size_t ticks = 0;
    for (const char *c = text; *c; c++)
        ticks += *c == '`';
    char *out = ticks < 2 ? NULL : malloc(strlen(text) + ticks * LONGEST + 1), *to = out;
    while (out && *text) {
        const char *end = *text == '`' ? strchr(text + 1, '`') : NULL;
        size_t n = end ? put(to, text + 1, (size_t)(end - text - 1)) : 0;
        if (n > 0) {
            to += n;
            text = end + 1;
        } else {
            *to++ = *text++;
        }
    }
    if (out)
        *to = '\0';
    return out;
}
