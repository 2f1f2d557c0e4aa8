/* What a checkpoint has beside the model: left out where only training needs it, and said. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "convert/convert_internal.h"

/* Words between dots and underscores that tell of training: "optimizer.state.0.exp_avg", "loss.lpips.net.weight". */
static bool has_training_word(const char *name)
{
    static const char *const words[] = {
        "optimizer", "optimizers", "optim",      "opt",           "scheduler", "schedulers", "scaler", "loss",
        "losses",    "lpips",      "perceptual", "discriminator", "disc",      "netD",       "critic", "criterion",
        "ema",       "callbacks",  "teacher",    "grad",          "gradients", "momentum",   "adam",   "rng"};
    if (strstr(name, "exp_avg"))
        return true;
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "._-");
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (strlen(words[i]) == n && !strncmp(words[i], at, n))
                return true;
        at += n + (at[n] != 0);
    }
    return false;
}

/* Counters and what follows from the sizes: modules keep these as buffers. */
static bool is_buffer(const char *name)
{
    static const char *const lasts[] = {"num_batches_tracked",
                                        "position_ids",
                                        "token_type_ids",
                                        "inv_freq",
                                        "attn_mask",
                                        "attention_mask",
                                        "causal_mask",
                                        "masked_bias",
                                        "mask",
                                        "freqs_cis",
                                        "cos_cached",
                                        "sin_cached",
                                        "rotary_emb",
                                        "n_averaged",
                                        "num_updates",
                                        "decay",
                                        "initted",
                                        "step",
                                        "global_step",
                                        "epoch",
                                        "cluster_size",
                                        "embed_avg",
                                        "codebook_used",
                                        "relative_position_index",
                                        "input_resolution",
                                        "context_length",
                                        "vocab_size",
                                        "buffer",
                                        "usage",
                                        "_extra_state",
                                        "temperature_step",
                                        "iteration",
                                        "iter",
                                        "freqs",
                                        "cum_usage"};
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++)
        if (!strcmp(last, lasts[i]))
            return true;
    return false;
}

bool import_is_ignored(import *im, const source_tensor *t)
{
    const char *prefix;
    for (size_t i = 0; (prefix = import_setting_list(im, "ignore", i)); i++)
        if (*prefix && (!strncmp(t->own.name, prefix, strlen(prefix)) ||
                        (t->original && !strncmp(t->original, prefix, strlen(prefix)))))
            return true;
    return false;
}

static const char *shown_name(const source_tensor *t)
{
    return t->original ? t->original : t->own.name;
}

/* FP8 weights come with factors of their own, which must not be left out. */
static bool is_scale(const char *name)
{
    static const char *const ends[] = {"weight_scale", "scale_weight", "weight_scale_inv",
                                       "scale_inv",    "input_scale",  "scale_input"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* What is asked to be left out is there. */
static bool check_ignored(import *im, err *e)
{
    const source *s = im->from;
    const char *prefix;
    size_t all = s->n_all > s->n ? s->n_all : s->n;
    for (size_t i = 0; (prefix = import_setting_list(im, "ignore", i)); i++) {
        bool found = false;
        for (size_t k = 0; k < all && !found; k++)
            found = *prefix && (!strncmp(s->tensors[k].own.name, prefix, strlen(prefix)) ||
                                !strncmp(shown_name(&s->tensors[k]), prefix, strlen(prefix)));
        if (!found)
            return err_set(e, ERR_USAGE, "convert: `settings` ignore=%.128s: no tensor's name begins so", prefix);
    }
    return true;
}

bool import_check_used(import *im, err *e)
{
    const source *s = im->from;
    const source_tensor *unknown = NULL, *first[3];
    size_t n_unknown = 0, n = 0;
    size_t all = s->n_all > s->n ? s->n_all : s->n;
    if (!check_ignored(im, e))
        return false;
    for (size_t i = 0; i < all; i++) {
        const source_tensor *t = &s->tensors[i];
        if (t->used && !t->left_out)
            continue;
        if (t->left_out || import_is_ignored(im, t) || has_training_word(t->own.name) || is_buffer(t->own.name)) {
            if (n++ < 3)
                first[n - 1] = t;
            continue;
        }
        if (!n_unknown++)
            unknown = t;
    }
    if (unknown && is_scale(unknown->own.name))
        return err_set(
            e, ERR_FAILED,
            "%s: tensor %s: weights with factors of their own, as FP8 files have, are none that limn reads (take "
            "the file of F16, BF16 or F32 weights)",
            unknown->file, shown_name(unknown));
    if (unknown && n_unknown > 1)
        return err_set(e, ERR_FAILED,
                       "%s: tensor %s belongs to nothing in this family, nor do %zu others (if the model works without "
                       "them: `settings` ignore=%s leaves out what begins so)",
                       unknown->file, unknown->own.name, n_unknown - 1, shown_name(unknown));
    if (unknown)
        return err_set(
            e, ERR_FAILED,
            "%s: tensor %s belongs to nothing in this family (if the model works without it: `settings` ignore=%s)",
            unknown->file, unknown->own.name, shown_name(unknown));
    if (n) {
        char names[256];
        size_t at = 0;
        for (size_t i = 0; i < n && i < 3; i++)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%.70s", i ? ", " : "", shown_name(first[i]));
        log_write(LOG_WARNING, "convert: left out %zu tensor%s that the model works without: %s%s", n,
                  n == 1 ? "" : "s", names, n > 3 ? ", …" : "");
    }
    return true;
}
