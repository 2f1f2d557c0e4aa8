/* A batch: sequences that share each reading of the weights, what they have on the device, and its work.  Each sequence
 * is at a position of its own, and has text of its own; a picture has one sequence, or two with guidance. */
#ifndef GENERATE_BATCH_H
#define GENERATE_BATCH_H
#include "models/session.h"

/* With more sequences op_linear's sums would depend on their number (ops/linear.c). */
#define BATCH_MOST 32

/* What the host knows of a sequence, besides its codes. */
typedef struct batch_row {
    bool used;
    const int32_t *text; /* [length] */
    int length;          /* the kind's text_length, or with own_lengths the row's own */
    const int32_t *kept; /* [cells], -1 in cells to be chosen; NULL: all are */
    int position;        /* the next one that is read */
} batch_row;

typedef struct batch {
    session s;
    tensor position; /* I32 [rows] */
    tensor forced;   /* I32 [rows, cells] */
    tensor settings; /* I32 [rows, SAMPLING_WORDS]: of the pictures in their order */
    tensor last;     /* F32 [rows, 1, dim]: the last states of their texts */
    batch_row row[BATCH_MOST];
    int rows;       /* that there is memory for */
    int recorded;   /* sequences of the step that is recorded; 0: none is */
    int pictures;   /* of it */
    bool by_choice; /* it has op_guide, which chooses rows of logits */
} batch;

/* text, keys: as of session_open. */
bool batch_open(batch *b, const transformer *d, run *r, int rows, int text, dtype keys, err *e);
void batch_release(batch *b);

/* Tells the device what the rows are, and how n pictures are chosen. */
bool batch_write(batch *b, const sampling *pictures, int n, err *e);
/* Reads the texts of the rows that are used and at position 0; those that follow each other and are the same are read
 * once.  Then chooses the first codes of the pictures from number `first` on, of `pictures` in all. */
void batch_begin(batch *b, int first, int pictures);
/* Makes row `to` what row `from` is, which is unused then. */
void batch_move(batch *b, int from, int to);
/* Records the step of the first `rows` sequences, which are all that are used, where another one was recorded. */
void batch_record(batch *b, int rows, int pictures, bool by_choice);
/* The next code of every picture. */
void batch_step(batch *b);
#endif
