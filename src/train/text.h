/* Captions as the transformer reads them in training. */
#ifndef TRAIN_TEXT_H
#define TRAIN_TEXT_H
#include "models/transformers/transformer.h"
#include "text/bpe.h"
#include "train/data/dataset.h"

/* Says how many captions there are, how many of them differ, and, as a warning, how many have more tokens than `room`,
 * and what --text-length would keep all: those lose their end, in training and, the same, in generation.  Then what is
 * wrong with data and captions (dataset_log_problems).  False with "interrupted". */
bool train_text_report(dataset *d, const bpe *tokenizer, int room, err *e);

typedef struct train_text {
    const transformer *d;
    const bpe *tokenizer;
    uint64_t seed;
    float bpe_dropout;       /* bpe.h; 0: none */
    float condition_dropout; /* share of captions that are left empty (Ho & Salimans 2022), for guidance */
} train_text;

/* ids[text_length]: the caption's tokens (a long one loses its end), padding, [IMG].  targets[text_length - 1]: what
 * each position says next; -1 where that is padding or [IMG], which are given, not said.  Returns how many it says.
 * What chance decides depends on (seed, step, row of the step's batch) alone. */
int train_text_row(const train_text *t, const char *caption, int64_t step, int row, int32_t *ids, int32_t *targets);
#endif
