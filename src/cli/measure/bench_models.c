/* limn bench: models of published sizes, with random weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/measure/bench.h"
#include "models/codecs/openai_dvae.h"
#include "models/codecs/vqgan.h"
#include "models/transformers/bart.h"
#include "models/transformers/diffusion.h"
#include "models/transformers/gpt.h"
#include "models/transformers/masked.h"

#define F16_VQGAN_CHANNELS .channels = {128, 128, 256, 256, 512}, .attention = {0, 0, 0, 0, 1}

/* The VQGAN of 16 x 16 pixels a code, with 16384 codes. */
static resnet_vq_config vqgan(int has_encoder)
{
    return (resnet_vq_config){.width = 256,
                              .height = 256,
                              .codes = 16384,
                              .code_dim = 256,
                              .latent = 256,
                              .stages = 5,
                              .groups = 32,
                              .eps = 1e-6f,
                              .has_encoder = has_encoder,
                              .stem = has_encoder ? 128 : 0,
                              .encoder = {.blocks = has_encoder ? 2 : 0, F16_VQGAN_CHANNELS},
                              .decoder = {.blocks = 3, F16_VQGAN_CHANNELS}};
}

static void put_bart(gguf_writer *w, int layers, int dim, int mlp, int vocabulary)
{
    const bart b = {.base.text_length = 64,
                    .base.vocabulary = vocabulary,
                    .end_id = 2,
                    .pad_id = 1,
                    .base.codes = 16384,
                    .base.grid_width = 16,
                    .base.grid_height = 16,
                    .start_code = 16383,
                    .base.dim = dim,
                    .base.heads = dim / 64,
                    .mlp = mlp,
                    .base.layers = layers,
                    .encoder_layers = layers,
                    .act = ACT_GELU_ERF,
                    .eps = 1e-5f};
    const resnet_vq_config k = vqgan(0);
    bart_put(&b, w);
    resnet_vq_put(&k, w);
}

static void put_mini(gguf_writer *w, const void *unused)
{
    (void)unused;
    put_bart(w, 12, 1024, 2730, 50264);
}

static void put_mega(gguf_writer *w, const void *unused)
{
    (void)unused;
    put_bart(w, 24, 2048, 4096, 50272);
}

/* minDALL-E 1.3B; its transformer is the GPT of 1.24B weights that other programs are compared by. */
static void put_mindalle(gguf_writer *w, const void *unused)
{
    const gpt d = {.base.text_length = 64,
                   .base.vocabulary = 16384,
                   .base.codes = 16384,
                   .base.grid_width = 16,
                   .base.grid_height = 16,
                   .base.dim = 1536,
                   .base.heads = 24,
                   .base.layers = 42,
                   .mlp = 6144,
                   .text_positions = true,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .predicts_text = true,
                   .act = ACT_GELU_ERF,
                   .eps = 1e-5f};
    const resnet_vq_config k = vqgan(1);
    (void)unused;
    gpt_put(&d, w);
    resnet_vq_put(&k, w);
}

/* ---- LLaMA's blocks: Janus and SimpleAR ---- */

typedef struct llama_size {
    int dim, layers, mlp, heads, kv_heads;
} llama_size;

static gpt llama(const llama_size *s)
{
    return (gpt){.base.text_length = 4096,
                 .base.own_lengths = true,
                 .base.dim = s->dim,
                 .base.layers = s->layers,
                 .base.heads = s->heads,
                 .base.kv_heads = s->kv_heads,
                 .mlp = s->mlp,
                 .rms = true,
                 .gated = true,
                 .rotary = true,
                 .grid = GPT_GRID_NONE,
                 .act = ACT_SILU,
                 .eps = 1e-6f};
}

/* LlamaGen's VQ-16. */
static void put_vq16(gguf_writer *w, const void *unused)
{
    resnet_vq_config k = vqgan(1);
    (void)unused;
    k.width = k.height = 384;
    k.code_dim = 8;
    resnet_vq_put(&k, w);
}

static void put_janus(gguf_writer *w, const void *size)
{
    gpt d = llama(size);
    d.base.vocabulary = 102400;
    d.base.codes = 16384;
    d.base.grid_width = d.base.grid_height = 24;
    d.deep_head = d.head_bias = true;
    gpt_put(&d, w);
    put_vq16(w, NULL);
}

/* NVIDIA's Cosmos DV8x16x16. */
static void put_cosmos(gguf_writer *w, const void *unused)
{
    const resnet_vq_config k = {.width = 1024,
                                .height = 1024,
                                .codes = 64000,
                                .code_dim = 6,
                                .latent = 16,
                                .stages = 3,
                                .groups = 1,
                                .eps = 1e-6f,
                                .haar_twice = true,
                                .mixes = true,
                                .decoder = {.blocks = 3, .channels = {256, 512, 512}}};
    (void)unused;
    resnet_vq_put(&k, w);
}

static void put_simplear(gguf_writer *w, const void *size)
{
    gpt d = llama(size);
    d.base.vocabulary = 151672;
    d.base.codes = 64000;
    d.base.grid_width = d.base.grid_height = 64;
    d.qkv_bias = d.tied = true;
    gpt_put(&d, w);
    put_cosmos(w, NULL);
}

/* LlamaGen's text-to-image XL at 512 x 512, which reads its prompts by flan-t5-xl's encoder. */
static void put_llamagen(gguf_writer *w, const void *unused)
{
    const llama_size xl = {1280, 36, 3584, 20, 0};
    resnet_vq_config k = vqgan(0);
    gpt d = llama(&xl);
    (void)unused;
    d.base.text_length = 120;
    d.base.codes = 16384;
    d.base.grid_width = d.base.grid_height = 32;
    d.grid = GPT_GRID_ROTARY;
    d.rotary = false;
    d.encodes = true;
    d.encoder = (t5){.layers = 24,
                     .dim = 2048,
                     .heads = 32,
                     .head_dim = 64,
                     .mlp = 5120,
                     .vocabulary = 32128,
                     .reach = 128,
                     .eps = 1e-6f};
    d.base.vocabulary = d.encoder.vocabulary;
    gpt_put(&d, w);
    k.width = k.height = 512;
    k.code_dim = 8;
    resnet_vq_put(&k, w);
}

/* aMUSEd; side: of the grid of codes. */
static void put_amused(gguf_writer *w, const void *side)
{
    const int grid = *(const int *)side;
    const masked d = {.base = {.dim = 1024,
                               .heads = 16,
                               .layers = 22,
                               .codes = 8192,
                               .grid_width = grid,
                               .grid_height = grid,
                               .mask_code = 8255},
                      .text = {.dim = 768,
                               .text_length = 77,
                               .vocabulary = 49408,
                               .start_id = 49406,
                               .end_id = 49407,
                               .pad_id = 49407,
                               .act = ACT_QUICK_GELU,
                               .eps = 1e-5f,
                               .text = {.width = 768, .layers = 12, .heads = 12, .mlp = 3072}},
                      .channels = 768,
                      .unit_heads = 12,
                      .units = 3,
                      .code_rows = 8256,
                      .code_dim = 768,
                      .mlp = 2816,
                      .frequencies = 256,
                      .halves = grid > 16,
                      .width = 16 * grid,
                      .height = 16 * grid,
                      .eps = 1e-6f};
    masked_put(&d, w);
}

/* ---- Stable Diffusion ---- */

typedef struct diffusion_size {
    int side;     /* of pictures */
    bool second;  /* Stable Diffusion 2 */
    int guidance; /* numbers that tell a latent consistency model how much the text counts */
    sampler_kind with;
} diffusion_size;

/* The autoencoder of both, the decoder alone. */
static void put_autoencoder_kl(gguf_writer *w, const void *side)
{
    const int pixels = *(const int *)side;
    const resnet_vq_config k = {.width = pixels,
                                .height = pixels,
                                .code_dim = 4,
                                .latent = 4,
                                .stages = 4,
                                .groups = 32,
                                .eps = 1e-6f,
                                .latents = true,
                                .scale = 0.18215f,
                                .decoder = {.blocks = 3, .channels = {128, 256, 512, 512}}};
    resnet_vq_put(&k, w);
}

static void put_diffusion(gguf_writer *w, const void *size)
{
    const diffusion_size *s = size;
    const int width = s->second ? 1024 : 768;
    diffusion d = {
        .text = {.text_length = 77,
                 .vocabulary = 49408,
                 .start_id = 49406,
                 .end_id = 49407,
                 .pad_id = s->second ? 0 : 49407,
                 .act = s->second ? ACT_GELU_ERF : ACT_QUICK_GELU,
                 .eps = 1e-5f,
                 .text = {.width = width, .layers = s->second ? 23 : 12, .heads = width / 64, .mlp = 4 * width}},
        .net.name = "unet",
        .net.k = {.in = 4,
                  .out = 4,
                  .levels = 4,
                  .layers = 2,
                  .depth = {1, 1, 1, 1},
                  .channels = {320, 640, 1280, 1280},
                  .heads = {8, 8, 8, 8},
                  .attends = {1, 1, 1, 0},
                  .context = width,
                  .groups = 32,
                  .eps = 1e-5f,
                  .guidance = s->guidance},
        .noise = {.times = 1000,
                  .beta_start = 0.00085f,
                  .beta_end = 0.012f,
                  .offset = 1,
                  .with = s->with,
                  .spacing = s->with == SAMPLER_EULER ? SPACING_TRAILING + 1 : 0}};
    for (int i = 0; i < d.net.k.levels && s->second; i++)
        d.net.k.heads[i] = d.net.k.channels[i] / 64;
    diffusion_put(&d, w);
    diffusion_put_step(8, w);
    put_autoencoder_kl(w, &s->side);
}

static const int side_256 = 16, side_512 = 32, pixels_256 = 256, pixels_512 = 512, pixels_768 = 768;
static const diffusion_size sd_256 = {.side = 256, .with = SAMPLER_PNDM}, sd_512 = {.side = 512, .with = SAMPLER_PNDM},
                            sd_768 = {.side = 768, .with = SAMPLER_PNDM},
                            turbo = {.side = 512, .second = true, .with = SAMPLER_EULER},
                            lcm = {.side = 512, .guidance = 256, .with = SAMPLER_LCM};
static const llama_size janus_1b = {2048, 24, 5632, 16, 0}, janus_7b = {4096, 30, 11008, 32, 0},
                        simplear_half = {896, 24, 4864, 14, 2}, simplear_1b = {1536, 28, 8960, 12, 2};

static void put_openai(gguf_writer *w, const void *unused)
{
    const openai_dvae_config k = {.width = 256,
                                  .height = 256,
                                  .codes = 8192,
                                  .code_dim = 128,
                                  .encoder_width = 256,
                                  .decoder_width = 256,
                                  .encoder_blocks = 2,
                                  .decoder_blocks = 2};
    (void)unused;
    openai_dvae_put(&k, w);
}

static void put_vqgan(gguf_writer *w, const void *unused)
{
    const resnet_vq_config k = vqgan(1);
    (void)unused;
    resnet_vq_put(&k, w);
}

static const struct {
    const char *name;
    void (*put)(gguf_writer *w, const void *context);
    const void *context;
} sizes[] = {
    {"mini", put_mini, NULL},
    {"mega", put_mega, NULL},
    {"mindalle", put_mindalle, NULL},
    {"janus-pro-1b", put_janus, &janus_1b},
    {"janus-pro-7b", put_janus, &janus_7b},
    {"simplear-0.5b", put_simplear, &simplear_half},
    {"simplear-1.5b", put_simplear, &simplear_1b},
    {"llamagen-t2i-xl", put_llamagen, NULL},
    {"amused-256", put_amused, &side_256},
    {"amused-512", put_amused, &side_512},
    {"sd-1.5-256", put_diffusion, &sd_256},
    {"sd-1.5-512", put_diffusion, &sd_512},
    {"sd-1.5-768", put_diffusion, &sd_768},
    {"sd-turbo-512", put_diffusion, &turbo},
    {"lcm-512", put_diffusion, &lcm},
    {"sd-vae-256", put_autoencoder_kl, &pixels_256},
    {"sd-vae-512", put_autoencoder_kl, &pixels_512},
    {"sd-vae-768", put_autoencoder_kl, &pixels_768},
    {"openai-dvae", put_openai, NULL},
    {"vqgan", put_vqgan, NULL},
    {"vq16-384", put_vq16, NULL},
    {"cosmos", put_cosmos, NULL},
};

/* ---- opening ---- */

/* A file with the keys and nothing else, in the folder for temporary files. */
static bool write_keys(char path[260], void (*keys)(gguf_writer *w, const void *context), const void *context, err *e)
{
    snprintf(path, 260, "%.240s/limn-bench-XXXXXX", os_temporary_folder());
    int file = mkstemp(path);
    if (file < 0)
        return err_set(e, ERR_FAILED, "%s: can't be made (bench writes the settings of its models there)", path);
    close(file);
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", "limn");
    keys(w, context);
    gguf_begin_data(w);
    bool ok = gguf_writer_commit(w, e);
    gguf_writer_free(w);
    return ok;
}

/* Whether there is room for the weights, and for what sessions, activations and loading want besides. */
static bool has_room(bench *b, const device *d, const char *name, uint64_t weights)
{
    uint64_t want = weights + weights / 8 + ((uint64_t)1 << 30), device_left = d->memory_limit - d->memory_used,
             host_left = os_memory_left(), left = host_left && host_left < device_left ? host_left : device_left;
    char text[96];
    if (want <= left || b->on)
        return true;
    snprintf(text, sizeof text, "needs %.1f GiB of memory, and %.1f GiB are left", (double)want / 0x1p30,
             (double)left / 0x1p30);
    bench_skip(b, name, text);
    return false;
}

model *bench_model_by(bench *b, device *d, const char *name, void (*keys)(gguf_writer *w, const void *context),
                      const void *context, dtype type, err *e)
{
    char path[260] = "";
    bool ok = write_keys(path, keys, context, e);
    model *m = ok ? model_open_keys(d, path, e) : NULL;
    if (path[0])
        unlink(path);
    if (!m)
        return NULL;
    if (has_room(b, d, name, params_random_bytes(&m->params, type)) &&
        params_open_random(&m->params, m->run, type, e) && model_load(m, ~0u, e))
        return m;
    model_free(m);
    return NULL;
}

model *bench_model(bench *b, device *d, const char *name, const char *size, dtype type, err *e)
{
    bool file = !strcmp(size, "model");
    if (file || !strcmp(size, "builtin")) {
        model *m = model_open(d, file ? options_text(b->o, "model", NULL) : NULL, e);
        if (m && !model_load(m, ~0u, e)) {
            model_free(m);
            m = NULL;
        }
        return m;
    }
    size_t i = 0;
    while (strcmp(sizes[i].name, size) != 0)
        i++;
    return bench_model_by(b, d, name, sizes[i].put, sizes[i].context, type, e);
}

/* ---- what a step needs ---- */

/* Whether a step reads all of it: not so a table, whose rows it looks up, nor what is for the text. */
static bool in_step(const param *p)
{
    bool positions = p->use == PARAM_VECTOR && p->nd > 1;
    return p->uses & USE_TRANSFORMER && !(p->uses & USE_TEXT) && p->use != PARAM_TABLE && !positions;
}

void bench_step_cost(const model *m, int rows, dtype keys, double share, double *flops, double *bytes)
{
    const transformer *t = m->transformer;
    double prefix = t->own_lengths ? 1 : t->prefix; /* what bench_generate gives */
    double positions = prefix + 0.5 * share * t->grid_width * t->grid_height, dim = t->heads * t->head_dim,
           keys_dim = transformer_key_heads(t) * t->head_dim;
    /* keys and values of the text, for each layer */
    double cross = t->keeps_keys ? (double)t->n_kept / 2 * t->text_length : 0;
    *flops = *bytes = 0;
    for (size_t i = 0; i < m->params.n; i++) {
        const param *p = &m->params.list[i];
        if (!in_step(p))
            continue;
        *bytes += (double)dtype_row_bytes(p->to->type, tensor_count(p->to));
        if (p->use == PARAM_MATRIX)
            *flops += 2.0 * rows * (double)tensor_count(p->to);
    }
    double seen = positions * t->layers + cross;
    *flops += 4 * rows * seen * dim;
    *bytes += 2 * rows * seen * keys_dim * (double)dtype_row_bytes(keys, 1);
}
