/* Hashes of bytes that tell contents apart: no security.  What they give is kept in files, so they must stay as they
 * are. */
#ifndef BASE_HASH_H
#define BASE_HASH_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_BEGIN 0xCBF29CE484222325u

/* FNV-1a, from HASH_BEGIN or what came before. */
static inline uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
    for (const uint8_t *p = data; n; n--, p++)
        h = (h ^ *p) * 0x100000001B3u;
    return h;
}

/* The same by words of 8 bytes, for whole files and weights. */
static inline uint64_t hash_words(uint64_t h, const void *data, size_t n)
{
    const uint8_t *p = data;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return hash_bytes(h, p, n);
}
#endif
