/* Folders of diffusers: what lies beside the weights of their parts, and the text tower of a CLIP (transformers'
 * names), for the families that are published so. */
#ifndef CONVERT_DIFFUSERS_H
#define CONVERT_DIFFUSERS_H
#include <jansson.h>

#include "convert/mapping.h"
#include "models/transformers/clip.h"

enum { DIFFUSERS_PATH = 4352 };

/* A path from the folder of the file that has this tensor; the JSON file there, *root NULL where there is none. */
void diffusers_path(const import *im, const char *mark, const char *name, char path[DIFFUSERS_PATH]);
bool diffusers_json(const import *im, const char *mark, const char *name, json_t **root, err *e);

/* diffusers_settings.c: what their files say and limn has no computation for is an error.  root: NULL where there is no
 * file. */
bool diffusers_check_unet(const json_t *root, err *e);
bool diffusers_check_scheduler(const json_t *root, err *e);
bool diffusers_check_autoencoder(const json_t *root, err *e);
bool diffusers_check_text(const json_t *root, err *e);
/* Of unCLIP: part and folder, by which messages call them, are those of the network and of the scheduler. */
bool diffusers_check_unclip_unet(const json_t *root, const char *part, bool decoder, err *e);
bool diffusers_check_unclip_scheduler(const json_t *root, const char *folder, err *e);
bool diffusers_check_prior(const json_t *root, err *e);

/* Rows of a ResNet block, the last part of whose names each layout has its own words for. */
#define UNET_RESNET_ROWS(ours, theirs, first, conv, time, second, last, skip)                                          \
    {ours ".norm1.*", {theirs "." first ".*"}}, {ours ".conv1.*", {theirs "." conv ".*"}},                             \
        {ours ".time.*", {theirs "." time ".*"}}, {ours ".norm2.*", {theirs "." second ".*"}},                         \
        {ours ".conv2.*", {theirs "." last ".*"}},                                                                     \
    {                                                                                                                  \
        ours ".skip.*",                                                                                                \
        {                                                                                                              \
            theirs "." skip ".*"                                                                                       \
        }                                                                                                              \
    }

/* Parameters of clip_declare_text, behind its name. */
#define DIFFUSERS_TEXT_ROWS 12
extern const import_row diffusers_text[DIFFUSERS_TEXT_ROWS];
/* The sizes of the text tower whose parameters are "transformer.text.…" in maps, of these and of its config.json (root,
 * or NULL).  dim is 0 where it has no projection. */
bool diffusers_read_text(import *im, const import_map *maps, const json_t *root, clip *c, err *e);

/* CLIP's tokenizer: of --tokenizer, or of tokenizer/ beside the folder of that tensor, or that folder itself.  With
 * `padding` its files tell c->pad_id. */
bool diffusers_put_tokenizer(import *im, const char *mark, clip *c, bool padding, err *e);
#endif
