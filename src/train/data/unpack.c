/* Compressed files: unpacked once, into a file without a name, so that their parts can be read in any order. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/file.h"
#include "base/os.h"
#include "train/data/internal.h"

const char *compressed_by(const uint8_t *data, size_t bytes)
{
    static const struct {
        const char *magic, *name;
        size_t bytes;
    } kinds[] = {{"\x1f\x8b", "gzip", 2},
                 {"BZh", "bzip2", 3},
                 {"\xfd"
                  "7zXZ",
                  "xz", 5},
                 {"\x28\xb5\x2f\xfd", "zstd", 4},
                 {"\x04\x22\x4d\x18", "lz4", 4}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (bytes >= kinds[i].bytes && !memcmp(data, kinds[i].magic, kinds[i].bytes))
            return kinds[i].name;
    return NULL;
}

/* A reader of the bytes alone.  No filter that would start another program. */
static struct archive *open_reader(const file_map *m, struct archive_entry **entry)
{
    struct archive *a = archive_read_new();
    if (!a)
        return NULL;
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_lz4(a);
    archive_read_support_format_raw(a);
    if (archive_read_open_memory(a, m->data, m->size) == ARCHIVE_OK &&
        archive_read_next_header(a, entry) == ARCHIVE_OK && archive_filter_code(a, 0) != ARCHIVE_FILTER_NONE)
        return a;
    archive_read_free(a);
    return NULL;
}

/* A new file in the cache directory, or where there is none in that for temporary files. */
static bool open_place(file_out *o, err *e)
{
    char *folder = file_cache_directory();
    bool ok = folder && file_make_directory(folder, NULL);
    char *path = join(ok ? folder : os_temporary_folder(), "/unpacked", "");
    ok = path ? file_out_open(o, path, e) : err_no_memory(e, "file name", 64);
    free(path);
    free(folder);
    return ok;
}

/* Where the unpacked bytes go. */
typedef struct place {
    file_out o;
    const dataset *d;
    size_t bytes;
} place;

static bool put(place *p, const void *data, size_t bytes, err *e)
{
    p->bytes += bytes;
    return file_out_write(&p->o, data, bytes, e) && dataset_goes_on(p->d, e);
}

/* Of a file that was cut, zlib gives all that comes before the cut, while libarchive loses the last 64 KiB. */
static bool unpack_gzip(place *p, const file_map *m, char *damage, err *e)
{
    uint8_t out[1 << 16];
    z_stream z = {0};
    size_t at = 0;
    int status = inflateInit2(&z, 15 + 16);
    bool ok = status == Z_OK || err_no_memory(e, "unpacking", sizeof out), more = ok;
    while (ok && more) {
        if (z.avail_in == 0 && at < m->size) {
            size_t n = m->size - at < 1 << 20 ? m->size - at : 1 << 20;
            z.next_in = (Bytef *)(m->data + at);
            z.avail_in = (uInt)n;
            at += n;
        }
        z.next_out = out;
        z.avail_out = sizeof out;
        status = inflate(&z, Z_NO_FLUSH);
        ok = put(p, out, sizeof out - z.avail_out, e);
        if (status == Z_STREAM_END) { /* another one may follow, or what fills up a block */
            more = z.avail_in > 1 ? z.next_in[0] == 0x1f && z.next_in[1] == 0x8b : at < m->size;
            if (more)
                more = inflateReset(&z) == Z_OK;
        } else if (status != Z_OK || (z.avail_in == 0 && at == m->size && z.avail_out)) {
            snprintf(damage, 256, "%s",
                     status == Z_OK || status == Z_BUF_ERROR ? "the gzip data end too early"
                     : z.msg                                 ? z.msg
                                                             : "damaged gzip data");
            more = false;
        }
    }
    inflateEnd(&z);
    return ok;
}

static bool unpack_other(place *p, const file_map *m, char *damage, err *e)
{
    struct archive_entry *entry;
    struct archive *a = open_reader(m, &entry);
    const void *data;
    size_t n;
    la_int64_t at;
    bool ok = true;
    int status = a ? ARCHIVE_OK : ARCHIVE_FATAL;
    while (ok && a && (status = archive_read_data_block(a, &data, &n, &at)) == ARCHIVE_OK)
        ok = put(p, data, n, e);
    if (ok && status != ARCHIVE_EOF) {
        const char *why = a ? archive_error_string(a) : NULL;
        snprintf(damage, 256, "%s", why ? why : "it is no whole compressed file");
    }
    archive_read_free(a);
    return ok;
}

bool unpack(file_map *m, const char *path, const dataset *d, char *damage, err *e)
{
    const char *by = compressed_by(m->data, m->size);
    place p = {.d = d};
    file_map whole = {0};
    err why = {0};
    *damage = 0;
    bool ok = open_place(&p.o, &why) && (!strcmp(by, "gzip") ? unpack_gzip : unpack_other)(&p, m, damage, &why);
    if (ok && *damage && !p.bytes)
        ok = err_set(&why, ERR_FAILED, "%s", damage);
    if (ok && fflush(p.o.stream))
        ok = err_set(&why, ERR_FAILED, "%s: %s", p.o.temporary, strerror(errno));
    ok = ok && file_map_open(&whole, p.o.temporary, &why); /* it lives on without its name */
    if (!ok && dataset_goes_on(d, e))
        err_set(e, ERR_FAILED,
                "%s: cannot unpack the %s file: %s (is it incomplete? unpacking needs room where LIMN_CACHE_DIR is)",
                path, by, why.text);
    file_out_release(&p.o);
    if (ok) {
        file_map_release(m);
        *m = whole;
    }
    return ok;
}
