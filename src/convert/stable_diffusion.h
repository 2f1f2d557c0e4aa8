/* What the family "stable-diffusion" is made of: names of the U-Net's layers, which both layouts share, and the single
 * files of the authors, which tell less than folders of diffusers. */
#ifndef CONVERT_STABLE_DIFFUSION_H
#define CONVERT_STABLE_DIFFUSION_H
#include "convert/diffusers.h"
#include "models/transformers/diffusion.h"

/* Rows of a transformer, whose inner names are the same in both layouts. */
#define UNET_BLOCK ".transformer_blocks.0."
#define UNET_TRANSFORMER_ROWS(ours, theirs)                                                                            \
    {ours ".norm.*", {theirs ".norm.*"}}, {ours ".in.*", {theirs ".proj_in.*"}},                                       \
        {ours ".norm1.*", {theirs UNET_BLOCK "norm1.*"}},                                                              \
        {ours ".qkv.*",                                                                                                \
         {theirs UNET_BLOCK "attn1.to_q.*", theirs UNET_BLOCK "attn1.to_k.*", theirs UNET_BLOCK "attn1.to_v.*"}},      \
        {ours ".self_out.*", {theirs UNET_BLOCK "attn1.to_out.0.*"}},                                                  \
        {ours ".norm2.*", {theirs UNET_BLOCK "norm2.*"}}, {ours ".q.*", {theirs UNET_BLOCK "attn2.to_q.*"}},           \
        {ours ".kv.*", {theirs UNET_BLOCK "attn2.to_k.*", theirs UNET_BLOCK "attn2.to_v.*"}},                          \
        {ours ".cross_out.*", {theirs UNET_BLOCK "attn2.to_out.0.*"}},                                                 \
        {ours ".norm3.*", {theirs UNET_BLOCK "norm3.*"}}, {ours ".up.*", {theirs UNET_BLOCK "ff.net.0.proj.*"}},       \
        {ours ".down.*", {theirs UNET_BLOCK "ff.net.2.*"}},                                                            \
    {                                                                                                                  \
        ours ".out.*",                                                                                                 \
        {                                                                                                              \
            theirs ".proj_out.*"                                                                                       \
        }                                                                                                              \
    }
/* The blocks of a transformer behind its first one. */
#define UNET_MORE ".transformer_blocks.{k}."
#define UNET_MORE_ROWS(ours, theirs)                                                                                   \
    {ours ".block.{k}.norm1.*", {theirs UNET_MORE "norm1.*"}},                                                         \
        {ours ".block.{k}.qkv.*",                                                                                      \
         {theirs UNET_MORE "attn1.to_q.*", theirs UNET_MORE "attn1.to_k.*", theirs UNET_MORE "attn1.to_v.*"}},         \
        {ours ".block.{k}.self_out.*", {theirs UNET_MORE "attn1.to_out.0.*"}},                                         \
        {ours ".block.{k}.norm2.*", {theirs UNET_MORE "norm2.*"}},                                                     \
        {ours ".block.{k}.q.*", {theirs UNET_MORE "attn2.to_q.*"}},                                                    \
        {ours ".block.{k}.kv.*", {theirs UNET_MORE "attn2.to_k.*", theirs UNET_MORE "attn2.to_v.*"}},                  \
        {ours ".block.{k}.cross_out.*", {theirs UNET_MORE "attn2.to_out.0.*"}},                                        \
        {ours ".block.{k}.norm3.*", {theirs UNET_MORE "norm3.*"}},                                                     \
        {ours ".block.{k}.up.*", {theirs UNET_MORE "ff.net.0.proj.*"}},                                                \
    {                                                                                                                  \
        ours ".block.{k}.down.*",                                                                                      \
        {                                                                                                              \
            theirs UNET_MORE "ff.net.2.*"                                                                              \
        }                                                                                                              \
    }
/* ---- single_file.c: files by the authors' own code (CompVis, Stability), and what others make in their layout ---- */

#define SINGLE_UNET "unet.time_embed.0.weight"    /* by which a U-Net in their names is known, */
#define SINGLE_TEXT "text.token_embedding.weight" /* and OpenCLIP's text tower */
#define SINGLE_VAE  "vae.decoder.up.0.block.0.norm1.weight"

enum { SINGLE_UNET_MAPS = 2, SINGLE_SAMPLES = UNET_LEVELS };

/* The names of layers that double a level, which depend on whether the level has transformers. */
typedef struct single_names {
    char ours[SINGLE_SAMPLES][32], theirs[SINGLE_SAMPLES][48];
    import_row rows[SINGLE_SAMPLES];
    size_t n;
} single_names;

/* How many levels it has; and its tables, of which `names`, which must stay, holds a part. */
int single_count_levels(const import *im);
void single_map_unet(const import *im, single_names *names, import_map maps[SINGLE_UNET_MAPS]);

/* The table of OpenCLIP's text tower; *layers: how many of its layers run, for the last one doesn't (Stability's
 * "penultimate"). */
import_map single_map_text(const import *im, int *layers);

/* What the file, its name or the user say of how it is drawn, and else is guessed and said.  `size`: the side of the
 * pictures that it was trained for. */
typedef struct single_use {
    schedule_prediction predicts;
    bool turbo;
    int size;
} single_use;
/* newer: Stable Diffusion 2; in: channels that the U-Net reads.  given: --set prediction, "v" or "epsilon", or NULL. */
single_use single_find_use(import *im, bool newer, int in, const char *given);

/* The noise of the file's own table of it, where it has one: s is what is usual, and changed where the table is another
 * that limn knows.  One that it doesn't know is an error. */
bool single_read_noise(import *im, schedule *s, err *e);
/* What is beside the networks (tables of noise, adapters, optimisers): the first is used, the rest left out and said.
 * A file that has nothing else is an error. */
bool single_leave_rest(import *im, err *e);
#endif
