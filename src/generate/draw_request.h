/* A request: the texts that its pictures are drawn of, and how their codes are chosen. */
#ifndef GENERATE_DRAW_REQUEST_H
#define GENERATE_DRAW_REQUEST_H
#include "generate/sampler.h"
#include "models/model.h"

typedef struct draw_request {
    struct draw_request *next; /* of those that wait */
    uint64_t id;
    int users; /* who needs it: the queue, and each of its pictures that is begun */
    bool guided;
    int32_t *text;  /* [1 + guided, text_length]: the prompt's row, the row that guidance leads away from */
    int length[2];  /* of both: text_length, or with own_lengths those of their texts */
    int32_t *kept;  /* [cells], -1 in cells to be chosen; NULL: all are */
    int32_t *shown; /* [cells]: what of an image prompt is drawn anew in part, with `strength`; or NULL */
    /* of models that fill masked cells: all steps, the first that is done, the share of cells that aren't kept */
    int steps, start;
    float share;
    sampling sampling; /* of picture 0 of the seed */
    sampler *sampler;  /* of diffusion models, else NULL; guidance, seed and stream of `sampling` count there */
    float *noise;      /* [n_noise, cells], or NULL: by the seed */
    int n_noise;
    int draws; /* rows of noise that are drawn before those of the steps */
    /* what an image prompt is to these: moments[places, 2 latents] (codec_moments) of the picture, and for networks
     * that read it of what stays, or NULL; paint[places]: 1 where it is painted anew, or NULL: everywhere */
    float *image, *stays;
    uint8_t *paint;
    /* of unCLIP: `sampler` has UNCLIP_STAGES of them; text[4, text_length] has behind the other two rows the text that
     * pictures lead to, and one of no words; image[2, dim] are the embeddings of both ends, as far as they are known:
     * those of pictures, and of texts once they are drawn */
    int between; /* pictures from one end to the other; 0: there is one end */
    bool known[2];
    float prior_guidance;
    int first, count; /* pictures of the seed */
    int begun;        /* of these */
} draw_request;

/* Checks o and reads its texts: o->prompt, text_ids, count, first, seed, what chooses codes, negative and keep; what is
 * given may go afterwards.  NULL with e filled where o can't be drawn.  checking: nothing will be, so no warnings. */
draw_request *draw_request_new(const model *m, const limn_generate_options *o, bool checking, err *e);
/* For diffusion models (draw_latents.c): checks o; fills guided, sampler, noise, draws and paint. */
bool draw_latents_check(const model *m, const limn_generate_options *o, err *e);
bool draw_latents_plan(const model *m, const limn_generate_options *o, draw_request *q, err *e);
/* What models that draw no codes are not asked for; noise of so many rows at most. */
bool draw_latents_refuse_codes(const model *m, const limn_generate_options *o, err *e);
bool draw_latents_check_noise(const model *m, const limn_generate_options *o, int most, err *e);
/* Copies it; rows: how many are read. */
bool draw_latents_copy_noise(const model *m, const limn_generate_options *o, draw_request *q, int rows, err *e);
/* The same as draw_latents_… of unCLIP, whose samplers are three (draw_unclip.c), and the further rows of its text. */
bool draw_unclip_check(const model *m, const limn_generate_options *o, err *e);
bool draw_unclip_plan(const model *m, const limn_generate_options *o, draw_request *q, err *e);
bool draw_unclip_read_texts(const model *m, const limn_generate_options *o, bool checking, draw_request *q, err *e);
/* What only unCLIP is asked for, of another model: an error where it is. */
bool draw_unclip_refuse(const model *m, const limn_generate_options *o, err *e);
/* One user less; the last one frees it.  Accepts NULL. */
void draw_request_drop(draw_request *q);
#endif
