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

/* A list of channels, "32,64,128", of at most `most`; *n stays as it is where the option isn't given. */
static bool read_channels(const options *o, const char *name, int most, int *n, int *channels, err *e)
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
        channels[read++] = (int)v;
        p = end;
    }
    if (text)
        *n = read;
    return true;
}

static bool read_kind(const options *o, train_codec_options *t, err *e)
{
    t->kind = (train_codec_kind)choice(o, "kind", kind_names, TRAIN_CODEC_COUNT);
    for (size_t i = 0; i < sizeof of_kinds / sizeof *of_kinds; i++)
        if (options_given(o, of_kinds[i].name) && !(of_kinds[i].kinds & 1 << t->kind))
            return err_set(e, ERR_USAGE, "--%s: a %s has no use for it", of_kinds[i].name, kind_names[t->kind]);
    t->tau_end = (float)options_number(o, "tau-end", t->tau_end);
    t->tau_share = (float)options_number(o, "tau-share", t->tau_share);
    t->kl = (float)options_number(o, "kl", t->kl);
    t->usage = (float)options_number(o, "usage", t->usage);
    t->straight_through = options_given(o, "straight-through");
    t->commitment = (float)options_number(o, "commitment", t->commitment);
    t->learned_codebook = !strcmp(options_text(o, "codebook", "ema"), "gradient");
    t->codebook_decay = (float)options_number(o, "codebook-decay", t->codebook_decay);
    t->restart = (float)options_number(o, "restart", t->restart);
    t->discriminator_start = options_integer(o, "discriminator-start", t->run.settings.steps / 2);
    t->discriminator_weight = (float)options_number(o, "discriminator-weight", t->discriminator_weight);
    t->perceptual = options_text(o, "perceptual", NULL);
    t->perceptual_weight = (float)options_number(o, "perceptual-weight", t->perceptual_weight);
    return read_channels(o, "discriminator", DISCRIMINATOR_LAYERS, &t->discriminator_layers, t->discriminator_channels,
                         e);
}

static void read_loss(const options *o, train_codec_options *t)
{
    static const char *const names[] = {"l1+l2", "l1", "l2", "logit-laplace"};
    int loss = choice(o, "loss", names, 4);
    if (loss == 3)
        t->model.output = LIKELIHOOD_LOGIT_LAPLACE;
    if (loss == 1)
        t->l2 = 0;
    if (loss == 2)
        t->l1 = 0;
}

bool train_codec_read(const options *o, train_codec_options *t, err *e)
{
    autoencoder_config *m = &t->model;
    int up = m->stages;
    m->width = m->height = (int)options_integer(o, "size", m->width);
    m->codes = (int)options_integer(o, "codes", m->codes);
    m->code_dim = (int)options_integer(o, "code-dim", m->code_dim);
    m->block_width = (int)options_integer(o, "block-width", m->block_width);
    m->encoder_blocks = m->decoder_blocks = (int)options_integer(o, "blocks", m->encoder_blocks);
    m->encoder_blocks = (int)options_integer(o, "encoder-blocks", m->encoder_blocks);
    m->up = (upsampling)choice(o, "upsampling", upsampling_names, UPSAMPLING_COUNT);
    t->crop = options_number(o, "crop", 0);
    t->flip = options_given(o, "flip");
    read_loss(o, t);
    if (!read_channels(o, "encoder", AUTOENCODER_STAGES, &m->stages, m->encoder_channels, e) ||
        !read_channels(o, "decoder", AUTOENCODER_STAGES, &up, m->decoder_channels, e) || !read_kind(o, t, e))
        return false;
    return up == m->stages || err_set(e, ERR_USAGE, "--decoder: %d stages, and --encoder has %d", up, m->stages);
}
