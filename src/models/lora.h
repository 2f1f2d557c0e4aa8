/* Low-rank adapters of transformers (Hu et al. 2021) in the layout of HuggingFace's PEFT: a folder with
 * adapter_model.safetensors, where tensors have the names of layers in the published model's code, and with
 * adapter_config.json, which says how strong they are.  Those that limn trains for diffusion models are in diffusers'
 * layout: a file with the names of the U-Net's layers alone, as strong as they were trained. */
#ifndef MODELS_LORA_H
#define MODELS_LORA_H
#include "models/transformers/transformer.h"
#include "ops/tape.h"

#define LORA_FILE   "adapter_model.safetensors"
#define LORA_CONFIG "adapter_config.json"
#define LORA_UNET   "pytorch_lora_weights.safetensors" /* as diffusers calls it */

enum { LORA_NAME = 128 };

/* A linear layer of the published model: rows first to first + n - 1 of a parameter. */
typedef struct lora_module {
    char name[LORA_NAME]; /* "layers.3.self_attn.q_proj"; of diffusion models "unet.down_…", "text_encoder.text_…" */
    char other[LORA_NAME]; /* of a U-Net: in the authors' single files, "unet.input_blocks.1.1.…"; else "" */
    int64_t first, n;
} lora_module;
/* Those that make up p, in the order of its rows; 0 where p isn't the weight of a linear layer of a block (of a
 * diffusion model: of its U-Net's), or, with `all`, of another that the published model's adapters may have: a head,
 * the text tower's, a convolution. */
int lora_modules(const transformer *d, const param *p, bool all, lora_module out[LOW_RANK_PARTS]);
/* Whether p is among those that adapters learn for: of a U-Net the attention's, or with `all` the MLPs' too. */
bool lora_learns(const transformer *d, const param *p, bool all);
/* What stands before their names in files of the model's authors: "model." */
const char *lora_prefix(const transformer *d);

/* Adds `scale` (1: as trained) times each adapter to the weights of t, d's, after params_open and before they are on
 * the device; weights that are quantised, or F16, are rounded again.  path: a folder, or its safetensors file.  name:
 * the model's, for messages.  An adapter of other layers, or shapes, or of a kind that PEFT doesn't call LORA, is an
 * error.  Those of diffusion models may have any of the layouts that are about, and no config; of layers that the model
 * lacks, while it has others, the user is told. */
bool lora_merge(param_table *t, const transformer *d, const char *name, const limn_adapter *adapters, size_t n, err *e);

/* Adapters that learn: one for each linear layer of the blocks, or of a U-Net for those of its attention. */
typedef struct lora {
    const transformer *d;
    int rank;
    low_rank *list;   /* [n] */
    const param **of; /* [n]: whose */
    size_t n;
    param_table params; /* a and b of each, in turn */
} lora;

/* Makes and declares those of d's parameters in `base`: a is random, b 0, and the scale 1.  all: as of
 * lora_learns.  ERR_USAGE where the rank is none for a layer. */
bool lora_declare(lora *l, const transformer *d, const param_table *base, int rank, bool all, err *e);
/* From now on they are a part of what t records. */
bool lora_attach(const lora *l, tape *t, err *e);
void lora_release(lora *l);
/* Writes LORA_FILE to path, which ends so, and, but for a U-Net, LORA_CONFIG beside it.  values[2 n]: those of params
 * on the host. */
bool lora_write(const lora *l, const float *const *values, const char *path, const char *base_model, err *e);
#endif
