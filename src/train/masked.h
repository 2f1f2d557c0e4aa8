/* How models learn that fill masked cells. */
#ifndef TRAIN_MASKED_H
#define TRAIN_MASKED_H
#include <stdint.h>

/* Masks cells of an item in a step: so many as cos(u pi/2) of them, u uniform, and one at least (as aMUSEd's authors
 * train: train_amused.py of diffusers).  codes[cells] are those of given[cells] with `mask` in masked cells, and
 * targets the masked ones' codes, -1 in the rest.  Returns how many there are.  given NULL: nothing is written. */
int train_mask(uint64_t seed, int64_t step, int item, int cells, int mask, const int32_t *given, int32_t *codes,
               int32_t *targets);
#endif
