/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC'11), the same in C and in cl/common.cl.
 * A number depends on (seed, stream, position, index) alone, so neither batch size nor order changes it. */
#ifndef BASE_RNG_H
#define BASE_RNG_H
#include <stdint.h>

/* Four independent uniform 32-bit words.  counter = {index, position, stream, 0}, key = seed (low, high). */
void rng_philox(uint32_t out[4], uint64_t seed, uint32_t stream, uint32_t position, uint32_t index);

/* Element i of a stream as a float in (0, 1): word i % 4 of block i / 4, (w >> 8) * 2^-24 + 2^-25, at
 * most 1 - 2^-24. */
float rng_uniform(uint64_t seed, uint32_t stream, uint32_t position, uint32_t i);
/* Standard normal by Box-Muller from elements 2i and 2i + 1. */
float rng_normal(uint64_t seed, uint32_t stream, uint32_t position, uint32_t i);
#endif
