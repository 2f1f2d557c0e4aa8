/* Importing LLaMA's blocks (Touvron et al. 2023; Qwen2's are the same with a bias), which several families have: as
 * GPTs (models/transformers/gpt.h) with rms, gated and rotary. */
#ifndef CONVERT_LLAMA_H
#define CONVERT_LLAMA_H
#include "convert/config_json.h"
#include "convert/gpt.h"
#include "text/bpe.h"

/* Rows of a map from "transformer.", whose values are those of import_llama_values. */
#define IMPORT_LLAMA_BLOCK                                                                                             \
    {"block.{i}.norm1.*", {"{llama}layers.{i}.input_layernorm.*"}},                                                    \
        {"block.{i}.qkv.*",                                                                                            \
         {"{llama}layers.{i}.self_attn.q_proj.*", "{llama}layers.{i}.self_attn.k_proj.*",                              \
          "{llama}layers.{i}.self_attn.v_proj.*"}},                                                                    \
        {"block.{i}.out.*", {"{llama}layers.{i}.self_attn.o_proj.*"}},                                                 \
        {"block.{i}.norm2.*", {"{llama}layers.{i}.post_attention_layernorm.*"}},                                       \
        {"block.{i}.gate.*", {"{llama}layers.{i}.mlp.gate_proj.*"}},                                                   \
        {"block.{i}.up.*", {"{llama}layers.{i}.mlp.up_proj.*"}},                                                       \
        {"block.{i}.down.*", {"{llama}layers.{i}.mlp.down_proj.*"}}, {"norm.*", {"{llama}norm.*"}},                    \
    {                                                                                                                  \
        "frequencies",                                                                                                 \
        {                                                                                                              \
            "limn.frequencies"                                                                                         \
        }                                                                                                              \
    }

typedef struct llama {
    const char *prefix; /* of its tensors' names, "model." */
    int dim, heads, key_heads;
    float base, eps; /* of rotary positions, of norms */
} llama;

/* What the tensors and LLaMA's part of config.json (NULL: there is none) say.  l->prefix is given; base: where the
 * configuration lacks rope_theta.  An error where heads don't fit the widths. */
bool import_llama_read(import *im, llama *l, const json_t *config, float base, err *e);
/* d with the fields that follow from it. */
void import_llama_gpt(import *im, const llama *l, gpt *d);
/* Makes the frequencies of its rows, which the source lacks. */
bool import_llama_frequencies(import *im, const llama *l, err *e);
/* The tokenizer.json of --tokenizer, or beside the files; path[4200]: where it is.  *b is NULL where there is none,
 * which is said. */
bool import_llama_tokenizer(const import *im, char path[4200], bpe **b, err *e);
#endif
