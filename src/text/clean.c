/* Text as people bring it, made plain: what looks the same to them is the same to a tokenizer. */
#include "text/clean.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"

bool clean_is_space(int32_t c)
{
    if ((c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85)
        return true;
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

bool clean_is_invisible(int32_t c)
{
    static const int32_t ranges[][2] = {{0xAD, 0xAD},     {0x61C, 0x61C},   {0x180E, 0x180E}, {0x200B, 0x200B},
                                        {0x200E, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2064}, {0x2066, 0x206F},
                                        {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}};
    if (utf8proc_category(c) == UTF8PROC_CATEGORY_CC)
        return !clean_is_space(c);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

char *clean_compose(const char *text, size_t *bytes, err *e)
{
    char *valid = bpe_normalise(text, false, bytes, e);
    char *composed = valid ? (char *)utf8proc_NFC((const uint8_t *)valid) : NULL;
    if (valid && !composed)
        err_no_memory(e, "text", *bytes);
    if (composed)
        *bytes = strlen(composed);
    free(valid);
    return composed;
}

char *clean_text(const char *text, size_t *bytes, err *e)
{
    char *valid = bpe_normalise(text, false, bytes, e);
    size_t kept = 0, n = *bytes;
    bool space = false;
    for (size_t at = 0; valid && at < n;) {
        utf8proc_int32_t c;
        size_t k = (size_t)utf8proc_iterate((const uint8_t *)valid + at, (utf8proc_ssize_t)(n - at), &c);
        at += k;
        if (clean_is_space(c)) {
            space = kept > 0;
        } else if (!clean_is_invisible(c)) {
            if (space)
                valid[kept++] = ' ';
            space = false;
            memmove(valid + kept, valid + at - k, k);
            kept += k;
        }
    }
    if (!valid)
        return NULL;
    valid[kept] = 0;
    char *composed = clean_compose(valid, bytes, e);
    free(valid);
    return composed;
}
