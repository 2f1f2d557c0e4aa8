/* Counter-based random numbers on the host, by Random123. */
#include "base/rng.h"

#include <Random123/philox.h>
#include <math.h>

void rng_philox(uint32_t out[4], uint64_t seed, uint32_t stream, uint32_t position, uint32_t index)
{
    philox4x32_ctr_t c = {{index, position, stream, 0}};
    philox4x32_key_t k = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t r = philox4x32(c, k);
    for (int i = 0; i < 4; i++)
        out[i] = r.v[i];
}

float rng_uniform(uint64_t seed, uint32_t stream, uint32_t position, uint32_t i)
{
    uint32_t w[4];
    rng_philox(w, seed, stream, position, i / 4);
    return fminf((float)(w[i % 4] >> 8) * 0x1p-24f + 0x1p-25f, 0x1.fffffep-1f); /* the largest would round to 1 */
}

float rng_normal(uint64_t seed, uint32_t stream, uint32_t position, uint32_t i)
{
    float u = rng_uniform(seed, stream, position, 2 * i), v = rng_uniform(seed, stream, position, 2 * i + 1);
    return sqrtf(-2 * logf(u)) * cosf(6.283185307179586f * v);
}
