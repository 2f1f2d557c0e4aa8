/* The masks of training. */
#include "train/masked.h"

#include <math.h>

#include "base/rng.h"

#define MASKS 0x3A5C0000u /* their streams of random numbers */

int train_mask(uint64_t seed, int64_t step, int item, int cells, int mask, const int32_t *given, int32_t *codes,
               int32_t *targets)
{
    const uint32_t stream = MASKS + (uint32_t)item, at = (uint32_t)step;
    int n = (int)lrintf((float)cells * cosf(rng_uniform(seed, stream, at, 0) * 1.57079633f));
    n = n > 1 ? n : 1;
    for (int i = 0; given && i < cells; i++) {
        codes[i] = given[i];
        targets[i] = -1;
    }
    /* each cell is taken with the chance that all ways to choose n of them give it (Knuth 3.4.2, algorithm S) */
    for (int i = 0, left = n; given && i < cells; i++)
        if (rng_uniform(seed, stream, at, (uint32_t)i + 1) * (float)(cells - i) < (float)left) {
            targets[i] = given[i];
            codes[i] = mask;
            left--;
        }
    return n;
}
