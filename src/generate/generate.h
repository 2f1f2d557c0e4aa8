/* What the API does with an open model, behind its checks (limn.c). */
#ifndef GENERATE_GENERATE_H
#define GENERATE_GENERATE_H
#include "models/model.h"

/* generate.c, as limn_generate and limn_generate_check. */
bool generate_pictures(model *m, const limn_generate_options *o, int32_t *codes, err *e);
bool generate_check(const model *m, const limn_generate_options *o, err *e);

/* score.c, as limn_score_codes. */
bool score_codes(model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, float *logits,
                 limn_score *result, err *e);
/* ... and as limn_next_logits. */
bool score_next(model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes, int n_codes, float *logits,
                err *e);
/* rank.c, as limn_rank; k may be NULL. */
bool rank_pictures(model *m, const char *text, const uint8_t *rgb, int n, int width, int height, float *scores,
                   const limn_control *k, err *e);

/* embed.c, as limn_embed_texts and limn_embed_pixels. */
bool embed_texts(model *m, const char *const *texts, int n, float *embeddings, const limn_control *k, err *e);
bool embed_pixels(model *m, const uint8_t *rgb, int n, int width, int height, float *embeddings, const limn_control *k,
                  err *e);

/* Numbers of pixels as u8: what is given, or a new array, *own, for free().  NULL with e filled. */
const uint8_t *pixel_bytes(limn_pixel_type type, const void *pixels, size_t count, uint8_t **own, err *e);

/* Where decoded pixels go: one of both. */
typedef struct pixel_place {
    uint8_t *bytes; /* [n, height, width, 3] */
    float *floats;  /* the same in 0..1; or channels first: [n, 3, height, width] */
    bool channels_first;
} pixel_place;
/* codes.c, as limn_encode and limn_decode; k may be NULL. */
bool codes_encode(model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, const limn_control *k, err *e);
bool codes_encode_pixels(model *m, limn_pixel_type type, const void *pixels, int n, int32_t *codes,
                         const limn_control *k, err *e);
/* As limn_preview. */
bool codes_preview(model *m, const int32_t *codes, int n, uint8_t *rgb, err *e);
/* Of latents: codec_moments of one picture. */
bool codes_moments(model *m, const float *pixels, float *moments, err *e);
bool codes_decode(model *m, const int32_t *codes, int n, const pixel_place *to, const limn_control *k, err *e);
#endif
