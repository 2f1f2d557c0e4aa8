/* The options of limn train codec: the model's shape, its losses, and what belongs to one kind alone. */
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"
#include "cli/train.h"

static const char *const kind_names[TRAIN_CODEC_COUNT] = {"dvae", "vqvae", "vqgan"};

/* Which kinds an option is for: bits by enum train_codec_kind. */
enum { DVAE = 1 << TRAIN_CODEC_DVAE, VQVAE = 1 << TRAIN_CODEC_VQVAE, VQGAN = 1 << TRAIN_CODEC_VQGAN };
static const struct {
    const char *name;
    int kinds;
} of_kinds[] = {
    {"tau-end", DVAE},
    {"tau-share", DVAE},
    {"kl", DVAE},
    {"usage", DVAE},
    {"straight-through", DVAE},
    {"commitment", VQVAE | VQGAN},
    {"codebook", VQVAE | VQGAN},
    {"codebook-decay", VQVAE | VQGAN},
    {"restart", VQVAE | VQGAN},
    {"discriminator", VQGAN},
    {"discriminator-start", VQGAN},
    {"discriminator-weight", VQGAN},
    {"perceptual", VQGAN},
    {"perceptual-weight", VQGAN},
};

/* The index of the option's word among names. */
static int choice(const options *o, const char *name, const char *const *names, int n)
{
    const char *word = options_text(o, name, names[0]);
    int i = 0;
    while (i + 1 < n && strcmp(word, names[i]) != 0)
        i++;
    return i;
}

/* A list of channels, "32,64,128", of at most `most`, into room; *n stays as it is where the option isn't given. */
static bool read_channels(const options *o, const char *name, int most, int *n, int *room, const int **channels, err *e)
{
    const char *text = options_text(o, name, NULL);
    int read = 0;
    for (const char *p = text; p && *p; p += *p == ',') {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || v < 1 || v > 65536 || (*end && *end != ','))
            return err_set(e, ERR_USAGE, "--%s: \"%s\" is no list of channels (such as 32,64,128)", name, text);
        if (read == most)
            return err_set(e, ERR_USAGE, "--%s: \"%s\" has more than %d stages", name, text, most);
        room[read++] = (int)v;
        p = end;
    }
    if (text) {
        *n = read;
        *channels = room;
    }
    return true;
}

static bool read_kind(const options *o, limn_train_codec_options *t, train_channels *room, err *e)
{
    t->kind = (limn_codec_kind)choice(o, "kind", kind_names, TRAIN_CODEC_COUNT);
    for (size_t i = 0; i < sizeof of_kinds / sizeof *of_kinds; i++)
        if (options_given(o, of_kinds[i].name) && !(of_kinds[i].kinds & 1 << t->kind))
            return err_set(e, ERR_USAGE, "--%s: a %s has no use for it", of_kinds[i].name, kind_names[t->kind]);
    t->tau_end = (float)train_option_number(o, "tau-end");
    t->tau_share = (float)train_option_number(o, "tau-share");
    t->kl = (float)train_option_number(o, "kl");
    t->usage = (float)train_option_number(o, "usage");
    t->straight_through = options_given(o, "straight-through");
    t->commitment = (float)train_option_number(o, "commitment");
    t->learned_codebook = !strcmp(options_text(o, "codebook", "ema"), "gradient");
    t->codebook_decay = (float)train_option_number(o, "codebook-decay");
    t->restart = (float)train_option_number(o, "restart");
    t->discriminator_start = train_option_integer(o, "discriminator-start");
    t->discriminator_weight = (float)train_option_number(o, "discriminator-weight");
    t->perceptual = options_text(o, "perceptual", NULL);
    t->perceptual_weight = (float)train_option_number(o, "perceptual-weight");
    return read_channels(o, "discriminator", DISCRIMINATOR_LAYERS, &t->discriminator_layers, room->discriminator,
                         &t->discriminator, e);
}

bool train_codec_read(const options *o, limn_train_codec_options *t, train_channels *room, err *e)
{
    static const char *const losses[] = {"l1+l2", "l1", "l2", "logit-laplace"}; /* by limn_codec_loss */
    int down = 3, up = 3;                                                       /* the default's stages */
    t->image_size = (int)train_option_integer(o, "size");
    t->codes = (int)train_option_integer(o, "codes");
    t->code_dim = (int)train_option_integer(o, "code-dim");
    t->block_width = (int)train_option_integer(o, "block-width");
    t->blocks = (int)train_option_integer(o, "blocks");
    t->encoder_blocks = (int)train_option_integer(o, "encoder-blocks");
    t->nearest = choice(o, "upsampling", upsampling_names, UPSAMPLING_COUNT) == UPSAMPLING_NEAREST;
    t->crop = train_option_number(o, "crop");
    t->flip = options_given(o, "flip");
    t->loss = (limn_codec_loss)choice(o, "loss", losses, 4);
    if (!read_channels(o, "encoder", AUTOENCODER_STAGES, &down, room->encoder, &t->encoder, e) ||
        !read_channels(o, "decoder", AUTOENCODER_STAGES, &up, room->decoder, &t->decoder, e) ||
        !read_kind(o, t, room, e))
        return false;
    t->stages = down;
    return up == down || err_set(e, ERR_USAGE, "--decoder: %d stages, and --encoder has %d", up, down);
}
