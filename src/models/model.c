/* Opens model files. */
#include "models/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "models/embedding.h"
#include "models/lora.h"
#include "models/transformers/diffusion.h"
#include "models/transformers/unclip.h"
#include "weights/config.h"

bool model_is_foreign(const char *path)
{
    struct stat st;
    file_map map = {0};
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    if (!file_map_open(&map, path, NULL))
        return false;
    bool is = map.size < 4 || memcmp(map.data, "GGUF", 4) != 0;
    file_map_release(&map);
    return is;
}

/* Where a model's bytes are: a path, or an image in memory with its name; and the size of the pictures that it is to
 * draw, 0: its own. */
typedef struct origin {
    const char *path;
    const void *data;
    size_t size;
    int width, height;
} origin;

static bool open_file(model *m, const origin *from, err *e)
{
    const void *data = from->data;
    size_t size = from->size;
    if (!data) {
        if (!file_map_open(&m->file, from->path, e))
            return false;
        data = m->file.data;
        size = m->file.size;
    }
    m->gguf = gguf_open(data, size, from->path, e);
    return m->gguf != NULL;
}

static origin origin_of(const char *path)
{
    size_t size = (size_t)(limn_builtin_model_end - limn_builtin_model);
    return path ? (origin){.path = path} : (origin){"built-in model", limn_builtin_model, size};
}

static bool check_architecture(const gguf *g, err *e)
{
    const char *architecture;
    if (!gguf_get_string(g, "general.architecture", &architecture, e))
        return false;
    if (strcmp(architecture, "limn"))
        return err_set(
            e, ERR_FAILED,
            "%s: key 'general.architecture': \"%.64s\": a GGUF file of another program, and limn reads its own, of the "
            "architecture \"limn\" (limn convert makes them of safetensors and PyTorch's checkpoints)",
            gguf_name(g), architecture);
    return true;
}

static bool check_together(const model *m, err *e)
{
    const codec *c = &m->codec;
    const transformer *d = m->transformer;
    if (!c->kind && !d && !m->clip)
        return err_set(e, ERR_FAILED, "%s: neither codec nor transformer nor CLIP inside", gguf_name(m->gguf));
    /* a transformer may write fewer codes than the codec has, and a tokenizer know more words than the transformer:
     * those are refused where they enter */
    if (c->kind && d && c->latents != d->latents)
        return err_set(e, ERR_FAILED,
                       "%s: its codec has %d numbers a latent, and what draws them %d (0: codes instead of latents)",
                       gguf_name(m->gguf), c->latents, d->latents);
    if (c->kind && d && (codec_columns(c) != d->grid_width || c->grid_height != d->grid_height || c->codes < d->codes))
        return err_set(e, ERR_FAILED, "%s: the codec has %d x %d cells of %d codes, and the transformer %d x %d of %d",
                       gguf_name(m->gguf), c->grid_width, c->grid_height, c->codes, d->grid_width, d->grid_height,
                       d->codes);
    if (m->clip && m->tokenizer && tokenizer_size(m->tokenizer) > (size_t)m->clip->vocabulary)
        return err_set(e, ERR_FAILED, "%s: the tokenizer has %zu tokens, and the CLIP's vocabulary %d",
                       gguf_name(m->gguf), tokenizer_size(m->tokenizer), m->clip->vocabulary);
    return true;
}

static bool read_name(model *m, err *e)
{
    m->info.name = gguf_name(m->gguf);
    return !gguf_has(m->gguf, "general.name") || gguf_get_string(m->gguf, "general.name", &m->info.name, e);
}

/* ---- sizes of pictures ---- */

static const char *const sizes_key = "limn.image.sizes", *const width_key = "limn.image.width",
                         *const height_key = "limn.image.height", *const columns_key = "limn.transformer.grid_width",
                         *const rows_key = "limn.transformer.grid_height";

static void add_size(model *m, int64_t width, int64_t height)
{
    int n = m->info.n_sizes;
    for (int i = 0; i < n; i++)
        if (m->sizes[2 * i] == width && m->sizes[2 * i + 1] == height)
            return;
    if (n == MODEL_SIZES)
        return;
    m->sizes[2 * n] = (int)width;
    m->sizes[2 * n + 1] = (int)height;
    m->info.n_sizes++;
}

/* Those that the file's pictures can have: it lists what the model was trained for, if that is more than one size. */
static bool read_sizes(model *m, err *e)
{
    int64_t width = 0, height = 0;
    const int64_t *pairs = NULL;
    size_t n = 0;
    m->info.sizes = m->sizes;
    if (!gguf_has(m->gguf, width_key))
        return true;
    bool ok = gguf_get_int(m->gguf, width_key, 1, 16384, &width, e) &&
              gguf_get_int(m->gguf, height_key, 1, 16384, &height, e) &&
              (!gguf_has(m->gguf, sizes_key) || gguf_get_ints(m->gguf, sizes_key, &pairs, &n, e));
    if (ok)
        add_size(m, width, height);
    for (size_t i = 0; ok && i < n; i += 2)
        if (n % 2 || pairs[i] < 1 || pairs[i] > 16384 || pairs[i + 1] < 1 || pairs[i + 1] > 16384)
            ok = err_set(e, ERR_FAILED, "%s: key '%s': pairs of width and height, 1 to 16384, are wanted",
                         gguf_name(m->gguf), sizes_key);
        else
            add_size(m, pairs[i], pairs[i + 1]);
    return ok;
}

static bool refuse_size(const model *m, int width, int height, err *e)
{
    char text[256] = "";
    size_t at = 0;
    for (int i = 0; i < m->info.n_sizes && at < 200; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%d x %d", i ? ", " : "", m->sizes[2 * i],
                               m->sizes[2 * i + 1]);
    return err_set(e, ERR_USAGE,
                   "%s: it doesn't draw pictures of %d x %d: it was trained for %s%s, and others would be noise (scale "
                   "the picture instead)",
                   gguf_name(m->gguf), width, height, m->info.n_sizes ? text : "none",
                   m->info.n_sizes == 1 ? " alone" : "");
}

/* Where any size is possible whose sides are multiples of step. */
static bool choose_any_size(model *m, int step, int width, int height, err *e)
{
    if (width < step || height < step || width > 16384 || height > 16384 || width % step || height % step)
        return err_set(e, ERR_USAGE, "%s: %d x %d: the sides of its pictures are multiples of %d, up to 16384",
                       gguf_name(m->gguf), width, height, step);
    gguf_replace_int(m->gguf, width_key, width);
    gguf_replace_int(m->gguf, height_key, height);
    return true;
}

/* From here on the file says that its pictures, and their grid, have this size. */
static bool choose_size(model *m, int width, int height, err *e)
{
    int64_t columns = 0, rows = 0;
    if (!read_sizes(m, e) || !diffusion_read_step(m->gguf, &m->info.size_step, e))
        return false;
    if (!width && !height)
        return true;
    if (m->info.size_step)
        return choose_any_size(m, m->info.size_step, width, height, e);
    for (int i = 0; i < m->info.n_sizes; i++) {
        int own_width = m->sizes[0], own_height = m->sizes[1];
        if (m->sizes[2 * i] != width || m->sizes[2 * i + 1] != height)
            continue;
        if (i == 0)
            return true;
        if (gguf_has(m->gguf, columns_key) && (!gguf_get_int(m->gguf, columns_key, 1, own_width, &columns, e) ||
                                               !gguf_get_int(m->gguf, rows_key, 1, own_height, &rows, e)))
            return false;
        gguf_replace_int(m->gguf, width_key, width);
        gguf_replace_int(m->gguf, height_key, height);
        gguf_replace_int(m->gguf, columns_key, columns * width / own_width);
        gguf_replace_int(m->gguf, rows_key, rows * height / own_height);
        return true;
    }
    return refuse_size(m, width, height, e);
}

static void fill_unclip(limn_model_info *i, const unclip *u)
{
    i->default_sampler = sampler_names[SAMPLER_UNCLIP];
    i->has_prior = u->imagines;
    i->has_image_encoder = u->sees;
    i->default_super_steps = u->steps[UNCLIP_SUPER];
    if (u->imagines) {
        i->default_prior_steps = u->steps[UNCLIP_PRIOR];
        i->default_prior_guidance = u->prior_guidance;
    }
    if (u->sees)
        i->encode_width = i->encode_height = u->text.image_size;
}

static void fill_info(model *m)
{
    limn_model_info *i = &m->info;
    const codec *c = &m->codec;
    const transformer *d = m->transformer;
    i->has_codec = c->kind;
    i->has_transformer = d;
    i->has_clip = m->clip;
    i->has_tokenizer = m->tokenizer;
    i->width = c->width;
    i->height = c->height;
    i->encode_width = codec_input_width(c);
    i->encode_height = codec_input_height(c);
    i->grid_width = d ? d->grid_width : codec_columns(c);
    i->grid_height = d ? d->grid_height : c->grid_height;
    i->codes = d ? d->codes : c->codes;
    i->codebook = c->kind ? c->codes : d ? d->codes : 0;
    if (m->clip) {
        i->clip_dim = m->clip->dim;
        i->clip_image_size = m->clip->image_size;
        i->clip_text_length = m->clip->text_length;
    }
    i->latent_channels = d ? d->latents : c->latents;
    if (diffusion_of(d)) {
        const schedule *n = &diffusion_of(d)->noise;
        i->default_sampler = sampler_names[n->with];
        i->default_spacing = n->spacing ? spacing_names[n->spacing - 1] : NULL;
    }
    if (unclip_of(d))
        fill_unclip(i, unclip_of(d));
    if (d) {
        i->text_length = d->text_length;
        i->text_vocabulary = d->vocabulary;
        i->classes = d->classes;
        i->default_temperature = d->temperature;
        i->default_top_k = d->top_k;
        i->default_top_p = d->top_p;
        i->default_guidance = d->guidance;
        i->default_steps = d->kind->fill || d->latents ? d->steps : 0;
    }
}

static model *open_keys(device *d, const origin *from, err *e)
{
    model *m = calloc(1, sizeof *m);
    if (!m) {
        err_no_memory(e, "model", sizeof *m);
        return NULL;
    }
    m->dev = d;
    if (d)
        d->models++;
    bool ok = open_file(m, from, e) && check_architecture(m->gguf, e) && read_name(m, e) &&
              choose_size(m, from->width, from->height, e) && codec_open(&m->codec, m->gguf, &m->params, e) &&
              transformer_open(&m->transformer, m->gguf, &m->params, e) && clip_open(&m->clip, m->gguf, &m->params, e);
    if (ok && config_has_section(m->gguf, "tokenizer."))
        ok = (m->tokenizer = tokenizer_from_gguf(m->gguf, e)) != NULL;
    ok = ok && prompt_form_read(&m->form, m->gguf, e) && check_together(m, e) && (m->run = run_new(d, e));
    if (!ok) {
        model_free(m);
        return NULL;
    }
    fill_info(m);
    return m;
}

model *model_open_keys(device *d, const char *path, err *e)
{
    const origin from = origin_of(path);
    return open_keys(d, &from, e);
}

static model *open_all(device *d, const origin *from, const limn_control *control, err *e)
{
    model *m = open_keys(d, from, e);
    if (m && m->file.data)
        m->params.mapped = &m->file;
    if (m)
        m->params.rereads = m->transformer && m->transformer->latents;
    if (m && !params_open(&m->params, m->run, m->gguf, true, control, e)) {
        model_free(m);
        return NULL;
    }
    return m;
}

model *model_open(device *d, const char *path, err *e)
{
    const origin from = origin_of(path);
    return open_all(d, &from, NULL, e);
}

model *model_open_with(device *d, const char *path, const limn_model_options *o, err *e)
{
    origin from = o->data ? (origin){path ? path : "model in memory", o->data, o->data_size} : origin_of(path);
    from.width = o->width;
    from.height = o->height;
    model *m = open_all(d, &from, o->control, e);
    if (m && ((o->n_adapters &&
               !lora_merge(&m->params, m->transformer, gguf_name(m->gguf), o->adapters, o->n_adapters, e)) ||
              (o->n_embeddings && !embedding_add(m, o->embeddings, o->n_embeddings, e)))) {
        model_free(m);
        return NULL;
    }
    return m;
}

void model_free(model *m)
{
    if (!m)
        return;
    if (m->dev)
        m->dev->models--;
    for (model **other = m->shared ? &m->dev->shared : NULL; other && *other;)
        if (*other == m)
            *other = m->next;
        else
            other = &(*other)->next;
    if (m->run)
        run_finish(m->run, NULL); /* nothing may still read what goes now */
    run_free(m->run);
    params_release(&m->params);
    codec_release(&m->codec);
    transformer_free(m->transformer);
    clip_free(m->clip);
    tokenizer_free(m->tokenizer);
    embedding_release(m);
    gguf_free(m->gguf);
    file_map_release(&m->file);
    free(m);
}

bool model_load(model *m, unsigned uses, err *e)
{
    m->pinned = true;
    return params_load(&m->params, m->run, uses, 0, e);
}

static bool reads_text(const model *m, err *e)
{
    if (m->info.classes)
        return err_set(e, ERR_USAGE, "%s: reads no text but a class, 0 to %d (give `class` N)", gguf_name(m->gguf),
                       m->info.classes - 1);
    if (!m->tokenizer)
        return err_set(e, ERR_USAGE, "%s: no tokenizer inside (give token ids instead: `text_ids`)",
                       gguf_name(m->gguf));
    return true;
}

bool model_tokenize(const model *m, const char *text, int32_t **ids, size_t *n, err *e)
{
    return reads_text(m, e) && prompt_tokenize(&m->form, m->tokenizer, text, ids, n, e);
}

bool model_tokenize_negative(const model *m, const char *text, int32_t **ids, size_t *n, err *e)
{
    return reads_text(m, e) && prompt_tokenize_negative(&m->form, m->tokenizer, text, ids, n, e);
}

bool model_tokenize_warned(const model *m, const char *text, int32_t **ids, size_t *n, err *e)
{
    bool ok = model_tokenize(m, text, ids, n, e);
    if (ok)
        prompt_warn(&m->form, m->tokenizer, gguf_name(m->gguf), text);
    return ok;
}

limn_generate_options model_generate_defaults(const model *m)
{
    const limn_model_info *i = &m->info;
    return (limn_generate_options){.count = 1,
                                   .temperature = i->default_temperature,
                                   .top_k = i->default_top_k,
                                   .top_p = i->default_top_p,
                                   .guidance = i->default_guidance};
}

bool model_needs_codec(const model *m, err *e)
{
    return m->codec.kind ||
           err_set(e, ERR_USAGE, "%s: no image codec inside (give a model file that has one)", gguf_name(m->gguf));
}

bool model_needs_encoder(const model *m, err *e)
{
    if (unclip_of(m->transformer))
        return err_set(
            e, ERR_USAGE,
            "%s: it draws pixels, and no codes or latents stand for a picture (`image` draws variations of one)",
            gguf_name(m->gguf));
    return model_needs_codec(m, e) &&
           (!m->codec.no_encoder ||
            err_set(e, ERR_USAGE,
                    "%s: its codec has a decoder alone, and can't encode pictures (convert the model again with the "
                    "codec's encoder, if that is published: SimpleAR's is encoder.jit)",
                    gguf_name(m->gguf)));
}

bool model_needs_transformer(const model *m, err *e)
{
    return m->transformer ||
           err_set(e, ERR_USAGE, "%s: no transformer inside (give a model file that has one)", gguf_name(m->gguf));
}

bool model_needs_codes(const model *m, err *e)
{
    return model_needs_transformer(m, e) &&
           (!m->transformer->latents ||
            err_set(e, ERR_USAGE, "%s: a diffusion model draws latents: there are no codes with likelihoods",
                    gguf_name(m->gguf)));
}

bool model_needs_clip(const model *m, err *e)
{
    return m->clip || err_set(e, ERR_USAGE, "%s: no CLIP inside (limn train clip makes one)", gguf_name(m->gguf));
}
