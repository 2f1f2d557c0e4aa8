/* WebDataset: the members of a tar file that belong together, found once and then read one by one.
 * libarchive reads the headers, so that long names, and the formats of ustar, GNU and pax, are its business; a second
 * reader that begins at a member's header reads that member. */
#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "train/dataset_internal.h"

static const char *reason(struct archive *a)
{
    const char *text = archive_error_string(a);
    return text ? text : "damaged";
}

static struct archive *reader(const file_map *m, uint64_t at, err *e)
{
    struct archive *a = archive_read_new();
    if (!a) {
        err_no_memory(e, "tar reader", 4096);
        return NULL;
    }
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, m->data + at, m->size - at) != ARCHIVE_OK) {
        err_set(e, ERR_FAILED, "cannot read the tar file: %s", reason(a));
        archive_read_free(a);
        return NULL;
    }
    return a;
}

static bool next(struct archive *a, struct archive_entry **entry, int *status)
{
    *status = archive_read_next_header(a, entry);
    return *status == ARCHIVE_OK || *status == ARCHIVE_WARN;
}

/* The name as UTF-8 where libarchive can tell, else as it is. */
static const char *name_of(struct archive_entry *entry)
{
    const char *name = archive_entry_pathname_utf8(entry);
    if (!name)
        name = archive_entry_pathname(entry);
    return name ? name : "";
}

char *tar_name(const file_map *m, uint64_t at)
{
    struct archive_entry *entry;
    int status;
    struct archive *a = reader(m, at, NULL);
    char *name = a && next(a, &entry, &status) ? strdup(name_of(entry)) : NULL;
    archive_read_free(a);
    return name;
}

/* Reads until the size of the header is there; a member that ends before is an error. */
static bool read_data(struct archive *a, uint8_t *data, size_t bytes, err *e)
{
    size_t at = 0;
    while (at < bytes) {
        la_ssize_t n = archive_read_data(a, data + at, bytes - at);
        if (n <= 0)
            return err_set(e, ERR_FAILED, "cannot read it from the tar file: %s", n ? reason(a) : "it ends too early");
        at += (size_t)n;
    }
    return true;
}

bool tar_read(const file_map *m, uint64_t at, uint8_t **data, size_t *bytes, err *e)
{
    struct archive_entry *entry;
    int status;
    bool ok = false;
    *data = NULL;
    struct archive *a = reader(m, at, e);
    if (!a)
        return false;
    if (!next(a, &entry, &status)) {
        err_set(e, ERR_FAILED, "cannot read its header in the tar file: %s", reason(a));
    } else if ((uint64_t)archive_entry_size(entry) > m->size - at) {
        err_set(e, ERR_FAILED, "the tar file ends within it (is it incomplete?)");
    } else {
        *bytes = (size_t)archive_entry_size(entry);
        *data = malloc(*bytes + 1); /* an empty member is no failure here */
        ok = *data ? read_data(a, *data, *bytes, e) : err_no_memory(e, "tar member", *bytes);
    }
    if (!ok) {
        free(*data);
        *data = NULL;
    }
    archive_read_free(a);
    return ok;
}

/* ---- finding the items --------------------------------------------------------------------------------------- */

/* The members of one key, as far as they have come. */
typedef struct group {
    char *key;
    item it;
    bool has_picture, has_text;
} group;

/* Bytes of the key: up to the first dot of the last part of the name.  0: no key. */
static size_t key_bytes(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    const char *dot = strchr(base, '.');
    return dot && dot > base ? (size_t)(dot - name) : 0;
}

static void note(dataset *d, const source *s, const char *member, const char *why)
{
    char *name = join(s->path, *member ? ": " : "", member);
    dataset_note(d, -1, name ? name : s->path, why);
    free(name);
}

/* The group is complete: it becomes an item, or a problem, or neither where it is no sample. */
static bool close_group(dataset *d, const source *s, group *g, err *e)
{
    bool ok = true;
    if (g->has_picture && (d->o.want == DATASET_PICTURES || g->it.caption_kind != CAPTION_NONE))
        ok = dataset_add_item(d, &g->it, g->key, strlen(g->key), e);
    else if (g->has_picture)
        note(d, s, g->key, "no captions (KEY.txt or KEY.json beside the picture)");
    else if (g->has_text)
        note(d, s, g->key, "no picture (KEY.png or KEY.jpg beside the captions)");
    free(g->key);
    *g = (group){.it.source = g->it.source};
    return ok;
}

static bool add_member(dataset *d, const source *s, group *g, const char *name, uint64_t at, err *e)
{
    size_t key = key_bytes(name);
    if (!key)
        return true;
    if (g->key && (strncmp(g->key, name, key) != 0 || g->key[key]) && !close_group(d, s, g, e))
        return false;
    if (!g->key && !(g->key = strndup(name, key)))
        return err_no_memory(e, s->path, key);
    const char *extension = name + key + 1;
    if (!strcasecmp(extension, "png") || !strcasecmp(extension, "jpg") || !strcasecmp(extension, "jpeg")) {
        if (g->has_picture)
            note(d, s, name, "a second picture of the same key");
        else
            g->it.picture = at;
        g->has_picture = true;
    } else if (!strcasecmp(extension, "txt") ||
               (!strcasecmp(extension, "json") && g->it.caption_kind != CAPTION_TEXT)) {
        g->it.caption = at;
        g->it.caption_kind = extension[0] == 't' || extension[0] == 'T' ? CAPTION_TEXT : CAPTION_JSON;
        g->has_text = true;
    }
    return true;
}

/* libarchive would only say that it doesn't know the format. */
static bool check_kind(const source *s, err *e)
{
    static const struct {
        const char *magic, *name;
        size_t bytes;
    } kinds[] = {{"\x1f\x8b", "gzip", 2},
                 {"BZh", "bzip2", 3},
                 {"\xfd"
                  "7zXZ",
                  "xz", 5},
                 {"\x28\xb5\x2f\xfd", "zstd", 4}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (s->map.size >= kinds[i].bytes && !memcmp(s->map.data, kinds[i].magic, kinds[i].bytes))
            return err_set(e, ERR_FAILED,
                           "%s: the tar file is compressed by %s, so its pictures cannot be read in any order "
                           "(unpack it to a plain .tar)",
                           s->path, kinds[i].name);
    return s->map.size || err_set(e, ERR_FAILED, "%s: the tar file is empty", s->path);
}

/* All members from the first header on.  A damaged file is a problem, and used up to there. */
static bool add_members(dataset *d, const source *s, uint32_t index, struct archive *a, err *e)
{
    struct archive_entry *entry;
    group g = {.it.source = index};
    int status = ARCHIVE_OK;
    bool ok = true;
    while (ok && next(a, &entry, &status))
        if (archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry))
            ok = add_member(d, s, &g, name_of(entry), (uint64_t)archive_read_header_position(a), e);
    if (ok && g.key)
        ok = close_group(d, s, &g, e);
    if (ok && status != ARCHIVE_EOF) {
        char why[512];
        snprintf(why, sizeof why, "cannot read the tar file past byte %" PRId64 ": %s (is it incomplete?)",
                 (int64_t)archive_read_header_position(a), reason(a));
        note(d, s, "", why);
    }
    free(g.key);
    return ok;
}

bool dataset_add_tar(dataset *d, uint32_t index, err *e)
{
    const source *s = &d->sources[index];
    err why = {0};
    if (!check_kind(s, e))
        return false;
    struct archive *a = reader(&s->map, 0, &why); /* which looks at the first header */
    bool ok =
        a ? add_members(d, s, index, a, e) : err_set(e, ERR_FAILED, "%s: %s (is it a tar file?)", s->path, why.text);
    archive_read_free(a);
    return ok;
}
