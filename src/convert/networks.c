/* The table of networks: a line for each, and its bit in enum network_set. */
#include "convert/networks.h"

#include <stdio.h>

const network networks[NETWORKS] = {
    {.name = "OpenAI's dVAE encoder", .all = {"blocks.input.w"}, .kernel = -1, .to = "encoder."},
    {.name = "OpenAI's dVAE decoder", .all = {"blocks.input.w"}, .kernel = 1, .to = "decoder."},
    {.name = "a DiscreteVAE", .all = {"codebook.weight", "encoder.0.0.weight"}},
    {.name = "a DALLE",
     .all = {"to_logits.1.weight"},
     .any = {{"transformer.layers.layers.0.0.scale", "transformer.layers.blocks.0.f.net.scale"}}},
    {.name = "DALLE-pytorch's CLIP", .all = {"to_visual_latent.weight"}},
    {.name = "DALL-E Mini's decoder", .all = {"layers.0.encoder_attn.q_proj.weight"}, .to = "decoder."},
    {.name = "DALL-E Mini's encoder",
     .all = {"layers.0.self_attn.q_proj.weight", "embed_tokens.weight", "embed_positions.weight"},
     .none = "layers.0.encoder_attn.q_proj.weight",
     .to = "encoder."},
    {.name = "minDALL-E's GPT", .all = {"pos_emb_img.weight"}},
    {.name = "ruDALL-E's GPT", .all = {"image_row_embeddings.weight", "to_logits.1.weight"}},
    {.name = "LlamaGen's GPT", .all = {"cls_embedding.embedding_table.weight"}},
    {.name = "taming-transformers' GPT", .all = {"transformer.tok_emb.weight", "transformer.pos_emb"}},
    {.name = "a VQGAN",
     .all = {"post_quant_conv.weight"},
     .any = {{"decoder.conv_in.weight", "decoder.decoder.conv_in.weight"},
             {"quantize.embedding.weight", "quantize.embed.weight", "embedding.weight"}}},
    {.name = "a CLIP", .all = {"visual.class_embedding"}},
    {.name = "a CLIP", .all = {"vision_model.embeddings.class_embedding"}},
    {.name = "limn's codec", .all = {"encoder.down.0.weight"}},
    {.name = "limn's transformer", .all = {"transformer.block.0.qkv.weight"}},
};

void import_names_text(unsigned int set, char out[256])
{
    size_t at = 0;
    *out = 0;
    for (int i = 0; i < NETWORKS && at < 200; i++)
        if (set & 1u << i) {
            set &= ~(1u << i);
            at += (size_t)snprintf(out + at, 256 - at, "%s%s", !at ? "" : set ? ", " : " and ", networks[i].name);
        }
}
