/* Values of a pickle: what calls yield without being made, escapes of text, and how readers look things up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "io/pickle_internal.h"

/* ---- calls ---- */

/* Python 2's names of modules stand beside those of 3. */
static bool is_builtin(const char *class_name, const char *name)
{
    const char *dot = strchr(class_name, '.');
    size_t n = dot ? (size_t)(dot - class_name) : 0;
    return dot && !strcmp(dot + 1, name) &&
           ((n == 8 && !memcmp(class_name, "builtins", n)) || (n == 11 && !memcmp(class_name, "__builtin__", n)));
}

/* _codecs.encode(text, "latin1"): how Python 3 writes bytes under protocol 2. */
static pickle_value *latin1_bytes(pickle_machine *m, const pickle_value *text)
{
    pickle_value *v = pickle_new(m, PICKLE_BYTES);
    char *to = v ? pickle_take(m, text->length + 1) : NULL;
    const uint8_t *from = (const uint8_t *)text->text;
    if (!to)
        return NULL;
    v->text = to;
    for (size_t i = 0; i < text->length; i++) {
        uint8_t c = from[i];
        if (c >= 0xc0 && i + 1 < text->length)
            c = (uint8_t)(c << 6 | (from[++i] & 0x3f));
        to[v->length++] = (char)c;
    }
    return v;
}

/* A dict of a list of pairs, or of nothing. */
static pickle_value *dict_of(pickle_machine *m, const pickle_value *pairs)
{
    pickle_value *v = pickle_new(m, PICKLE_DICT);
    for (size_t i = 0; v && pairs && i < pairs->n; i++) {
        const pickle_value *pair = pairs->items[i];
        if ((pair->kind != PICKLE_TUPLE && pair->kind != PICKLE_LIST) || pair->n != 2)
            return pickle_fail(m, "an OrderedDict of what are no pairs"), NULL;
        if (!pickle_put(m, v, pair->items[0], pair->items[1]))
            return NULL;
    }
    return v;
}

static pickle_value *set_of(pickle_machine *m, const pickle_value *list)
{
    pickle_value *v = pickle_new(m, PICKLE_SET);
    for (size_t i = 0; v && list && i < list->n; i++)
        if (!pickle_put(m, v, NULL, list->items[i]))
            return NULL;
    return v;
}

/* copyreg's helpers make an object of their first argument. */
static bool is_reconstructor(const char *class_name)
{
    return !strcmp(class_name, "copyreg._reconstructor") || !strcmp(class_name, "copy_reg._reconstructor") ||
           !strcmp(class_name, "copyreg.__newobj__") || !strcmp(class_name, "copy_reg.__newobj__");
}

pickle_value *pickle_call(pickle_machine *m, const pickle_value *callee, pickle_value *args)
{
    if (callee->kind != PICKLE_CLASS && callee->kind != PICKLE_OBJECT)
        return pickle_fail(m, "what is called is no class"), NULL;
    const char *class_name = callee->kind == PICKLE_CLASS ? callee->text : callee->class_name;
    const pickle_value *first = args->kind == PICKLE_TUPLE && args->n ? args->items[0] : NULL;
    bool listed = !first || first->kind == PICKLE_LIST || first->kind == PICKLE_TUPLE;
    if (callee->kind == PICKLE_CLASS) {
        if (!strcmp(class_name, "collections.OrderedDict") && listed)
            return dict_of(m, first);
        if (!strcmp(class_name, "collections.defaultdict"))
            return pickle_new(m, PICKLE_DICT);
        if ((is_builtin(class_name, "set") || is_builtin(class_name, "frozenset")) && listed)
            return set_of(m, first);
        if (!strcmp(class_name, "_codecs.encode") && first && first->kind == PICKLE_STRING)
            return latin1_bytes(m, first);
        if (is_reconstructor(class_name) && first && first->kind == PICKLE_CLASS)
            class_name = first->text;
    }
    pickle_value *v = pickle_new(m, PICKLE_OBJECT);
    if (v) {
        v->class_name = class_name;
        v->args = args;
    }
    return v;
}

/* ---- escapes ---- */

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80)
        return to[0] = (char)c, 1;
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | (c >> 18 & 7));
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The hexadecimal number of exactly `digits` digits; false where from[0, n) doesn't begin with one. */
static bool hexadecimal(const char *from, size_t n, size_t digits, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        const char *all = "0123456789abcdef", *at = i < n ? strchr(all, from[i] | 0x20) : NULL;
        if (!at || !*at)
            return false;
        *value = *value << 4 | (uint32_t)(at - all);
    }
    return true;
}

size_t pickle_unescape(char *to, const char *from, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t value;
        if (from[i] != '\\' || i + 1 == n) {
            to[length++] = from[i];
            continue;
        }
        char c = from[++i];
        if (c == 'x' && hexadecimal(from + i + 1, n - i - 1, 2, &value)) {
            to[length++] = (char)value;
            i += 2;
        } else {
            to[length++] = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
    }
    return length;
}

size_t pickle_unescape_unicode(char *to, const char *from, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t value = (uint8_t)from[i];
        if (from[i] == '\\' && i + 1 < n && (from[i + 1] == 'u' || from[i + 1] == 'U')) {
            size_t digits = from[i + 1] == 'u' ? 4 : 8;
            if (hexadecimal(from + i + 2, n - i - 2, digits, &value))
                i += digits + 1;
            else
                value = '\\';
        }
        length += put_utf8(to + length, value);
    }
    return length;
}

/* ---- looking up ---- */

static bool is_sequence(const pickle_value *v)
{
    return v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE || v->kind == PICKLE_SET;
}

static const pickle_value *item_of(const pickle_value *v, const char *key)
{
    size_t n = strlen(key);
    for (uint32_t i = v->n; v->keys && i-- > 0;) {
        const pickle_value *k = v->keys[i];
        if (k && k->kind == PICKLE_STRING && k->length == n && !memcmp(k->text, key, n))
            return v->items[i];
    }
    return NULL;
}

const pickle_value *pickle_get(const pickle_value *v, const char *key)
{
    if (!v || (v->kind != PICKLE_DICT && v->kind != PICKLE_OBJECT))
        return NULL;
    const pickle_value *found = item_of(v, key), *state = v->state;
    if (found || v->kind == PICKLE_DICT || !state)
        return found;
    if (state->kind == PICKLE_DICT)
        return item_of(state, key);
    for (uint32_t i = 0; !found && state->kind == PICKLE_TUPLE && i < state->n && i < 2; i++)
        if (state->items[i]->kind == PICKLE_DICT) /* (attributes, slots) */
            found = item_of(state->items[i], key);
    return found;
}

/* torch.Size((2, 3)) as the tuple in it. */
static const pickle_value *sequence_of(const pickle_value *v)
{
    if (pickle_is(v, "torch.Size") && v->args->kind == PICKLE_TUPLE && v->args->n == 1)
        v = v->args->items[0];
    return v && is_sequence(v) ? v : NULL;
}

const pickle_value *pickle_at(const pickle_value *v, size_t i)
{
    v = sequence_of(v);
    return v && i < v->n ? v->items[i] : NULL;
}

bool pickle_length(const pickle_value *v, size_t *n)
{
    v = sequence_of(v);
    if (v)
        *n = v->n;
    return v;
}

bool pickle_is(const pickle_value *v, const char *class_name)
{
    return v && v->kind == PICKLE_OBJECT && !strcmp(v->class_name, class_name);
}

/* numpy.core.multiarray.scalar(dtype("f8"), bytes): the type's letter and width, and the bytes. */
static bool numpy_scalar(const pickle_value *v, char *letter, uint8_t bytes[8])
{
    if (!pickle_is(v, "numpy.core.multiarray.scalar") && !pickle_is(v, "numpy._core.multiarray.scalar"))
        return false;
    const pickle_value *type = pickle_at(v->args, 0), *data = pickle_at(v->args, 1);
    const char *code = pickle_is(type, "numpy.dtype") ? pickle_text(pickle_at(type->args, 0)) : NULL;
    const char *order = type ? pickle_text(pickle_at(type->state, 1)) : NULL;
    size_t width = code && code[0] && code[1] >= '1' && code[1] <= '8' && !code[2] ? (size_t)(code[1] - '0') : 0;
    if (!width || !data || data->kind != PICKLE_BYTES || data->length != width || (order && *order == '>'))
        return false;
    bool negative = *code == 'i' && (data->text[width - 1] & 0x80);
    memset(bytes, negative ? 0xff : 0, 8);
    memcpy(bytes, data->text, width);
    *letter = *code == 'f' && width == 4 ? 'e' : *code == 'f' && width != 8 ? '?' : *code;
    return true;
}

bool pickle_int(const pickle_value *v, int64_t *out)
{
    char letter;
    uint8_t bytes[8];
    if (v && v->kind == PICKLE_INT)
        return *out = v->integer, true;
    if (!numpy_scalar(v, &letter, bytes) || (letter != 'i' && letter != 'u'))
        return false;
    memcpy(out, bytes, sizeof *out);
    return true;
}

bool pickle_number(const pickle_value *v, double *out)
{
    int64_t integer;
    char letter;
    uint8_t bytes[8];
    float single;
    if (v && v->kind == PICKLE_FLOAT)
        return *out = v->number, true;
    if (pickle_int(v, &integer))
        return *out = (double)integer, true;
    if (!numpy_scalar(v, &letter, bytes) || (letter != 'f' && letter != 'e'))
        return false;
    memcpy(out, bytes, sizeof *out);
    memcpy(&single, bytes, sizeof single);
    if (letter == 'e')
        *out = single;
    return true;
}

bool pickle_truth(const pickle_value *v, bool *out)
{
    char letter;
    uint8_t bytes[8];
    if (v && v->kind == PICKLE_BOOL)
        return *out = v->truth, true;
    if (!numpy_scalar(v, &letter, bytes) || letter != 'b')
        return false;
    return *out = bytes[0] != 0, true;
}

const char *pickle_text(const pickle_value *v)
{
    return v && v->kind == PICKLE_STRING && strlen(v->text) == v->length ? v->text : NULL;
}

/* ---- as text ---- */

typedef struct writer {
    FILE *out;
    long left;
} writer;

enum { TEXT_LIMIT = 200, TEXT_DEPTH = 8 };

static void write_text(writer *w, const char *text, size_t n)
{
    size_t most = w->left > 0 ? (size_t)w->left : 0;
    fwrite(text, 1, n < most ? n : most, w->out);
    if (n > most && w->left >= 0)
        fputs("…", w->out);
    w->left = n > most ? -1 : w->left - (long)n;
}

static void write_string(writer *w, const char *text)
{
    write_text(w, text, strlen(text));
}

static void write_value(writer *w, const pickle_value *v, int depth);

static void write_items(writer *w, const pickle_value *v, int depth)
{
    bool tuple = v->kind == PICKLE_TUPLE, list = v->kind == PICKLE_LIST;
    write_string(w, tuple ? "(" : list ? "[" : "{");
    for (uint32_t i = 0; i < v->n && w->left >= 0; i++) {
        if (i)
            write_string(w, ", ");
        if (v->keys && v->keys[i]) {
            write_value(w, v->keys[i], depth + 1);
            write_string(w, ": ");
        }
        write_value(w, v->items[i], depth + 1);
    }
    write_string(w, tuple && v->n == 1 ? ",)" : tuple ? ")" : list ? "]" : "}");
}

static void write_value(writer *w, const pickle_value *v, int depth)
{
    char text[64];
    int64_t integer;
    double number;
    bool truth;
    if (w->left < 0)
        return;
    if (depth > TEXT_DEPTH) {
        write_string(w, "…");
    } else if (v->kind == PICKLE_NONE) {
        write_string(w, "None");
    } else if (pickle_truth(v, &truth)) {
        write_string(w, truth ? "True" : "False");
    } else if (pickle_int(v, &integer)) {
        snprintf(text, sizeof text, "%" PRId64, integer);
        write_string(w, text);
    } else if (pickle_number(v, &number)) {
        snprintf(text, sizeof text, "%.10g", number);
        write_string(w, text);
    } else if (v->kind == PICKLE_STRING) {
        write_string(w, "'");
        write_text(w, v->text, v->length);
        write_string(w, "'");
    } else if (v->kind == PICKLE_CLASS || v->kind == PICKLE_OBJECT) {
        write_string(w, v->kind == PICKLE_CLASS ? v->text : v->class_name);
        if (v->kind == PICKLE_OBJECT)
            write_string(w, "(…)");
    } else if (is_sequence(v) || v->kind == PICKLE_DICT) {
        write_items(w, v, depth);
    } else {
        write_string(w, v->kind == PICKLE_BYTES ? "bytes" : v->kind == PICKLE_LONG ? "a long integer" : "an id");
    }
}

char *pickle_to_text(const pickle_value *v)
{
    os_text text;
    if (!os_text_open(&text))
        return NULL;
    writer w = {.out = text.stream, .left = TEXT_LIMIT};
    write_value(&w, v, 0);
    return os_text_close(&text);
}
