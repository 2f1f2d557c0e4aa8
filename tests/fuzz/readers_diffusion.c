/* Readers of what is brought for models of diffusion: adapters, embeddings, and the settings in their folders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"
#include "device/count.h"
#include "models/model.h"
#include "readers.h"

#define GOLDEN TEST_DATA "/golden/"

/* ---- adapters and embeddings ------------------------------------------------------------------------------------ */

/* A device that nobody has: what is on it is counted. */
static device *described(void)
{
    static device *d;
    static const limn_device_info info = {.type = LIMN_DISCRETE_GPU,
                                          .name = "described",
                                          .memory = UINT64_C(8) << 30,
                                          .max_allocation = UINT64_C(2) << 30,
                                          .local_memory = 32768,
                                          .max_work_group = 256,
                                          .compute_units = 8,
                                          .vector_width = 1,
                                          .base_alignment = 128};
    err e = {0};
    if (!d)
        d = device_described(&info, &e);
    CHECK(d);
    return d;
}

/* The model that they are for, made once. */
static const char *plain_model(void)
{
    static char path[256];
    const char *from = GOLDEN "diffusion/sd15";
    err e = {0};
    if (*path)
        return path;
    snprintf(path, sizeof path, "%s/plain.gguf", fuzz_named(NULL, NULL, 0));
    CHECK(import_convert(&(import_request){.inputs = &from, .n_inputs = 1, .output = path, .quiet = true}, &e));
    return path;
}

static void open_with(const limn_adapter *adapter, const limn_embedding *embedding, const char *text)
{
    err e = {0};
    limn_model_options o = {.size = sizeof o,
                            .adapters = adapter,
                            .n_adapters = adapter ? 1 : 0,
                            .embeddings = embedding,
                            .n_embeddings = embedding ? 1 : 0};
    model *m = model_open_with(described(), plain_model(), &o, &e);
    CHECK(!m == (e.code != 0));
    int32_t *ids;
    size_t n;
    if (m && model_tokenize(m, text, &ids, &n, NULL)) {
        for (size_t i = 0; i < n; i++)
            CHECK(ids[i] >= 0 && ids[i] < m->info.text_vocabulary);
        free(ids);
    }
    model_free(m);
}

/* adapter_config.json, and the adapter; where the first is empty, the adapter alone. */
void read_lora(const uint8_t *data, size_t size)
{
    size_t n;
    char folder[256], *config = fuzz_part(&data, &size, &n);
    snprintf(folder, sizeof folder, "%s/peft", fuzz_named(NULL, NULL, 0));
    (void)mkdir(folder, 0700);
    const char *path = folder;
    if (n) {
        fuzz_named("peft/adapter_config.json", config, n);
        fuzz_named("peft/adapter_model.safetensors", data, size);
    } else {
        path = fuzz_named("adapter.safetensors", data, size);
    }
    open_with(&(limn_adapter){path, 0.5f}, NULL, "a cat");
    free(config);
}

void read_embedding(const uint8_t *data, size_t size)
{
    open_with(NULL, &(limn_embedding){fuzz_named("cat.pt", data, size), NULL}, "a cat, <cat-toy>, two-words cat");
}

/* ---- folders ---------------------------------------------------------------------------------------------------- */

/* Weights of the tests, and the settings of the parts beside them; an empty one isn't there. */
static void read_folder(const char *instance, const char *const *weights, const char *const *settings,
                        const uint8_t *data, size_t size)
{
    char root[256], path[512], from[512], name[128];
    snprintf(root, sizeof root, "%s/parts", fuzz_named(NULL, NULL, 0));
    (void)mkdir(root, 0700);
    for (size_t i = 0; weights[i]; i++) {
        snprintf(path, sizeof path, "%s/%.*s", root, (int)strcspn(weights[i], "/"), weights[i]);
        (void)mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/%s", root, weights[i]);
        snprintf(from, sizeof from, GOLDEN "%s/%s", instance, weights[i]);
        (void)!symlink(from, path);
    }
    for (size_t i = 0; settings[i]; i++) {
        size_t n;
        char *part = fuzz_part(&data, &size, &n);
        snprintf(path, sizeof path, "%s/%.*s", root, (int)strcspn(settings[i], "/"), settings[i]);
        if (strchr(settings[i], '/'))
            (void)mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/%s", root, settings[i]);
        snprintf(name, sizeof name, "parts/%s", settings[i]);
        if (n)
            fuzz_named(name, part, n);
        else
            (void)unlink(path);
        free(part);
    }
    err e = {0};
    const char *in = root, *output = fuzz_named("out.gguf", "", 0);
    bool ok = import_convert(&(import_request){.inputs = &in, .n_inputs = 1, .output = output, .quiet = true}, &e);
    CHECK(ok == (e.code == 0));
    model *m = ok ? model_open_keys(NULL, output, &e) : NULL;
    CHECK(!m == !ok);
    model_free(m);
}

#define WEIGHTS "/diffusion_pytorch_model.safetensors"

void read_diffusers(const uint8_t *data, size_t size)
{
    static const char *const weights[] = {"unet" WEIGHTS,         "text_encoder/model.safetensors", "vae" WEIGHTS,
                                          "tokenizer/merges.txt", "tokenizer/vocab.json",           NULL};
    static const char *const settings[] = {"model_index.json",
                                           "scheduler/scheduler_config.json",
                                           "unet/config.json",
                                           "text_encoder/config.json",
                                           "vae/config.json",
                                           "tokenizer/tokenizer_config.json",
                                           NULL};
    read_folder("diffusion/sd15", weights, settings, data, size);
}

void read_unclip(const uint8_t *data, size_t size)
{
    static const char *const weights[] = {"prior" WEIGHTS,
                                          "decoder" WEIGHTS,
                                          "super_res_first" WEIGHTS,
                                          "super_res_last" WEIGHTS,
                                          "text_proj" WEIGHTS,
                                          "text_encoder/model.safetensors",
                                          "image_encoder/model.safetensors",
                                          "tokenizer/merges.txt",
                                          "tokenizer/vocab.json",
                                          NULL};
    static const char *const settings[] = {"model_index.json",
                                           "prior/config.json",
                                           "prior_scheduler/scheduler_config.json",
                                           "decoder/config.json",
                                           "decoder_scheduler/scheduler_config.json",
                                           "super_res_first/config.json",
                                           "super_res_last/config.json",
                                           "super_res_scheduler/scheduler_config.json",
                                           "text_proj/config.json",
                                           "text_encoder/config.json",
                                           "image_encoder/config.json",
                                           "feature_extractor/preprocessor_config.json",
                                           "tokenizer/tokenizer_config.json",
                                           NULL};
    read_folder("unclip", weights, settings, data, size);
}
