/* Looking texts up in SentencePiece's table of replacements. */
#include "text/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"

/* Little-endian, as the format is; 0 where the table ends before. */
static uint32_t unit_at(const charsmap *m, size_t i)
{
    const uint8_t *p = m->data + 4 + 4 * i;
    return i < m->trie / 4 ? p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* Whether a character begins with this byte, or ended before it. */
static bool is_boundary(char c)
{
    return ((uint8_t)c & 0xC0) != 0x80;
}

bool charsmap_open(charsmap *m, const void *data, size_t size, const char *name, err *e)
{
    const uint8_t *p = data;
    *m = (charsmap){0};
    if (!size)
        return true;
    size_t trie = size >= 4 ? p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24 : 0;
    if (trie < 4 || trie % 4 || trie > size - 4 || p[size - 1])
        return err_set(e, ERR_FAILED, "%s: its table of characters has %zu bytes and doesn't fit (the file is damaged)",
                       name, size);
    const char *text = (const char *)data + 4 + trie, *end = (const char *)data + size;
    for (; text < end; text += strlen(text) + 1)
        if (!bpe_is_utf8(text))
            return err_set(e, ERR_FAILED,
                           "%s: its table of characters has a text that is not UTF-8 (the file is damaged)", name);
    *m = (charsmap){.data = data, .trie = trie, .size = size};
    return true;
}

size_t charsmap_next(const charsmap *m, const char *text, size_t bytes, const char **to, size_t *n)
{
    const char *strings = m->data ? (const char *)m->data + 4 + m->trie : NULL;
    size_t room = m->data ? m->size - 4 - m->trie : 0, found = 0, node = m->data ? offset_of(unit_at(m, 0)) : 0;
    for (size_t i = 0; m->data && i < bytes; i++) {
        uint8_t c = (uint8_t)text[i];
        uint32_t unit = unit_at(m, node ^= c);
        if ((unit & (1u << 31 | 0xff)) != c)
            break;
        node ^= offset_of(unit);
        uint32_t value = unit & 1u << 8 ? unit_at(m, node) & 0x7fffffff : UINT32_MAX;
        /* a damaged trie may cut characters, in the text or in what replaces them: such an entry is none */
        if (value < room && is_boundary(strings[value]) && (i + 1 == bytes || is_boundary(text[i + 1]))) {
            *to = strings + value;
            found = i + 1;
        }
    }
    if (found) {
        *n = strlen(*to); /* the last string ends the table */
        return found;
    }
    utf8proc_int32_t c;
    *to = text;
    *n = (size_t)utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    return *n;
}
