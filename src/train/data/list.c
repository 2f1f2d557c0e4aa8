/* Lists of pictures with captions: JSON lines, and comma-separated values with a line of names. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "train/data/internal.h"

/* ---- lines --------------------------------------------------------------------------------------------------- */

void line_at(const source *s, uint64_t at, const char **text, size_t *bytes)
{
    *text = (const char *)s->map.data + at;
    const char *end = memchr(*text, '\n', s->map.size - at);
    *bytes = end ? (size_t)(end - *text) : s->map.size - (size_t)at;
}

size_t list_begin(const source *s)
{
    return s->map.size >= 3 && !memcmp(s->map.data, "\xEF\xBB\xBF", 3) ? 3 : 0;
}

bool list_is_wide(const source *s, err *e)
{
    const uint8_t *p = s->map.data;
    bool marked = s->map.size >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff));
    bool wide = marked || (s->map.size >= 2 && (!p[0] || !p[1]));
    if (wide)
        err_set(e, ERR_FAILED, "%s: its text is UTF-16 (save it as UTF-8)", s->path);
    return wide;
}

const char *json_picture_name(const void *object, err *e)
{
    static const char *const keys[] = {"image", "file_name", "image_path", "filename", "path", "file"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(object, keys[i]);
        if (json_is_object(value)) /* as HuggingFace's exports have it */
            value = json_object_get(value, "path");
        const char *name = json_string_value(value);
        if (name && *name)
            return name;
    }
    err_set(e, ERR_FAILED, "no \"image\" or \"file_name\" (the path of the picture, a string)");
    return NULL;
}

char *line_picture_path(const source *s, const void *object, err *e)
{
    const char *name = json_picture_name(object, e);
    const char *slash = strrchr(s->path, '/');
    if (!name)
        return NULL;
    char *folder = strndup(s->path, *name == '/' || !slash ? 0 : (size_t)(slash + 1 - s->path));
    char *path = folder ? join(folder, name, "") : NULL;
    if (!path)
        err_no_memory(e, "data set", strlen(name));
    free(folder);
    return path;
}

/* Whether the line has usable captions, if they are wanted. */
static bool check_captions(const dataset *d, const json_t *object, captions *c, err *e)
{
    c->text.used = c->n = c->n_bad = 0;
    if (d->o.want == DATASET_PICTURES)
        return true;
    return captions_from_json(c, object, e) &&
           (c->n || err_set(e, ERR_FAILED, "%s", c->n_bad ? c->bad : "its caption is empty"));
}

static bool is_blank(const char *text, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r'))
        i++;
    return i == bytes;
}

static void note_line(dataset *d, const source *s, uint64_t number, const char *why)
{
    char line[32];
    snprintf(line, sizeof line, ":%" PRIu64, number);
    char *name = join(s->path, line, "");
    dataset_note(d, -1, name ? name : s->path, why);
    free(name);
}

bool dataset_add_lines(dataset *d, uint32_t index, const folder_walk *beside, err *e)
{
    const source *s = &d->sources[index];
    captions c = {0};
    bool ok = !list_is_wide(s, e);
    uint64_t number = 1;
    for (size_t at = list_begin(s), bytes; ok && at < s->map.size; at += bytes + 1, number++) {
        const char *text;
        err why = {0};
        line_at(s, at, &text, &bytes);
        item it = {at, number, index, CAPTION_JSON};
        if (is_blank(text, bytes))
            continue;
        json_t *object = json_object_parse(text, bytes, &why);
        const char *name = object ? json_picture_name(object, &why) : NULL;
        if (beside && (!name || folder_walk_found(beside, name))) {
            /* noted, or an item, already */
        } else if (name && check_captions(d, object, &c, &why)) {
            ok = dataset_add_item(d, &it, text, bytes, e);
        } else {
            note_line(d, s, number, why.text);
        }
        json_decref(object);
        ok = ok && (number % 256 || dataset_goes_on(d, e));
    }
    pool_release(&c.text);
    return ok;
}

/* ---- comma-separated values (RFC 4180) ------------------------------------------------------------------------ */

enum { FIELDS = 64 };

/* A record's fields, unquoted, end to end with their zeros in `text`. */
typedef struct record {
    pool text;
    size_t at[FIELDS];
    int n;
} record;

/* The field at p[0..bytes); *used: with what ends it.  Returns whether another one of the record follows. */
static bool read_field(record *r, const char *p, size_t bytes, size_t *used, bool *ok, err *e)
{
    bool quoted = bytes && *p == '"';
    size_t i = quoted, at = 0;
    char *text = malloc(bytes + 1);
    size_t n = 0;
    *ok = text ? true : err_no_memory(e, "data set", bytes);
    for (; *ok && i < bytes; i++) {
        if (quoted && p[i] == '"') {
            if (i + 1 < bytes && p[i + 1] == '"') {
                text[n++] = p[i++];
                continue;
            }
            quoted = false; /* what follows up to the comma is the writer's mistake, and kept */
        } else if (!quoted && (p[i] == ',' || p[i] == '\n')) {
            break;
        } else {
            text[n++] = p[i];
        }
    }
    while (n && (i >= bytes || p[i] == '\n') && text[n - 1] == '\r')
        n--;
    for (size_t k = 0; k < n; k++) /* a C string can't hold it; the text is no caption then */
        if (!text[k])
            text[k] = '\xff';
    if (*ok && r->n < FIELDS) {
        *ok = pool_add(&r->text, text, n, &at, e);
        r->at[r->n++] = at;
    }
    free(text);
    *used = i < bytes ? i + 1 : i;
    return *ok && i < bytes && p[i] == ',';
}

/* The bytes of the record at p[0..bytes) before its newline: one within quotes, which open where a field begins,
 * doesn't end it.  *open: they are never closed. */
static size_t record_bytes(const char *p, size_t bytes, bool *open)
{
    bool quoted = false, begins = true;
    size_t i = 0;
    for (; i < bytes && (quoted || p[i] != '\n'); i++) {
        if (quoted && p[i] == '"' && i + 1 < bytes && p[i + 1] == '"')
            i++;
        else if (p[i] == '"')
            quoted = !quoted && begins;
        begins = !quoted && p[i] == ',';
    }
    *open = quoted;
    return i;
}

static bool read_record(record *r, const char *p, size_t bytes, err *e)
{
    bool ok = true, more = true;
    size_t used;
    r->text.used = 0;
    r->n = 0;
    for (; ok && more; p += used, bytes -= used)
        more = read_field(r, p, bytes, &used, &ok, e);
    return ok;
}

static int column(const record *names, const char *const *wanted)
{
    for (; *wanted; wanted++)
        for (int i = 0; i < names->n; i++)
            if (!strcasecmp(names->text.data + names->at[i], *wanted))
                return i;
    return -1;
}

static const char *const picture_columns[] = {"file_name", "image", "filename", "image_path", "path", "file", NULL};
static const char *const caption_columns[] = {"caption", "text", "prompt", NULL};

/* The columns of the first record; *begin: the second one's byte. */
static bool read_columns(const source *s, int *picture, int *caption, size_t *begin, err *e)
{
    size_t at = list_begin(s);
    const char *text = s->map.size ? (const char *)s->map.data + at : ""; /* an empty file has no data */
    bool open;
    size_t bytes = record_bytes(text, s->map.size - at, &open);
    record names = {0};
    bool ok = read_record(&names, text, bytes, e);
    *begin = at + bytes + 1;
    *picture = ok ? column(&names, picture_columns) : -1;
    *caption = ok ? column(&names, caption_columns) : -1;
    if (ok && (*picture < 0 || *caption < 0))
        ok = err_set(e, ERR_FAILED, "its first line names no column %s",
                     *picture < 0 ? "\"file_name\" or \"image\"" : "\"caption\", \"text\" or \"prompt\"");
    pool_release(&names.text);
    return ok;
}

/* ---- lists of a folder ---------------------------------------------------------------------------------------- */

static bool walk_csv(dataset *d, uint32_t index, list_callback *callback, void *context, err *e)
{
    source s = d->sources[index];
    int picture, caption;
    size_t at = 0, bytes;
    err why = {0};
    record r = {0};
    if (!read_columns(&s, &picture, &caption, &at, &why)) {
        dataset_note(d, -1, s.path, why.text);
        return true;
    }
    bool ok = true;
    uint32_t number = 2;
    for (; ok && at < s.map.size; at += bytes + 1, number++) {
        const char *text = (const char *)s.map.data + at;
        bool open;
        bytes = record_bytes(text, s.map.size - at, &open);
        if (is_blank(text, bytes))
            continue;
        if (open) {
            note_line(d, &s, number, "its quotes are never closed: nothing from there on is read");
            break;
        }
        ok = read_record(&r, text, bytes, e);
        const char *name = ok && picture < r.n ? r.text.data + r.at[picture] : "";
        caption_row found = {at, index, ROW_CSV, number, 0};
        if (ok && *name)
            ok = callback(context, &found, name, e);
        else if (ok)
            note_line(d, &s, number, "no file name");
        ok = ok && (number % 256 || dataset_goes_on(d, e));
    }
    pool_release(&r.text);
    return ok;
}

static bool walk_json(dataset *d, uint32_t index, list_callback *callback, void *context, err *e)
{
    source s = d->sources[index];
    bool ok = true;
    uint32_t number = 1;
    for (size_t at = list_begin(&s), bytes; ok && at < s.map.size; at += bytes + 1, number++) {
        const char *text;
        err why = {0};
        line_at(&s, at, &text, &bytes);
        caption_row found = {at, index, ROW_JSON, number, 0};
        if (is_blank(text, bytes))
            continue;
        json_t *object = json_object_parse(text, bytes, &why);
        const char *name = object ? json_picture_name(object, &why) : NULL;
        if (name)
            ok = callback(context, &found, name, e);
        else
            note_line(d, &s, number, why.text);
        json_decref(object);
        ok = ok && (number % 256 || dataset_goes_on(d, e));
    }
    return ok;
}

bool list_walk(dataset *d, uint32_t index, list_callback *callback, void *context, err *e)
{
    const source *s = &d->sources[index];
    err why = {0};
    if (list_is_wide(s, &why)) {
        dataset_note(d, -1, s->path, why.text);
        return true;
    }
    return (is_lines_name(s->path) ? walk_json : walk_csv)(d, index, callback, context, e);
}

static bool captions_from_record(captions *c, const source *s, uint64_t at, err *e)
{
    const char *text = (const char *)s->map.data + at;
    int picture, caption;
    size_t begin;
    bool open;
    record r = {0};
    bool ok = read_columns(s, &picture, &caption, &begin, e) &&
              read_record(&r, text, record_bytes(text, s->map.size - at, &open), e);
    if (ok && caption < r.n) {
        char *p = r.text.data + r.at[caption];
        for (char *k = p; *k; k++) /* one caption, though it may have several lines */
            if (*k == '\n' || *k == '\r')
                *k = ' ';
        ok = captions_from_text(c, p, strlen(p), e);
    }
    pool_release(&r.text);
    return ok;
}

bool captions_from_row(captions *c, const dataset *d, const caption_row *r, err *e)
{
    const source *s = &d->sources[r->source];
    uint8_t *data = NULL;
    const char *text;
    size_t bytes = 0;
    bool ok, json = r->kind == ROW_JSON || r->kind == ROW_JSON_MEMBER;
    if (r->kind == ROW_CSV)
        return captions_from_record(c, s, r->at, e);
    if (r->kind == ROW_JSON) {
        line_at(s, r->at, &text, &bytes);
        ok = true;
    } else {
        ok = tar_read(&s->map, r->at, &data, &bytes, e);
        text = (const char *)data;
    }
    if (ok && json) {
        json_t *object = json_object_parse(text, bytes, e);
        ok = object && captions_from_json(c, object, e);
        json_decref(object);
    } else if (ok) {
        ok = captions_from_text(c, text, bytes, e);
    }
    free(data);
    return ok;
}
