/* What CLIP's tokenizer does to text before it splits it (ftfy 6's fix_text, then html.unescape twice). */
#include "text/fix.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"
#include "text/clean.h"

/* ---- HTML's entities --------------------------------------------------------------------------------------------- */

static const char latin1[] = /* from U+00A0 on */
    "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute "
    "micro "
    "para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil "
    "Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave "
    "Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml "
    "igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute "
    "thorn yuml ";

static const struct {
    const char *name;
    utf8proc_int32_t c;
} entities[] = {
    {"amp", '&'},      {"lt", '<'},        {"gt", '>'},        {"quot", '"'},      {"apos", '\''},
    {"AMP", '&'},      {"LT", '<'},        {"GT", '>'},        {"QUOT", '"'},      {"ndash", 0x2013},
    {"mdash", 0x2014}, {"lsquo", 0x2018},  {"rsquo", 0x2019},  {"sbquo", 0x201A},  {"ldquo", 0x201C},
    {"rdquo", 0x201D}, {"bdquo", 0x201E},  {"bull", 0x2022},   {"hellip", 0x2026}, {"prime", 0x2032},
    {"Prime", 0x2033}, {"lsaquo", 0x2039}, {"rsaquo", 0x203A}, {"euro", 0x20AC},   {"trade", 0x2122},
    {"larr", 0x2190},  {"uarr", 0x2191},   {"rarr", 0x2192},   {"darr", 0x2193},   {"minus", 0x2212},
    {"infin", 0x221E}, {"ne", 0x2260},     {"le", 0x2264},     {"ge", 0x2265},     {"hearts", 0x2665},
    {"ensp", 0x2002},  {"emsp", 0x2003},   {"thinsp", 0x2009}, {"zwnj", 0x200C},   {"zwj", 0x200D},
    {"OElig", 0x152},  {"oelig", 0x153},   {"Scaron", 0x160},  {"scaron", 0x161},  {"Yuml", 0x178},
};

int32_t fix_entity(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
        if (strlen(entities[i].name) == n && !memcmp(entities[i].name, name, n))
            return entities[i].c;
    utf8proc_int32_t c = 0xA0;
    for (const char *at = latin1; *at; at += strcspn(at, " ") + 1, c++)
        if (!strncmp(at, name, n) && at[n] == ' ')
            return c;
    return 0;
}

/* Those that HTML knows without their semicolon: &amp &lt &gt &quot and Latin-1's. */
static bool is_legacy(utf8proc_int32_t c)
{
    return (c >= 0xA0 && c <= 0xFF) || c == '&' || c == '<' || c == '>' || c == '"';
}

/* &name; or the longest beginning of it that is known: &copyright is a copyright sign and "right". */
static utf8proc_int32_t name_at(const char *text, size_t *bytes)
{
    size_t n = strspn(text + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
    utf8proc_int32_t c = text[n + 1] == ';' ? fix_entity(text + 1, n) : 0;
    *bytes = n + 2;
    for (; !c && n >= 2; n--) {
        c = fix_entity(text + 1, n);
        c = is_legacy(c) ? c : 0;
        *bytes = n + 1;
    }
    return c;
}

int32_t fix_windows(int32_t c)
{
    static const uint16_t table[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                       0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                       0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
    return c >= 0x80 && c <= 0x9F ? table[c - 0x80] : c;
}

/* The character of the entity at text, which begins with '&', and its bytes; 0: none. */
static utf8proc_int32_t entity_at(const char *text, size_t *bytes)
{
    static const char digits[] = "0123456789", hexadecimal[] = "0123456789abcdefABCDEF";
    if (text[1] != '#')
        return name_at(text, bytes);
    bool hex = text[2] == 'x' || text[2] == 'X';
    const char *from = text + 2 + hex;
    size_t n = strspn(from, hex ? hexadecimal : digits);
    if (n == 0 || n > 8)
        return 0;
    long c = strtol(from, NULL, hex ? 16 : 10);
    *bytes = (size_t)(from - text) + n + (from[n] == ';');
    return c > 0 && c <= 0x10FFFF && utf8proc_codepoint_valid((utf8proc_int32_t)c) ? fix_windows((utf8proc_int32_t)c)
                                                                                   : 0;
}

/* In place: no character is longer than its entity.  whole: only those that end in a semicolon. */
static void unescape(char *text, bool whole)
{
    char *out = text;
    while (*text) {
        size_t bytes;
        utf8proc_int32_t c = *text == '&' ? entity_at(text, &bytes) : 0;
        if (c && (!whole || text[bytes - 1] == ';')) {
            uint8_t own[4];
            size_t k = (size_t)utf8proc_encode_char(c, own);
            memcpy(out, own, k);
            out += k;
            text += bytes;
        } else {
            *out++ = *text++;
        }
    }
    *out = 0;
}

/* ---- ftfy -------------------------------------------------------------------------------------------------------- */

static const struct {
    utf8proc_int32_t c;
    const char *as;
} ligatures[] = {
    {0x132, "IJ"},      {0x133, "ij"},      {0x149, "'n"},       {0x1F1, "DZ"},  {0x1F2, "Dz"},  {0x1F3, "dz"},
    {0x1C4, "D\u017D"}, {0x1C5, "D\u017E"}, {0x1C6, "d\u017E"},  {0x1C7, "LJ"},  {0x1C8, "Lj"},  {0x1C9, "lj"},
    {0x1CA, "NJ"},      {0x1CB, "Nj"},      {0x1CC, "nj"},       {0xFB00, "ff"}, {0xFB01, "fi"}, {0xFB02, "fl"},
    {0xFB03, "ffi"},    {0xFB04, "ffl"},    {0xFB05, "\u017Ft"}, {0xFB06, "st"},
};

static bool is_control(utf8proc_int32_t c)
{
    return c < 9 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xFFF9 && c <= 0xFFFC);
}

/* What a character becomes, in out[8]; its bytes. */
static size_t fixed(utf8proc_int32_t c, char out[8])
{
    if (is_control(c))
        return 0;
    c = fix_windows(c);
    if (c == 0x2BC || (c >= 0x2018 && c <= 0x201B))
        c = '\'';
    else if (c >= 0x201C && c <= 0x201F)
        c = '"';
    else if (c == 0x3000)
        c = ' ';
    for (size_t i = 0; i < sizeof ligatures / sizeof *ligatures; i++)
        if (ligatures[i].c == c)
            return strlen(strcpy(out, ligatures[i].as));
    utf8proc_int32_t wide[4];
    if (c >= 0xFF01 && c <= 0xFFEF &&
        utf8proc_decompose_char(c, wide, 4, UTF8PROC_COMPAT | UTF8PROC_COMPOSE, NULL) == 1)
        c = wide[0];
    return (size_t)utf8proc_encode_char(c, (uint8_t *)out);
}

char *fix_text(const char *text, size_t *bytes, err *e)
{
    char *in = bpe_normalise(text, false, bytes, e), *out = in ? malloc(2 * *bytes + 8) : NULL, *composed = NULL;
    size_t n = 0;
    if (in && !out)
        err_no_memory(e, "text", 2 * *bytes + 8);
    if (in && out) {
        if (!strchr(in, '<'))
            unescape(in, true);
        for (size_t at = 0, end = strlen(in); at < end;) {
            utf8proc_int32_t c;
            at += (size_t)utf8proc_iterate((const uint8_t *)in + at, (utf8proc_ssize_t)(end - at), &c);
            n += fixed(c, out + n);
        }
        out[n] = 0;
        composed = clean_compose(out, bytes, e);
    }
    for (int pass = 0; composed && pass < 2; pass++)
        unescape(composed, false);
    if (composed)
        *bytes = strlen(composed);
    free(in);
    free(out);
    return composed;
}
