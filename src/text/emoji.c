/* The English names of emoji: a table of Unicode 15 (tools/make_emoji_names), sorted, searched by halves. */
#include "text/emoji.h"

#include <stdlib.h>
#include <string.h>

#define PRESENTATION "\xEF\xB8\x8F" /* U+FE0F, which emoji have or have not; the table leaves it out */
#define MOST         64             /* more bytes than any emoji's */

/* Lines of an emoji, a space and its name: emoji_names.S. */
extern const char limn_emoji_names[], limn_emoji_names_end[];

/* The line that begins with key[n] and a space, or NULL. */
static const char *find(const char *key, size_t n)
{
    const char *low = limn_emoji_names, *high = limn_emoji_names_end;
    while (low < high) {
        const char *line = low + (high - low) / 2;
        while (line > low && line[-1] != '\n')
            line--;
        const char *space = memchr(line, ' ', (size_t)(limn_emoji_names_end - line));
        size_t m = (size_t)(space - line);
        int order = memcmp(key, line, n < m ? n : m);
        if (!order && n == m)
            return line;
        if (order < 0 || (!order && n < m))
            high = line;
        else
            low = (const char *)memchr(space, '\n', (size_t)(limn_emoji_names_end - space)) + 1;
    }
    return NULL;
}

const char *emoji_name(const char *text, size_t *bytes, size_t *length)
{
    char key[MOST];
    size_t n = 0, at = 0;
    const char *found = NULL;
    while (text[at] && n + 4 <= sizeof key) {
        if (!strncmp(text + at, PRESENTATION, 3) && n) {
            at += 3;
        } else {
            do /* a character */
                key[n++] = text[at++];
            while (((unsigned char)text[at] & 0xC0) == 0x80);
        }
        const char *line = find(key, n);
        if (line) {
            found = line + n + 1;
            *bytes = at;
        }
    }
    if (found)
        *length = strcspn(found, "\n");
    return found;
}

char *emoji_to_names(const char *text)
{
    size_t size = 0, bytes, length;
    char *out = NULL;
    for (int fill = 0; fill < 2; fill++) { /* first its size */
        size = 0;
        for (const char *p = text; *p; p += bytes) {
            const char *name =
                (unsigned char)*p < 0x80 && !strchr("#*0123456789", *p) ? NULL : emoji_name(p, &bytes, &length);
            if (!name) {
                name = p;
                bytes = length = 1;
            }
            if (out)
                memcpy(out + size, name, length);
            size += length;
        }
        if (!fill && !(out = malloc(size + 1)))
            return NULL;
    }
    out[size] = 0;
    return out;
}
