/* Captions as the transformer reads them in training. */
#ifndef TRAIN_TEXT_H
#define TRAIN_TEXT_H
#include "models/prompt.h"
#include "models/transformers/transformer.h"
#include "train/data/dataset.h"

typedef struct train_text {
    const transformer *d;
    const tokenizer *tokenizer; /* NULL where d reads classes: captions are their numbers then */
    uint64_t seed;
    float bpe_dropout;       /* bpe.h; 0: none */
    float condition_dropout; /* share of captions that are left empty (Ho & Salimans 2022), for guidance */
} train_text;

/* Says how many captions there are, how many of them differ, and, as a warning, how many have more tokens than `room`:
 * those lose their end, in training and, the same, in generation.  length: the --text-length that gives this room, so
 * that the one that would keep all can be told; 0 where the model's is given.  Then what is wrong with data and
 * captions (dataset_log_problems).  False with "interrupted", or with a caption that has an id beyond the vocabulary.
 */
bool train_text_report(dataset *d, const tokenizer *t, int room, int length, int vocabulary, err *e);
/* The same where rows have lengths of their own: *longest is the ids of the longest caption, the form's among them, or
 * of an empty one.  One of more than the model takes is an error, unless the model's authors' code cuts it. */
bool train_text_report_own(dataset *d, const train_text *t, const prompt_form *form, bool cuts, int *longest, err *e);
/* The same for a model of classes; a caption that is the number of none is an error that names it. */
bool train_class_report(dataset *d, int classes, err *e);

/* ids[text_length], the row that d reads: the caption's tokens (a long one loses its end) and padding, or its class.
 * targets[prefix - 1]: what each position says next; -1 where that is padding or [IMG], which are given, not said.
 * Returns how many it says.  What chance decides depends on (seed, step, row of the step's batch) alone. */
int train_text_row(const train_text *t, const char *caption, int64_t step, int row, int32_t *ids, int32_t *targets);
/* For rows with lengths of their own: the end of ids[room] becomes the caption in its form, or the row without it, and
 * what is before that 0.  Returns the row's length.  room: at least train_text_report_own's `longest`. */
int train_text_own_row(const train_text *t, const prompt_form *form, const char *caption, int64_t step, int row,
                       int room, int32_t *ids);
#endif
