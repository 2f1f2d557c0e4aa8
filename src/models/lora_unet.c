/* Adapters of the U-Net of diffusion models: the names that its layers have in diffusers' files. */
#include <stdio.h>
#include <string.h>

#include "models/lora.h"
#include "models/transformers/diffusion.h"

/* The layers of a transformer's block, and then of the transformer.  Parts of one parameter are of one size. */
static const struct {
    const char *ours, *theirs[LOW_RANK_PARTS];
} layers[] = {{"qkv", {"attn1.to_q", "attn1.to_k", "attn1.to_v"}},
              {"self_out", {"attn1.to_out.0"}},
              {"q", {"attn2.to_q"}},
              {"kv", {"attn2.to_k", "attn2.to_v"}},
              {"cross_out", {"attn2.to_out.0"}},
              {"up", {"ff.net.0.proj"}},
              {"down", {"ff.net.2"}},
              {"in", {"proj_in"}},
              {"out", {"proj_out"}}};
enum { LAYERS = sizeof layers / sizeof *layers, ATTENTION = 5, BLOCK = 7 }; /* the rest are convolutions in some */

/* The index of a parameter's layer, and what it is a part of; -1: it is none of a transformer's. */
static int find(const diffusion *d, const param *p, char path[96])
{
    int i = 0, j = 0, block = 0, n = 0, more = 0, at = 0;
    if (sscanf(p->name, "unet.down.%d.transformer.%d.%n", &i, &j, &n) == 2 && n)
        at = snprintf(path, 64, "down_blocks.%d.attentions.%d", i, j);
    else if (sscanf(p->name, "unet.up.%d.transformer.%d.%n", &i, &j, &n) == 2 && n)
        at = snprintf(path, 64, "up_blocks.%d.attentions.%d", d->net.k.levels - 1 - i, j);
    else if (sscanf(p->name, "unet.mid.transformer.%d.%n", &j, &n) == 1 && n)
        at = snprintf(path, 64, "mid_block.attentions.%d", j);
    if (n && sscanf(p->name + n, "block.%d.%n", &block, &more) == 1)
        n += more;
    for (int k = 0; n && k < LAYERS; k++) {
        size_t length = strlen(layers[k].ours);
        if (strncmp(p->name + n, layers[k].ours, length) || strcmp(p->name + n + length, ".weight"))
            continue;
        if (k < BLOCK)
            snprintf(path + at, 32, ".transformer_blocks.%d", block);
        return k;
    }
    return -1;
}

int lora_unet_modules(const transformer *t, const param *p, lora_module out[LOW_RANK_PARTS])
{
    char path[96] = "";
    int k = find(diffusion_of(t), p, path), n = 0;
    while (k >= 0 && n < LOW_RANK_PARTS && layers[k].theirs[n])
        n++;
    for (int i = 0; i < n; i++) {
        snprintf(out[i].name, sizeof out[i].name, "%s.%s", path, layers[k].theirs[i]);
        out[i].n = p->shape[0] / n;
        out[i].first = i * out[i].n;
    }
    return n;
}

bool lora_learns(const transformer *t, const param *p, bool all)
{
    char path[96];
    return !diffusion_of(t) || find(diffusion_of(t), p, path) < (all ? BLOCK : ATTENTION);
}
