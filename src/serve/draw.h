/* The pictures of jobs: models on a device, and what they have at work.  One thread's own. */
#ifndef SERVE_DRAW_H
#define SERVE_DRAW_H
#include "serve/job.h"

/* A model that is open for pictures of one size. */
typedef struct drawer {
    struct drawer *next;
    served *model;
    const char *adapters; /* of the model, as pictures tell of them, or NULL */
    int width, height;    /* asked for; 0: the model's own */
    limn_model *m;
    const limn_model_info *info;
    limn_generation *g; /* NULL: it has drawn nothing yet */
    int jobs;           /* at work */
    bool waits;         /* for room, until others are done */
} drawer;

/* A job at work. */
typedef struct drawing {
    struct drawing *next;
    job *j;
    drawer *d;
    limn_generate_options o; /* the job's settings, with the model's where it has none */
    uint8_t *keep;           /* [count, or 1][cells], with kept codes; or NULL */
    int32_t *kept;
    uint8_t *image, *paint; /* of diffusion models, instead of both: the picture, and where it is painted anew */
    uint64_t *ids;          /* of its requests: one, or one for each picture */
    int n_ids;
    int whole_width, whole_height; /* of the picture as it was sent */
    bool apart;                    /* each picture is a request */
    float vary;                    /* as the job has it, for the model */
} drawing;

/* Begins a job on a drawer, whose model has the job's size if it can.  False with e filled where it can't be drawn:
 * LIMN_USAGE if that is the request's fault. */
bool drawing_begin(drawing *a, drawer *d, job *j, limn_error *e);
/* Takes what is finished of a drawer into the jobs of the list: the pictures' files. */
bool drawings_take(drawing *list, drawer *d, limn_error *e);
/* How many codes are known of a job, and the previews that are due. */
bool drawing_look(drawing *a, int *codes, limn_error *e);
/* The job's first picture that isn't finished as it is now, as a PNG. */
bool drawing_peek(drawing *a, text_buffer *file, limn_error *e);
/* Drops what of it isn't finished. */
void drawing_end(drawing *a);
#endif
