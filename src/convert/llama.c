/* What families with LLaMA's blocks share. */
#include "convert/llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

bool import_llama_read(import *im, llama *l, const json_t *config, float base, err *e)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    int dim = import_size(im, 0, "%snorm.weight", l->prefix);
    int keys = import_size(im, 0, "%slayers.0.self_attn.k_proj.weight", l->prefix);
    int heads = import_json_int(config, "num_attention_heads", dim % 128 ? dim / 64 : dim / 128);
    heads = import_setting(im, "heads", heads);
    l->dim = dim;
    l->heads = heads;
    l->base = (float)import_json_number(rope ? rope : config, "rope_theta", base);
    l->eps = (float)import_json_number(config, "rms_norm_eps", 1e-6);
    if (im->error.code)
        return false;
    int head = heads > 0 && dim % heads == 0 ? dim / heads : 0;
    if (!head || keys < head || keys % head || dim % keys)
        return err_set(e, ERR_FAILED, "convert: %d heads, and tensors of queries and keys with %d and %d rows", heads,
                       dim, keys);
    l->key_heads = keys / head;
    return true;
}

void import_llama_gpt(import *im, const llama *l, gpt *d)
{
    d->base.dim = l->dim;
    d->base.heads = l->heads;
    d->base.kv_heads = l->key_heads < l->heads ? l->key_heads : 0;
    d->mlp = import_size(im, 0, "%slayers.0.mlp.gate_proj.weight", l->prefix);
    d->grid = GPT_GRID_NONE;
    d->rms = d->gated = d->rotary = d->base.own_lengths = true;
    d->act = ACT_SILU;
    d->eps = l->eps;
}

bool import_llama_frequencies(import *im, const llama *l, err *e)
{
    int head = l->dim / l->heads;
    float *frequencies = malloc((size_t)head * sizeof *frequencies);
    if (!frequencies)
        return err_no_memory(e, "convert", (size_t)head * sizeof *frequencies);
    gpt_frequencies(l->base, head, frequencies);
    return source_make(im->from, "limn.frequencies", 1, (int64_t[]){head / 2}, frequencies, e);
}

bool import_llama_tokenizer(const import *im, char path[4200], bpe **b, err *e)
{
    *b = NULL;
    snprintf(path, 4200, "%s/tokenizer.json", im->tokenizer ? im->tokenizer : im->from->directory);
    if (access(path, R_OK) != 0) {
        const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
        snprintf(path, 4200, "%.4100s/vocab.json", folder);
        if (access(path, R_OK) == 0)
            return (*b = bpe_from_qwen2(folder, e)) != NULL;
        snprintf(path, 4200, "%.4100s/tokenizer.json", folder);
    }
    if (access(path, R_OK) != 0 && im->tokenizer)
        snprintf(path, 4200, "%s", im->tokenizer);
    if (access(path, R_OK) != 0 && !im->tokenizer) {
        log_write(LOG_WARNING,
                  "convert: without `tokenizer`, the folder of tokenizer.json, the model reads token ids, no words");
        return true;
    }
    return (*b = bpe_from_json(path, e)) != NULL;
}
