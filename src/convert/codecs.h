/* Importing published codecs: for the families that hold one beside other parts. */
#ifndef CONVERT_CODECS_H
#define CONVERT_CODECS_H
#include "convert/mapping.h"
#include "models/codecs/vqgan.h"

/* Each declares the keys and tensors of the codec whose tensors' names begin with prefix ("", "vae.").
 * grid: codes in a row of a picture, where another part of the model or a hyper-parameter tells, else 0: then
 * --set image_size tells, or it is 256. */

/* VQGANs of taming-transformers and those who took them over: minDALL-E, ruDALL-E (its wavelet decoder too),
 * min-dalle's detokenizer, LlamaGen.  What only training needs (loss.*, model_ema.*) is left out. */
bool import_vqgan(import *im, const char *prefix, int grid, err *e);
/* Autoencoders of latents, in diffusers' names: with group norms of so many groups, and latents of that scale. */
bool import_autoencoder_kl(import *im, const char *prefix, int grid, int groups, float scale, err *e);
/* The keys and tensors of one of these hyper-parameters. */
bool import_resnet_vq(import *im, const resnet_vq_config *k, const import_map *maps, err *e);
/* Finds one; false where there is none. */
bool import_vqgan_prefix(const source *s, char prefix[64]);
/* OpenAI's: "enc." and "dec.", before "blocks.input.w".  _sides finds these, after it has put prefixes before the names
 * of an encoder and a decoder in files of their own. */
bool import_has_openai_dvae(const source *s);
bool import_openai_dvae_sides(source *s, char encoder[32], char decoder[32], err *e);
bool import_openai_dvae(import *im, const char *encoder, const char *decoder, int grid, err *e);
/* NVIDIA's Cosmos tokenizer of videos, DV8x16x16, for one picture: its decoder, and its encoder where that is there. */
bool import_has_cosmos(const source *s);
int import_cosmos_codes(import *im); /* that it knows */
bool import_cosmos(import *im, int *grid, err *e);
/* DALLE-pytorch's DiscreteVAE. */
bool import_dalle_pytorch_vae(import *im, const char *prefix, int grid, err *e);
#endif
