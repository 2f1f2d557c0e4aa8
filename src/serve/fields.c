/* Fields of requests, with errors that name them. */
#include "serve/fields.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"
#include "generate/region.h"

enum { LARGE = 1 }; /* a text that begins with this character is a number that JSON's parser doesn't take */

/* JSON with quotes around whole numbers beyond 63 bits, which seeds may be. */
static bool quote_large(text_buffer *b, const char *text, size_t size)
{
    bool quoted = false, ok = true;
    for (size_t i = 0, n; ok && i < size; i += n) {
        bool whole = true;
        for (n = 0; !quoted && i + n < size && text[i + n] && strchr("0123456789+-.eE", text[i + n]); n++)
            whole = whole && text[i + n] >= '0' && text[i + n] <= '9';
        if (n > 18 && whole) {
            ok = text_format(b, "\"\\u%04x%.*s\"", LARGE, (int)n, text + i);
            continue;
        }
        if (n == 0) {
            n = quoted && text[i] == '\\' && i + 1 < size ? 2 : 1;
            quoted = quoted != (text[i] == '"');
        }
        ok = text_put(b, text + i, n);
    }
    return ok;
}

bool fields_parse(fields *p, const char *body, size_t size, api_error *a)
{
    json_error_t why;
    text_buffer quoted = {0};
    p->root = json_loadb(body, size, JSON_REJECT_DUPLICATES, &why);
    if (!p->root && json_error_code(&why) == json_error_numeric_overflow && quote_large(&quoted, body, size))
        p->root = json_loadb(quoted.text, quoted.size, JSON_REJECT_DUPLICATES, &why);
    text_release(&quoted);
    if (!p->root)
        return api_fail(a, 400, "", NULL, "the body is no JSON: line %d, column %d: %.200s", why.line, why.column,
                        why.text);
    if (json_is_object(p->root))
        return true;
    fields_release(p);
    return api_fail(a, 400, "", NULL, "the body is no JSON object");
}

bool fields_read(fields *p, exchange *x, api_error *a)
{
    size_t size;
    *p = (fields){.x = x};
    if (exchange_is_form(x))
        return true;
    const char *body = exchange_body(x, &size);
    return fields_parse(p, body, size, a);
}

void fields_release(fields *p)
{
    json_decref(p->root);
    p->root = NULL;
}

static bool is_name(const char *have, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(have, name, n) && (!have[n] || !strcmp(have + n, "[]"));
}

static const http_part *part_of(const fields *p, const char *name)
{
    const http_part *found = NULL, *one;
    for (size_t i = 0; !found && (one = exchange_part(p->x, i)); i++)
        found = is_name(one->name, name) ? one : NULL;
    return found;
}

/* A large number, as its digits. */
static const char *large_of(const json_t *v)
{
    const char *text = json_string_value(v);
    return text && *text == LARGE ? text + 1 : NULL;
}

/* The field as it stands; NULL: it isn't there.  Of a form it is text. */
static json_t *field(const fields *p, const char *name)
{
    if (p->root) {
        json_t *v = json_object_get(p->root, name);
        return json_is_null(v) ? NULL : json_incref(v);
    }
    const http_part *one = part_of(p, name);
    if (!one || one->size == 0)
        return NULL;
    json_t *text = json_stringn(one->text, one->size);
    return text ? text : json_string("?"); /* no UTF-8: neither a number nor a word */
}

bool fields_has(const fields *p, const char *name)
{
    json_t *v = field(p, name);
    bool has = v != NULL || (!p->root && part_of(p, name) && part_of(p, name)->size > 0);
    json_decref(v);
    return has;
}

bool fields_text(const fields *p, const char *name, const char **value, api_error *a)
{
    if (!p->root) {
        const http_part *one = part_of(p, name);
        json_t *text = one ? json_stringn(one->text, one->size) : NULL;
        bool whole = text && strlen(one->text) == one->size; /* a 0 would cut it */
        json_decref(text);
        if (one && !whole)
            return api_fail(a, 400, name, NULL, "%s: not text in UTF-8", name);
        if (one)
            *value = one->text;
        return true;
    }
    json_t *v = json_object_get(p->root, name);
    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v) || large_of(v))
        return api_fail(a, 400, name, NULL, "%s: text is wanted", name);
    *value = json_string_value(v);
    return true;
}

/* A field that is a number; of a form, text that is one. */
static bool read_number(const fields *p, const char *name, double *value, bool *given, api_error *a)
{
    json_t *v = field(p, name);
    const char *text = json_string_value(v);
    bool ok = !v || json_is_number(v) || (!p->root && text && parse_number(text, value));
    *given = v;
    if (json_is_number(v))
        *value = json_number_value(v);
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: a number is wanted", name);
}

bool fields_number(const fields *p, const char *name, double min, double max, float *value, api_error *a)
{
    double v = 0;
    bool given;
    if (!read_number(p, name, &v, &given, a))
        return false;
    if (given && !(v >= min && v <= max))
        return api_fail(a, 400, name, NULL, "%s: %g is outside of %g to %g", name, v, min, max);
    if (given)
        *value = (float)v;
    return true;
}

bool fields_integer(const fields *p, const char *name, long long min, long long max, int *value, api_error *a)
{
    double v = 0;
    bool given;
    if (!read_number(p, name, &v, &given, a))
        return false;
    if (given && (v != floor(v) || v < (double)min || v > (double)max))
        return api_fail(a, 400, name, NULL, "%s: %g is no whole number from %lld to %lld", name, v, min, max);
    if (given)
        *value = (int)v;
    return true;
}

bool fields_seed(const fields *p, const char *name, uint64_t *value, bool *given, api_error *a)
{
    json_t *v = field(p, name);
    const char *text = large_of(v) ? large_of(v) : json_string_value(v); /* JavaScript has no such numbers */
    bool ok = true;
    *given = v != NULL;
    if (json_is_integer(v)) {
        json_int_t i = json_integer_value(v);
        *given = i != -1; /* a random one */
        ok = i >= -1;
        *value = (uint64_t)i;
    } else if (v) {
        char *end = NULL;
        errno = 0;
        *value = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
        ok = end && !*end && errno == 0;
        if (text && !strcmp(text, "-1"))
            ok = !(*given = false);
    }
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: a whole number from 0 to 2^64 - 1 is wanted", name);
}

bool fields_bool(const fields *p, const char *name, bool *value, api_error *a)
{
    json_t *v = field(p, name);
    const char *text = p->root ? NULL : json_string_value(v);
    bool yes = json_is_true(v) || (text && (!strcmp(text, "true") || !strcmp(text, "True") || !strcmp(text, "1")));
    bool no = json_is_false(v) || (text && (!strcmp(text, "false") || !strcmp(text, "False") || !strcmp(text, "0")));
    bool ok = !v || yes || no;
    if (v && ok)
        *value = yes;
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: true or false is wanted", name);
}

bool fields_word(const fields *p, const char *name, const char *const *words, int *value, api_error *a)
{
    const char *text = NULL;
    char known[128] = "";
    size_t at = 0;
    if (!fields_text(p, name, &text, a))
        return false;
    for (int i = 0; words[i]; i++) {
        if (text && !strcmp(text, words[i]))
            *value = i;
        if (text && !strcmp(text, words[i]))
            return true;
        if (at < 100)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", words[i]);
    }
    return !text || api_fail(a, 400, name, NULL, "%s: \"%.40s\" is none of %s", name, text, known);
}

/* ---- pictures ---------------------------------------------------------------------------------------------------- */

enum { PIXELS_MOST = 64000000 };

static bool check_picture(const char *name, const text_buffer *file, api_error *a)
{
    int width, height;
    if (image_recognise(file->text, file->size) == IMAGE_NONE)
        return api_fail(a, 400, name, NULL, "%s: neither PNG nor JPEG nor WebP", name);
    if (!image_size_memory(&width, &height, file->text, file->size))
        return api_fail(a, 400, name, NULL, "%s: the picture is incomplete or damaged", name);
    if ((int64_t)width * height > PIXELS_MOST)
        return api_fail(a, 400, name, NULL, "%s: %dx%d pixels are more than %d million", name, width, height,
                        PIXELS_MOST / 1000000);
    return true;
}

/* The text of a picture in JSON; NULL: there is none. */
static const char *picture_text(const json_t *v)
{
    if (json_is_array(v))
        v = json_array_get(v, 0);
    for (int i = 0; i < 2 && json_is_object(v); i++) {
        const json_t *url = json_object_get(v, "image_url");
        v = url ? url : json_object_get(v, "url") ? json_object_get(v, "url") : json_object_get(v, "b64_json");
    }
    return json_string_value(v);
}

static bool decode_picture(const char *name, const json_t *v, text_buffer *file, api_error *a)
{
    const char *text = picture_text(v);
    if (!text)
        return api_fail(a, 400, name, NULL, "%s: a picture in base64 is wanted", name);
    if (!strncasecmp(text, "data:", 5)) {
        const char *comma = strchr(text, ',');
        text = comma ? comma + 1 : "";
    }
    return text_from_base64(file, text) || api_fail(a, 400, name, NULL, "%s: no base64", name);
}

bool fields_picture(const fields *p, const char *name, text_buffer *file, api_error *a)
{
    if (p->root) {
        const json_t *v = json_object_get(p->root, name);
        const bool empty = json_is_string(v) && json_string_length(v) == 0; /* as front ends say that there is none */
        return !v || json_is_null(v) || empty || (decode_picture(name, v, file, a) && check_picture(name, file, a));
    }
    const http_part *one = part_of(p, name);
    if (!one || (!one->file && one->size == 0))
        return true;
    return (text_put(file, one->text, one->size) || api_fail(a, 500, "", NULL, "the server's memory is short")) &&
           check_picture(name, file, a);
}

bool fields_keep(const fields *p, const char *name, text_buffer *file, char **region, api_error *a)
{
    const http_part *one = p->root ? NULL : part_of(p, name);
    const char *text = p->root ? json_string_value(json_object_get(p->root, name)) : one ? one->text : NULL;
    bool is_file = one && (one->file || image_recognise(one->text, one->size) != IMAGE_NONE);
    if (!text || !*text || is_file || (p->root && (!strchr(text, ':') || !strncasecmp(text, "data:", 5))))
        return fields_picture(p, name, file, a);
    keep k;
    err e = {0};
    if (!keep_parse(&k, text, &e) || k.kind == KEEP_MASK)
        return api_fail(a, 400, name, NULL, "%s: %.500s", name,
                        e.code ? e.text : "top:0.5, bottom:F, left:F, right:F, box:X,Y,W,H or a picture is wanted");
    *region = strdup(text);
    return *region || api_fail(a, 500, "", NULL, "the server's memory is short");
}
