/* Stable Diffusion in one file: the names of CompVis' and Stability's code (FILE.ckpt, FILE.safetensors), and what has
 * to be guessed, since nothing but tensors is in it. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "convert/convert_internal.h"
#include "convert/stable_diffusion.h"

enum { SIZE = 512, SIZE_V = 768, WIDTH_2 = 1024, LAYERS_2 = 24, LAYERS_MOST = 1024, STEP_2_BASE = 875000 };

/* ---- names ------------------------------------------------------------------------------------------------------ */

#define RESNET(ours, theirs)                                                                                           \
    UNET_RESNET_ROWS(ours, theirs, "in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3",       \
                     "skip_connection")

/* Blocks are numbered as they follow each other: n of a level, of which the last on the way down halves.  `last`: the
 * first one of the way up's last level. */
static const import_row unet_rows[] = {
    {"time.0.*", {"time_embed.0.*"}},
    {"time.1.*", {"time_embed.2.*"}},
    {"guidance.weight", {"time_embed.cond_proj.weight"}},
    {"in.*", {"input_blocks.0.0.*"}},
    {"norm_out.*", {"out.0.*"}},
    {"out.*", {"out.2.*"}},
    {"down.{i}.sample.*", {"input_blocks.{n+n*i}.0.op.*"}},
    RESNET("down.{i}.resnet.{j}", "input_blocks.{1+n*i+j}.0"),
    RESNET("mid.resnet.{j}", "middle_block.{2*j}"),
    RESNET("up.{i}.resnet.{j}", "output_blocks.{last-n*i+j}.0"),
    UNET_TRANSFORMER_ROWS("down.{i}.transformer.{j}", "input_blocks.{1+n*i+j}.1"),
    UNET_TRANSFORMER_ROWS("mid.transformer.{j}", "middle_block.1"),
    UNET_TRANSFORMER_ROWS("up.{i}.transformer.{j}", "output_blocks.{last-n*i+j}.1"),
    UNET_MORE_ROWS("down.{i}.transformer.{j}", "input_blocks.{1+n*i+j}.1"),
    UNET_MORE_ROWS("mid.transformer.{j}", "middle_block.1"),
    UNET_MORE_ROWS("up.{i}.transformer.{j}", "output_blocks.{last-n*i+j}.1"),
};

static const import_row text_rows[] = {
    {"embedding.weight", {"token_embedding.weight"}},
    {"position.weight", {"positional_embedding"}},
    {"block.{i}.norm1.*", {"transformer.resblocks.{i}.ln_1.*"}},
    {"block.{i}.qkv.*", {"transformer.resblocks.{i}.attn.in_proj_*"}},
    {"block.{i}.out.*", {"transformer.resblocks.{i}.attn.out_proj.*"}},
    {"block.{i}.norm2.*", {"transformer.resblocks.{i}.ln_2.*"}},
    {"block.{i}.up.*", {"transformer.resblocks.{i}.mlp.c_fc.*"}},
    {"block.{i}.down.*", {"transformer.resblocks.{i}.mlp.c_proj.*"}},
    {"norm_after.*", {"ln_final.*"}},
    {NULL, {"transformer.resblocks.{layers}.", "text_projection", "logit_scale", "attn_mask"}},
};

/* ResNet blocks of a level, and the layer that halves it. */
static int blocks_of_level(const import *im)
{
    int n = 1;
    while (n <= UNET_LAYERS + 1 && import_has(im, "unet.input_blocks.%d.0.in_layers.0.weight", n))
        n++;
    return n;
}

int single_count_levels(const import *im)
{
    int n = blocks_of_level(im), levels = 1;
    while (levels <= UNET_LEVELS && import_has(im, "unet.input_blocks.%d.0.op.weight", n * levels))
        levels++;
    return levels;
}

void single_map_unet(const import *im, single_names *names, import_map maps[SINGLE_UNET_MAPS])
{
    const int n = blocks_of_level(im), levels = single_count_levels(im), last = n * (levels - 1);
    names->n = 0;
    for (int i = 1; i < levels && i < UNET_LEVELS; i++) { /* level i of ours, doubled by the last of its blocks */
        const int block = last - n * i + n - 1;
        const bool attends = import_has(im, "unet.output_blocks.%d.1.transformer_blocks.0.norm1.weight", block);
        char *ours = names->ours[names->n], *theirs = names->theirs[names->n];
        snprintf(ours, sizeof names->ours[0], "up.%d.sample.*", i);
        snprintf(theirs, sizeof names->theirs[0], "output_blocks.%d.%d.conv.*", block, attends ? 2 : 1);
        names->rows[names->n++] = (import_row){ours, {theirs}};
    }
    maps[0] = (import_map){"unet.", "unet.", names->rows, names->n};
    maps[1] = (import_map){"unet.", "unet.", IMPORT_ROWS(unet_rows), {{"n", .number = n}, {"last", .number = last}}};
}

/* A tower that diffusers' code has written back has no last layer, and no projection either. */
import_map single_map_text(const import *im, int *layers)
{
    int n = 0;
    while (n < LAYERS_MOST && import_has(im, "text.transformer.resblocks.%d.ln_1.weight", n))
        n++;
    const file_tensor *words = source_tensor_of(im->from, SINGLE_TEXT);
    const bool whole = import_has(im, "text.text_projection") || import_has(im, "text.logit_scale");
    const bool cut = !whole && n == LAYERS_2 - 1 && words && words->nd == 2 && words->shape[1] == WIDTH_2;
    *layers = cut || n < 2 ? n : n - 1;
    return (import_map){"transformer.text.", "text.", IMPORT_ROWS(text_rows), {{"layers", .number = *layers}}};
}

/* ---- what has to be guessed ------------------------------------------------------------------------------------- */

/* Whether a word is in the file's name: "768" in "v2-1_768-ema-pruned.ckpt". */
static bool is_named(const char *path, const char *word)
{
    const char *name = file_base_name(path);
    size_t n = strlen(word);
    for (const char *at = name; *at; at++)
        if (!strncasecmp(at, word, n) && (at == name || !isalnum((unsigned char)at[-1])) &&
            !isalnum((unsigned char)at[n]))
            return true;
    return false;
}

static bool is_named_any(const char *path, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_named(path, words[i]))
            return true;
    return false;
}

/* The file that the U-Net is in. */
static const source_tensor *mark_of(const import *im)
{
    for (size_t i = 0; i < im->from->n; i++)
        if (!strcmp(im->from->tensors[i].own.name, SINGLE_UNET))
            return &im->from->tensors[i];
    return NULL;
}

/* A tensor beside the networks, by the last part of its name; or NULL. */
static source_tensor *find_beside(const import *im, const char *last)
{
    const source *s = im->from;
    const size_t all = s->n_all > s->n ? s->n_all : s->n;
    for (size_t i = 0; i < all; i++) {
        const char *name = s->tensors[i].own.name, *dot = strrchr(name, '.');
        if (!strcmp(dot ? dot + 1 : name, last))
            return &s->tensors[i];
    }
    return NULL;
}

/* Published weights of models that predict v have larger biases here: ComfyUI tells them so. */
static bool has_biases_of_v(const import *im, bool *is_v)
{
    float b[320];
    double sum = 0, squares = 0;
    const file_tensor *t = source_tensor_of(im->from, "unet.output_blocks.11.1.transformer_blocks.0.norm1.bias");
    if (!t || t->nd != 1 || t->shape[0] != 320 || t->type == DTYPE_OTHER)
        return false;
    file_tensor_read(t, 0, 320, b);
    for (int i = 0; i < 320; i++)
        sum += (double)b[i];
    for (int i = 0; i < 320; i++)
        squares += ((double)b[i] - sum / 320) * ((double)b[i] - sum / 320);
    *is_v = sqrt(squares / 320) > 0.09;
    return squares > 0;
}

/* What tells that a file of Stable Diffusion 2 predicts v, or epsilon; NULL: nothing does. */
static const char *what_tells(import *im, const char *path, size_t input, int in, bool *is_v)
{
    static const char *const v[] = {"768", "vpred", "v_pred", "v-pred", "v_prediction", "v-prediction"};
    static const char *const epsilon[] = {"512", "base", "turbo", "eps", "epsilon"};
    const char *told = model_file_metadata(im->from->files[input], "modelspec.prediction_type");
    int64_t step;
    *is_v = find_beside(im, "v_pred") != NULL;
    if (*is_v)
        return "its tensor v_pred says so";
    if (told && (!strncmp(told, "v", 1) || !strncmp(told, "eps", 3))) {
        *is_v = *told == 'v';
        return "its metadata say so";
    }
    if (in != 4)
        return "as Stability's that paint parts of pictures";
    if (pickle_int(source_get(im->from, "global_step"), &step) && step == STEP_2_BASE)
        return "by its global_step it is 2.0's base";
    if (is_named_any(path, v, sizeof v / sizeof *v) || is_named_any(path, epsilon, sizeof epsilon / sizeof *epsilon)) {
        *is_v = !is_named_any(path, epsilon, sizeof epsilon / sizeof *epsilon);
        return "by its name";
    }
    return has_biases_of_v(im, is_v) ? "by the spread of its biases" : NULL;
}

single_use single_find_use(import *im, bool newer, int in, const char *given)
{
    const source_tensor *mark = mark_of(im);
    const char *path = mark ? mark->file : "", *why = NULL;
    single_use u = {.turbo = is_named(path, "turbo")};
    bool is_v = false;
    if (given)
        is_v = !strcmp(given, "v");
    else if (newer || find_beside(im, "v_pred"))
        why = what_tells(im, path, mark ? mark->input : 0, in, &is_v);
    if (!given && newer && !why)
        is_v = true; /* as 2.0 and 2.1 do */
    if (!given && newer)
        log_write(LOG_WARNING,
                  "convert: %s: whether it predicts v or epsilon is a guess: %s, %s (if its pictures are noise: "
                  "`settings` prediction=%s)",
                  path, is_v ? "v" : "epsilon", why ? why : "as Stable Diffusion 2 and 2.1 do", is_v ? "epsilon" : "v");
    if (u.turbo)
        log_write(LOG_WARNING,
                  "convert: %s: by its name it is a turbo: 1 step without guidance (else: `settings` "
                  "steps=50, and guidance=7.5)",
                  path);
    u.predicts = is_v ? PREDICTION_V : PREDICTION_EPSILON;
    u.size = newer && is_v ? SIZE_V : SIZE;
    return u;
}

/* ---- what is beside the networks -------------------------------------------------------------------------------- */

/* As far as half precision tells. */
static bool is_noise_of(const schedule *s, const float *kept, int64_t n)
{
    double own[SCHEDULE_TIMES];
    err none = {0};
    if (n != s->times || !schedule_check(s, "", &none))
        return false;
    schedule_kept(s, own);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)kept[i] - own[i]) <= 2e-3))
            return false;
    return true;
}

/* A table of noise; how many numbers it has, 0 where there is none that can be read. */
static int64_t read_table(const import *im, const char *last, float values[SCHEDULE_TIMES])
{
    const source_tensor *t = find_beside(im, last);
    if (!t || t->own.nd != 1 || t->own.shape[0] < 1 || t->own.shape[0] > SCHEDULE_TIMES || t->own.type == DTYPE_OTHER)
        return 0;
    file_tensor_read(&t->own, 0, t->own.shape[0], values);
    return t->own.shape[0];
}

bool single_read_noise(import *im, schedule *s, err *e)
{
    float kept[SCHEDULE_TIMES], betas[SCHEDULE_TIMES];
    const source_tensor *t = find_beside(im, "alphas_cumprod"), *zero = find_beside(im, "ztsnr");
    const int64_t n = read_table(im, "alphas_cumprod", kept), m = read_table(im, "betas", betas);
    s->zero_snr = zero && !import_is_ignored(im, zero); /* ComfyUI's mark */
    if (!t || import_is_ignored(im, t))
        return true;
    schedule tried = *s;
    tried.times = n ? (int)n : s->times;
    for (int i = 0; i < 4; i++) { /* that with nothing left at its end is the usual one, rescaled */
        tried.zero_snr = s->zero_snr || i == 1;
        if (i > 1 && m) {
            tried.beta_start = betas[0];
            tried.beta_end = betas[m - 1];
        }
        tried.betas = i < 3 ? BETAS_SCALED : BETAS_LINEAR;
        if (n && is_noise_of(&tried, kept, n)) {
            *s = tried;
            return true;
        }
    }
    return err_set(e, ERR_FAILED,
                   "%s: tensor %s: a schedule of noise that limn doesn't have (if the model was made by "
                   "mixing others, it is theirs: `settings` ignore=%s takes that of Stable Diffusion)",
                   t->file, t->original ? t->original : t->own.name, t->original ? t->original : t->own.name);
}

/* Tables that follow from betas. */
static bool is_table(const char *name)
{
    static const char *const lasts[] = {"betas",
                                        "alphas_cumprod",
                                        "alphas_cumprod_prev",
                                        "sqrt_alphas_cumprod",
                                        "sqrt_one_minus_alphas_cumprod",
                                        "log_one_minus_alphas_cumprod",
                                        "sqrt_recip_alphas_cumprod",
                                        "sqrt_recipm1_alphas_cumprod",
                                        "posterior_variance",
                                        "posterior_log_variance_clipped",
                                        "posterior_mean_coef1",
                                        "posterior_mean_coef2",
                                        "lvlb_weights",
                                        "logvar",
                                        "sigmas",
                                        "log_sigmas",
                                        "v_pred",
                                        "ztsnr"};
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++)
        if (!strcmp(last, lasts[i]))
            return true;
    return false;
}

/* An adapter that is given as one of the files would not be in the model. */
static bool check_files(const source *s, err *e)
{
    for (size_t k = 0; k < s->n_files && s->n_files > 1; k++) {
        bool any = false;
        for (size_t i = 0; i < s->n_all && !any; i++)
            any = s->tensors[i].input == k && (s->tensors[i].used || s->tensors[i].left_out);
        if (!any)
            return err_set(e, ERR_FAILED,
                           "%s: none of its tensors is a part of the model (adapters and embeddings are for generate: "
                           "`lora`, `embedding`)",
                           s->paths[k]);
    }
    return true;
}

bool single_leave_rest(import *im, err *e)
{
    source *s = im->from;
    if (!check_files(s, e))
        return false;
    for (size_t i = s->n; i < s->n_all; i++) {
        source_tensor *t = &s->tensors[i];
        if (t->used || import_is_ignored(im, t))
            continue;
        t->used = true;
        t->left_out = !is_table(t->own.name);
    }
    return true;
}
