/* What golden_test.c compares of an instance: one function for each way in which the authors' outputs were stored. */
#ifndef TESTS_GOLDEN_CHECKS_H
#define TESTS_GOLDEN_CHECKS_H
#include "golden_npz.h"

#define GOLDEN TEST_DATA "/golden/"

typedef struct golden_check golden_check;
struct golden_check {
    void (*run)(model *m, const golden_check *c);
    const char *file;      /* below GOLDEN: arrays, or cases of a tokenizer */
    const char *in, *with; /* names of its arrays, as each function has it */
    const char *want, *text;
    int first;
    float guidance;
    bool raw; /* pictures as the network leaves them: about -1 to 1 */
};

/* Codes `want` [n, cells] of pictures `in` u8 [n, 3, h, w], and logits `with` [n, K, h, w], where that is given. */
void golden_encode(model *m, const golden_check *c);
/* Pictures `want` [n, 3, h, w] of codes `in`. */
void golden_decode(model *m, const golden_check *c);
/* Logits `want` [n, positions, text ids and codes] of ids `in` (NULL: without text) and codes `with`; position `first`
 * predicts the first code, and those before it the text, unless `text` [n, positions, ids] does. */
void golden_score(model *m, const golden_check *c);
/* The most likely codes `want` [n, cells] after each row of ids `in`, of its last n rows. */
void golden_greedy(model *m, const golden_check *c);
/* Ids of texts; they may go on with padding: id `first`. */
void golden_tokens(model *m, const golden_check *c);
/* Scores `want` [n] of ids `in` and pictures `with`. */
void golden_clip(model *m, const golden_check *c);

/* min-dalle's: logits `want` [steps, 2, codes] or [steps, 2, n, codes] of ids `in` [2] and codes `with` [n, steps]. */
void golden_steps(model *m, const golden_check *c);
/* Of the first row of codes `in`, each second pixel: `want` [h, w, 3], 0 to 255. */
void golden_first(model *m, const golden_check *c);
/* Of one picture of all four rows side by side, each fourth pixel. */
void golden_seamless(model *m, const golden_check *c);
#endif
