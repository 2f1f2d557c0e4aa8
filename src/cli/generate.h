/* limn generate, in parts: what is asked for (generate_request.c), the work (generate.c), and what becomes of the
 * pictures as they are ready (generate_results.c). */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H
#include "cli/keep.h"
#include "cli/pictures.h"
#include "cli/prompts.h"
#include "cli/rank.h"
#include "cli/variety.h"

/* What pictures are drawn of: a prompt, or ids that stand for one. */
typedef struct source {
    const char *prompt; /* or NULL */
    const int32_t *ids;
    size_t n_ids;
    char *ids_text;    /* "5 7 9"; of --class NULL */
    const char *shown; /* the prompt, "token ids 5 7 9" or "class 207" */
} source;

/* Item t of the run, from 0 on, is picture `first` + t by its file's name.  Of one source, that is the number of the
 * picture of the seed; several sources have `each` pictures of the seed in turn. */
typedef struct request {
    const options *o;
    int quality;   /* of --quality, or 0 */
    char *out;     /* "limn.png" or what is free, where -o isn't given */
    bool out_free; /* the latter: it must not take a file's place */
    bool numbered, grid;
    const char *codes_out, *latents_out, *preview, *image_prompt, *mask, *rank, *negative;
    char *adapters; /* --lora's, "style:0.5, other"; NULL: none */
    char *rank_own; /* what --convert made of --rank's file */
    prompts prompts;
    npy ids;
    int32_t class;   /* or -1 */
    char *shown;     /* the memory of the sources' */
    source *sources; /* [n_sources] */
    int n_sources, each, first, total;
    keep keep;
    int variations, between;          /* --variations, --interpolate; or 0 */
    const char *image_to, *prompt_to; /* the other end of the latter: one of both */
    uint64_t seed;
    bool seed_given;
    double began;    /* clock_seconds() */
    parameters like; /* of --like's picture; else zero */
} request;

/* All that is known before the model is there: usage, prompts, files. */
bool request_read(request *q, const options *o, err *e);
void request_release(request *q);
/* The source of item t, and which picture of the seed it is, from 0 on. */
int request_source(const request *q, int t, int *picture);
/* The file of item t, a new string; without numbers always the same. */
char *request_file(const request *q, int t);

/* Of models that draw embeddings (generate_ends.c): what is asked for, behind the prompts; which of these is the source
 * and which the other end; their settings; and their pictures, which g points to.  ends_like: the other end that
 * --like's picture names. */
bool ends_read(request *q, err *e);
bool ends_like(request *q, err *e);
void ends_choose(request *q);
bool ends_fill(const request *q, const limn_model_info *m, const options *o, limn_generate_options *g, err *e);
bool ends_pictures(const request *q, image ims[2], limn_generate_options *g, err *e);

/* Reads the settings of --like's picture into q->like, and takes from them what no option says; without the option it
 * does nothing, and so do the others. */
bool like_read(request *q, err *e);
bool like_grid(const request *q); /* whether a grid is to be drawn again */
int like_first(const request *q);
int like_count(const request *q);
bool like_ids(const request *q, int32_t **ids, size_t *n, err *e); /* of like.text_ids, a new array */
void like_settings(const request *q, const limn_model_info *m, limn_generate_options *g);
bool like_resize(const request *q, opened_model *s, err *e);  /* draws in its size, if the model can */
void like_say_model(const request *q, const opened_model *s); /* where it was another */

/* A name for `out` that no file has: limn.png, limn-2.png, … */
bool request_choose_file(request *q, err *e);

/* The run on rank 0: pictures by item, those of others in any order. */
typedef struct results {
    request *q;
    const opened_model *s;
    ranking *ranking;                /* clip NULL: none */
    const limn_generate_options *g;  /* the settings; its prompt is another's */
    bool *there;                     /* [total] */
    int count;                       /* of them */
    int before;                      /* those at the beginning, without a gap */
    int written;                     /* in files of their own, or in the grid */
    uint64_t bytes;                  /* of the files */
    image *held;                     /* [total], NULL where pictures needn't stay: of a grid, a preview, a ranking */
    int *order;                      /* [total] with a ranking: the picture of the seed that an item shows, from 0 */
    float *scores;                   /* [total] */
    int ranked;                      /* items whose order is known */
    int32_t *codes;                  /* [total, cells] with --codes-out, or --latents-out */
    variety variety;                 /* of the prompts that have several pictures */
    double grid_seconds, grid_since; /* what writing the grid takes, and when that was */
    image blank;                     /* what stands for a picture that isn't there */
} results;

bool results_begin(results *r, request *q, const opened_model *s, ranking *k, const limn_generate_options *g, err *e);
void results_release(results *r);
/* Takes over the picture of item t, and writes it where it needn't wait for others. */
bool results_take(results *r, int t, image *im, const int32_t *codes, err *e);
/* Orders what can be ordered, and writes what waited for that; the model is free for it. */
bool results_settle(results *r, err *e);
/* At the end: what isn't written yet, as far as it is there.  ok: all of it is. */
bool results_end(results *r, bool ok, err *e);
/* "12 of 3000 pictures are written; --seed 7 --first 13 -n 2988 goes on" */
enum { RESULTS_WORDS = 256 };
void results_words(const results *r, char text[RESULTS_WORDS]);
/* Adds them to the error of a run that ended early. */
void results_explain(const results *r, err *e);
/* What was written, on stderr, and with --json on stdout. */
void results_say(const results *r, bool ok);
/* ims[n] of codes[n, cells]; negative codes aren't known yet, and become grey. */
bool results_unfinished(const results *r, image *ims, const int32_t *codes, int n, err *e);
/* All pictures as one, those that aren't there as a blank; begun[n] are shown for items from `at` on. */
bool results_grid(results *r, image *out, const image *begun, int at, int n, err *e);
#endif
