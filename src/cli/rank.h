/* The order that generate --rank gives pictures. */
#ifndef CLI_RANK_H
#define CLI_RANK_H
#include "cli/common.h"

/* Zero-initialised is valid and empty. */
typedef struct ranking {
    limn_model *clip, *own; /* own: the file of --rank, NULL where the model's own CLIP is asked */
    limn_model *drawn;      /* whose pictures are ranked: done by then */
    int *order;             /* [n]: the best picture first, from 0 */
    float *scores;          /* [n], in that order */
} ranking;

/* file: a model file with a CLIP, or "own": s->model must have one. */
bool ranking_open(ranking *r, const opened_model *s, const char *file, err *e);
void ranking_release(ranking *r);
/* Fills order and scores anew; of equal pictures the first comes first.  With -v the scores are said,
 * with the pictures' numbers from `first` on. */
bool ranking_order(ranking *r, const char *prompt, const image *ims, int n, int first, err *e);
#endif
