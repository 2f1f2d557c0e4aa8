/* What layers of diffusion models are called in published code: by diffusers, and in the authors' single files. */
#include <stdio.h>
#include <string.h>

#include "models/lora_internal.h"
#include "models/transformers/diffusion.h"

/* A block: its names, and what of a parameter's name is behind it. */
typedef struct place {
    char theirs[64], single[64];
    const char *layer;
    bool transformer;
    int block; /* of those of a transformer, each of which has such layers */
} place;

typedef struct layer_names {
    const char *ours, *theirs[LOW_RANK_PARTS], *single;
} layer_names;

static const layer_names transformer_layers[] = {
    {"in", {"proj_in"}, NULL},
    {"out", {"proj_out"}, NULL},
};
static const layer_names block_layers[] = {
    {"qkv", {"attn1.to_q", "attn1.to_k", "attn1.to_v"}, NULL},
    {"self_out", {"attn1.to_out.0"}, NULL},
    {"q", {"attn2.to_q"}, NULL},
    {"kv", {"attn2.to_k", "attn2.to_v"}, NULL},
    {"cross_out", {"attn2.to_out.0"}, NULL},
    {"up", {"ff.net.0.proj"}, NULL},
    {"down", {"ff.net.2"}, NULL},
};
static const layer_names resnet_layers[] = {
    {"conv1", {"conv1"}, "in_layers.2"},
    {"time", {"time_emb_proj"}, "emb_layers.1"},
    {"conv2", {"conv2"}, "out_layers.3"},
    {"skip", {"conv_shortcut"}, "skip_connection"},
};
static const layer_names text_layers[] = {
    {"qkv", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, NULL},
    {"out", {"self_attn.out_proj"}, NULL},
    {"up", {"mlp.fc1"}, NULL},
    {"down", {"mlp.fc2"}, NULL},
};
static const layer_names single_layers[] = {
    /* whole names of parameters */
    {"unet.time.0.weight", {"time_embedding.linear_1"}, "time_embed.0"},
    {"unet.time.1.weight", {"time_embedding.linear_2"}, "time_embed.2"},
    {"unet.guidance.weight", {"time_embedding.cond_proj"}, "time_embed.cond_proj"},
    {"unet.in.weight", {"conv_in"}, "input_blocks.0.0"},
    {"unet.out.weight", {"conv_out"}, "out.2"},
};

/* The block of level i's sample, resnet j or transformer j. */
static bool find_place(const unet_config *k, const char *name, place *p)
{
    const int n = k->layers + 1, last = n * (k->levels - 1);
    char side[8], what[16];
    int i = 0, j = 0, end = 0;
    if (sscanf(name, "unet.mid.%15[a-z].%d.%n", what, &j, &end) == 2 && end) {
        p->transformer = !strcmp(what, "transformer");
        snprintf(p->theirs, sizeof p->theirs, "mid_block.%s.%d", p->transformer ? "attentions" : "resnets", j);
        snprintf(p->single, sizeof p->single, "middle_block.%d", p->transformer ? 1 : 2 * j);
    } else if (sscanf(name, "unet.%7[a-z].%d.%15[a-z].%d.%n", side, &i, what, &j, &end) == 4 && end) {
        const bool down = !strcmp(side, "down");
        p->transformer = !strcmp(what, "transformer");
        snprintf(p->theirs, sizeof p->theirs, "%s_blocks.%d.%s.%d", side, down ? i : k->levels - 1 - i,
                 p->transformer ? "attentions" : "resnets", j);
        snprintf(p->single, sizeof p->single, "%s_blocks.%d.%d", down ? "input" : "output",
                 down ? 1 + n * i + j : last - n * i + j, p->transformer);
    } else {
        return false;
    }
    p->layer = name + end;
    p->block = end = 0;
    if (sscanf(p->layer, "block.%d.%n", &p->block, &end) == 1 && end)
        p->layer += end;
    return true;
}

/* What halves or doubles a level. */
static bool find_sample(const unet_config *k, const char *name, lora_module *out)
{
    const int n = k->layers + 1, last = n * (k->levels - 1);
    char side[8];
    int i = 0, end = 0;
    if (sscanf(name, "unet.%7[a-z].%d.sample.weight%n", side, &i, &end) != 2 || !end || i < 0 || i >= k->levels)
        return false;
    const bool down = !strcmp(side, "down");
    snprintf(out->name, sizeof out->name, "unet.%s_blocks.%d.%ssamplers.0.conv", side, down ? i : k->levels - 1 - i,
             side);
    if (down)
        snprintf(out->other, sizeof out->other, "unet.input_blocks.%d.0.op", n + n * i);
    else
        snprintf(out->other, sizeof out->other, "unet.output_blocks.%d.%d.conv", last - n * i + n - 1,
                 k->attends[i] ? 2 : 1);
    return true;
}

/* The names of "LAYER.weight" in a block, whose own are before them. */
static int name_layers(const layer_names *list, size_t count, const char *layer, const char *before, const char *single,
                       lora_module out[LOW_RANK_PARTS])
{
    const size_t length = strcspn(layer, ".");
    int n = 0;
    for (size_t i = 0; i < count && !n; i++) {
        if (strlen(list[i].ours) != length || strncmp(list[i].ours, layer, length) != 0)
            continue;
        for (; n < LOW_RANK_PARTS && list[i].theirs[n]; n++) {
            snprintf(out[n].name, sizeof out[n].name, "%s.%s", before, list[i].theirs[n]);
            if (single)
                snprintf(out[n].other, sizeof out[n].other, "%s.%s", single,
                         list[i].single ? list[i].single : list[i].theirs[n]);
        }
    }
    return n;
}

#define LIST(list) (list), sizeof(list) / sizeof *(list)

static int name_in_block(const place *at, lora_module out[LOW_RANK_PARTS])
{
    char before[96], single[96];
    snprintf(before, sizeof before, "unet.%s", at->theirs);
    snprintf(single, sizeof single, "unet.%s", at->single);
    if (!at->transformer)
        return name_layers(LIST(resnet_layers), at->layer, before, single, out);
    int n = name_layers(LIST(transformer_layers), at->layer, before, single, out);
    snprintf(before, sizeof before, "unet.%s.transformer_blocks.%d", at->theirs, at->block);
    snprintf(single, sizeof single, "unet.%s.transformer_blocks.%d", at->single, at->block);
    return n ? n : name_layers(LIST(block_layers), at->layer, before, single, out);
}

int lora_diffusion_modules(const transformer *d, const param *p, bool all, lora_module out[LOW_RANK_PARTS])
{
    const diffusion *own = diffusion_of(d);
    place at;
    char before[80];
    int i = 0, end = 0, n = 0;
    if (!own) /* unCLIP's networks have other layers */
        return 0;
    if ((!p->linear || p->nd != 2) && !(all && p->conv))
        return 0;
    if (!all && (!p->layer || strncmp(p->name, "unet.", 5) != 0))
        return 0;
    for (size_t s = 0; s < sizeof single_layers / sizeof *single_layers && !n; s++)
        if (!strcmp(p->name, single_layers[s].ours)) {
            snprintf(out[0].name, sizeof out[0].name, "unet.%s", single_layers[s].theirs[0]);
            snprintf(out[0].other, sizeof out[0].other, "unet.%s", single_layers[s].single);
            n = 1;
        }
    if (!n && find_sample(&own->net.k, p->name, out)) {
        n = 1;
    } else if (!n && find_place(&own->net.k, p->name, &at)) {
        n = name_in_block(&at, out);
    } else if (!n && sscanf(p->name, "transformer.text.block.%d.%n", &i, &end) == 1 && end) {
        snprintf(before, sizeof before, "text_encoder.text_model.encoder.layers.%d", i);
        n = name_layers(LIST(text_layers), p->name + end, before, NULL, out);
    }
    for (int part = 0; part < n; part++) { /* those of a parameter are as many */
        out[part].n = p->shape[0] / n;
        out[part].first = part * out[part].n;
    }
    return n;
}

bool lora_learns(const transformer *d, const param *p, bool all)
{
    static const char *const layers[] = {"qkv", "self_out", "q", "kv", "cross_out", "up", "down"};
    enum { LAYERS = sizeof layers / sizeof *layers, ATTENTION = 5 };
    place at;
    if (!d->latents)
        return true;
    if (!diffusion_of(d) || !find_place(&diffusion_of(d)->net.k, p->name, &at) || !at.transformer)
        return false;
    for (int i = 0; i < (all ? LAYERS : ATTENTION); i++) {
        const size_t n = strlen(layers[i]);
        if (!strncmp(at.layer, layers[i], n) && !strcmp(at.layer + n, ".weight"))
            return true;
    }
    return false;
}
