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
    int position;        /* the next one that is read: of its last known code */
} batch_row;

typedef struct batch {
    session s;
    tensor position; /* I32 [rows + 1], the last for nobody */
    tensor forced;   /* I32 [rows, cells] */
    tensor settings; /* I32 [rows, SAMPLING_WORDS]: of the pictures in their order */
    tensor last;     /* F32 [rows, 1, dim]: the last states of their texts */
    tensor known;    /* I32 [rows]: codes that are known, where there are drafts */
    batch_row row[BATCH_MOST];
    int32_t *texts;          /* [rows, the session's text]: those that the rows' caches begin with, used or not */
    int lengths[BATCH_MOST]; /* of these; 0: with none yet */
    int rows;                /* that there is memory for */
    int recorded;            /* sequences of the step that is recorded; 0: none is */
    int pictures;            /* of it */
    bool by_choice;          /* it has op_guide, which chooses rows of logits */
    int draft;               /* positions of a sequence that a step reads, at most: drafts behind the last known code */
    int window;              /* those that it reads now */
    int window_recorded;
} batch;

/* text, keys: as of session_open.  draft: positions that a step reads of a sequence, at most. */
bool batch_open(batch *b, const transformer *d, run *r, int rows, int text, dtype keys, int draft, err *e);
void batch_release(batch *b);

/* Chooses the window for the first `rows` sequences, with which op_linear's sums don't depend on it either.  True if it
 * is another one: batch_write must tell the device then. */
bool batch_fit_window(batch *b, int rows);
/* Tells the device what the rows are, and how n pictures are chosen. */
bool batch_write(batch *b, const sampling *pictures, int n, err *e);
/* Reads the texts of the rows that are used and at position 0, each once: what a row's caches begin with already is
 * copied.  Then chooses the first codes of the pictures from number `first` on, of `pictures` in all. */
void batch_begin(batch *b, int first, int pictures);
/* Makes row `to` what row `from` is, which is unused then. */
void batch_move(batch *b, int from, int to);
/* Records the step of the first `rows` sequences, which are all that are used, where another one was recorded. */
void batch_record(batch *b, int rows, int pictures, bool by_choice);
/* The next code of every picture, or with drafts one at least: batch_read_known says how many there are. */
void batch_step(batch *b);
/* Where steps have drafts: waits for them, and learns how far the rows are.  False with e filled if the run failed. */
bool batch_read_known(batch *b, err *e);
/* Codes of row i that are known, where its text is read. */
int batch_known(const batch *b, int i);
#endif
