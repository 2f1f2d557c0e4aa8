/* Pictures whose cells are filled all at once, in some steps (models/transformers/masked.h): what a batch does for
 * them. */
#ifndef GENERATE_MASKED_H
#define GENERATE_MASKED_H
#include "generate/batch.h"

/* How many cells are masked behind step `step` of `steps`, from 0 on, if the batch's step can do that (op_fill_masked's
 * `wanted`): the cosine of Chang et al. 2022, and of `share` of the cells alone.  -1 behind the last step.  In floats,
 * as the authors' code has it: at 2/3 of the steps these give 127 of 256, and doubles 128. */
int masked_wanted(int cells, int step, int steps, float share);
/* The temperature of a step's confidence: from `temperature` down to 0. */
float masked_temperature(float temperature, int step, int steps);
/* The share of an image prompt's cells that are masked before step `step`. */
float masked_share(int step, int steps);

/* A picture, and its next step.  seed, stream, guidance and temperature of s, its row and its other. */
typedef struct masked_picture {
    sampling s;
    int step, steps;
    float share; /* of the cells that aren't kept */
} masked_picture;

/* Reads the texts of the rows that are used and at position 0. */
void masked_begin(batch *b);
/* logits[cells,codes] of a picture, by the codes of its row; with guidance its two rows go through the model together,
 * in the batch's spare ones.  Of s, guidance, row and other count. */
tensor masked_logits(batch *b, const sampling *s);
/* The step of a picture, whose codes are those of its row. */
void masked_fill(batch *b, const masked_picture *p);
#endif
