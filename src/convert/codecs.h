/* Importing published codecs: for the families that hold one beside other parts. */
#ifndef CONVERT_CODECS_H
#define CONVERT_CODECS_H
#include "convert/convert.h"
#include "models/codecs/codec.h"

/* Each declares the keys and tensors of the codec whose tensors' names begin with prefix ("", "vae.").
 * grid: codes in a row of a picture, where another part of the model or a hyper-parameter tells, else 0: then
 * --set image_size tells, or it is 256. */

/* VQGANs of taming-transformers and those who took them over: minDALL-E, ruDALL-E (its wavelet decoder too),
 * min-dalle's detokenizer, LlamaGen.  What only training needs (loss.*, model_ema.*) is left out. */
bool import_vqgan(import *im, const char *prefix, int grid, err *e);
/* Finds one; false where there is none. */
bool import_vqgan_prefix(const source *s, char prefix[64]);
/* OpenAI's: "enc." and "dec.", before "blocks.input.w".  _sides finds these, after it has put prefixes before the names
 * of an encoder and a decoder in files of their own. */
bool import_has_openai_dvae(const source *s);
bool import_openai_dvae_sides(source *s, char encoder[32], char decoder[32], err *e);
bool import_openai_dvae(import *im, const char *encoder, const char *decoder, int grid, err *e);
/* DALLE-pytorch's DiscreteVAE. */
bool import_dalle_pytorch_vae(import *im, const char *prefix, int grid, err *e);
/* Its transformer (class DALLE), whose codec has so many codes; fills *d's sizes. */
struct dalle_pytorch;
bool import_dalle_pytorch_transformer(import *im, int codes, struct dalle_pytorch *d, err *e);
/* Its CLIP, whose text ids are below *vocabulary. */
bool import_dalle_pytorch_clip(import *im, int *vocabulary, err *e);

/* For these: the size of dimension i of a source tensor, an error in im (and 0) where there is no such. */
int import_size(import *im, int i, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Whether there is a tensor of that name. */
bool import_has(const import *im, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sides of the pictures, where a cell is `step` pixels wide. */
int import_image_size(import *im, int grid, int step);
/* Ends an import: params go, and the first error counts. */
bool import_codec_end(import *im, codec *c, param_table *p, bool ok, err *e);

/* PyTorch's convolutions [out,in,h,w] and its transposed ones [in,out,h,w] to ours, [out,h,w,in]. */
extern const int import_conv_order[4], import_conv_transpose_order[4];
#endif
