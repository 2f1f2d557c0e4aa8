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

#include "train/data/internal.h"

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
    bool has_picture;
    int texts;     /* members of lines */
    uint32_t last; /* row + 1 of the last of several */
} group;

/* Bytes of the key: up to the first dot of the last part of the name.  0: no key. */
static size_t key_bytes(const char *name)
{
    const char *base = file_base_name(name);
    const char *dot = strchr(base, '.');
    return dot && dot > base ? (size_t)(dot - name) : 0;
}

static void note(dataset *d, const source *s, const char *member, const char *why)
{
    char *name = join(s->path, *member ? ": " : "", member);
    dataset_note(d, -1, name ? name : s->path, why);
    free(name);
}

/* The group is complete: it becomes an item, or a problem, or neither where it is no sample.  cut: the file ended
 * within it, which is the problem then. */
static bool close_group(dataset *d, const source *s, group *g, bool cut, err *e)
{
    bool ok = true, captioned = g->it.caption_kind != CAPTION_NONE;
    if (g->has_picture && (d->o.want == DATASET_PICTURES || captioned))
        ok = dataset_add_item(d, &g->it, g->key, strlen(g->key), e);
    else if (g->has_picture && !cut)
        note(d, s, g->key, "no captions (KEY.txt or KEY.json beside the picture)");
    else if (captioned && !cut)
        note(d, s, g->key, "no picture (KEY.png, KEY.jpg or KEY.webp beside the captions)");
    free(g->key);
    *g = (group){.it.source = g->it.source};
    return ok;
}

/* A member of lines: of several all count. */
static bool add_text(dataset *d, group *g, uint64_t at, err *e)
{
    caption_row r = {.at = g->it.caption, .source = g->it.source, .kind = ROW_TEXT_MEMBER};
    uint32_t index;
    if (g->texts++ == 0) {
        g->it.caption = at;
        g->it.caption_kind = CAPTION_TEXT;
        return true;
    }
    if (g->texts == 2) {
        if (!dataset_add_row(d, &r, 0, &index, e))
            return false;
        g->it.caption = index;
        g->it.caption_kind = CAPTION_ROWS;
        g->last = index + 1;
    }
    r.at = at;
    if (!dataset_add_row(d, &r, g->last, &index, e))
        return false;
    g->last = index + 1;
    return true;
}

/* Whether a member that is named as a picture of another kind is one that can be read; else that is a problem. */
static bool is_misnamed(dataset *d, const source *s, const char *name, uint64_t at)
{
    uint8_t *data = NULL;
    size_t bytes;
    err why = {0};
    char *full = join(s->path, ": ", name);
    bool is = full && tar_read(&s->map, at, &data, &bytes, &why) && is_picture(data, bytes, full, &why);
    if (!is)
        dataset_note(d, -1, full ? full : s->path, why.text);
    free(data);
    free(full);
    return is;
}

static bool add_member(dataset *d, const source *s, group *g, const char *name, uint64_t at, err *e)
{
    size_t key = key_bytes(name);
    const char *kind = extension_of(name);
    if (!key || !strncmp(name, "__MACOSX/", 9))
        return true;
    if (g->key && (strncmp(g->key, name, key) != 0 || g->key[key]) && !close_group(d, s, g, false, e))
        return false;
    if (!g->key && !(g->key = strndup(name, key)))
        return err_no_memory(e, s->path, key);
    bool foreign = is_foreign_picture_name(name);
    if (is_picture_name(name) || (foreign && is_misnamed(d, s, name, at))) {
        if (g->has_picture)
            note(d, s, name, "a second picture of the same key (KEY ends at the first dot of the name)");
        else
            g->it.picture = at;
        g->has_picture = true;
    } else if (foreign) {
        return true;
    } else if (!strcasecmp(kind, "txt") || !strcasecmp(kind, "text") || !strcasecmp(kind, "caption")) {
        return add_text(d, g, at, e);
    } else if (!strcasecmp(kind, "json") && !g->texts) {
        g->it.caption = at;
        g->it.caption_kind = CAPTION_JSON;
    }
    return true;
}

static void note_end(dataset *d, const source *s, uint64_t at, const char *why, const char *member)
{
    char text[512];
    if (s->damaged) /* the compressed file ends too early: that is told already */
        return;
    snprintf(text, sizeof text, "cannot read the tar file past byte %" PRIu64 ": %s%s (is it incomplete?)", at, why,
             member);
    note(d, s, "", text);
}

/* All members from the first header on.  A damaged file is a problem, and what is whole before that is used. */
static bool add_members(dataset *d, const source *s, uint32_t index, struct archive *a, err *e)
{
    struct archive_entry *entry;
    group g = {.it.source = index};
    int status = ARCHIVE_OK;
    uint64_t end = 0, number = 0; /* where what was read so far ends */
    bool ok = true, cut = false;
    while (ok && !cut && next(a, &entry, &status)) {
        uint64_t data = (uint64_t)archive_filter_bytes(a, 0), bytes = (uint64_t)archive_entry_size(entry);
        bool file = archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry);
        bool whole = archive_entry_sparse_count(entry) == 0;
        cut = file && whole && (data > s->map.size || bytes > s->map.size - data);
        if (cut)
            note_end(d, s, s->map.size, "it ends there, within ", name_of(entry));
        else if (file)
            ok = add_member(d, s, &g, name_of(entry), (uint64_t)archive_read_header_position(a), e);
        end = cut ? s->map.size : whole ? data + (file ? (bytes + 511) / 512 * 512 : 0) : data;
        ok = ok && (++number % 256 || dataset_goes_on(d, e));
    }
    bool failed = ok && !cut && status != ARCHIVE_EOF;
    bool unmarked = ok && !cut && !failed && end && s->map.size < end + 512;
    if (ok && g.key)
        ok = close_group(d, s, &g, cut || failed || unmarked, e);
    if (ok && failed)
        note_end(d, s, end < s->map.size ? end : s->map.size, reason(a), "");
    else if (ok && unmarked)
        note_end(d, s, s->map.size, "it has no mark of its end", "");
    free(g.key);
    return ok;
}

bool dataset_add_tar(dataset *d, uint32_t index, err *e)
{
    source s = d->sources[index];
    err why = {0};
    if (!s.map.size)
        return err_set(e, ERR_FAILED, "%s: the tar file is empty", s.path);
    struct archive *a = reader(&s.map, 0, &why); /* which looks at the first header */
    bool ok =
        a ? add_members(d, &s, index, a, e) : err_set(e, ERR_FAILED, "%s: %s (is it a tar file?)", s.path, why.text);
    archive_read_free(a);
    return ok;
}
