/* The inside of limn_generation. */
#ifndef GENERATE_GENERATION_H
#define GENERATE_GENERATION_H
#include "generate/batch.h"
#include "generate/denoise.h"
#include "generate/draw_request.h"
#include "generate/unclip.h"
#include "models/plan.h"

typedef struct picture {
    struct picture *next; /* of the finished ones */
    draw_request *q;
    int number;     /* of the seed */
    int row, other; /* its sequences in the batch; other -1: there is none */
    int chosen;     /* codes, also those that the device still has to choose; or steps that are done, of a masked one */
    int known;      /* codes that it has chosen; of a masked one the same share of its cells as of its steps */
    int32_t *codes; /* [cells] */
} picture;

typedef struct limn_generation {
    model *m;
    const transformer *d;
    int cells;
    dtype keys;   /* of the caches */
    int text;     /* positions of a batch's longest text */
    int draft;    /* codes that are drafted and checked in one step, at most; 1: none is drafted */
    int limit;    /* sequences at once; 0: as many as wait when the first one begins */
    bool decoder; /* has room beside them */
    uint64_t last_id;
    draw_request *waiting;
    picture *work[BATCH_MOST], *finished;
    int n_work;
    run *r;                 /* not the model's: a caller may decode pictures meanwhile */
    batch batch;            /* rows 0: nothing is at work */
    denoiser denoiser;      /* of diffusion models, instead of the batch */
    unclip_drawing drawing; /* of unCLIP, instead of both, and */
    int phases[4]; /* how many steps its picture has: of the priors of both ends, the decoder, the last stage */
    bool changed;  /* pictures left the batch since it was told what it has */
    bool alone;    /* nobody else uses the model until all pictures are finished */
    plan plan;
    int planned;         /* the items that there is room for at once; 0: nothing is planned */
    int most, most_rows; /* what is planned for: items at once, and the sequences of all of them */
    int unit;            /* sequences of an item: a picture, or with `mixed` of any one or two */
    bool mixed;
    bool by_choice; /* some are guided */
    double seconds; /* of the codes after the first of each picture, without the caller's */
    int64_t steps;
    int64_t passes, chosen; /* of all pictures: steps, and the codes that they gave */
    limn_generation_status status;
    guarded guard;
} generation;

/* As limn_generation_open and its like. */
generation *generation_open(model *m, const limn_generation_options *options, err *e);
void generation_free(generation **g);
bool generation_add_request(generation *g, const limn_request *q, uint64_t *id, err *e);
bool generation_step(generation *g, int *left, err *e);
bool generation_take(generation *g, uint64_t *id, int *number, int32_t *codes);
const limn_generation_status *generation_get_status(generation *g);
bool generation_peek(generation *g, uint64_t id, int number, int32_t *codes, int *done, err *e);
bool generation_cancel(generation *g, uint64_t id, err *e);
/* A request of what limn_generate takes. */
bool generation_add(generation *g, const limn_generate_options *o, uint64_t *id, err *e);

/* ---- pictures whose cells are filled all at once: generation_masked.c ---- */

/* Those at work from number `first` on begin: their texts are read, and their cells masked. */
bool generation_begin_masked(generation *g, int first, err *e);
/* A step of each. */
void generation_fill(generation *g);

/* ---- pictures of diffusion models: generation_latents.c ---- */

/* The latents of an image prompt, and of what of it stays. */
bool generation_read_image(generation *g, draw_request *q, const limn_generate_options *o, err *e);
/* A step of the picture at work; the next one begins where there is none. */
bool generation_denoise(generation *g, err *e);
/* On the counting twin: all work of a picture of so many sequences.  n, which is open then, is to be released. */
bool generation_walk_latents(const generation *g, denoiser *n, run *r, int rows, err *e);

/* ---- of unCLIP: generation_unclip.c ---- */

/* The embeddings of the pictures among the ends. */
bool generation_read_ends(generation *g, draw_request *q, const limn_generate_options *o, err *e);
/* As generation_denoise; as generation_walk_latents. */
bool generation_unclip(generation *g, err *e);
bool generation_walk_unclip(const generation *g, unclip_drawing *w, run *r, int rows, err *e);

/* ---- generation.c, for those ---- */

/* The next picture of the request that waits longest. */
picture *generation_next_picture(generation *g, err *e);
/* Picture i of those at work is finished, and its codes are there. */
void generation_finish(generation *g, int i);

/* ---- the memory of a batch: generation_memory.c ---- */

/* Whether its texts are as short as the batch's. */
bool generation_fits(const generation *g, const draw_request *q);
/* The sequences of each picture. */
int generation_sequences(const draw_request *q);
/* Room for as many pictures as fit of those that wait, and the weights. */
bool generation_open_batch(generation *g, err *e);
/* Nothing is at work.  Unless `more` follows at once, others may have all that it had on the device. */
bool generation_close_batch(generation *g, bool more, err *e);
/* Says what drafts gave, and what streaming cost, as measured; the batch is done. */
void generation_report(generation *g);
#endif
