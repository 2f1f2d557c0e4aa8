/* What tells whether a picture is the one that it was: its file's stamp, and the hash of its bytes. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/os.h"
#include "train/data/internal.h"

/* A file that changed so lately may change again within the clock's grain, seen by nobody. */
#define SETTLED_AFTER 2 /* seconds */

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    h = hash_words(h, data, n);
    return h ^ h >> 32;
}

/* False where it isn't there. */
static bool stamp_of(const char *path, uint64_t *stamp)
{
    struct stat st;
    struct timespec now = {0};
    os_id id;
    *stamp = 0;
    if (stat(path, &st) != 0 || !os_id_at(path, &id))
        return false;
    const struct timespec modified = os_modified(&st), changed = os_changed(&st);
    const int64_t parts[] = {(int64_t)id.device,       (int64_t)id.file,          (int64_t)st.st_size,
                             (int64_t)modified.tv_sec, (int64_t)modified.tv_nsec, (int64_t)changed.tv_sec,
                             (int64_t)changed.tv_nsec};
    clock_gettime(CLOCK_REALTIME, &now);
    if (changed.tv_sec + SETTLED_AFTER >= now.tv_sec)
        return true;
    uint64_t h = hash(HASH_BEGIN, parts, sizeof parts);
    *stamp = h ? h : 1;
    return true;
}

uint64_t file_stamp(const char *path)
{
    uint64_t stamp;
    return stamp_of(path, &stamp) ? stamp : 0;
}

/* The picture's file, a new string, or NULL: of FOLDER and LINES. */
static char *picture_path(const dataset *d, const item *it)
{
    const source *s = &d->sources[it->source];
    const char *text;
    size_t bytes;
    if (s->kind == SOURCE_FOLDER)
        return item_name(d, it);
    line_at(s, it->picture, &text, &bytes);
    json_t *object = json_object_parse(text, bytes, NULL);
    char *path = object ? line_picture_path(s, object, NULL) : NULL;
    json_decref(object);
    return path;
}

bool dataset_picture_stamp(const dataset *d, int64_t number, uint64_t *stamp)
{
    const item *it = &d->items[number];
    const source *s = &d->sources[it->source];
    *stamp = 0;
    if (s->kind == SOURCE_TAR) {
        *stamp = s->stamp ? hash(s->stamp, &it->picture, sizeof it->picture) : 0;
        return true;
    }
    char *path = picture_path(d, it);
    bool ok = path && stamp_of(path, stamp);
    free(path);
    return ok;
}

bool dataset_picture_hash(const dataset *d, int64_t number, uint64_t *result)
{
    const item *it = &d->items[number];
    const source *s = &d->sources[it->source];
    file_map m = {0};
    uint8_t *data = NULL;
    size_t bytes = 0;
    bool ok;
    if (s->kind == SOURCE_TAR) {
        ok = tar_read(&s->map, it->picture, &data, &bytes, NULL);
    } else {
        char *path = picture_path(d, it);
        ok = path && file_map_open(&m, path, NULL);
        bytes = m.size;
        free(path);
    }
    if (ok)
        *result = hash(hash(0x84222325CBF29CE4u, &bytes, sizeof bytes), data ? data : m.data, bytes);
    free(data);
    file_map_release(&m);
    return ok;
}
