/* The characters below the byte-pair merges: lower-casing, GPT-2's split into pieces, GPT-2's byte alphabet. */
#include "text/bpe_split.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- lower-casing -------------------------------------------------------------------------------------------- */

/* Writes the lower case of c to out[0..8) and returns its bytes. */
static size_t put_lower(utf8proc_int32_t c, uint8_t out[8])
{
    /* The only character whose full lower case has two: I with a dot above becomes i, dot above. */
    if (c == 0x130) {
        out[0] = 'i';
        return 1 + (size_t)utf8proc_encode_char(0x307, out + 1);
    }
    return (size_t)utf8proc_encode_char(utf8proc_tolower(c), out);
}

/* The lower case of valid UTF-8; out may be NULL to count the bytes. */
static size_t lower_text(const uint8_t *text, size_t n, uint8_t *out)
{
    size_t written = 0;
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate(text + at, (utf8proc_ssize_t)(n - at), &c);
        uint8_t lower[8];
        size_t k = put_lower(c, lower);
        if (out)
            memcpy(out + written, lower, k);
        written += k;
    }
    return written;
}

char *bpe_normalise(const char *text, bool lowercase, size_t *bytes, err *e)
{
    const uint8_t *in = (const uint8_t *)text;
    size_t n = strlen(text);
    *bytes = 0;
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate(in + at, (utf8proc_ssize_t)(n - at), &c);
        if (k <= 0) {
            err_set(e, ERR_FAILED, "text: byte %zu (0x%02X) is not UTF-8 (convert the text to UTF-8)", at, in[at]);
            return NULL;
        }
        at += (size_t)k;
    }
    size_t size = lowercase ? lower_text(in, n, NULL) : n;
    char *out = malloc(size + 1);
    if (!out) {
        err_no_memory(e, "text", size + 1);
        return NULL;
    }
    if (lowercase)
        lower_text(in, n, (uint8_t *)out);
    else
        memcpy(out, text, n);
    out[size] = 0;
    *bytes = size;
    return out;
}

/* ---- splitting ----------------------------------------------------------------------------------------------- */

typedef enum char_kind { KIND_SPACE, KIND_LETTER, KIND_NUMBER, KIND_OTHER } char_kind;

/* The kind of the character at text[0], and its bytes in *step. */
static char_kind kind_at(const char *text, size_t bytes, size_t *step)
{
    utf8proc_int32_t c;
    *step = (size_t)utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    if ((c >= 9 && c <= 13) || c == 0x85) /* white space by property, though Unicode's category is "control" */
        return KIND_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return KIND_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return KIND_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return KIND_SPACE;
    default:
        return KIND_OTHER;
    }
}

/* Bytes of the run of one kind at text[0]; *last is where its last character begins. */
static size_t run_bytes(const char *text, size_t bytes, char_kind kind, size_t *last)
{
    size_t at = 0, step;
    *last = 0;
    while (at < bytes && kind_at(text + at, bytes - at, &step) == kind) {
        *last = at;
        at += step;
    }
    return at;
}

/* 's 't 're 've 'm 'll 'd, in lower case only, as the pattern has them.  0: none. */
static size_t contraction_bytes(const char *text, size_t bytes)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (n <= bytes && memcmp(text, endings[i], n) == 0)
            return n;
    }
    return 0;
}

size_t bpe_piece_bytes(const char *text, size_t bytes)
{
    size_t contraction = contraction_bytes(text, bytes);
    if (contraction)
        return contraction;
    size_t last, step;
    size_t space = text[0] == ' ' && bytes > 1 ? 1 : 0; /* one plain space goes with the word after it */
    char_kind kind = kind_at(text + space, bytes - space, &step);
    if (kind != KIND_SPACE)
        return space + run_bytes(text + space, bytes - space, kind, &last);
    size_t run = run_bytes(text, bytes, KIND_SPACE, &last);
    /* \s+(?!\S): a longer run before a word leaves its last character to that word, or to stand alone. */
    return run == bytes || last == 0 ? run : last;
}

/* ---- bytes and characters ------------------------------------------------------------------------------------ */

int32_t bpe_byte_to_char(uint8_t byte)
{
    if (byte <= 32)
        return 256 + byte;
    if (byte >= 127 && byte <= 160)
        return 289 + (byte - 127);
    return byte == 173 ? 323 : byte;
}

int bpe_char_to_byte(int32_t c)
{
    if (c >= 256 && c <= 288)
        return c - 256;
    if (c >= 289 && c <= 322)
        return c - 289 + 127;
    if (c == 323)
        return 173;
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 255 && c != 173) ? c : -1;
}

/* Bytes of the broken sequence at s[0]: as far as it could have begun a character. */
static size_t broken_bytes(const uint8_t *s, size_t n)
{
    uint8_t lead = s[0], low = 0x80, high = 0xBF;
    if (lead < 0xC2 || lead > 0xF4)
        return 1;
    size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0)
        low = 0xA0; /* below: overlong */
    if (lead == 0xED)
        high = 0x9F; /* above: surrogates */
    if (lead == 0xF0)
        low = 0x90; /* below: overlong */
    if (lead == 0xF4)
        high = 0x8F; /* above: beyond U+10FFFF */
    size_t k = 1;
    while (k < size && k < n && s[k] >= low && s[k] <= high) {
        low = 0x80;
        high = 0xBF;
        k++;
    }
    return k;
}

char *bpe_repair(const uint8_t *bytes, size_t n, err *e)
{
    char *out = n <= (SIZE_MAX - 1) / 3 ? malloc(3 * n + 1) : NULL; /* a lone byte becomes the 3 of U+FFFD */
    if (!out) {
        err_no_memory(e, "text", 3ull * n + 1);
        return NULL;
    }
    size_t written = 0;
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate(bytes + at, (utf8proc_ssize_t)(n - at), &c);
        if (k > 0 && c != 0) {
            memcpy(out + written, bytes + at, (size_t)k);
            written += (size_t)k;
            at += (size_t)k;
        } else {
            memcpy(out + written, "\xEF\xBF\xBD", 3);
            written += 3;
            at += k > 0 ? (size_t)k : broken_bytes(bytes + at, n - at);
        }
    }
    out[written] = 0;
    return out;
}

/* ---- strings of files ---------------------------------------------------------------------------------------- */

const char *bpe_excerpt(char out[64], const char *text)
{
    size_t n = strlen(text), at = 0, written = 0;
    while (at < n && written < 52) {
        utf8proc_int32_t c;
        size_t k = (size_t)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &c);
        if (utf8proc_category(c) == UTF8PROC_CATEGORY_CC)
            out[written++] = '?';
        else {
            memcpy(out + written, text + at, k);
            written += k;
        }
        at += k;
    }
    memcpy(out + written, at < n ? "..." : "", at < n ? 4 : 1);
    return out;
}

bool bpe_is_utf8(const char *text)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &c);
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}
