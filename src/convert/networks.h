/* The networks of published models, and what they are known by: an entry for each, which is a bit of a set too. */
#ifndef CONVERT_NETWORKS_H
#define CONVERT_NETWORKS_H
#include <stdbool.h>
#include <stdint.h>

/* A network is where all of `all` are, one of each of `any`, and not `none`. */
typedef struct network {
    const char *name;
    const char *all[3], *any[2][4], *none;
    int kernel;         /* of the first of `all`: 1, or -1 for more; 0: any */
    bool moments;       /* quant_conv makes twice as many numbers as post_quant_conv reads: mean and variance */
    const char *to;     /* the prefix that its family wants */
    const char *beside; /* what may stand beside the last part of its prefix: "model.layers.…" and "lm_head.weight" */
    bool by_folder;     /* its family wants the name of its file's folder as prefix: a model has several such */
} network;

/* clang-format off */
#define IMPORT_NETWORKS(EACH)                                                                                          \
    EACH(NETWORK_OPENAI_ENCODER, .name = "OpenAI's dVAE encoder",                                                      \
         .all = {"blocks.input.w"}, .kernel = -1, .to = "encoder.")                                                    \
    EACH(NETWORK_OPENAI_DECODER, .name = "OpenAI's dVAE decoder",                                                      \
         .all = {"blocks.input.w"}, .kernel = 1, .to = "decoder.")                                                     \
    EACH(NETWORK_DISCRETE_VAE, .name = "a DiscreteVAE", .all = {"codebook.weight", "encoder.0.0.weight"})              \
    EACH(NETWORK_DALLE, .name = "a DALLE",                                                                             \
         .all = {"to_logits.1.weight"},                                                                                \
         .any = {{"transformer.layers.layers.0.0.scale", "transformer.layers.blocks.0.f.net.scale"}})                  \
    EACH(NETWORK_DALLE_CLIP, .name = "DALLE-pytorch's CLIP", .all = {"to_visual_latent.weight"})                       \
    EACH(NETWORK_BART_DECODER, .name = "DALL-E Mini's decoder",                                                        \
         .all = {"layers.0.encoder_attn.q_proj.weight"}, .to = "decoder.")                                             \
    EACH(NETWORK_BART_ENCODER, .name = "DALL-E Mini's encoder",                                                        \
         .all = {"layers.0.self_attn.q_proj.weight", "embed_tokens.weight", "embed_positions.weight"},                 \
         .none = "layers.0.encoder_attn.q_proj.weight",                                                                \
         .to = "encoder.")                                                                                             \
    EACH(NETWORK_MINDALLE, .name = "minDALL-E's GPT", .all = {"pos_emb_img.weight"})                                   \
    EACH(NETWORK_RUDALLE, .name = "ruDALL-E's GPT", .all = {"image_row_embeddings.weight", "to_logits.1.weight"})      \
    EACH(NETWORK_LLAMAGEN, .name = "LlamaGen's GPT", .all = {"cls_embedding.embedding_table.weight"})                  \
    EACH(NETWORK_LLAMAGEN_T2I, .name = "LlamaGen's GPT of texts", .all = {"cls_embedding.uncond_embedding"})           \
    EACH(NETWORK_T5, .name = "T5's encoder",                                                                           \
         .all = {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",                               \
                 "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"},                                                \
         .any = {{"shared.weight", "encoder.embed_tokens.weight"}},                                                    \
         .to = "t5.")                                                                                                  \
    EACH(NETWORK_JANUS, .name = "Janus", .all = {"gen_embed.weight", "gen_head.vision_head.weight"})                   \
    EACH(NETWORK_TRANSFORMERS_JANUS, .name = "Janus",                                                                  \
         .all = {"generation_embeddings.weight", "generation_head.vision_head.weight"}, .beside = "lm_head.")          \
    EACH(NETWORK_SIMPLEAR, .name = "SimpleAR",                                                                         \
         .all = {"layers.0.self_attn.q_proj.bias", "embed_tokens.weight", "layers.0.mlp.gate_proj.weight"},            \
         .beside = "lm_head.")                                                                                         \
    EACH(NETWORK_COSMOS_DECODER, .name = "Cosmos's decoder",                                                           \
         .all = {"post_quant_conv.conv3d.weight", "decoder.conv_in.0.conv3d.weight"},                                  \
         .any = {{"inv_quant.quantizer.implicit_codebook", "quantizer.implicit_codebook"}})                            \
    EACH(NETWORK_COSMOS_ENCODER, .name = "Cosmos's encoder",                                                           \
         .all = {"quant_conv.conv3d.weight", "encoder.conv_in.0.conv3d.weight"})                                       \
    EACH(NETWORK_AMUSED, .name = "aMUSEd's transformer", .all = {"embed.embeddings.weight", "mlm_layer.conv2.weight"}) \
    EACH(NETWORK_UNET, .name = "a U-Net of latent diffusion",                                                          \
         .all = {"time_embedding.linear_1.weight", "down_blocks.0.resnets.0.time_emb_proj.weight"},                    \
         .any = {{"mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",                                     \
                  "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",                                 \
                  "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",                                 \
                  "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k.weight"}},                               \
         .to = "unet.")                                                                                                \
    EACH(NETWORK_UNCLIP_UNET, .name = "a U-Net of unCLIP",                                                             \
         .all = {"time_embedding.linear_1.weight", "down_blocks.0.downsamplers.0.time_emb_proj.weight"},               \
         .by_folder = true)                                                                                            \
    EACH(NETWORK_UNCLIP_TEXT, .name = "what reads texts in unCLIP",                                                    \
         .all = {"encoder_hidden_states_proj.weight", "embedding_proj.weight"}, .by_folder = true)                     \
    EACH(NETWORK_AUTOENCODER_KL, .name = "an autoencoder of latents",                                                  \
         .all = {"decoder.up_blocks.0.resnets.0.norm1.weight", "decoder.conv_in.weight"},                              \
         .none = "quantize.embedding.weight", .to = "vae.")                                                            \
    EACH(NETWORK_DIFFUSION_TEXT, .name = "a CLIP's text tower without projection",                                     \
         .all = {"text_model.final_layer_norm.weight", "text_model.embeddings.position_embedding.weight"},             \
         .none = "text_projection.weight", .to = "text.")                                                              \
    EACH(NETWORK_AUTHORS_UNET, .name = "a U-Net of latent diffusion",                                                  \
         .all = {"time_embed.0.weight", "output_blocks.0.0.in_layers.0.weight",                                        \
                 "middle_block.1.transformer_blocks.0.attn2.to_k.weight"},                                             \
         .to = "unet.")                                                                                                \
    EACH(NETWORK_AUTHORS_AUTOENCODER, .name = "an autoencoder of latents",                                             \
         .all = {"post_quant_conv.weight", "decoder.up.0.block.0.norm1.weight", "decoder.mid.attn_1.norm.weight"},     \
         .moments = true, .to = "vae.")                                                                                \
    EACH(NETWORK_OPENCLIP_TEXT, .name = "OpenCLIP's text tower",                                                       \
         .all = {"ln_final.weight", "token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"},          \
         .none = "visual.class_embedding", .to = "text.")                                                              \
    EACH(NETWORK_CLIP_TEXT, .name = "a CLIP's text tower",                                                             \
         .all = {"text_model.final_layer_norm.weight", "text_projection.weight"},                                      \
         .none = "vision_model.embeddings.class_embedding")                                                            \
    EACH(NETWORK_TAMING_GPT, .name = "taming-transformers' GPT",                                                       \
         .all = {"transformer.tok_emb.weight", "transformer.pos_emb"})                                                 \
    EACH(NETWORK_VQGAN, .name = "a VQGAN",                                                                             \
         .all = {"post_quant_conv.weight"},                                                                            \
         .any = {{"decoder.conv_in.weight", "decoder.decoder.conv_in.weight"},                                         \
                 {"quantize.embedding.weight", "quantize.embed.weight", "embedding.weight"}})                          \
    EACH(NETWORK_OPENAI_CLIP, .name = "a CLIP", .all = {"visual.class_embedding"})                                     \
    EACH(NETWORK_HUGGINGFACE_CLIP, .name = "a CLIP", .all = {"vision_model.embeddings.class_embedding"})               \
    EACH(NETWORK_LIMN_CODEC, .name = "limn's codec", .all = {"encoder.down.0.weight"})                                 \
    EACH(NETWORK_LIMN_TRANSFORMER, .name = "limn's transformer", .all = {"transformer.block.0.qkv.weight"})
/* clang-format on */

#define IMPORT_NETWORK_AT(id, ...)  id##_AT,
#define IMPORT_NETWORK_BIT(id, ...) id = 1LL << id##_AT, /* more than an int has: GNU C */
enum { IMPORT_NETWORKS(IMPORT_NETWORK_AT) NETWORKS };
/* Sets of networks, for a family to say what it consists of. */
enum network_set { IMPORT_NETWORKS(IMPORT_NETWORK_BIT) };
extern const network networks[NETWORKS];
#endif
