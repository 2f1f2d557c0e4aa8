/* Finding added tokens in a text. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    const char *text;
    size_t bytes;
    int32_t id;
} entry;

struct added_tokens {
    size_t n;
    int64_t *ids;          /* [n], as given */
    char *texts;           /* all of them */
    entry *entries;        /* [n], by first byte; of those with one first byte the longest first */
    size_t first[256 + 1]; /* where in entries those of a first byte begin */
};

static int compare(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int first = (int)(unsigned char)x->text[0] - (int)(unsigned char)y->text[0];
    return first ? first : (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

added_tokens *added_new(const char *name, const char *const *texts, const int32_t *ids, size_t n, err *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(texts[i]) + 1;
    added_tokens *a = calloc(1, sizeof *a);
    if (a) {
        a->texts = malloc(bytes ? bytes : 1);
        a->ids = calloc(n ? n : 1, sizeof *a->ids);
        a->entries = calloc(n ? n : 1, sizeof *a->entries);
    }
    if (!a || !a->texts || !a->ids || !a->entries) {
        added_free(a);
        err_no_memory(e, name, bytes);
        return NULL;
    }
    char *at = a->texts;
    for (size_t i = 0; i < n; i++) {
        size_t size = strlen(texts[i]);
        a->entries[i] = (entry){memcpy(at, texts[i], size + 1), size, ids[i]};
        a->ids[i] = ids[i];
        a->first[(unsigned char)*at + 1]++;
        at += size + 1;
    }
    a->n = n;
    qsort(a->entries, n, sizeof *a->entries, compare);
    for (int byte = 0; byte < 256; byte++)
        a->first[byte + 1] += a->first[byte];
    return a;
}

void added_free(added_tokens *a)
{
    if (!a)
        return;
    free(a->texts);
    free(a->ids);
    free(a->entries);
    free(a);
}

const int64_t *added_ids(const added_tokens *a, size_t *n)
{
    *n = a->n;
    return a->ids;
}

size_t added_find(const added_tokens *a, const char *text, size_t bytes, size_t *at, int32_t *id)
{
    for (*at = 0; *at < bytes; ++*at) {
        unsigned char byte = (unsigned char)text[*at];
        for (size_t i = a->first[byte]; i < a->first[byte + 1]; i++) {
            const entry *x = &a->entries[i];
            if (x->bytes <= bytes - *at && !memcmp(text + *at, x->text, x->bytes)) {
                *id = x->id;
                return x->bytes;
            }
        }
    }
    return 0;
}
