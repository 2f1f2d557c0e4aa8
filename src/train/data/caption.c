/* Captions: from lines of text, from JSON, and of an item. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/bpe_split.h"
#include "text/clean.h"
#include "train/data/internal.h"

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **text, size_t *bytes)
{
    for (; *bytes && blank(**text); --*bytes)
        ++*text;
    while (*bytes && blank((*text)[*bytes - 1]))
        --*bytes;
}

static void add_bad(captions *c, size_t number, const char *reason)
{
    if (c->n_bad++ == 0)
        snprintf(c->bad, sizeof c->bad, "caption %zu %s", number, reason);
}

/* Whether a tokenizer would find nothing in it: invisible characters, spaces of all kinds. */
static bool is_empty(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p > ' ' && *p < 0x7f) /* the usual case */
            return false;
    size_t bytes = 0;
    char *clean = clean_text(text, &bytes, NULL);
    bool empty = clean && !bytes;
    free(clean);
    return empty;
}

/* One caption, number from 1; it is left out and counted where it is not text. */
static bool add(captions *c, const char *text, size_t bytes, size_t number, err *e)
{
    size_t at;
    if (memchr(text, 0, bytes)) {
        add_bad(c, number, "has a zero byte");
        return true;
    }
    if (!pool_add(&c->text, text, bytes, &at, e))
        return false;
    if (bpe_is_utf8(c->text.data + at)) {
        if (is_empty(c->text.data + at))
            c->text.used = at;
        else
            c->n++;
    } else {
        add_bad(c, number, "is not UTF-8 (is it Latin-1? save it as UTF-8)");
        c->text.used = at;
    }
    return true;
}

bool captions_from_text(captions *c, const char *text, size_t bytes, err *e)
{
    if (bytes >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) { /* the byte order mark of Windows editors */
        text += 3;
        bytes -= 3;
    }
    if (bytes >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2))) {
        add_bad(c, 1, "is not UTF-8 but UTF-16 (save it as UTF-8)");
        return true;
    }
    for (size_t number = 1; bytes; number++) {
        const char *end = memchr(text, '\n', bytes);
        size_t length = end ? (size_t)(end - text) : bytes, step = end ? length + 1 : length;
        const char *line = text;
        trim(&line, &length);
        if (length && !add(c, line, length, number, e))
            return false;
        text += step;
        bytes -= step;
    }
    return true;
}

void *json_object_parse(const char *text, size_t bytes, err *e)
{
    json_error_t error;
    /* large integers, hashes for example, need not fit: only strings are read */
    json_t *object = json_loadb(text, bytes, JSON_DECODE_INT_AS_REAL, &error);
    if (!object) {
        err_set(e, ERR_FAILED, "not JSON: %s", error.text);
    } else if (!json_is_object(object)) {
        err_set(e, ERR_FAILED, "not a JSON object (write {\"image\": ..., \"caption\": ...})");
        json_decref(object);
        object = NULL;
    }
    return object;
}

static bool add_string(captions *c, const json_t *s, size_t number, err *e)
{
    const char *text = json_string_value(s);
    size_t bytes = json_string_length(s);
    if (!text) {
        add_bad(c, number, "is not a string");
        return true;
    }
    trim(&text, &bytes);
    return !bytes || add(c, text, bytes, number, e);
}

/* Whether a value is neither missing, nor null, nor empty. */
static bool says_something(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t bytes = json_string_length(value);
    if (text)
        trim(&text, &bytes);
    return value && !json_is_null(value) && !(text && !bytes) && !(json_is_array(value) && !json_array_size(value));
}

bool captions_from_json(captions *c, const void *object, err *e)
{
    static const char *const keys[] = {"caption", "captions", "text", "prompt"};
    const json_t *value = NULL, *first = NULL;
    for (size_t i = 0; !says_something(value) && i < sizeof keys / sizeof *keys; i++) {
        value = json_object_get(object, keys[i]);
        first = first && !json_is_null(first) ? first : value;
    }
    if (!says_something(value))
        value = first; /* an empty one */
    if (!value || json_is_null(value))
        return err_set(e, ERR_FAILED, "no \"caption\", \"captions\", \"text\" or \"prompt\"");
    if (!json_is_array(value))
        return add_string(c, value, 1, e);
    size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++)
        if (!add_string(c, json_array_get(value, i), i + 1, e))
            return false;
    return true;
}

static bool parse(captions *c, caption_kind kind, const char *text, size_t bytes, err *e)
{
    if (kind == CAPTION_TEXT)
        return captions_from_text(c, text, bytes, e);
    json_t *object = json_object_parse(text, bytes, e);
    bool ok = object && captions_from_json(c, object, e);
    json_decref(object);
    return ok;
}

/* The file beside a folder's picture. */
static bool read_beside(captions *c, const dataset *d, const item *it, err *e)
{
    char *path = item_name(d, it);
    char *text_path = NULL;
    if (path) {
        *strrchr(path, '.') = 0; /* only names with an extension become items */
        text_path = join(path, ".", caption_endings[it->caption].ending);
    }
    file_map m = {0};
    bool ok = text_path ? file_map_open(&m, text_path, e) : err_no_memory(e, "caption", 256);
    ok = ok && parse(c, (caption_kind)it->caption_kind, (const char *)m.data, m.size, e);
    file_map_release(&m);
    free(text_path);
    free(path);
    return ok;
}

/* What can be read of them counts; the first that can't is the error where none can. */
static bool read_rows(captions *c, const dataset *d, const item *it, err *e)
{
    bool ok = false;
    err why = {0};
    for (uint32_t i = (uint32_t)it->caption + 1; i; i = d->rows[i - 1].next) {
        err of_row = {0};
        if (captions_from_row(c, d, &d->rows[i - 1], &of_row))
            ok = true;
        else if (!why.code)
            why = of_row;
    }
    return ok || err_set(e, ERR_FAILED, "%s", why.text);
}

static bool read_line(captions *c, const source *s, const item *it, err *e)
{
    const char *text;
    size_t bytes;
    line_at(s, it->picture, &text, &bytes);
    return parse(c, CAPTION_JSON, text, bytes, e);
}

static bool read_member(captions *c, const source *s, const item *it, err *e)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    bool ok = tar_read(&s->map, it->caption, &data, &bytes, e) &&
              parse(c, (caption_kind)it->caption_kind, (const char *)data, bytes, e);
    free(data);
    return ok;
}

static bool captions_read(captions *c, const dataset *d, const item *it, err *e)
{
    const source *s = &d->sources[it->source];
    bool ok = true;
    c->text.used = c->n = c->n_bad = 0;
    if (it->caption_kind == CAPTION_NONE)
        return err_set(e, ERR_FAILED, "no captions");
    if (it->caption_kind == CAPTION_ROWS)
        ok = read_rows(c, d, it, e);
    else
        switch (s->kind) {
        case SOURCE_FOLDER:
            ok = read_beside(c, d, it, e);
            break;
        case SOURCE_LINES:
            ok = read_line(c, s, it, e);
            break;
        case SOURCE_TAR:
            ok = read_member(c, s, it, e);
            break;
        case SOURCE_LIST:
            break;
        }
    if (ok && !c->n)
        return err_set(e, ERR_FAILED, "%s", c->n_bad ? c->bad : "its caption is empty");
    return ok;
}

bool captions_of(captions *c, dataset *d, int64_t number)
{
    err why = {0};
    bool ok = captions_read(c, d, &d->items[number], &why);
    if ((!ok || c->n_bad) && !(atomic_fetch_or(&d->flags[number], ITEM_NOTED) & ITEM_NOTED)) {
        char *name = item_name(d, &d->items[number]);
        dataset_note(d, number, name ? name : "data set", ok ? c->bad : why.text);
        free(name);
    }
    return ok;
}
