/* Compiled programs on disk: CACHE/kernels/NAME-HASH.bin, a header with length and checksum, then the driver's binary.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "device/program.h"

#define MAGIC "limn kernel 1\n"

typedef struct header {
    char magic[16];
    uint64_t key[2], size, checksum;
} header;

cache_key cache_key_of(const device *d, const char *name, const char *source, const char *options)
{
    const char *parts[] = {LIMN_VERSION,   source,          options,        d->info.name,
                           d->info.vendor, d->info.version, d->info.driver, d->info.platform_name};
    cache_key k = {.hash = {HASH_BEGIN, UINT64_C(0x9ae16a3b2f90404f)}, .name = name};
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            k.hash[w] = hash_bytes(k.hash[w], parts[i], strlen(parts[i]) + 1);
    return k;
}

/* The entry's path, its directory created if asked; false where there is no cache directory. */
static bool entry_path(const cache_key *k, char *path, size_t size, bool create)
{
    char *base = file_cache_directory();
    if (!base)
        return false;
    int n = snprintf(path, size, "%s/kernels", base);
    free(base);
    if (n < 0 || (size_t)n + 80 > size)
        return false;
    if (create && !file_make_directory(path, NULL))
        return false;
    snprintf(path + n, size - (size_t)n, "/%s-%016" PRIx64 "%016" PRIx64 ".bin", k->name, k->hash[0], k->hash[1]);
    return true;
}

bool cache_read(const cache_key *k, unsigned char **binary, size_t *size)
{
    char path[4096];
    file_map m = {0};
    if (!entry_path(k, path, sizeof path, false) || access(path, R_OK) || !file_map_open(&m, path, NULL))
        return false;
    header h;
    bool ok = m.size > sizeof h;
    if (ok) {
        memcpy(&h, m.data, sizeof h);
        const uint8_t *payload = m.data + sizeof h;
        ok = !memcmp(h.magic, MAGIC, sizeof MAGIC) && h.key[0] == k->hash[0] && h.key[1] == k->hash[1] &&
             h.size == m.size - sizeof h && h.checksum == hash_bytes(k->hash[0], payload, h.size) &&
             (*binary = malloc(h.size));
        if (ok) {
            memcpy(*binary, payload, h.size);
            *size = h.size;
        }
    }
    file_map_release(&m);
    return ok;
}

void cache_write(const cache_key *k, const unsigned char *binary, size_t size)
{
    char path[4096];
    if (!entry_path(k, path, sizeof path, true))
        return;
    header h = {.magic = MAGIC,
                .key = {k->hash[0], k->hash[1]},
                .size = size,
                .checksum = hash_bytes(k->hash[0], binary, size)};
    file_out out = {0};
    err e = {0};
    bool ok = file_out_open(&out, path, &e);
    out.cache = true; /* the checksum tells a torn one */
    if (!(ok && file_out_write(&out, &h, sizeof h, &e) && file_out_write(&out, binary, size, &e) &&
          file_out_commit(&out, &e)))
        log_write(LOG_DEBUG, "kernel cache: %s", e.text);
    file_out_release(&out);
}

void cache_drop(const cache_key *k)
{
    char path[4096];
    if (entry_path(k, path, sizeof path, false))
        unlink(path);
}
