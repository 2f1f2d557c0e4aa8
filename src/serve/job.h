/* Requests for pictures: they wait in a queue, and a worker with a device draws them together. */
#ifndef SERVE_JOB_H
#define SERVE_JOB_H
#include <limn/limn.h>

#include "io/image.h"
#include "serve/http.h"
#include "serve/text.h"

typedef struct job job;
typedef struct worker worker;

/* A model that is served. */
typedef struct served {
    char id[128];
    char *path; /* NULL: the built-in model */
    long long created;
    char *facts; /* JSON, once it was open; read and written by atomic operations */
} served;

/* Notes the facts of a model that is open, the first time.  Any thread may. */
void served_learn(served *m, const limn_model_info *i);

typedef enum job_state { JOB_WAITING, JOB_WORKING, JOB_DONE, JOB_FAILED, JOB_CANCELLED } job_state;
extern const char *const job_state_names[];

/* What a mask says stays: where it is opaque; where it is white, or opaque if it has transparent parts; where it is
 * black; or where half of a cell is white, as --keep counts (of latents the others are read by their pixels). */
typedef enum mask_meaning { STAYS_OPAQUE, STAYS_WHITE, STAYS_BLACK, STAYS_CELLS } mask_meaning;

/* How an API tells a client of its job.  All are called in the worker's thread; the exchange is the job's. */
typedef struct job_answers {
    void (*preview)(job *j, int picture, int index, const uint8_t *file, size_t size);
    void (*picture)(job *j, int picture); /* it is finished; NULL: done tells of all */
    void (*done)(job *j);
    void (*failed)(job *j, const limn_error *e);
} job_answers;

typedef struct job_picture {
    uint8_t *file; /* NULL: not finished */
    size_t size;
    char *settings; /* as the file has them */
    int previews;   /* that were sent */
} job_picture;

struct job {
    struct job *next;
    int holders;
    char id[33];
    exchange *x;
    const job_answers *answers;
    void *own; /* the API's; freed by free() */
    served *model;
    /* what is drawn: texts are the job's */
    char *prompt, *negative;
    char *user; /* what the client calls itself, or NULL */
    uint64_t seed;
    int count;
    bool own_seeds;                     /* picture i is the first one of seed + i, else the i-th of the seed */
    float temperature, top_p, guidance; /* as in limn_request */
    int top_k, steps;                   /* steps: of models that have them */
    const char *sampler, *spacing;      /* of diffusion models; static names, or NULL */
    bool lenient;                       /* what the model hasn't a sampler for is drawn without */
    text_buffer picture, mask;          /* files: an image prompt, and what of it stays */
    mask_meaning mask_is;
    char *region; /* what stays, as limn generate's --keep says it; or NULL */
    bool denoise; /* strength becomes vary where the model has none */
    float vary;   /* share of its cells that is drawn anew, chosen by the seed, for each picture others; 0: by a mask */
    float strength; /* as in limn_request; 0: none */
    /* the pictures' files */
    int width, height; /* 0: the model's */
    bool strict_size;
    image_format format;
    int quality;
    int previews; /* of each picture */
    /* what has come of it; under the queue's lock */
    job_state state;
    bool cancelled; /* it is asked to end */
    int codes, all_codes, text_tokens;
    int drawn_width, drawn_height; /* as the model drew them */
    const char *drawn_by;          /* its sampler, as front ends call it; or NULL */
    float drawn_guidance;
    int all_steps;         /* of each picture */
    double created;        /* seconds since 1970 */
    job_picture *pictures; /* [count] */
    int finished;
    bool peeked;      /* somebody wants to see it */
    text_buffer view; /* a picture of it as it was then, PNG */
    char error[512];
};

/* With a random id; x may be NULL.  NULL where memory is short. */
job *job_new(exchange *x, const job_answers *answers);
void job_hold(job *j);
void job_release(job *j);
/* Frees what is large: its pictures, and those that it was given. */
void job_drop_files(job *j);
double job_seconds(void); /* since 1970 */
/* Whether it was cancelled, or its client has hung up. */
bool job_is_unwanted(const job *j);
#endif
